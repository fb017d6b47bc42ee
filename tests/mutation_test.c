/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker must notice: every strategy passes as it is, and fails after any
 * one mutation of any op. */
#include <config.h>

#include "mutation.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- Mutations ----------------------------------------------------------- */

static int same_shape(const struct program *p, int rank, struct tile a,
                      struct tile b)
{
    const struct buffer *x = &p->code[rank].buffers[a.buffer];
    const struct buffer *y = &p->code[rank].buffers[b.buffer];

    return a.head_count == b.head_count && x->width == y->width
        && x->dtype == y->dtype && elements(p, rank, a) > 0
        && elements(p, rank, a) == elements(p, rank, b);
}

/* Change op i of a rank, if this mutation knows how (1), or leave it (0). The
 * caller puts the old items back. */
typedef int (*mutation)(struct program *p, int rank, int64_t i, int variant);

static int drop(struct program *p, int rank, int64_t i, int variant)
{
    struct code *c = &p->code[rank];
    int work = 0;

    for (int64_t k = 0; k < c->items[i].n; k++)
        work |= elements(p, rank, c->items[i].o[k].tile) > 0;
    if (variant > 0 || !work)
        return 0;
    remove_item(c, i);
    return 1;
}

/* What adds, adds twice; a message comes twice at one end. */
static int twice(struct program *p, int rank, int64_t i, int variant)
{
    struct code *c = &p->code[rank];
    int adds = c->items[i].op.kind == OP_ATTEND
        || c->items[i].op.kind == OP_SEND || c->items[i].op.kind == OP_RECV
        || c->items[i].op.kind == OP_COLLECTIVE;

    for (int64_t k = 0; k < c->items[i].n; k++)
        adds |= c->items[i].o[k].access == ACCESS_UPDATE;
    if (variant > 0 || !adds)
        return 0;
    insert_item(c, i, c->items[i]);
    return 1;
}

static void row_range(const struct program *p, struct tile t, int64_t *first,
                      int64_t *last)
{
    int64_t n;
    const struct run *r = pool_rows_get(p->pool, t.rows, &n);

    *first = n ? r[0].first : 0;
    *last = n ? r[n - 1].first + (r[n - 1].count - 1) * r[n - 1].stride : -1;
}

static int meets(const struct program *p, struct tile a, struct tile b)
{
    int64_t first, last, from, to;

    row_range(p, a, &first, &last);
    row_range(p, b, &from, &to);
    return a.buffer == b.buffer && from <= last && first <= to;
}

/* What op i of the rank leaves in the tile is read, or is an output. */
static int is_read(const struct program *p, int rank, int64_t i, struct tile t)
{
    const struct code *c = &p->code[rank];
    int written = 0;

    for (i++; i < c->n && !written; i++)
        for (int64_t k = 0; k < c->items[i].n; k++) {
            const struct operand *o = &c->items[i].o[k];
            if (!meets(p, o->tile, t))
                continue;
            if (o->access != ACCESS_WRITE)
                return 1;
            written = 1;
        }
    return !written && c->buffers[t.buffer].role == ROLE_OUTPUT;
}

/* Sources of a sum commute, blocks of a row, and states without decay; so does
 * what is staged for a sum: the staging tiles of a reduce-scatter; gathered
 * states without decay; dK and dV of one KV head that two members send home in
 * an all-to-all of (dq, dk, dv), one query head a member. */
static int commute(const struct program *p, const struct item *x, int64_t a,
                   int64_t b)
{
    int64_t i = a - 3 * RANKS, k = b - 3 * RANKS;
    int decays = p->job.linear.slopes != NULL;

    if (x->op.kind == OP_SUM || x->op.kind == OP_SOFTMAX
        || (x->op.kind == OP_STATE_SCAN && !decays))
        return a > 0;
    if (x->op.collective == REDUCE_SCATTER)
        return a >= 2 * RANKS + 2;
    if (x->op.collective == ALL_GATHER && !decays
        && p->job.attention == ATTENTION_LINEAR)
        return a > 0;
    return x->op.collective == ALL_TO_ALL && x->n == 6 * RANKS && i >= 0
        && i % 3 > 0 && i % 3 == k % 3 && i / 6 == k / 6;
}

