/* SPDX-License-Identifier: Apache-2.0
 *
 * Traps of numbers, masks and positions. */
#include <config.h>

#include "traps.h"

#include <math.h>
#include <stdlib.h>

/* ---- Numbers ------------------------------------------------------------ */

static struct tensor small(float *data, int32_t width)
{
    return (struct tensor){ .data = data, .dtype = DTYPE_FP32, .rows = 1,
                            .row_stride = width, .heads = 1, .width = width };
}

/* log(1 + exp(x)) is inf for x > 88, -inf - (-inf) is NaN. */
static void trap_01_merge_overflows(void **state)
{
    static const float pairs[][2] = {
        { 300, -300 }, { -300, 300 }, { -INFINITY, 3 }, { 3, -INFINITY },
        { -INFINITY, -INFINITY }, { 5e4f, 5e4f },
    };

    (void)state;
    for (int b = 0; kernel_backends[b]; b++) {
        const struct kernel_backend *k = kernel_backends[b];
        if (k->device || k->available(NULL) || !strcmp(k->name, "none"))
            continue;
        for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
            float o[2] = { 1, -2 }, po[2] = { 3, 5 };
            float lse = pairs[i][0], plse = pairs[i][1];
            double most = fmax(lse, plse);
            double wa = lse == -INFINITY ? 0 : exp(lse - most);
            double wb = plse == -INFINITY ? 0 : exp(plse - most);
            if (lse == -INFINITY)
                o[0] = o[1] = 0;
            if (plse == -INFINITY)
                po[0] = po[1] = 0;
            double want = wa + wb > 0 ? (wa * o[0] + wb * po[0]) / (wa + wb)
                                      : 0;
            struct tensor a = small(po, 2), l = small(&plse, 1);
            k->merge(small(o, 2), small(&lse, 1), 0, &a, &l, 1);
            assert_true(fabs(o[0] - want) < 1e-5);
            if (most == -INFINITY)
                assert_true(lse == -INFINITY);
            else
                assert_true(fabs(lse - (most + log(wa + wb)))
                            <= 1e-6 * fmax(1, fabs(most)));
        }
    }
}

/* Gradients of fp16 inputs that were rounded to bf16 on the way. */
static void trap_05_fp16_gradients_become_bf16(void **state)
{
    (void)state;
    FOR_FAMILY(st, "softmax") {
        struct rig g;
        struct error e = { 0 };
        int finer[RESULTS] = { 0 };
        if (!rig_create(&g, STEP(.strategy = st->name, .dtype = DTYPE_FP16,
                                 .wire_partial = DTYPE_FP16)))
            fail_msg("%s: %s", st->name, g.why.text);
        rig_load(&g);
        assert_int_equal(loopback_run(&g.loop, g.kernel, 0, &e), 0);
        struct results r = rig_results(&g, 0);
        for (int i = RESULT_DQ; i <= RESULT_DV; i++)
            for (size_t x = 0; x < r.bytes[i] / sizeof(float); x++) {
                uint16_t half;
                element_store(&half, DTYPE_BF16, 0, r.x[i][x]);
                finer[i] |= element_load(&half, DTYPE_BF16, 0) != r.x[i][x];
            }
        for (int i = RESULT_DQ; i <= RESULT_DV; i++)
            if (!finer[i])
                fail_msg("%s: all of %s are bf16 numbers", st->name,
                         result_names[i]);
        results_clear(&r);
        rig_destroy(&g);
    }
}

/* Sums that travel in 16 bit round at every hop. */
static void trap_06_travelling_sums_in_16_bit(void **state)
{
    static const char *const names[] = { "ring", "double-ring" };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct verdict v;
        struct rig g;
        struct trial t = *STEP(.strategy = names[i], .ranks = 16,
                               .lengths = { 256 }, .dtype = DTYPE_BF16,
                               .wire_partial = DTYPE_BF16);
        assert_true(rig_create(&g, &t));
        for (int64_t k = 0; k < g.schedules[3]->n_ops; k++) {
            const struct op *op = &g.schedules[3]->ops[k];
            int64_t n;
            const struct operand *o = pool_operands_get(
                g.schedules[3]->pool, op->operands, &n);
            if (op->kind == OP_SEND && op->channel == CHANNEL_DKV)
                assert_int_equal(g.schedules[3]->buffers[o->tile.buffer].dtype,
                                 DTYPE_FP32);
        }
        rig_destroy(&g);
        assert_true(trial_run(&t, &v));
    }
}

