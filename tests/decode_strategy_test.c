/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode steps: the tree's reductions and the ring as their baseline. */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define CAUSAL { MASK_CAUSAL, -1, 0 }

/* A decode step of two queries; fields that follow override. */
#define STEP(...)                                                             \
    (&(struct trial){ .strategy = "tree", .mask = CAUSAL,                     \
        .pass = PASS_DECODE, .ranks = 4, .lengths = { 61 }, .queries = 2,     \
        .heads = 4, .kv_heads = 2, .head_dim = 8, .value_dim = 8,             \
        __VA_ARGS__ })
/* Overriding is the point. */
#pragma GCC diagnostic ignored "-Woverride-init"

static void must_run(const struct trial *t)
{
    char text[320];

    trial_text(t, text, sizeof text);
    if (!trial_run(t, NULL))
        fail_msg("%s does not apply", text);
}

static const int32_t rank_counts[] = { 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 16,
                                       17, 0 };
static const struct mask masks[] = { { MASK_FULL, -1, -1 }, CAUSAL,
                                     { MASK_WINDOW, 5, 0 },
                                     { MASK_WINDOW, 20, 3 } };
static const int64_t query_counts[] = { 1, 3, 16, 0 };

/* ---- Numbers ------------------------------------------------------------- */

static void reductions_agree_with_oracle(void **state)
{
    (void)state;
    for (int reduce = 0; reduce < REDUCTIONS; reduce++)
        for (int i = 0; rank_counts[i]; i++)
            for (int m = 0; m < 4; m++)
                must_run(STEP(.ranks = rank_counts[i], .mask = masks[m],
                              .queries = query_counts[(i + m) % 3],
                              .options.layout = (enum layout)((i + reduce)
                                                              % LAYOUTS),
                              .options.reduce = (enum reduction)reduce));
}

/* Fewer tokens than ranks: shards without a key are the identity. */
static void empty_shards(void **state)
{
    (void)state;
    for (int reduce = 0; reduce < REDUCTIONS; reduce++)
        for (int64_t tokens = 1; tokens <= 5; tokens++)
            must_run(STEP(.ranks = 9, .lengths = { tokens },
                          .queries = min64(tokens, 2),
                          .options.reduce = (enum reduction)reduce));
}

static void shapes_and_dtypes(void **state)
{
    static const int64_t heads[][2] = { { 5, 5 }, { 8, 1 }, { 12, 2 },
                                        { 1, 1 } };

    (void)state;
    for (int reduce = 0; reduce < REDUCTIONS; reduce++)
        for (int h = 0; h < 4; h++)
            for (int dtype = 0; dtype < DTYPES; dtype++)
                must_run(STEP(.ranks = 9, .lengths = { 203 },
                              .heads = heads[h][0], .kv_heads = heads[h][1],
                              .head_dim = 24, .value_dim = 16,
                              .dtype = (enum dtype)dtype,
                              .wire_partial = h % 2 ? DTYPE_FP32
                                                    : (enum dtype)dtype,
                              .options.reduce = (enum reduction)reduce));
}

static void ring_decodes(void **state)
{
    (void)state;
    for (int i = 0; rank_counts[i]; i++)
        for (int m = 0; m < 4; m++)
            for (int layout = 0; layout < LAYOUTS; layout++)
                must_run(STEP(.strategy = "ring", .ranks = rank_counts[i],
                              .mask = masks[m],
                              .queries = query_counts[(i + m) % 3],
                              .options.layout = (enum layout)layout));
    must_run(STEP(.strategy = "ring", .ranks = 7, .lengths = { 3 }));
}

/* ---- Bytes --------------------------------------------------------------- */

static int64_t sent(const struct trial *t, int32_t rank)
{
    struct rig g;

    assert_true(rig_create(&g, t));
    int64_t bytes = schedule_sent_bytes(g.schedules[rank]);
    assert_int_equal(bytes, plan_bytes_expected(g.plan, rank));
    rig_destroy(&g);
    return bytes;
}

/* 2 queries x 4 heads = 8 rows: 32 bytes of lse, 256 of o; a rank of 6 sends
 * 2 (6 - 1) / 6 of what is reduced, rounded down. */