/* The variant-th pair of operands of one shape, of which one is asked for. */
static int swap_operands(struct program *p, int rank, int64_t i, int variant)
{
    struct item *x = &p->code[rank].items[i];

    for (int64_t a = 0; a < x->n; a++)
        for (int64_t b = a + 1; b < x->n; b++) {
            struct tile s = x->o[a].tile, t = x->o[b].tile;
            if (!same_shape(p, rank, s, t) || !memcmp(&s, &t, sizeof s)
                || commute(p, x, a, b)
                || (x->o[a].access == ACCESS_WRITE
                    && !is_read(p, rank, i, s) && !is_read(p, rank, i, t))
                || variant-- > 0)
                continue;
            x->o[a].tile = t;
            x->o[b].tile = s;
            return 1;
        }
    return 0;
}

/* Store for accumulate, accumulate for store. */
static int flip_access(struct program *p, int rank, int64_t i, int variant)
{
    struct item *x = &p->code[rank].items[i];

    if (x->op.kind == OP_RECV || x->op.kind == OP_COLLECTIVE)
        return 0;
    for (int64_t k = 0; k < x->n; k++) {
        if (x->o[k].access == ACCESS_READ
            || !elements(p, rank, x->o[k].tile) || variant-- > 0)
            continue;
        x->o[k].access = x->o[k].access == ACCESS_WRITE ? ACCESS_UPDATE
            : ACCESS_WRITE;
        if (x->op.kind == OP_ATTEND)            /* o and lse go together */
            x->o[7 - k].access = x->o[k].access;
        return 1;
    }
    return 0;
}

static struct segment edit_segment(struct segment s, int how)
{
    switch (how) {
    case 0:
        s.q_count--;
        break;
    case 1:
        s.q_first++;
        s.q_count--;
        break;
    case 2:
        s.k_count--;
        break;
    case 3:
        s.k_first++;
        s.k_count--;
        break;
    case 4:
        s.low++;                /* strict for causal */
        break;
    case 5:
        s.low--;
        break;
    case 6:
        s.high++;
        break;
    case 7:
        s.high--;
        break;
    }
    return s;
}

/* Of each segment: eight edits, gone, twice. */
static int wrong_segments(struct program *p, int rank, int64_t i, int variant)
{
    struct item *x = &p->code[rank].items[i];
    struct segment list[64];
    int64_t n;

    if (!op_is_product(&x->op) || x->op.segments < 0)
        return 0;
    const struct segment *s = pool_segments_get(p->pool, x->op.segments, &n);
    int64_t at = variant / 10, how = variant % 10;
    assert_true(n < 64);
    if (at >= n || x->o[0].tile.head_count == 0)
        return 0;
    memcpy(list, s, (size_t)n * sizeof *s);
    list[at] = edit_segment(s[at], (int)how);
    if (segment_pairs(&list[at]) == segment_pairs(&s[at])
        && how < 8)             /* that bound was open */
        list[at] = edit_segment(s[at], 0);
    if (how == 8)
        list[at] = list[--n];
    if (how == 9)
        list[n++] = s[at];
    x->op.segments = pool_segments(p->pool, list, n);
    return 1;
}

static int wrong_peer(struct program *p, int rank, int64_t i, int variant)
{
    struct op *op = &p->code[rank].items[i].op;

    if ((op->kind != OP_SEND && op->kind != OP_RECV) || variant >= 3)
        return 0;
    op->peer = (op->peer + 1 + variant) % (RANKS + 1);
    return 1;
}

static int wrong_channel(struct program *p, int rank, int64_t i, int variant)
{
    struct op *op = &p->code[rank].items[i].op;

    if (op->channel == CHANNEL_NONE || variant >= CHANNELS - 2)
        return 0;
    op->channel = (uint8_t)(1 + (op->channel + variant) % (CHANNELS - 1));
    return 1;
}

/* One row or one head less on one side. */
static int wrong_size(struct program *p, int rank, int64_t i, int variant)
{
    struct item *x = &p->code[rank].items[i];
    struct tile *t = &x->o[variant / 2].tile;
    int64_t n;

    if (variant / 2 >= x->n || elements(p, rank, *t) == 0)
        return variant / 2 < x->n ? wrong_size(p, rank, i, variant + 2) : 0;
    if (variant % 2) {
        t->head_count--;
        return 1;
    }
    struct run runs[64];
    const struct run *r = pool_rows_get(p->pool, t->rows, &n);
    memcpy(runs, r, (size_t)n * sizeof *r);
    runs[n - 1].count--;
    t->rows = pool_rows(p->pool, runs, n - (runs[n - 1].count == 0));
    return 1;
}