/* Where they do travel in 16 bit, what is largest is not rounded at every hop:
 * the part of the own block and the sum of the own window stay at home. */
static void trap_06_the_own_gradient_stays_at_home(void **state)
{
    static const struct {
        int32_t ranks;
        int64_t window;
    } cases[] = { { 8, 1 }, { 8, 2 }, { 8, 4 }, { 8, 8 }, { 32, 4 },
                  { 32, 8 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_run(STEP(.strategy = "double-ring", .ranks = cases[i].ranks,
                      .options = { .layout = LAYOUT_ZIGZAG,
                                   .window = cases[i].window },
                      .lengths = { 1024 }, .head_dim = 64, .value_dim = 64,
                      .dtype = DTYPE_BF16, .wire_grad = DTYPE_BF16));
}

/* Exact gradients have no factor 1/N. */
static void trap_07_rsa_divides_by_n(void **state)
{
    (void)state;
    for (int32_t ranks = 1; ranks <= 7; ranks += 2)
        must_run(STEP(.strategy = "rsa", .ranks = ranks));
}

static void ones(void *arg, enum tensor_name t, int64_t token, int64_t head,
                 int64_t width, float *out)
{
    (void)arg, (void)t, (void)token, (void)head;
    for (int64_t x = 0; x < width; x++)
        out[x] = 1;
}

/* Natural logarithm: one key gives its score, two equal ones ln 2 more. */
static void trap_26_lse_in_base_2(void **state)
{
    struct rig g;
    struct error e = { 0 };

    (void)state;
    assert_true(rig_create(&g, STEP(.ranks = 1, .lengths = { 2 }, .row = ones,
                                    .heads = 1, .kv_heads = 1,
                                    .head_dim = 4, .value_dim = 4)));
    rig_load(&g);
    assert_int_equal(loopback_run(&g.loop, g.kernel, 0, &e), 0);
    struct results r = rig_results(&g, 0);
    assert_true(fabs(r.x[RESULT_LSE][0] - 2) < 1e-6);
    assert_true(fabs(r.x[RESULT_LSE][1] - (2 + log(2))) < 1e-6);
    results_clear(&r);
    rig_destroy(&g);
}

/* ---- Masks and positions ------------------------------------------------ */

/* Windows of every other rank: the owner is not what the step says. */
static void trap_02_masks_from_steps(void **state)
{
    (void)state;
    must_run(STEP(.strategy = "2d", .ranks = 16, .lengths = { 130 },
                  .options = { .layout = LAYOUT_ZIGZAG, .head = 1,
                               .window = 4, .interleaved = 1 }));
}

static void trap_03_window_order_is_not_chunk_order(void **state)
{
    (void)state;
    for (int p = 0; p < PLACEMENTS; p++)
        for (int64_t window = 1; window <= 6; window += window < 3 ? 1 : 3)
            must_run(STEP(.strategy = "2d", .ranks = 12, .lengths = { 97 },
                          .options = { .layout = LAYOUT_ZIGZAG, .head = 2,
                                       .window = window,
                                       .placement = (enum placement)p }));
}

/* Ranks that hold only context must show all of it to every query. */
static void trap_08_star_context_is_causal(void **state)
{
    (void)state;
    must_run(STEP(.strategy = "star", .pass = PASS_FORWARD, .queries = 8,
                  .options = { .block = 16, .anchor = 16 }));
}

/* Every rank keeps what it was given, token by token: rotary embeddings made
 * from the global position stay with their tokens. */
struct tokens {
    const struct memory *memory;
    int32_t buffer;
};

static void token_number(void *arg, enum tensor_name t, int64_t token,
                         int64_t head, int64_t width, float *out)
{
    (void)arg, (void)t, (void)head;
    for (int64_t x = 0; x < width; x++)
        out[x] = (float)token;
}

static void same_token(void *arg, int64_t row, int64_t token)
{
    struct tokens *a = arg;
    const struct buffer *b = &a->memory->schedule->buffers[a->buffer];
    const float *data = memory_buffer(a->memory, a->buffer);

    assert_true(data[row * b->heads * b->width] == (float)token);
}

static void trap_12_local_positions(void **state)
{
    (void)state;
    for (int i = 0; strategies[i]; i++)
        for (int layout = 0; layout < LAYOUTS; layout++) {
            struct rig g;
            if (!rig_create(&g, STEP(.strategy = strategies[i]->name,
                                     .options.layout = (enum layout)layout,
                                     .row = token_number)))
                continue;
            rig_load(&g);
            for (int32_t r = 0; r < 4; r++)
                for (int32_t b = 0; b < g.schedules[r]->n_buffers; b++) {
                    const struct buffer *x = &g.schedules[r]->buffers[b];
                    if (x->role == ROLE_INPUT)
                        map_walk(&g.job, pool_map_get(plan_pool(g.plan),
                                                      x->map), same_token,
                                 &(struct tokens){ &g.loop.memories[r], b });
                }
            rig_destroy(&g);
        }
}

/* Shards of a length that the ranks do not divide. */
static void trap_13_length_over_n(void **state)
{
    (void)state;
    for (int32_t ranks = 2; ranks <= 7; ranks++)
        for (int layout = 0; layout < LAYOUTS; layout++)
            FOR_FAMILY(st, "softmax")
                trial_run(STEP(.strategy = st->name, .ranks = ranks,
                               .options.layout = (enum layout)layout,
                               .lengths = { 2 * ranks * 4 + 2 * ranks - 1 }),
                          NULL);
}

/* Ranks without tokens, rows without keys. */
static void trap_14_nothing_visible(void **state)
{
    (void)state;
    FOR_FAMILY(st, "softmax")
        must_run(STEP(.strategy = st->name, .ranks = 7, .lengths = { 3 }));
    FOR_FAMILY(st, "linear")
        must_run(STEP(.strategy = st->name, .ranks = 7, .lengths = { 3 },
                      .attention = ATTENTION_LINEAR));
    FOR_FAMILY(st, "decode")
        must_run(STEP(.strategy = st->name, .ranks = 7, .lengths = { 3 },
                      .pass = PASS_DECODE, .queries = 2));
}

/* Half of the rows of several sequences is not one block of rows. */
static void trap_15_halves_of_packed_sequences(void **state)
{
    (void)state;
    FOR_FAMILY(st, "softmax")
        must_run(STEP(.strategy = st->name, .ranks = 2,
                      .options.layout = LAYOUT_ZIGZAG, .sequences = 3,
                      .lengths = { 32, 32, 32 }));
    must_run(STEP(.ranks = 2, .sequences = 3, .lengths = { 32, 32, 32 },
                  .options = { .layout = LAYOUT_ZIGZAG, .reverse = 1 }));
}

/* Masks of the contiguous cut hold on either mesh. */
static void trap_24_contiguous_cut_on_the_other_mesh(void **state)
{
    (void)state;
    for (int layout = 0; layout < LAYOUTS; layout++)
        must_run(STEP(.strategy = "usp", .ranks = 6, .lengths = { 96 },
                      .options = { .layout = (enum layout)layout, .head = 2,
                                   .placement = CONTEXT_FIRST }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_01_merge_overflows),
        cmocka_unit_test(trap_02_masks_from_steps),
        cmocka_unit_test(trap_03_window_order_is_not_chunk_order),
        cmocka_unit_test(trap_05_fp16_gradients_become_bf16),
        cmocka_unit_test(trap_06_travelling_sums_in_16_bit),
        cmocka_unit_test(trap_06_the_own_gradient_stays_at_home),
        cmocka_unit_test(trap_07_rsa_divides_by_n),
        cmocka_unit_test(trap_08_star_context_is_causal),
        cmocka_unit_test(trap_12_local_positions),
        cmocka_unit_test(trap_13_length_over_n),
        cmocka_unit_test(trap_14_nothing_visible),
        cmocka_unit_test(trap_15_halves_of_packed_sequences),
        cmocka_unit_test(trap_24_contiguous_cut_on_the_other_mesh),
        cmocka_unit_test(trap_26_lse_in_base_2),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
