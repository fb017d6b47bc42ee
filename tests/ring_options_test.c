/* SPDX-License-Identifier: Apache-2.0
 *
 * Options of ring (backward q, direction -1, hops needed) and of allgather
 * (head_group): right under every layout and mask, alone and together, with the
 * bytes of their closed forms; TokenRing step by step. */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* backward, reverse, needed: all that is not the default. */
static const struct strategy_options rings[] = {
    { .backward = CIRCULATE_Q }, { .reverse = 1 }, { .needed = 1 },
    { .backward = CIRCULATE_Q, .reverse = 1 },
    { .backward = CIRCULATE_Q, .needed = 1 },
    { .reverse = 1, .needed = 1 },
    { .backward = CIRCULATE_Q, .reverse = 1, .needed = 1 },
};
static const struct {
    enum layout layout;
    int64_t block;
} layouts[] = {
    { LAYOUT_CONTIGUOUS, 1 }, { LAYOUT_ZIGZAG, 1 }, { LAYOUT_STRIPED, 1 },
    { LAYOUT_STRIPED, 3 },
};
static const struct mask masks[] = {
    { MASK_FULL, -1, -1 }, { MASK_CAUSAL, -1, 0 }, { MASK_WINDOW, 16, 0 },
    { MASK_WINDOW, 7, 5 }, { MASK_WINDOW, 0, 0 }, { MASK_WINDOW, -1, 3 },
    { MASK_WINDOW, 4, -1 },
};
static const struct {
    int64_t sequences, list[4];
} lengths[] = {
    { 1, { 37 } }, { 1, { 64 } }, { 1, { 3 } }, { 1, { 96 } },
    { 4, { 1, 5, 61, 33 } }, { 3, { 0, 30, 7 } },
};
static const int32_t rank_counts[] = { 1, 2, 3, 4, 5, 6, 7, 8, 16 };

static struct trial base(struct strategy_options o)
{
    return (struct trial){ .strategy = "ring", .options = o,
                           .pass = PASS_FORWARD_BACKWARD, .heads = 4,
                           .kv_heads = 2, .head_dim = 8, .value_dim = 4 };
}

static void with_lengths(struct trial *t, int i)
{
    t->sequences = lengths[i].sequences;
    memcpy(t->lengths, lengths[i].list, sizeof lengths[i].list);
}

/* Each option under each layout, mask and rank count, every other of them but
 * under SPAR_TEST_FULL; lengths and dtypes are dealt. */
static void every_option(void **state)
{
    int n = 0, all = getenv("SPAR_TEST_FULL") != NULL;

    (void)state;
    for (int o = 0; o < COUNT(rings); o++)
        for (int y = 0; y < COUNT(layouts); y++)
            for (int m = 0; m < COUNT(masks); m++)
                for (int r = 0; r < COUNT(rank_counts); r++, n++) {
                    struct trial t = base(rings[o]);
                    if (n % 2 && !all)
                        continue;
                    t.options.layout = layouts[y].layout;
                    t.options.block = layouts[y].block;
                    t.mask = masks[m];
                    t.ranks = rank_counts[r];
                    t.dtype = t.wire_partial = (enum dtype)(n / 2 % DTYPES);
                    t.pass = n % 10 ? PASS_FORWARD_BACKWARD : PASS_FORWARD;
                    with_lengths(&t, n % COUNT(lengths));
                    assert_true(trial_run(&t, NULL));
                }
}

/* ---- Bytes -------------------------------------------------------------- */

enum { H = 4, HK = 2, D = 8, E = 4, TOKENS = 8 };   /* tokens of a rank */

/* Bytes that a rank sends, counted by the checker. */
static int64_t sent(struct trial t, int32_t ranks, int32_t rank)
{
    struct rig g;

    t.ranks = ranks;
    t.sequences = 1;
    t.lengths[0] = TOKENS * ranks;
    assert_true(rig_create(&g, &t));
    struct check_report r = rig_check(&g);
    if (!r.passed)
        fail_msg("%s", r.finding.text);
    int64_t bytes = r.bytes_sent[rank];
    check_report_clear(&r);
    rig_destroy(&g);
    return bytes;
}

static int64_t sent_all(struct trial t, int32_t ranks)
{
    int64_t bytes = 0;

    for (int32_t r = 0; r < ranks; r++)
        bytes += sent(t, ranks, r);
    return bytes;
}

static const int64_t kv = TOKENS * HK * (D + E) * 4;    /* fp32 */

/* 3/4 (N-1) |KV| on average; so do dK, dV in backward. */
static void reverse_zigzag_sends_three_quarters(void **state)
{
    struct trial t = base((struct strategy_options){
        .layout = LAYOUT_ZIGZAG, .reverse = 1 });

    (void)state;
    t.mask = masks[1];
    for (int32_t N = 1; N <= 8; N++) {
        t.pass = PASS_FORWARD;
        assert_int_equal(4 * sent_all(t, N), 3 * N * (N - 1) * kv);
        t.pass = PASS_FORWARD_BACKWARD;
        assert_int_equal(4 * sent_all(t, N), 9 * N * (N - 1) * kv);
        t.options.backward = CIRCULATE_Q;
        int64_t q = TOKENS * H * ((D + E) * 4 + 8), dq = TOKENS * H * D * 4;
        assert_int_equal(4 * sent_all(t, N), 3 * N * (N - 1) * (kv + q + dq));
        t.options.backward = CIRCULATE_KV;
    }
    /* Whole blocks where both halves are needed. */
    t.mask = masks[0];
    t.pass = PASS_FORWARD;
    assert_int_equal(sent_all(t, 5), 5 * 4 * kv);
}