/* The op comes before the one in front of it in its lane that is from the same
 * rank: the receives of a ring are all alike, so the wrong block arrives. */
static int wrong_order(struct program *p, int rank, int64_t i, int variant)
{
    struct code *c = &p->code[rank];
    struct item x = c->items[i];

    if (variant > 0 || x.op.kind != OP_RECV)
        return 0;
    for (int64_t k = i - 1; k >= 0; k--)
        if (c->items[k].op.kind == x.op.kind
            && c->items[k].op.channel == x.op.channel
            && c->items[k].op.peer == x.op.peer
            && memcmp(c->items[k].o, x.o, (size_t)x.n * sizeof *x.o)) {
            c->items[i] = c->items[k];
            c->items[k] = x;
            return 1;
        }
    return 0;
}

/* A member is missing from the group on one rank, or stands elsewhere. */
static int wrong_group(struct program *p, int rank, int64_t i, int variant)
{
    struct op *op = &p->code[rank].items[i].op;
    int32_t ranks[RANKS];
    int64_t n;

    if (op->kind != OP_COLLECTIVE || variant > 1)
        return 0;
    const int32_t *group = pool_group_get(p->pool, op->peer, &n);
    assert_in_range(n, 2, RANKS);
    memcpy(ranks, group, (size_t)n * sizeof *group);
    if (variant) {
        ranks[0] = group[1];
        ranks[1] = group[0];
    }
    op->peer = pool_group(p->pool, ranks, variant ? n : n - 1);
    return 1;
}

/* States that have decayed too much or too little.  The first member of a scan
 * has none before it, nobody asks what is after the last. */
static int wrong_span(struct program *p, int rank, int64_t i, int variant)
{
    struct op *op = &p->code[rank].items[i].op;
    int is_scan = op->collective == EXCLUSIVE_SCAN;
    int64_t numbers[64], n;

    if (!p->job.linear.slopes || (op->kind != OP_STATE_SCAN && !is_scan)
        || (is_scan && (rank == 0 || rank == RANKS - 1)))
        return 0;
    const int64_t *spans = pool_numbers_get(p->pool, op->segments, &n);
    assert_true(n <= 64);
    if (variant / 2 >= n || (is_scan && *spans < 0))
        return 0;
    memcpy(numbers, spans, (size_t)n * sizeof *spans);
    numbers[variant / 2] += variant % 2 ? 1 : -1;
    op->segments = pool_numbers(p->pool, numbers, n);
    return 1;
}

static const struct {
    const char *name;
    mutation fn;
} mutations[] = {
    { "dropped", drop },
    { "twice", twice },
    { "operands swapped", swap_operands },
    { "store for accumulate", flip_access },
    { "wrong segments", wrong_segments },
    { "wrong peer", wrong_peer },
    { "wrong channel", wrong_channel },
    { "wrong size", wrong_size },
    { "wrong order", wrong_order },
    { "wrong group", wrong_group },
    { "wrong span", wrong_span },
};

enum { MUTATIONS = sizeof mutations / sizeof *mutations };

static const double slopes[] = { 0.25, 0.0625, 0.015625, 0.0039 };

#define CAUSAL   .mask = { MASK_CAUSAL, -1, 0 }
#define FULL     .mask = { MASK_FULL, -1, -1 }
#define BOTH     .pass = PASS_FORWARD_BACKWARD
#define DECODE   .pass = PASS_DECODE, .queries = 4
#define LINEAR   .attention = ATTENTION_LINEAR
#define LAID(x)  .options = { .layout = LAYOUT_ ## x, .block = 1 }