static void bytes_of_reductions(void **state)
{
    (void)state;
    assert_int_equal(sent(STEP(.ranks = 6), 3), 53 + 53 + 426);
    assert_int_equal(sent(STEP(.ranks = 6, .options.reduce = REDUCE_PACKED),
                          3), 53 + 480);
    assert_int_equal(sent(STEP(.ranks = 6, .options.reduce = REDUCE_USEROP),
                          3), 480);
    assert_int_equal(sent(STEP(.ranks = 6, .options.reduce = REDUCE_GATHER),
                          3), 5 * 288);
    assert_int_equal(sent(STEP(.ranks = 6, .dtype = DTYPE_BF16,
                               .wire_partial = DTYPE_BF16,
                               .options.reduce = REDUCE_GATHER), 3),
                     5 * (128 + 32));
    assert_int_equal(sent(STEP(.ranks = 6, .dtype = DTYPE_BF16,
                               .wire_partial = DTYPE_BF16,
                               .options.reduce = REDUCE_USEROP), 3), 480);
    assert_int_equal(sent(STEP(.ranks = 6, .options = {
                              .reduce = REDUCE_TWO_LEVEL, .window = 2 }), 3),
                     288 + 384);
    assert_int_equal(sent(STEP(.ranks = 1), 0), 0);
}

/* What a step sends does not grow with the sequence; in the ring it does. */
static void bytes_of_ring(void **state)
{
    (void)state;
    assert_int_equal(sent(STEP(.lengths = { 64 }), 0),
                     sent(STEP(.lengths = { 6400 }), 0));
    assert_int_equal(sent(STEP(.strategy = "ring", .lengths = { 64 }), 0),
                     3 * 16 * 2 * (8 + 8) * 4);
}

/* K and V of a shared head are held once. */
static void heads_are_not_repeated(void **state)
{
    struct rig g;

    (void)state;
    assert_true(rig_create(&g, STEP(.heads = 8, .kv_heads = 1)));
    for (int32_t b = 0; b < g.schedules[0]->n_buffers; b++) {
        const struct buffer *x = &g.schedules[0]->buffers[b];
        if (x->tensor == TENSOR_K || x->tensor == TENSOR_V)
            assert_int_equal(x->heads, 1);
        assert_true(x->rows <= 16);
    }
    rig_destroy(&g);
}

/* ---- What applies -------------------------------------------------------- */

static void two_level_windows(void **state)
{
    struct rig g;

    (void)state;
    for (int64_t window = 1; window <= 12; window++) {
        const struct trial *t = STEP(.ranks = 12, .options = {
            .reduce = REDUCE_TWO_LEVEL, .window = window });
        if (12 % window == 0) {
            must_run(t);
            continue;
        }
        char text[80];
        assert_false(rig_create(&g, t));
        snprintf(text, sizeof text, "12 ranks are not a multiple of window "
                 "%d", (int)window);
        assert_string_equal(g.why.text, text);
    }
}

/* ---- Sessions ------------------------------------------------------------ */

static struct job session(int64_t tokens, int64_t steps, int64_t page)
{
    struct trial t = *STEP(.lengths = { tokens });
    struct job job = trial_job(&t);

    job.decode_steps = steps;
    job.decode_page = page;
    return job;
}

static int64_t rows_of_k(const struct schedule *s)
{
    for (int32_t b = 0; b < s->n_buffers; b++)
        if (s->buffers[b].tensor == TENSOR_K)
            return s->buffers[b].rows;
    return -1;
}

/* 61 + 9 tokens in pages of 4 on 3 ranks: 17 pages and a half. */
static void pages_go_round(void **state)
{
    static const int64_t wanted[3] = { 24, 24, 22 };
    struct job job = session(61, 9, 4);
    struct strategy_options o = { .reduce = REDUCE_USEROP };
    struct error e = { 0 };
    struct plan *p = plan_create(&job, strategy_find("tree"), &o, 3, &e);

    (void)state;
    assert_non_null(p);
    assert_int_equal(plan_job(p)->tokens, 70);
    assert_int_equal(job.tokens, 61);
    for (int32_t r = 0; r < 3; r++) {
        struct schedule *s = plan_build(p, r);
        assert_int_equal(rows_of_k(s), wanted[r]);
        schedule_destroy(s);
    }
    plan_destroy(p);
    job_clear(&job);
}

static void sessions_are_for_the_tree(void **state)
{
    struct job job = session(61, 9, 4);
    struct strategy_options o = { 0 };
    struct error e = { 0 };

    (void)state;
    assert_null(plan_create(&job, strategy_find("ring"), &o, 3, &e));
    assert_string_equal(e.text, "its shards cannot grow, as a session of 9 "
                        "decode steps needs");
    o.layout = LAYOUT_ZIGZAG;
    assert_null(plan_create(&job, strategy_find("tree"), &o, 3, &e));
    assert_non_null(strstr(e.text, "pages of 4 tokens"));
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reductions_agree_with_oracle),
        cmocka_unit_test(empty_shards),
        cmocka_unit_test(shapes_and_dtypes),
        cmocka_unit_test(ring_decodes),
        cmocka_unit_test(bytes_of_reductions),
        cmocka_unit_test(bytes_of_ring),
        cmocka_unit_test(heads_are_not_repeated),
        cmocka_unit_test(two_level_windows),
        cmocka_unit_test(pages_go_round),
        cmocka_unit_test(sessions_are_for_the_tree),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