/* Block j of a contiguous causal ring ends at rank N-1; Q, going the other way,
 * at rank 0. */
static void needed_causal_stops_at_the_end(void **state)
{
    struct trial t = base((struct strategy_options){ .needed = 1 });
    int64_t q = TOKENS * H * ((D + E) * 4 + 8), dq = TOKENS * H * D * 4;

    (void)state;
    t.mask = masks[1];
    for (int32_t N = 1; N <= 8; N++)
        for (int32_t r = 0; r < N; r++) {
            int64_t blocks = r < N - 1 ? r + 1 : 0;
            t.pass = PASS_FORWARD;
            assert_int_equal(sent(t, N, r), blocks * kv);
            /* Rank r has made dK, dV of r blocks, and sends each on or home. */
            t.pass = PASS_FORWARD_BACKWARD;
            assert_int_equal(sent(t, N, r), (2 * blocks + r) * kv);
            t.options.backward = CIRCULATE_Q;
            int64_t queries = r > 0 ? N - r : 0;
            assert_int_equal(sent(t, N, r), blocks * kv + queries * q
                             + (N - 1 - r) * dq);
            t.options.backward = CIRCULATE_KV;
        }
}

/* Only the hops that reach into the window. */
static void needed_window_makes_few_hops(void **state)
{
    struct trial t = base((struct strategy_options){ .needed = 1 });

    (void)state;
    t.pass = PASS_FORWARD;
    for (int64_t left = 0; left <= 3 * TOKENS; left++) {
        t.mask = (struct mask){ MASK_WINDOW, left, 0 };
        int64_t hops = (left + TOKENS - 1) / TOKENS;
        for (int32_t r = 0; r < 7; r++)
            assert_int_equal(sent(t, 7, r), r == 6 ? 0
                             : (r + 1 < hops ? r + 1 : hops) * kv);
    }
    t.mask = masks[0];
    assert_int_equal(sent_all(t, 7), 7 * 6 * kv);
}

/* (N-1)(|Q| + |dO| + |lse| + |delta|) + (N-1)|dQ|, in any layout. */
static void queries_travel_in_backward(void **state)
{
    struct trial t = base((struct strategy_options){
        .backward = CIRCULATE_Q });
    int64_t q = TOKENS * H * ((D + E) * 2 + 8), dq = TOKENS * H * D * 4;

    (void)state;
    t.dtype = t.wire_partial = DTYPE_BF16;
    for (int y = 0; y < COUNT(layouts); y++)
        for (int m = 0; m < 2; m++)
            for (int32_t N = 1; N <= 7; N++) {
                t.options.layout = layouts[y].layout;
                t.mask = masks[m];
                assert_int_equal(sent(t, N, N / 2),
                                 (N - 1) * (kv / 2 + q + dq));
            }
}

/* ---- TokenRing (arXiv:2412.20501), causal zigzag ------------------------ */

enum { CHUNK = 3 };

/* The next op is of this kind, with this peer; its first operand has all rows
 * of a shard, or the late half. */
static const struct op *must_be(const struct schedule *s, int64_t *at,
                                enum op_kind kind, int peer, int full)
{
    const struct op *op = &s->ops[*at];
    int64_t n, m;

    assert_true((*at)++ < s->n_ops);
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
    const struct run *rows = pool_rows_get(s->pool, o->tile.rows, &m);
    assert_int_equal(op->kind, kind);
    assert_int_equal(op->peer, peer);
    assert_int_equal(m, 1);
    assert_int_equal(rows->first, full ? 0 : CHUNK);
    assert_int_equal(rows->count, full ? 2 * CHUNK : CHUNK);
    return op;
}

/* The diagonal; all queries on the first half of my keys; the late half on all
 * of them. */
static void must_attend(const struct schedule *s, int64_t *at, int step,
                        int full)
{
    const struct op *op = must_be(s, at, OP_ATTEND, -1, full);
    int64_t n;
    const struct segment *g = pool_segments_get(s->pool, op->segments, &n);

    assert_int_equal(n, 1);
    assert_int_equal(g->q_count, full ? 2 * CHUNK : CHUNK);
    assert_int_equal(g->k_count, step && full ? CHUNK : 2 * CHUNK);
    assert_int_equal(g->low, step ? BAND_LOW : 0);
}

