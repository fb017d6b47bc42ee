/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker must notice: every strategy passes as it is, and fails after any
 * one mutation.  A program is the ops of all ranks, taken apart; a mutation
 * changes it; then it is built again op by op. */
#include <config.h>

#include "schedule/check.h"
#include "strategy/strategy.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { RANKS = 4 };

struct item {
    struct op op;
    struct operand o[64];
    int64_t n;
};

struct code {                   /* of one rank */
    struct buffer *buffers;
    int64_t n_buffers;
    struct item *items;
    int64_t n, cap;
};

struct program {
    struct job job;
    struct plan *plan;
    struct pool *pool;
    struct code code[RANKS];
};

/* ---- Taking apart, building ---------------------------------------------- */

static void disassemble(struct program *p, int rank)
{
    struct schedule *s = plan_build(p->plan, rank);
    struct code *c = &p->code[rank];

    c->n_buffers = s->n_buffers;
    c->buffers = xcalloc((size_t)s->n_buffers + 1, sizeof *c->buffers);
    memcpy(c->buffers, s->buffers, (size_t)s->n_buffers * sizeof *c->buffers);
    for (int64_t i = 0; i < s->n_ops; i++) {
        struct item item = { .op = s->ops[i] };
        const struct operand *o = pool_operands_get(p->pool, item.op.operands,
                                                    &item.n);
        assert_true(item.n <= 64);
        memcpy(item.o, o, (size_t)item.n * sizeof *o);
        ARRAY_PUSH(c->items, c->n, c->cap, item);
    }
    schedule_destroy(s);
}

struct setting {
    enum layout layout;
    enum mask_kind mask;
    enum dtype dtype;
};

/* 0: the strategy does not apply. */
static int program_create(struct program *p, const struct strategy *strategy,
                          const struct setting *set)
{
    const int64_t length = 32;
    struct error e = { 0 };

    *p = (struct program){ .job = {
        .transformer = { .heads = 4, .kv_heads = 2, .head_dim = 8 },
        .mask = { .kind = set->mask }, .pass = PASS_FORWARD_BACKWARD,
        .dtype = set->dtype } };
    assert_int_equal(job_finish(&p->job, &length, 1, &e), 0);
    struct strategy_options o = { .layout = set->layout, .block = 1 };
    p->plan = plan_create(&p->job, strategy, &o, RANKS, &e);
    if (!p->plan) {
        job_clear(&p->job);
        return 0;
    }
    p->pool = plan_pool(p->plan);
    for (int r = 0; r < RANKS; r++)
        disassemble(p, r);
    return 1;
}

static void program_destroy(struct program *p)
{
    for (int r = 0; r < RANKS; r++) {
        free(p->code[r].buffers);
        free(p->code[r].items);
    }
    plan_destroy(p->plan);
    job_clear(&p->job);
}

static struct schedule *assemble(const struct program *p, int rank)
{
    const struct code *c = &p->code[rank];
    struct schedule *s = schedule_create(p->pool, &p->job, RANKS, rank);

    for (int64_t b = 0; b < c->n_buffers; b++)
        schedule_buffer(s, pool_label_get(p->pool, c->buffers[b].label),
                        c->buffers[b]);
    for (int64_t i = 0; i < c->n; i++)
        schedule_op(s, c->items[i].op, c->items[i].o, c->items[i].n);
    schedule_freeze(s);
    return s;
}

static struct check_report check_program(const struct program *p)
{
    const struct schedule *s[RANKS];
    struct check_report report;

    for (int r = 0; r < RANKS; r++)
        s[r] = assemble(p, r);
    check_schedules(s, RANKS, &report);
    for (int r = 0; r < RANKS; r++)
        schedule_destroy((struct schedule *)s[r]);
    return report;
}

static void must_pass(const struct program *p)
{
    struct check_report r = check_program(p);

    if (!r.passed)
        fail_msg("%s", r.finding.text);
    assert_int_equal(r.coverage, 1);
    assert_int_equal(r.deadlock, 0);
    assert_string_equal(r.finding.text, "");
    check_report_clear(&r);
}

