/* SPDX-License-Identifier: Apache-2.0
 *
 * Ops that compute: kernel calls. */
#include <config.h>

#include "run/compute.h"

#include <stdlib.h>

/* ---- Ops that compute --------------------------------------------------- */

struct call {
    const struct schedule *schedule;
    const struct op *op;
    struct memory *memory;
    const struct kernel_backend *kernel;
    struct poll poll;
    const struct operand *o;
    int64_t n;
};

static struct tensor at(const struct call *c, int64_t i)
{
    return memory_tensor(c->memory, c->o[i].tile);
}

static int stores(const struct call *c, int64_t i)
{
    return c->o[i].access == ACCESS_WRITE;
}

static struct attend_args attend_args(const struct call *c)
{
    const struct job *job = c->schedule->job;
    struct attend_args a = {
        .q = at(c, 0), .k = at(c, 1), .v = at(c, 2),
        .group = job_group(job), .scale = (float)job->scale, .poll = c->poll,
    };

    if (c->op->segments >= 0)
        a.segments = pool_segments_get(c->schedule->pool, c->op->segments,
                                       &a.n_segments);
    return a;
}

/* Positions of the rows of operand i. */
static struct position_map *map_of(const struct call *c, int64_t i)
{
    const struct schedule *s = c->schedule;
    struct tile t = c->o[i].tile;
    int32_t map = s->buffers[t.buffer].map;
    int64_t n;
    const struct run *runs = pool_rows_get(s->pool, t.rows, &n);

    if (map < 0)
        die("rank %d: nobody knows which tokens the rows of %s are", s->rank,
            pool_label_get(s->pool, s->buffers[t.buffer].label));
    return position_map_slice(pool_map_get(s->pool, map), n ? runs->first : 0,
                              runs_count(runs, n));
}

/* Rows before the first whose token is not there yet: positions rise with the
 * row. */
static int64_t rows_alive(const struct position_map *map, int64_t live)
{
    int64_t rows = 0;

    for (int64_t i = 0; i < map->n && map->places[i].first < live; i++) {
        const struct place *p = &map->places[i];
        rows += min64(p->count, ceil_div(live - p->first, p->stride));
    }
    return rows;
}

/* What is visible in a decode session: the queries are the last of the tokens
 * that there are, and no more keys are there. */
static int64_t live_segments(const struct call *c, struct segment **list)
{
    struct position_map *q = map_of(c, 0), *k = map_of(c, 1);
    struct position_map *keys = position_map_slice(
        k, 0, rows_alive(k, c->memory->live));

    for (int64_t i = 0; i < q->n; i++)
        q->places[i].first = memory_token(c->memory, TENSOR_Q,
                                          q->places[i].first);
    q->hash = ~keys->hash;      /* not that of its places any more */
    int64_t n = segments_between(c->schedule->job, q, keys, list);
    position_map_destroy(q);
    position_map_destroy(k);
    position_map_destroy(keys);
    return n;
}

static struct attend_args forward_args(const struct call *c)
{
    struct attend_args a = attend_args(c);

    a.o = at(c, 3);
    a.lse = at(c, 4);
    a.store = stores(c, 3);
    return a;
}

static void call_attend(const struct call *c)
{
    struct attend_args a = forward_args(c);
    struct segment *live = NULL;

    if (c->memory->live) {
        a.n_segments = live_segments(c, &live);
        a.segments = live;
    }
    c->kernel->attend(&a);
    free(live);
}

static struct attend_args backward_args(const struct call *c)
{
    struct attend_args a = attend_args(c);

    a.d_o = at(c, 3);
    a.lse = at(c, 4);
    a.delta = at(c, 5);
    a.dq = at(c, 6);
    a.dk = at(c, 7);
    a.dv = at(c, 8);
    a.store_dq = stores(c, 6);
    a.store_dk = stores(c, 7);
    a.store_dv = stores(c, 8);
    if (c->n == 10)
        a.o = at(c, 9);
    return a;
}

static void call_attend_backward(const struct call *c)
{
    struct attend_args a = backward_args(c);

    c->kernel->attend_backward(&a);
}

static void call_delta(const struct call *c)
{
    c->kernel->delta(at(c, 0), at(c, 1), at(c, 2));
}

enum { MOST_SOURCES = 8 };

static int64_t sources(const struct call *c, int64_t n)
{
    if (n > MOST_SOURCES)
        die("rank %d: %s of %d sources, at most %d", c->schedule->rank,
            op_names[c->op->kind], (int)n, MOST_SOURCES);
    return n;
}

