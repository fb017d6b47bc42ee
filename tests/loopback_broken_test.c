/* SPDX-License-Identifier: Apache-2.0
 *
 * Broken schedules do not pass loopback and verification. */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(axis) (int64_t)(sizeof(axis) / sizeof *(axis))

/* What is done to op `at` of one rank. */
struct damage {
    const char *what;
    enum op_kind kind;          /* the nth op of this kind ... */
    int nth;
    enum { DROP, TWICE, SWAP_K, SHIFT_MASK, HALF, OTHER_PEER } how;
};

static void append_damaged(struct schedule *s, struct op op,
                           const struct operand *o, int64_t n,
                           const struct damage *d, const struct schedule *old)
{
    struct operand mine[16];

    memcpy(mine, o, (size_t)n * sizeof *o);
    if (d->how == SWAP_K) {     /* attend: V where K belongs */
        struct operand k = mine[1];
        mine[1] = mine[2];
        mine[2] = k;
    }
    if (d->how == SHIFT_MASK) {
        int64_t m;
        struct segment list[8];
        const struct segment *g = pool_segments_get(old->pool, op.segments, &m);
        assert_true(m <= 8);
        memcpy(list, g, (size_t)m * sizeof *g);
        list[0].low = 1;        /* the diagonal is lost */
        list[0].high = BAND_HIGH;
        op.segments = pool_segments(old->pool, list, m);
    }
    if (d->how == HALF) {
        int64_t rows = tile_row_count(old, mine[0].tile);
        mine[0].tile = tile_heads(tile_rows(old, mine[0].tile.buffer, 0,
                                            rows / 2), 0,
                                  mine[0].tile.head_count);
    }
    if (d->how == OTHER_PEER)
        op.peer = (op.peer + 1) % old->ranks;
    for (int i = 0; i < (d->how == TWICE ? 2 : d->how != DROP); i++)
        schedule_op(s, op, mine, n);
}

/* The same schedule with one op damaged. */
static struct schedule *damaged(const struct schedule *old,
                                const struct damage *d)
{
    struct schedule *s = schedule_create(old->pool, old->job, old->ranks,
                                         old->rank);
    int seen = 0;

    for (int64_t b = 0; b < old->n_buffers; b++)
        schedule_buffer(s, pool_label_get(old->pool, old->buffers[b].label),
                        old->buffers[b]);
    for (int64_t i = 0; i < old->n_ops; i++) {
        int64_t n;
        struct operand o[16];
        const struct operand *from = pool_operands_get(
            old->pool, old->ops[i].operands, &n);
        assert_true(n <= 16);
        memcpy(o, from, (size_t)n * sizeof *o);
        if (old->ops[i].kind == d->kind && seen++ == d->nth)
            append_damaged(s, old->ops[i], o, n, d, old);
        else
            schedule_op(s, old->ops[i], o, n);
    }
    assert_true(seen > d->nth);
    schedule_freeze(s);
    return s;
}

/* 1: loopback or verification notices. */
static int notices(const struct trial *t, const struct damage *d)
{
    struct rig g;
    struct error e = { 0 };
    struct verdict v = { .passed = 0 };

    assert_true(rig_create(&g, t));
    if (d) {
        struct schedule *bad = damaged(g.schedules[1], d);
        schedule_destroy(g.schedules[1]);
        g.schedules[1] = bad;
    }
    rig_load(&g);
    int stuck = loopback_run(&g.loop, g.kernel, 0, &e);
    if (stuck)
        assert_true(strlen(e.text) > 10);
    else
        rig_judge(&g, &v);
    rig_destroy(&g);
    return !v.passed;
}

static void broken_schedules_fail(void **state)
{
    static const struct damage damages[] = {
        { "attend dropped", OP_ATTEND, 1, DROP },
        { "attend doubled", OP_ATTEND, 1, TWICE },
        { "K and V swapped", OP_ATTEND, 0, SWAP_K },
        { "mask shifted", OP_ATTEND, 0, SHIFT_MASK },
        { "send dropped", OP_SEND, 1, DROP },
        { "receive dropped", OP_RECV, 0, DROP },
        { "half a message", OP_SEND, 0, HALF },
        { "wrong peer", OP_SEND, 0, OTHER_PEER },
        { "backward dropped", OP_ATTEND_BACKWARD, 2, DROP },
        { "delta dropped", OP_DELTA, 0, DROP },
        { "sum dropped", OP_SUM, 0, DROP },
        { "sum doubled", OP_SUM, 0, TWICE },
        { "backward doubled", OP_ATTEND_BACKWARD, 1, TWICE },
    };
    const struct trial t = {
        .strategy = "ring", .options.layout = LAYOUT_ZIGZAG,
        .mask = { MASK_CAUSAL, -1, 0 }, .pass = PASS_FORWARD_BACKWARD,
        .ranks = 3, .lengths = { 48 }, .sequences = 1, .heads = 2,
        .kv_heads = 2, .head_dim = 8, .value_dim = 8 };

    (void)state;
    assert_false(notices(&t, NULL));
    for (int i = 0; i < COUNT(damages); i++)
        if (!notices(&t, &damages[i]))
            fail_msg("nobody noticed: %s", damages[i].what);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_schedules_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