/* Of a strategy, or of all that apply. */
static const struct trial trials[] = {
    { CAUSAL, BOTH, LAID(ZIGZAG) },
    { CAUSAL, BOTH, LAID(STRIPED), .dtype = DTYPE_BF16 },
    { FULL, BOTH, LAID(CONTIGUOUS) },
    { CAUSAL, BOTH, LAID(CONTIGUOUS), LINEAR, .slopes = slopes },
    { CAUSAL, BOTH, LAID(ZIGZAG), LINEAR, .slopes = slopes,
      .dtype = DTYPE_BF16 },
    { CAUSAL, BOTH, LAID(CONTIGUOUS), LINEAR },
    { FULL, BOTH, LAID(ZIGZAG), LINEAR },
    { CAUSAL, BOTH, LAID(CONTIGUOUS), LINEAR, .slopes = slopes,
      .lengths = { 11, 20, 3 }, .sequences = 3 },
    { CAUSAL, BOTH, LAID(CONTIGUOUS), .pattern = "LS", .slopes = slopes },
    { CAUSAL, DECODE, LAID(CONTIGUOUS) },
    { FULL, DECODE, LAID(STRIPED), .dtype = DTYPE_BF16 },
    { .strategy = "tree", CAUSAL, DECODE,
      .options = { .reduce = REDUCE_PACKED } },
    { .strategy = "tree", CAUSAL, DECODE,
      .options = { .reduce = REDUCE_USEROP } },
    { .strategy = "tree", CAUSAL, DECODE,
      .options = { .reduce = REDUCE_GATHER } },
    { .strategy = "tree", CAUSAL, DECODE,
      .options = { .reduce = REDUCE_TWO_LEVEL, .window = 2 } },
    { .strategy = "star", CAUSAL, .queries = 5,
      .options = { .block = 5, .anchor = 7 } },
    { .strategy = "ring", CAUSAL, BOTH,
      .options = { .layout = LAYOUT_ZIGZAG, .backward = CIRCULATE_Q } },
    { .strategy = "ring", CAUSAL, BOTH,
      .options = { .layout = LAYOUT_ZIGZAG, .reverse = 1 } },
    { .strategy = "ring", .mask = { MASK_WINDOW, 9, 0 }, BOTH,
      .options = { .needed = 1 } },
    { .strategy = "allgather", CAUSAL, BOTH,
      .options = { .layout = LAYOUT_ZIGZAG, .head_group = 1 } },
    /* Shards of many runs of tokens. */
    { .strategy = "ring", CAUSAL, BOTH, .lengths = { 80 }, .sequences = 1,
      .options = { .layout = LAYOUT_STRIPED, .block = 2 } },
    { .strategy = "allgather", .mask = { MASK_WINDOW, 30, 3 }, BOTH,
      .lengths = { 13, 67 }, .sequences = 2,
      .options = { .layout = LAYOUT_STRIPED, .block = 2 } },
};
enum { TRIALS = sizeof trials / sizeof *trials };

/* All variants of one mutation of one op; how many there were. */
static int mutate_op(struct program *p, int rank, int64_t i, mutation fn,
                     const char *name)
{
    struct code *c = &p->code[rank];
    int64_t n = c->n, bytes = n * (int64_t)sizeof *c->items;
    struct item *old = xmalloc((size_t)bytes);
    int done = 0, applied = 1;

    memcpy(old, c->items, (size_t)bytes);
    for (int variant = 0; variant < 1000 && applied; variant++) {
        applied = fn(p, rank, i, variant);
        if (applied) {
            must_fail(p, name, rank, i);
            done++;
        }
        memcpy(c->items, old, (size_t)bytes);
        c->n = n;
    }
    free(old);
    return done;
}

/* done[m]: how often mutation m was tried. */
static void mutate_program(struct program *p, int ranks, int done[MUTATIONS])
{
    must_pass(p);
    for (int m = 0; m < MUTATIONS; m++)
        for (int rank = 0; rank < ranks; rank++)
            for (int64_t i = 0; i < p->code[rank].n; i++)
                done[m] += mutate_op(p, rank, i, mutations[m].fn,
                                     mutations[m].name);
    must_pass(p);
}

/* Is the trial for this strategy? */
static int mutate_strategy(const struct strategy *st, int i,
                           int done[MUTATIONS])
{
    struct trial t = trials[i];
    struct program p;

    if (t.strategy && strcmp(t.strategy, st->name))
        return 0;
    t.strategy = st->name;
    if (!program_create(&p, t))
        return 0;
    mutate_program(&p, i % 3 ? 2 : RANKS, done);
    program_destroy(&p);
    return 1;
}

static void every_op(void **state)
{
    int done[MUTATIONS] = { 0 }, tried[TRIALS] = { 0 };

    (void)state;
    for (int s = 0; strategies[s]; s++) {
        int trials_of_it = 0;
        for (int i = 0; i < TRIALS; i++) {
            int applies = mutate_strategy(strategies[s], i, done);
            tried[i] += applies;
            trials_of_it += applies;
        }
        if (!trials_of_it)
            fail_msg("%s was never mutated", strategies[s]->name);
    }
    for (int i = 0; i < TRIALS; i++)
        assert_true(tried[i] > 0);
    for (int m = 0; m < MUTATIONS; m++)
        if (done[m] < 6)
            fail_msg("%s: only %d times", mutations[m].name, done[m]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