static void call_merge(const struct call *c)
{
    struct tensor o[MOST_SOURCES], lse[MOST_SOURCES];
    int64_t n = sources(c, (c->n - 2) / 2);

    for (int64_t i = 0; i < n; i++) {
        o[i] = at(c, 2 + 2 * i);
        lse[i] = at(c, 3 + 2 * i);
    }
    c->kernel->merge(at(c, 0), at(c, 1), stores(c, 0), o, lse, n);
}

static void call_sum(const struct call *c)
{
    struct tensor src[MOST_SOURCES];
    int64_t n = sources(c, c->n - 1);

    for (int64_t i = 0; i < n; i++)
        src[i] = at(c, i + 1);
    c->kernel->sum(at(c, 0), stores(c, 0), src, n);
}

static void call_copy(const struct call *c)
{
    tile_copy(c->memory, c->o[0].tile, c->o[1].tile);
}

static void call_rescale(const struct call *c)
{
    c->kernel->rescale(at(c, 0), at(c, 1), at(c, 2), at(c, 3), at(c, 4));
}

static void call_normalize(const struct call *c)
{
    c->kernel->normalize(at(c, 0), at(c, 1), at(c, 2), at(c, 3), at(c, 4));
}

/* ---- Materialised scores ------------------------------------------------ */

static struct scores_args scores_args(const struct call *c, int out, int x,
                                      int y)
{
    struct scores_args a = {
        .x = at(c, x), .y = at(c, y), .out = at(c, out),
        .store = stores(c, out), .group = job_group(c->schedule->job),
        .poll = c->poll,
    };

    a.segments = pool_segments_get(c->schedule->pool, c->op->segments,
                                   &a.n_segments);
    return a;
}

static void call_scores(const struct call *c)
{
    struct scores_args a = scores_args(c, 2, 0, 1);

    c->kernel->scores(&a);
}

static void call_weigh(const struct call *c)
{
    struct scores_args a = scores_args(c, 0, 1, 2);

    c->kernel->weigh(&a);
}

static void call_weigh_transposed(const struct call *c)
{
    struct scores_args a = scores_args(c, 0, 1, 2);

    c->kernel->weigh_transposed(&a);
}

static void call_softmax(const struct call *c)
{
    struct tensor *s = xmalloc((size_t)c->n * sizeof *s);

    for (int64_t i = 1; i < c->n; i++)
        s[i - 1] = at(c, i);
    c->kernel->softmax(s, c->n - 1, at(c, 0), (float)c->schedule->job->scale);
    free(s);
}

static void call_softmax_backward(const struct call *c)
{
    c->kernel->softmax_backward(at(c, 0), at(c, 1), at(c, 2),
                                (float)c->schedule->job->scale);
}

/* ---- Linear attention --------------------------------------------------- */

static struct linear_args linear_args(const struct call *c)
{
    const struct job *job = c->schedule->job;

    return (struct linear_args){
        .group = job_group(job), .feature = (int)job->linear.feature,
        .slopes = job->linear.slopes, .poll = c->poll,
    };
}

static void call_state(const struct call *c)
{
    struct linear_args a = linear_args(c);

    *(c->op->backward ? &a.q : &a.k) = at(c, 0);
    *(c->op->backward ? &a.d_o : &a.v) = at(c, 1);
    a.state = at(c, 2);
    c->kernel->state(&a, c->op->backward);
}

static void call_state_scan(const struct call *c)
{
    struct tensor *src = xmalloc((size_t)c->n * sizeof *src);
    int64_t n;
    const int64_t *spans = pool_numbers_get(c->schedule->pool,
                                            c->op->segments, &n);

    for (int64_t i = 1; i < c->n; i++)
        src[i - 1] = at(c, i);
    c->kernel->state_scan(at(c, 0), stores(c, 0), src, c->n - 1, spans,
                          c->schedule->job->linear.slopes);
    free(src);
}

static void call_linear_intra(const struct call *c)
{
    struct linear_args a = linear_args(c);

    a.q = at(c, 0);
    a.k = at(c, 1);
    a.v = at(c, 2);
    a.o = at(c, 3);
    a.store_o = stores(c, 3);
    c->kernel->linear_intra(&a);
}

static void call_linear_inter(const struct call *c)
{
    struct linear_args a = linear_args(c);

    a.q = at(c, 0);
    a.state = at(c, 1);
    a.o = at(c, 2);
    a.store_o = stores(c, 2);
    c->kernel->linear_inter(&a);
}

