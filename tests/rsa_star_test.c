/* SPDX-License-Identifier: Apache-2.0
 *
 * RSA, forward and backward, and the two phases of Star Attention. */
#include <config.h>

#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define CAUSAL { MASK_CAUSAL, -1, 0 }

#define TRIAL(...)                                                            \
    (&(struct trial){ .mask = CAUSAL, .ranks = 4, .lengths = { 61 },          \
        .heads = 4, .kv_heads = 2, .head_dim = 8, .value_dim = 8,             \
        __VA_ARGS__ })
/* A causal training step by RSA; 55 tokens of context and 6 of queries. */
#define RSA(...)  TRIAL(.strategy = "rsa", .pass = PASS_FORWARD_BACKWARD,     \
                        __VA_ARGS__)
#define STAR(...) TRIAL(.strategy = "star", .queries = 6, __VA_ARGS__)
/* Overriding is the point. */
#pragma GCC diagnostic ignored "-Woverride-init"

static void must_run(const struct trial *t)
{
    char text[320];

    trial_text(t, text, sizeof text);
    if (!trial_run(t, NULL))
        fail_msg("%s does not apply", text);
}

static int64_t sent(const struct trial *t, int32_t rank)
{
    struct rig g;

    assert_true(rig_create(&g, t));
    int64_t bytes = schedule_sent_bytes(g.schedules[rank]);
    assert_int_equal(bytes, plan_bytes_expected(g.plan, rank));
    rig_destroy(&g);
    return bytes;
}

/* ---- RSA ----------------------------------------------------------------- */

static void rsa_agrees_with_oracle(void **state)
{
    static const int32_t ranks[] = { 1, 2, 3, 4, 5, 7, 12, 0 };
    static const struct mask masks[] = { { MASK_FULL, -1, -1 }, CAUSAL,
                                         { MASK_WINDOW, 5, 3 } };

    (void)state;
    for (int i = 0; ranks[i]; i++)
        for (int m = 0; m < 3; m++)
            for (int layout = 0; layout < LAYOUTS; layout++)
                must_run(RSA(.ranks = ranks[i], .mask = masks[m],
                             .options.layout = (enum layout)layout));
}

static void rsa_shapes(void **state)
{
    static const int64_t heads[][2] = { { 5, 5 }, { 12, 2 }, { 8, 1 } };

    (void)state;
    for (int h = 0; h < 3; h++)
        must_run(RSA(.ranks = 3, .heads = heads[h][0], .kv_heads = heads[h][1],
                     .head_dim = 24, .value_dim = 16));
    must_run(RSA(.ranks = 5, .sequences = 5, .lengths = { 3, 40, 0, 1, 17 },
                 .options.layout = LAYOUT_ZIGZAG));
    must_run(RSA(.ranks = 7, .lengths = { 3 }));
    must_run(RSA(.pass = PASS_FORWARD));
}

static void rsa_in_16_bit(void **state)
{
    (void)state;
    for (int dtype = DTYPE_BF16; dtype < DTYPES; dtype++)
        for (int wire = 0; wire < 2; wire++)
            must_run(RSA(.ranks = 3, .dtype = (enum dtype)dtype,
                         .wire_grad = wire ? (enum dtype)dtype : DTYPE_FP32,
                         .options.layout = LAYOUT_ZIGZAG));
}

/* A window that looks ahead only: the last rows of a sequence see nothing but
 * themselves, others nothing on most ranks. */
static void rsa_rows_with_few_keys(void **state)
{
    (void)state;
    must_run(RSA(.ranks = 6, .mask = { MASK_WINDOW, 0, 0 }));
    must_run(RSA(.ranks = 6, .mask = { MASK_WINDOW, 0, 2 },
                 .options.layout = LAYOUT_STRIPED));
}

/* 16 tokens a rank, 2 KV heads of 8 + 8 values, 4 bytes each: 2048 a block.
 * K and V go round in either pass, dK and dV are reduce-scattered. */
