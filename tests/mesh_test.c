/* SPDX-License-Identifier: Apache-2.0
 *
 * A mesh with any context strategy: the all-to-all over head groups composed
 * with ring (all its options), allgather, double ring and TokenRing over
 * context groups; none of them knows that it is inside one. */
#include <config.h>

#include "rig.h"
#include "strategy/mesh.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

MESH_FUNCTIONS(ring, &strategy_ring)
MESH_FUNCTIONS(gather, &strategy_allgather)
MESH_FUNCTIONS(rings, &strategy_double_ring)
MESH_FUNCTIONS(token, &strategy_token_ring)

static const struct strategy mesh_ring = { .name = "mesh-ring",
                                           MESH_FIELDS(ring) };
static const struct strategy mesh_gather = { .name = "mesh-allgather",
                                             MESH_FIELDS(gather) };
static const struct strategy mesh_rings = { .name = "mesh-double-ring",
                                            MESH_FIELDS(rings) };
static const struct strategy mesh_token = { .name = "mesh-token-ring",
                                            MESH_FIELDS(token) };

static const struct {
    const struct strategy *mesh;
    struct strategy_options options;
} contexts[] = {
    { &mesh_ring, { .block = 1 } },
    { &mesh_ring, { .head_group = 1 } },
    { &mesh_token, { .head_group = 2 } },
    { &mesh_ring, { .backward = CIRCULATE_Q } },
    { &mesh_ring, { .reverse = 1 } },
    { &mesh_ring, { .needed = 1 } },
    { &mesh_ring, { .reverse = 1, .needed = 1 } },
    { &mesh_ring, { .reverse = 1, .backward = CIRCULATE_Q } },
    { &mesh_ring, { .needed = 1, .backward = CIRCULATE_Q } },
    { &mesh_gather, { .block = 1 } },
    { &mesh_gather, { .head_group = 1 } },
    { &mesh_rings, { .block = 1 } },
    { &mesh_token, { .block = 1 } },
};
static const struct {
    int64_t head, context;
} meshes[] = { { 2, 3 }, { 3, 2 }, { 4, 4 }, { 1, 5 }, { 6, 1 } };
/* Query heads per KV head 1, 2, 3; few divide by the head degree. */
static const int64_t heads[][2] = { { 4, 4 }, { 6, 3 }, { 5, 5 }, { 15, 5 },
                                    { 2, 1 }, { 3, 1 } };
static const struct mask masks[] = {
    { MASK_CAUSAL, -1, 0 }, { MASK_FULL, -1, -1 }, { MASK_WINDOW, 16, 0 },
    { MASK_WINDOW, 7, 5 },
};

static struct trial make_trial(int context, int mesh, int n)
{
    struct trial t = { .strategy = contexts[context].mesh->name,
                       .custom = contexts[context].mesh,
                       .options = contexts[context].options,
                       .pass = PASS_FORWARD_BACKWARD,
                       .mask = masks[n % COUNT(masks)],
                       .heads = heads[n % COUNT(heads)][0],
                       .kv_heads = heads[n % COUNT(heads)][1], .head_dim = 8,
                       .value_dim = 4 };

    t.options.head = meshes[mesh].head;
    t.ranks = (int32_t)(meshes[mesh].head * meshes[mesh].context);
    t.dtype = (enum dtype)(n / 2 % DTYPES);
    /* Of 41 tokens, 16-bit parts may miss the gate, which knows the rounding of
     * one dense attention only. */
    t.wire_partial = n % 3 ? t.dtype : DTYPE_FP32;
    t.lengths[0] = n % 3 ? 83 : 1;
    t.lengths[1] = 40;
    t.sequences = n % 3 ? 1 : 2;
    return t;
}