static void call_linear_intra_backward(const struct call *c)
{
    struct linear_args a = linear_args(c);

    a.q = at(c, 0);
    a.k = at(c, 1);
    a.v = at(c, 2);
    a.d_o = at(c, 3);
    a.dq = at(c, 4);
    a.dk = at(c, 5);
    a.dv = at(c, 6);
    a.store_dq = stores(c, 4);
    a.store_dk = stores(c, 5);
    a.store_dv = stores(c, 6);
    c->kernel->linear_intra_backward(&a);
}

static void call_linear_inter_dq(const struct call *c)
{
    struct linear_args a = linear_args(c);

    a.q = at(c, 0);
    a.d_o = at(c, 1);
    a.state = at(c, 2);
    a.dq = at(c, 3);
    a.store_dq = stores(c, 3);
    c->kernel->linear_inter_dq(&a);
}

static void call_linear_inter_dkv(const struct call *c)
{
    struct linear_args a = linear_args(c);

    a.k = at(c, 0);
    a.v = at(c, 1);
    a.state = at(c, 2);
    a.dk = at(c, 3);
    a.dv = at(c, 4);
    a.store_dk = stores(c, 3);
    a.store_dv = stores(c, 4);
    c->kernel->linear_inter_dkv(&a);
}

static void (*const calls[OP_KINDS])(const struct call *) = {
    [OP_ATTEND] = call_attend,
    [OP_ATTEND_BACKWARD] = call_attend_backward,
    [OP_DELTA] = call_delta,
    [OP_MERGE] = call_merge,
    [OP_SUM] = call_sum,
    [OP_COPY] = call_copy,
    [OP_STAGE_OUT] = call_copy,
    [OP_STAGE_IN] = call_copy,
    [OP_RESCALE] = call_rescale,
    [OP_NORMALIZE] = call_normalize,
    [OP_SCORES] = call_scores,
    [OP_SOFTMAX] = call_softmax,
    [OP_SOFTMAX_BACKWARD] = call_softmax_backward,
    [OP_WEIGH] = call_weigh,
    [OP_WEIGH_TRANSPOSED] = call_weigh_transposed,
    [OP_STATE] = call_state,
    [OP_STATE_SCAN] = call_state_scan,
    [OP_LINEAR_INTRA] = call_linear_intra,
    [OP_LINEAR_INTER] = call_linear_inter,
    [OP_LINEAR_INTRA_BACKWARD] = call_linear_intra_backward,
    [OP_LINEAR_INTER_DQ] = call_linear_inter_dq,
    [OP_LINEAR_INTER_DKV] = call_linear_inter_dkv,
};

void compute_op(const struct schedule *s, const struct op *op,
                struct memory *m, const struct kernel_backend *kernel,
                struct poll poll)
{
    struct call c = { s, op, m, kernel, poll, NULL, 0 };

    c.o = pool_operands_get(s->pool, op->operands, &c.n);
    if (!calls[op->kind])
        die("rank %d: %s is not an op that computes", s->rank,
            op_names[op->kind]);
    calls[op->kind](&c);
}

/* ---- Before the run ----------------------------------------------------- */

/* Another backend's kernels do the op: it is counted. */
static void count_left(const struct call *c, struct rehearsal *r)
{
    int backward = c->op->kind == OP_ATTEND_BACKWARD;
    struct attend_args a;
    const char *why;

    if ((!backward && c->op->kind != OP_ATTEND) || !c->kernel->leaves)
        return;
    a = backward ? backward_args(c) : forward_args(c);
    why = c->kernel->leaves(&a, backward);
    r->attends++;
    r->left += why != NULL;
    r->why = r->why ? r->why : why;
}

struct rehearsal compute_rehearse(const struct schedule *s, struct memory *m,
                                  const struct kernel_backend *kernel)
{
    struct rehearsal r = { 0 };

    m->device->stream(0);       /* as executed: work space is a stream's */
    for (int64_t i = 0; i < s->n_ops; i++) {
        struct call c = { s, &s->ops[i], m, kernel, { NULL, NULL }, NULL, 0 };
        if (!calls[c.op->kind])
            continue;
        c.o = pool_operands_get(s->pool, c.op->operands, &c.n);
        count_left(&c, &r);
        calls[c.op->kind](&c);
    }
    m->device->sync();
    r.work_bytes = m->device->work();
    return r;
}