static void rsa_bytes(void **state)
{
    (void)state;
    assert_int_equal(sent(RSA(.lengths = { 64 }, .pass = PASS_FORWARD), 1),
                     3 * 2048);
    assert_int_equal(sent(RSA(.lengths = { 64 }), 1), 9 * 2048);
    assert_int_equal(sent(RSA(.lengths = { 64 }, .dtype = DTYPE_BF16,
                              .wire_grad = DTYPE_FP32), 1), 6 * 1024
                     + 3 * 2048);
    assert_int_equal(sent(RSA(.ranks = 1), 0), 0);
}

/* Two buffers in turn are enough for either ring. */
static void rsa_rings_do_not_stall(void **state)
{
    (void)state;
    for (int32_t ranks = 2; ranks <= 9; ranks++)
        for (int layout = 0; layout < LAYOUTS; layout++) {
            struct rig g;
            assert_true(rig_create(&g, RSA(
                .ranks = ranks, .lengths = { 144 },
                .options.layout = (enum layout)layout)));
            struct check_report c = rig_check(&g);
            assert_true(c.passed);
            assert_int_equal(c.reuse_stalls, 0);
            check_report_clear(&c);
            rig_destroy(&g);
        }
}

/* Blocks in which nothing is visible take no memory. */
static void rsa_makes_visible_blocks_only(void **state)
{
    struct rig g;

    (void)state;
    assert_true(rig_create(&g, RSA(.pass = PASS_FORWARD)));
    for (int32_t r = 0; r < 4; r++) {
        int scores = 0;
        for (int64_t i = 0; i < g.schedules[r]->n_ops; i++)
            scores += g.schedules[r]->ops[i].kind == OP_SCORES;
        assert_int_equal(scores, r + 1);
    }
    rig_destroy(&g);
}

/* ---- Star ---------------------------------------------------------------- */

static void star_agrees_with_its_mask(void **state)
{
    static const int32_t ranks[] = { 1, 2, 3, 5, 8, 13, 0 };
    static const int64_t blocks[] = { 0, 1, 7, 16, 55, 100, -1 };
    static const int64_t anchors[] = { 0, 1, 5, 20, 200, -1 };

    (void)state;
    for (int i = 0; ranks[i]; i++)
        for (int b = 0; blocks[b] >= 0; b++)
            for (int a = 0; anchors[a] >= 0; a++)
                must_run(STAR(.ranks = ranks[i],
                              .options = { .block = blocks[b],
                                           .anchor = anchors[a] }));
}

static void star_shapes(void **state)
{
    (void)state;
    must_run(STAR(.heads = 12, .kv_heads = 2, .head_dim = 24,
                  .value_dim = 16));
    must_run(STAR(.queries = 61));          /* no context */
    must_run(STAR(.queries = 60, .ranks = 3));
    must_run(STAR(.queries = 1, .ranks = 9));
    must_run(STAR(.lengths = { 3 }, .queries = 2, .ranks = 5));
    for (int dtype = DTYPE_BF16; dtype < DTYPES; dtype++)
        for (int wire = 0; wire < 2; wire++)
            must_run(STAR(.ranks = 11, .lengths = { 150 },
                          .dtype = (enum dtype)dtype,
                          .wire_partial = wire ? (enum dtype)dtype
                                               : DTYPE_FP32));
}

static struct results results_of(const struct trial *t)
{
    struct rig g;
    struct error e = { 0 };

    assert_true(rig_create(&g, t));
    rig_load(&g);
    if (loopback_run(&g.loop, g.kernel, 0, &e))
        fail_msg("%s", e.text);
    struct results r = rig_results(&g, 0);
    rig_destroy(&g);
    return r;
}

static double difference(const struct results *a, const struct results *b,
                         int64_t first, int64_t last)
{
    double most = 0;

    for (int64_t i = first * 4 * 8; i < last * 4 * 8; i++)
        most = fmax(most, fabs(a->x[RESULT_O][i] - b->x[RESULT_O][i]));
    return most;
}