static void any_context(void **state)
{
    int n = 0;

    (void)state;
    for (int c = 0; c < COUNT(contexts); c++)
        for (int m = 0; m < COUNT(meshes); m++)
            for (int y = 0; y < LAYOUTS; y++)
                for (int p = 0; p < PLACEMENTS; p++, n++) {
                    struct trial t = make_trial(c, m, n);
                    t.options.layout = (enum layout)y;
                    t.options.placement = (enum placement)p;
                    assert_true(trial_run(&t, NULL));
                }
}

/* Context groups in interleaved windows: member i is context rank [0 2 4 6 1 3
 * 5 7 8 10 ...][i], so neither order nor halves may come from its index. */
static void interleaved_any_context(void **state)
{
    (void)state;
    for (int c = 0; c < COUNT(contexts); c++)
        for (int p = 0; p < PLACEMENTS; p++)
            for (int y = 0; y < LAYOUTS; y++) {
                struct trial t = make_trial(c, 0, c + y);
                t.options.head = 1 + p;
                t.options.window = 4;
                t.options.interleaved = 1;
                t.options.layout = (enum layout)y;
                t.options.placement = (enum placement)p;
                t.mask = masks[c % 3 ? 0 : y];
                t.ranks = p ? 16 : 8;
                assert_true(trial_run(&t, NULL));
            }
}

/* ---- The counter-example of 16 ranks in interleaved windows of 4 -------- */

enum { C = 16, W = 4, CHUNK = 2 };

/* Context rank of member i. */
static int at(int i)
{
    static const int order[] = { 0, 2, 4, 6, 1, 3, 5, 7 };

    return i / 8 * 8 + order[i % 8];
}

/* -1: keys of an earlier owner, all queries and half of the keys; 1: of a later
 * one, half of the queries; 0: the diagonal. */
static int kind_of(const struct schedule *s, const struct op *op)
{
    int64_t n;
    const struct segment *g = pool_segments_get(s->pool, op->segments, &n);

    if (n == 1 && g->q_count == 2 * CHUNK && g->k_count == CHUNK)
        return -1;
    if (n == 1 && g->q_count == CHUNK && g->k_count == 2 * CHUNK)
        return 1;
    return 0;
}

/* Rank of member i: its attends, of which so many are not what the numbers of
 * the members would say; all are what the context ranks say. */
static int count_differences(const struct schedule *s, int i)
{
    int differ = 0, steps = 0;

    for (int64_t k = 0; k < s->n_ops; k++) {
        const struct op *op = &s->ops[k];
        if (op->kind != OP_ATTEND)
            continue;
        int o = (i / W - steps / W + C / W) % (C / W);
        int j = o * W + (i % W - steps % W + W) % W;
        int kind = kind_of(s, op);
        assert_int_equal(kind, (at(j) > at(i)) - (at(j) < at(i)));
        differ += kind != (j > i) - (j < i);
        steps++;
    }
    assert_int_equal(steps, C);
    return differ;
}

/* Masks from (window, inner, step) would be wrong in 24 of 256 attends. */
static void interleaved_16_in_windows_of_4(void **state)
{
    struct trial t = { .strategy = "2d", .mask = masks[0], .heads = 1,
                       .kv_heads = 1, .head_dim = 8, .value_dim = 8,
                       .ranks = C, .lengths = { 2 * C * CHUNK },
                       .options = { .layout = LAYOUT_ZIGZAG, .head = 1,
                                    .window = W, .interleaved = 1 } };
    struct rig g;
    int differ = 0;

    (void)state;
    assert_true(rig_create(&g, &t));
    for (int i = 0; i < C; i++)
        differ += count_differences(g.schedules[at(i)], i);
    assert_int_equal(differ, 24);
    rig_destroy(&g);
    t.pass = PASS_FORWARD_BACKWARD;
    for (int p = 0; p < PLACEMENTS; p++) {
        t.options.placement = (enum placement)p;
        assert_true(trial_run(&t, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interleaved_16_in_windows_of_4),
        cmocka_unit_test(interleaved_any_context),
        cmocka_unit_test(any_context),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