static void must_fail(const struct program *p, const char *what, int rank,
                      int64_t op)
{
    struct check_report r = check_program(p);
    char name[128] = "";

    if (r.passed) {
        struct schedule *s = assemble(p, rank);
        if (op < s->n_ops)
            op_name(s, &s->ops[op], name, sizeof name);
        fail_msg("passed: %s at rank %d op %d %s", what, rank, (int)op, name);
    }
    assert_string_not_equal(r.finding.text, "");
    check_report_clear(&r);
}

/* ---- Editing ------------------------------------------------------------- */

static void remove_item(struct code *c, int64_t i)
{
    memmove(&c->items[i], &c->items[i + 1],
            (size_t)(c->n - i - 1) * sizeof *c->items);
    c->n--;
}

static void insert_item(struct code *c, int64_t i, struct item item)
{
    ARRAY_PUSH(c->items, c->n, c->cap, item);
    memmove(&c->items[i + 1], &c->items[i],
            (size_t)(c->n - i - 1) * sizeof *c->items);
    c->items[i] = item;
}

static int64_t elements(const struct program *p, int rank, struct tile t)
{
    int64_t n;
    const struct run *r = pool_rows_get(p->pool, t.rows, &n);

    return runs_count(r, n) * t.head_count
        * p->code[rank].buffers[t.buffer].width;
}

static int same_shape(const struct program *p, int rank, struct tile a,
                      struct tile b)
{
    const struct buffer *x = &p->code[rank].buffers[a.buffer];
    const struct buffer *y = &p->code[rank].buffers[b.buffer];

    return a.head_count == b.head_count && x->width == y->width
        && x->dtype == y->dtype && elements(p, rank, a) > 0
        && elements(p, rank, a) == elements(p, rank, b);
}

/* First op of this kind at or after `from`; -1: none. */
static int64_t find(const struct code *c, enum op_kind kind, int64_t from)
{
    for (int64_t i = from; i < c->n; i++)
        if (c->items[i].op.kind == kind)
            return i;
    return -1;
}

/* ---- Mutations of every op in turn --------------------------------------- */

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

/* Sources of a sum commute, and so does what is staged for one: the staging
 * tiles of a reduce-scatter; dK and dV of one KV head that two members send
 * home in an all-to-all of (dq, dk, dv), one query head a member. */
static int commute(const struct item *x, int64_t a, int64_t b)
{
    int64_t i = a - 3 * RANKS, k = b - 3 * RANKS;

    if (x->op.kind == OP_SUM)
        return a > 0;
    if (x->op.collective == REDUCE_SCATTER)
        return a >= 2 * RANKS + 2;
    return x->op.collective == ALL_TO_ALL && x->n == 6 * RANKS && i >= 0
        && i % 3 > 0 && i % 3 == k % 3 && i / 6 == k / 6;
}

