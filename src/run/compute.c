/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "run/compute.h"

#include <stdlib.h>
#include <string.h>

/* ---- Tiles in memory ---------------------------------------------------- */

static const struct buffer *tile_buffer(const struct memory *m, struct tile t)
{
    return &m->schedule->buffers[t.buffer];
}

struct tile_span memory_span(const struct memory *m, struct tile t)
{
    const struct buffer *b = tile_buffer(m, t);
    size_t head = (size_t)b->width * dtype_size(b->dtype);
    struct tile_span v = {
        .base = (char *)memory_buffer(m, t.buffer)
                + (size_t)t.head_first * head,
        .row_bytes = (size_t)b->heads * head,
        .block_bytes = (size_t)t.head_count * head,
    };

    v.runs = pool_rows_get(m->schedule->pool, t.rows, &v.n_runs);
    return v;
}

struct tensor memory_tensor(const struct memory *m, struct tile t)
{
    const struct buffer *b = tile_buffer(m, t);
    struct tile_span v = memory_span(m, t);
    int64_t rows = runs_count(v.runs, v.n_runs);

    if (v.n_runs > 1 || (v.n_runs == 1 && v.runs[0].count > 1
                         && v.runs[0].stride != 1))
        die("rank %d: a tile of %s is not one run of rows",
            m->schedule->rank, pool_label_get(m->schedule->pool, b->label));
    return (struct tensor){
        .data = rows ? v.base + (size_t)v.runs[0].first * v.row_bytes : v.base,
        .dtype = b->dtype, .rows = rows,
        .row_stride = (int64_t)b->heads * b->width,
        .heads = t.head_count, .width = b->width,
        .head_first = b->head_first + t.head_first,
    };
}

/* The rows of a span, one after another; NULL after the last. */
struct row_walk {
    struct tile_span span;
    int64_t run, row;
};

static char *row_next(struct row_walk *w)
{
    while (w->run < w->span.n_runs && w->row >= w->span.runs[w->run].count) {
        w->run++;
        w->row = 0;
    }
    if (w->run >= w->span.n_runs || !w->span.block_bytes)
        return NULL;
    const struct run *r = &w->span.runs[w->run];
    return w->span.base +
           (size_t)(r->first + w->row++ * r->stride) * w->span.row_bytes;
}

void tile_pack(const struct memory *m, struct tile t, void *out)
{
    struct row_walk w = { memory_span(m, t), 0, 0 };
    char *to = out;

    for (char *row; (row = row_next(&w)); to += w.span.block_bytes)
        memcpy(to, row, w.span.block_bytes);
}

void tile_unpack(struct memory *m, struct tile t, const void *in)
{
    struct row_walk w = { memory_span(m, t), 0, 0 };
    const char *from = in;

    for (char *row; (row = row_next(&w)); from += w.span.block_bytes)
        memcpy(row, from, w.span.block_bytes);
}

void tile_copy(struct memory *m, struct tile dst, struct tile src)
{
    struct row_walk to = { memory_span(m, dst), 0, 0 };
    struct row_walk from = { memory_span(m, src), 0, 0 };
    enum dtype t = tile_buffer(m, dst)->dtype, f = tile_buffer(m, src)->dtype;
    int64_t n = (int64_t)dst.head_count * tile_buffer(m, dst)->width;
    char *a, *b;

    while ((a = row_next(&to)) && (b = row_next(&from))) {
        if (t == f)
            memmove(a, b, to.span.block_bytes);
        else
            convert(a, t, b, f, n);
    }
}

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

static void call_attend(const struct call *c)
{
    struct attend_args a = attend_args(c);

    a.o = at(c, 3);
    a.lse = at(c, 4);
    a.store = stores(c, 3);
    c->kernel->attend(&a);
}

static void call_attend_backward(const struct call *c)
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

/* ---- The local part of collectives -------------------------------------- */

/* dst = sum of the slices in order, in fp32.  src: members tiles, `step`
 * operands apart; slice `me` is `own`. */
static void reduce_slices(struct memory *m, struct tile dst, struct tile own,
                          const struct operand *src, int64_t step,
                          int64_t members, int64_t me)
{
    const struct buffer *b = tile_buffer(m, dst);
    int64_t n = (int64_t)dst.head_count * b->width;
    struct row_walk to = { memory_span(m, dst), 0, 0 };
    struct row_walk *from = xcalloc((size_t)members, sizeof *from);
    float *total = xmalloc((size_t)n * 2 * sizeof *total), *part = total + n;

    for (int64_t i = 0; i < members; i++)
        from[i].span = memory_span(m, i == me ? own : src[i * step].tile);
    for (char *row; (row = row_next(&to));) {
        memset(total, 0, (size_t)n * sizeof *total);
        for (int64_t i = 0; i < members; i++) {
            struct tile t = i == me ? own : src[i * step].tile;
            char *data = row_next(&from[i]);
            if (!data)
                continue;
            convert(part, DTYPE_FP32, data, tile_buffer(m, t)->dtype, n);
            for (int64_t x = 0; x < n; x++)
                total[x] += part[x];
        }
        convert(row, b->dtype, total, DTYPE_FP32, n);
    }
    free(total);
    free(from);
}

void collective_finish(const struct schedule *s, const struct op *op,
                       struct memory *m)
{
    struct collective_shape c = op_collective(s, op);
    int64_t own_send = op->collective == ALL_GATHER ? 0 : c.me * c.tiles;

    for (int64_t t = 0; t < c.tiles; t++) {
        struct tile own = c.send[own_send + t].tile;
        if (op->collective == REDUCE_SCATTER)
            reduce_slices(m, c.result[t].tile, own, c.recv + t, c.tiles,
                          c.members, c.me);
        else
            tile_copy(m, c.recv[c.me * c.tiles + t].tile, own);
    }
}