/* The queries see everything; the context, beyond the anchor's block, less. */
static void star_phase_2_is_exact(void **state)
{
    struct results star = results_of(STAR(.options = { .block = 8,
                                                       .anchor = 4 }));
    struct results dense = results_of(TRIAL(.strategy = "ring"));

    (void)state;
    assert_true(difference(&star, &dense, 55, 61) < 1e-5);
    assert_true(difference(&star, &dense, 0, 8) < 1e-5);
    assert_true(difference(&star, &dense, 8, 55) > 1e-2);
    results_clear(&star);
    results_clear(&dense);
}

/* One block of all the context, or an anchor of all of it: nothing is left
 * out. */
static void star_of_one_block_is_dense(void **state)
{
    struct results dense = results_of(TRIAL(.strategy = "ring"));

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct results star = results_of(STAR(
            .options = { .block = i ? 55 : 5, .anchor = i ? 1 : 55 }));
        assert_true(difference(&star, &dense, 0, 61) < 1e-5);
        results_clear(&star);
    }
    results_clear(&dense);
}

/* Phase 1 is silent; phase 2 gathers 6 x 4 rows of 8 values and an lse. */
static void star_bytes(void **state)
{
    (void)state;
    assert_int_equal(sent(STAR(.ranks = 5), 2), 4 * 24 * (8 * 4 + 4));
    assert_int_equal(sent(STAR(.ranks = 5, .dtype = DTYPE_BF16,
                               .wire_partial = DTYPE_BF16), 2),
                     4 * 24 * (8 * 2 + 4));
    assert_int_equal(sent(STAR(.ranks = 1), 0), 0);
}

/* Ranks of context only hide nothing in phase 2. */
static void star_context_is_not_masked(void **state)
{
    struct rig g;
    int seen = 0;

    (void)state;
    assert_true(rig_create(&g, STAR(.options = { .block = 16 })));
    for (int32_t r = 0; r < 3; r++)
        for (int64_t i = 0; i < g.schedules[r]->n_ops; i++) {
            const struct op *op = &g.schedules[r]->ops[i];
            int64_t n;
            if (op->kind != OP_ATTEND || op->step != 2)
                continue;
            const struct segment *list = pool_segments_get(
                plan_pool(g.plan), op->segments, &n);
            assert_int_equal(n, 1);
            assert_int_equal(segments_pairs(list, n), 6 * 16);
            seen++;
        }
    assert_int_equal(seen, 3);
    rig_destroy(&g);
}

static void star_refuses(const struct trial *t, const char *why)
{
    struct rig g;

    assert_false(rig_create(&g, t));
    assert_string_equal(g.why.text, why);
}

static void star_does_not_apply(void **state)
{
    (void)state;
    star_refuses(STAR(.mask = { MASK_FULL, -1, -1 }),
                 "its mask is made of a causal one, not full");
    star_refuses(STAR(.pass = PASS_FORWARD_BACKWARD),
                 "it is forward only, pass is forward_backward");
    star_refuses(STAR(.pass = PASS_DECODE),
                 "it is forward only, pass is decode");
    star_refuses(STAR(.sequences = 2, .lengths = { 61, 20 }),
                 "it takes one sequence, not 2 packed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rsa_agrees_with_oracle),
        cmocka_unit_test(rsa_shapes),
        cmocka_unit_test(rsa_in_16_bit),
        cmocka_unit_test(rsa_rows_with_few_keys),
        cmocka_unit_test(rsa_bytes),
        cmocka_unit_test(rsa_rings_do_not_stall),
        cmocka_unit_test(rsa_makes_visible_blocks_only),
        cmocka_unit_test(star_agrees_with_its_mask),
        cmocka_unit_test(star_shapes),
        cmocka_unit_test(star_phase_2_is_exact),
        cmocka_unit_test(star_of_one_block_is_dense),
        cmocka_unit_test(star_bytes),
        cmocka_unit_test(star_context_is_not_masked),
        cmocka_unit_test(star_does_not_apply),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