/* The variant-th pair of operands of one shape. */
static int swap_operands(struct program *p, int rank, int64_t i, int variant)
{
    struct item *x = &p->code[rank].items[i];

    for (int64_t a = 0; a < x->n; a++)
        for (int64_t b = a + 1; b < x->n; b++) {
            struct tile s = x->o[a].tile, t = x->o[b].tile;
            if (!same_shape(p, rank, s, t) || !memcmp(&s, &t, sizeof s)
                || commute(x, a, b) || variant-- > 0)
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

    if (x->op.kind != OP_ATTEND && x->op.kind != OP_ATTEND_BACKWARD
        && x->op.kind != OP_SUM && x->op.kind != OP_MERGE)
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

    if (x->op.kind != OP_ATTEND && x->op.kind != OP_ATTEND_BACKWARD)
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

/* The op comes before the one in front of it in its lane: the receives and the
 * sends of a ring are all alike, so the wrong block arrives. */
static int wrong_order(struct program *p, int rank, int64_t i, int variant)
{
    struct code *c = &p->code[rank];
    struct item x = c->items[i];

    if (variant > 0 || x.op.kind != OP_RECV)
        return 0;
    for (int64_t k = i - 1; k >= 0; k--)
        if (c->items[k].op.kind == x.op.kind
            && c->items[k].op.channel == x.op.channel
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
};

enum { MUTATIONS = sizeof mutations / sizeof *mutations };

static const struct setting settings[] = {
    { LAYOUT_ZIGZAG, MASK_CAUSAL, DTYPE_FP32 },
    { LAYOUT_STRIPED, MASK_CAUSAL, DTYPE_BF16 },
    { LAYOUT_CONTIGUOUS, MASK_FULL, DTYPE_FP32 },
};
enum { SETTINGS = sizeof settings / sizeof *settings };

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

static void every_op(void **state)
{
    int done[MUTATIONS] = { 0 };

    (void)state;
    for (int i = 0; strategies[i]; i++)
        for (int s = 0; s < SETTINGS; s++) {
            struct program p;
            if (!program_create(&p, strategies[i], &settings[s]))
                continue;
            mutate_program(&p, s ? 1 : RANKS, done);
            program_destroy(&p);
        }
    for (int m = 0; m < MUTATIONS; m++)
        if (done[m] < 6)
            fail_msg("%s: only %d times", mutations[m].name, done[m]);
}

/* ---- Mutations by hand --------------------------------------------------- */

/* The finding has `word` in it; deadlock is what it should be. */
static void must_find(const struct program *p, const char *word, int deadlock)
{
    struct check_report r = check_program(p);

    assert_int_equal(r.passed, 0);
    if (!strstr(r.finding.text, word))
        fail_msg("no \"%s\" in \"%s\"", word, r.finding.text);
    assert_int_equal(r.deadlock, deadlock);
    check_report_clear(&r);
}

static struct program ring_program(void)
{
    struct program p;

    assert_int_equal(program_create(&p, &strategy_ring, &settings[0]), 1);
    return p;
}

static struct item *at(struct program *p, int rank, enum op_kind kind,
                       int64_t which)
{
    struct code *c = &p->code[rank];
    int64_t i = find(c, kind, 0);

    for (; which > 0; which--)
        i = find(c, kind, i + 1);
    assert_true(i >= 0);
    return &c->items[i];
}

/* K and V of another owner: the ones of the first step. */
static void keys_of_another_step(void **state)
{
    struct program p = ring_program();
    struct item *first = at(&p, 1, OP_ATTEND, 0);
    struct item *second = at(&p, 1, OP_ATTEND, 1);

    (void)state;
    second->o[1].tile = first->o[1].tile;
    must_find(&p, "v of token", 0);             /* K and V differ in owner */
    second->o[2].tile = first->o[2].tile;
    must_find(&p, "o is not final", 0);
    program_destroy(&p);
}

static void hop_missing(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[2], *d = &p.code[3];
    int64_t last = 0;

    (void)state;
    for (int64_t i = 0; (i = find(c, OP_SEND, i)) >= 0; i++)
        last = i;
    remove_item(c, last);                       /* a receive waits for ever */
    must_find(&p, "deadlock", 1);
    program_destroy(&p);

    p = ring_program();
    remove_item(c, find(c, OP_SEND, 0));
    remove_item(d, find(d, OP_RECV, 0));
    must_find(&p, "rank", 0);
    program_destroy(&p);
}

/* In the second hop of backward rank 1 receives into the buffer of the first,
 * and goes on with what it has. */
static void stale_block(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[1];
    int64_t hop[RANKS], n = 0;

    (void)state;
    for (int64_t i = 0; i < c->n; i++)
        if (c->items[i].op.kind == OP_RECV && c->items[i].op.backward
            && c->items[i].op.channel == CHANNEL_KV)
            hop[n++] = i;
    assert_int_equal(n, RANKS - 1);
    c->items[hop[2]].o[0].tile = c->items[hop[1]].o[0].tile;
    c->items[hop[2]].o[1].tile = c->items[hop[1]].o[1].tile;
    must_find(&p, "rank", 0);
    program_destroy(&p);
}

/* All ranks pass on what has yet to arrive. */
static void circular_wait(void **state)
{
    struct program p = ring_program();

    (void)state;
    for (int r = 0; r < RANKS; r++) {
        struct item *recv = at(&p, r, OP_RECV, 0);
        struct item *send = at(&p, r, OP_SEND, 0);
        for (int k = 0; k < 2; k++)
            send->o[k].tile = recv->o[k].tile;
    }
    must_find(&p, "deadlock", 1);
    program_destroy(&p);
}

/* Triangles without their diagonal, as striped blocks of later owners. */
static void strict_for_causal(void **state)
{
    struct program p = ring_program();
    struct item *own = at(&p, 0, OP_ATTEND, 0);
    int64_t n;
    const struct segment *s = pool_segments_get(p.pool, own->op.segments, &n);
    struct segment strict = s[0];

    (void)state;
    assert_int_equal(n, 1);
    assert_int_equal(strict.low, 0);
    strict.low = 1;
    own->op.segments = pool_segments(p.pool, &strict, 1);
    must_find(&p, "visible pairs", 0);
    strict.low = -1;
    own->op.segments = pool_segments(p.pool, &strict, 1);
    must_find(&p, "beyond the mask", 0);
    program_destroy(&p);
}

/* Backward takes the lse as it was before the last attend. */
static void partial_lse(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[3];
    int64_t last = 0;

    (void)state;
    for (int64_t i = 0; (i = find(c, OP_ATTEND, i)) >= 0; i++)
        last = i;
    struct tile lse = c->items[last].o[4].tile, old = lse;
    struct buffer b = c->buffers[lse.buffer];
    b.role = ROLE_SCRATCH;
    b.tensor = TENSOR_NONE;
    old.buffer = (int32_t)c->n_buffers;
    c->buffers[c->n_buffers++] = b;
    insert_item(c, last, (struct item){
        .op = { .kind = OP_COPY, .peer = -1, .segments = -1, .step = -1,
                .label = c->items[last].op.label },
        .o = { { old, ACCESS_WRITE }, { lse, ACCESS_READ } }, .n = 2 });
    must_pass(&p);
    at(&p, 3, OP_ATTEND_BACKWARD, 1)->o[4].tile = old;
    must_find(&p, "is not final", 0);
    program_destroy(&p);
}

/* delta before the last attend: of an o that still grows. */
static void early_delta(void **state)
{
    struct program p = ring_program();
    struct code *c = &p.code[0];
    int64_t i = find(c, OP_DELTA, 0), last = 0;

    (void)state;
    struct item delta = c->items[i];
    remove_item(c, i);
    for (i = 0; (i = find(c, OP_ATTEND, i)) >= 0; i++)
        last = i;
    insert_item(c, last, delta);
    must_find(&p, "is not final", 0);
    program_destroy(&p);
}

/* Two tiles of one message in one place; an op that writes what it reads. */
static void tiles_meet(void **state)
{
    struct program p = ring_program();
    struct item *recv = at(&p, 1, OP_RECV, 0);

    (void)state;
    recv->o[1].tile = recv->o[0].tile;
    must_find(&p, "writes rows twice", 0);
    program_destroy(&p);
    p = ring_program();
    struct item *sum = at(&p, 1, OP_SUM, 0);
    sum->o[1].tile = sum->o[0].tile;
    must_find(&p, "writes rows that it reads", 0);
    program_destroy(&p);
}

/* An output of other rows, of other heads, of another tensor. */
static void wrong_output(void **state)
{
    struct program p = ring_program();

    (void)state;
    for (int64_t b = 0; b < p.code[0].n_buffers; b++) {
        struct buffer *x = &p.code[0].buffers[b], old = *x;
        if (x->role != ROLE_OUTPUT)
            continue;
        x->map = p.code[1].buffers[b].map;
        must_fail(&p, "rows of another rank", 0, b);
        *x = old;
        x->head_first = 1;
        must_fail(&p, "other heads", 0, b);
        *x = old;
        x->tensor = x->tensor == TENSOR_DV ? TENSOR_DK : TENSOR_DV;
        must_fail(&p, "another tensor", 0, b);
        *x = old;
        x->role = ROLE_SCRATCH;
        must_fail(&p, "no output", 0, b);
        *x = old;
    }
    must_pass(&p);
    program_destroy(&p);
}

/* A block is held by two ranks, and another by none: all else is in order. */
static void tokens_twice(void **state)
{
    struct program p = ring_program();

    (void)state;
    for (int64_t b = 0; b < p.code[0].n_buffers; b++)
        if (p.code[0].buffers[b].map >= 0)
            p.code[0].buffers[b].map = p.code[1].buffers[b].map;
    must_fail(&p, "tokens twice", 0, 0);
    program_destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op),
        cmocka_unit_test(keys_of_another_step),
        cmocka_unit_test(hop_missing),
        cmocka_unit_test(stale_block),
        cmocka_unit_test(circular_wait),
        cmocka_unit_test(strict_for_causal),
        cmocka_unit_test(partial_lse),
        cmocka_unit_test(early_delta),
        cmocka_unit_test(tiles_meet),
        cmocka_unit_test(wrong_output),
        cmocka_unit_test(tokens_twice),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