static void token_ring_of_rank(const struct schedule *s, int N, int r)
{
    int64_t at = 0;

    for (int step = 0; step <= N; step++) {
        int made = step - 1, back = ((r - made) % N + N) % N;
        if (step < N - 1) {
            must_be(s, &at, OP_RECV, (r + 1) % N, r + step < N - 1);
            must_be(s, &at, OP_SEND, (r + N - 1) % N, r >= 1 && r + step < N);
        }
        if (step >= 2) {
            must_be(s, &at, OP_RECV, back, r >= made);
            must_be(s, &at, OP_SEND, (r + made) % N, r + made < N);
        }
        if (step < N)
            must_attend(s, &at, step, step == 0 || r + step < N);
        if (step >= 2)
            must_be(s, &at, OP_MERGE, -1, r >= made);
    }
    assert_int_equal(at, s->n_ops);
}

static void token_ring_reads_like_the_table(void **state)
{
    (void)state;
    for (int N = 2; N <= 8; N++) {
        struct trial t = base((struct strategy_options){
            .layout = LAYOUT_ZIGZAG });
        struct rig g;
        t.strategy = "token-ring";
        t.mask = masks[1];
        t.pass = PASS_FORWARD;
        t.ranks = N;
        t.lengths[0] = 2 * N * CHUNK;
        assert_true(rig_create(&g, &t));
        for (int r = 0; r < N; r++)
            token_ring_of_rank(g.schedules[r], N, r);
        rig_destroy(&g);
    }
}

/* ---- All-gather in groups of heads -------------------------------------- */

static int64_t collectives(const struct schedule *s)
{
    int64_t n = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        n += s->ops[i].kind == OP_COLLECTIVE;
    return n;
}

static const int64_t head_counts[][2] = { { 6, 6 }, { 8, 4 }, { 5, 1 },
                                          { 15, 5 } };

static void head_groups(void **state)
{
    int n = 0;

    (void)state;
    for (int h = 0; h < COUNT(head_counts); h++)
        for (int64_t each = 0; each <= 7; each++)
            for (int y = 0; y < COUNT(layouts); y++, n++) {
                struct trial t = base((struct strategy_options){
                    .layout = layouts[y].layout, .block = layouts[y].block,
                    .head_group = each });
                t.strategy = "allgather";
                t.heads = head_counts[h][0];
                t.kv_heads = head_counts[h][1];
                t.mask = masks[n % COUNT(masks)];
                t.ranks = rank_counts[n % COUNT(rank_counts)];
                t.dtype = t.wire_partial = (enum dtype)(n % DTYPES);
                with_lengths(&t, n / 3 % COUNT(lengths));
                assert_true(trial_run(&t, NULL));
            }
}

/* Also where a rank sees nothing of most groups, or has no tokens. */
static void ranks_issue_equal_collectives(void **state)
{
    (void)state;
    for (int64_t each = 1; each <= 6; each++) {
        struct trial t = base((struct strategy_options){
            .head_group = each });
        struct rig g;
        t.strategy = "allgather";
        t.heads = t.kv_heads = 6;
        t.mask = masks[1];
        t.ranks = 5;
        t.lengths[0] = 4;
        assert_true(rig_create(&g, &t));
        for (int32_t r = 0; r < 5; r++)
            assert_int_equal(collectives(g.schedules[r]),
                             3 * ((6 + each - 1) / each));
        rig_destroy(&g);
    }
}

/* The gather of group g + 1 waits for no attend but that of group g - 1, whose
 * buffer it takes: two groups are in memory, not all. */
static void gathers_overlap_attends(void **state)
{
    struct trial t = base((struct strategy_options){ .head_group = 1 });
    struct rig g, all;
    int64_t attends[6], n_attends = 0, gathers = 0;

    (void)state;
    t.strategy = "allgather";
    t.heads = t.kv_heads = 6;
    t.pass = PASS_FORWARD;
    t.ranks = 4;
    t.lengths[0] = 64;
    struct trial whole = t;
    whole.options.head_group = 0;
    assert_true(rig_create(&g, &t));
    assert_true(rig_create(&all, &whole));
    const struct schedule *s = g.schedules[1];
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind == OP_ATTEND)
            attends[n_attends++] = i;
        if (op->kind != OP_COLLECTIVE)
            continue;
        for (int32_t d = 0; d < op->dep_count; d++)
            assert_int_equal(s->deps[op->dep_first + d].op,
                             attends[gathers - 2]);
        assert_int_equal(op->dep_count, gathers >= 2);
        gathers++;
    }
    assert_int_equal(gathers, 6);
    assert_int_equal(s->role_bytes[ROLE_SCRATCH] * 3,
                     all.schedules[1]->role_bytes[ROLE_SCRATCH]);
    rig_destroy(&g);
    rig_destroy(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reverse_zigzag_sends_three_quarters),
        cmocka_unit_test(needed_causal_stops_at_the_end),
        cmocka_unit_test(needed_window_makes_few_hops),
        cmocka_unit_test(queries_travel_in_backward),
        cmocka_unit_test(token_ring_reads_like_the_table),
        cmocka_unit_test(head_groups),
        cmocka_unit_test(ranks_issue_equal_collectives),
        cmocka_unit_test(gathers_overlap_attends),
        cmocka_unit_test(every_option),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
