/* SPDX-License-Identifier: Apache-2.0
 *
 * Building: buffers, tiles, and one function per kind of op. */
#include <config.h>

#include "schedule/internal.h"
#include "schedule/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct schedule *schedule_create(struct pool *pool, const struct job *job,
                                 int32_t ranks, int32_t rank)
{
    struct schedule *s = xcalloc(1, sizeof *s);

    s->pool = pool;
    s->job = job;
    s->ranks = ranks;
    s->rank = rank;
    s->builder = xcalloc(1, sizeof *s->builder);
    s->builder->infer = infer_create();
    s->builder->step = s->builder->layer = -1;
    return s;
}

static void builder_destroy(struct builder *b)
{
    if (!b)
        return;
    infer_destroy(b->infer);
    for (int64_t i = 0; i < b->n_owned; i++)
        free(b->owned[i]);
    free(b->owned);
    free(b);
}

void schedule_destroy(struct schedule *s)
{
    if (!s)
        return;
    builder_destroy(s->builder);
    free(s->buffers);
    free(s->ops);
    free(s->deps);
    free(s->parents);
    free(s);
}

void *schedule_alloc(struct schedule *s, size_t bytes)
{
    struct builder *b = s->builder;
    void *p = xcalloc(1, bytes);

    ARRAY_PUSH(b->owned, b->n_owned, b->owned_cap, p);
    return p;
}

/* Layers tell their buffers and ops apart by label. */
static int32_t layer_label(struct schedule *s, const char *label)
{
    char text[64];

    if (s->builder->layer < 0)
        return pool_label(s->pool, label);
    snprintf(text, sizeof text, "layer%d%s%s", s->builder->layer,
             *label ? "." : "", label);
    return pool_label(s->pool, text);
}

int32_t schedule_buffer(struct schedule *s, const char *label,
                        struct buffer b)
{
    b.label = layer_label(s, label);
    b.layer = s->builder->layer < 0 ? 0 : s->builder->layer;
    ARRAY_PUSH(s->buffers, s->n_buffers, s->builder->buffers_cap, b);
    return (int32_t)(s->n_buffers - 1);
}

void schedule_follow(struct schedule *s, int32_t buffer, int32_t before)
{
    pattern_leave(s);
    infer_follow(s, s->builder->infer, buffer, before);
}

size_t buffer_bytes(const struct schedule *s, int32_t buffer)
{
    const struct buffer *b = &s->buffers[buffer];
    size_t bytes = (size_t)b->rows * (size_t)b->heads * (size_t)b->width
        * dtype_size(b->dtype);

    return (bytes + 63) / 64 * 64;
}

struct tile tile_rows(const struct schedule *s, int32_t buffer, int64_t first,
                      int64_t count)
{
    struct run run = { first, 1, count };

    return (struct tile){ buffer, pool_rows(s->pool, &run, count > 0), 0,
                          s->buffers[buffer].heads };
}

struct tile tile_whole(const struct schedule *s, int32_t buffer)
{
    return tile_rows(s, buffer, 0, s->buffers[buffer].rows);
}

struct tile tile_heads(struct tile t, int32_t head_first, int32_t head_count)
{
    t.head_first += head_first;
    t.head_count = head_count;
    return t;
}

int64_t tile_row_count(const struct schedule *s, struct tile t)
{
    int64_t n;
    const struct run *runs = pool_rows_get(s->pool, t.rows, &n);

    return runs_count(runs, n);
}

int64_t tile_elements(const struct schedule *s, struct tile t)
{
    return tile_row_count(s, t) * t.head_count * s->buffers[t.buffer].width;
}

size_t tile_bytes(const struct schedule *s, struct tile t)
{
    return (size_t)tile_elements(s, t)
        * dtype_size(s->buffers[t.buffer].dtype);
}

int tile_box(const struct schedule *s, struct tile t, struct box *box)
{
    int64_t n;
    const struct run *runs = pool_rows_get(s->pool, t.rows, &n);

    if (n == 0 || t.head_count == 0)
        return 0;
    *box = (struct box){ INT64_MAX, 0, t.head_first,
                         t.head_first + t.head_count };
    for (int64_t i = 0; i < n; i++) {
        box->first = min64(box->first, runs[i].first);
        box->last = max64(box->last, runs[i].first
                          + (runs[i].count - 1) * runs[i].stride + 1);
    }
    return 1;
}

void schedule_backward(struct schedule *s)
{
    s->builder->backward = 1;
}

void schedule_step(struct schedule *s, int32_t step)
{
    s->builder->step = step;
}

void schedule_layer(struct schedule *s, int32_t layer)
{
    s->builder->layer = layer;
}

void schedule_op(struct schedule *s, struct op op, const struct operand *o,
                 int64_t n)
{
    if (!pattern_takes(s, &op, o, n)) {
        pattern_leave(s);
        op.operands = pool_operands(s->pool, o, n);
        infer_op(s, s->builder->infer, &op, o, n);
    }
    ARRAY_PUSH(s->ops, s->n_ops, s->builder->ops_cap, op);
}

/* An op of this kind in the current pass and step. */
static struct op new_op(struct schedule *s, enum op_kind kind,
                        const char *label)
{
    return (struct op){ .kind = (uint8_t)kind,
                        .backward = s->builder->backward, .peer = -1,
                        .segments = -1, .step = s->builder->step,
                        .label = layer_label(s, label) };
}

static int is_empty(const struct schedule *s, struct tile t)
{
    return tile_elements(s, t) == 0;
}

void schedule_attend(struct schedule *s, const char *label, struct tile q,
                     struct tile k, struct tile v, struct tile o,
                     struct tile lse, enum access access,
                     const struct segment *segments, int64_t n)
{
    const struct operand operands[] = { { q, ACCESS_READ }, { k, ACCESS_READ },
                                        { v, ACCESS_READ }, { o, access },
                                        { lse, access } };
    struct op op = new_op(s, OP_ATTEND, label);

    if (is_empty(s, lse) || (access == ACCESS_UPDATE && n == 0))
        return;
    op.segments = pool_segments(s->pool, segments, n);
    schedule_op(s, op, operands, 5);
}

void schedule_attend_backward(struct schedule *s, const char *label,
                              const struct tile in[6],
                              const struct tile *o, const struct tile out[3],
                              const enum access access[3],
                              const struct segment *segments, int64_t n)
{
    struct operand operands[10];
    struct op op = new_op(s, OP_ATTEND_BACKWARD, label);
    int needed = n > 0 && !is_empty(s, in[0]);

    for (int i = 0; i < 6; i++)
        operands[i] = (struct operand){ in[i], ACCESS_READ };
    for (int i = 0; i < 3; i++) {
        operands[6 + i] = (struct operand){ out[i], access[i] };
        needed |= access[i] == ACCESS_WRITE && !is_empty(s, out[i]);
    }
    if (!needed)
        return;
    if (o)
        operands[9] = (struct operand){ *o, ACCESS_READ };
    op.segments = pool_segments(s->pool, segments, n);
    schedule_op(s, op, operands, o ? 10 : 9);
}

void schedule_delta(struct schedule *s, const char *label, struct tile o,
                    struct tile d_o, struct tile delta)
{
    const struct operand operands[] = { { o, ACCESS_READ },
                                        { d_o, ACCESS_READ },
                                        { delta, ACCESS_WRITE } };

    if (!is_empty(s, delta))
        schedule_op(s, new_op(s, OP_DELTA, label), operands, 3);
}

void schedule_merge(struct schedule *s, const char *label, struct tile o,
                    struct tile lse, enum access access,
                    const struct tile (*partials)[2], int64_t n)
{
    struct operand operands[2 + 2 * 8] = { { o, access }, { lse, access } };

    if (n > 8)
        die("schedule_merge: %lld partials, 8 at most", (long long)n);
    for (int64_t i = 0; i < 2 * n; i++)
        operands[2 + i] = (struct operand){ partials[i / 2][i % 2],
                                            ACCESS_READ };
    if (!is_empty(s, lse))
        schedule_op(s, new_op(s, OP_MERGE, label), operands, 2 + 2 * n);
}

void schedule_sum(struct schedule *s, const char *label, struct tile dst,
                  enum access access, const struct tile *sources, int64_t n)
{
    struct operand operands[1 + 8] = { { dst, access } };

    if (n > 8)
        die("schedule_sum: %lld sources, 8 at most", (long long)n);
    for (int64_t i = 0; i < n; i++)
        operands[1 + i] = (struct operand){ sources[i], ACCESS_READ };
    if (!is_empty(s, dst))
        schedule_op(s, new_op(s, OP_SUM, label), operands, 1 + n);
}

void schedule_copy(struct schedule *s, const char *label, struct tile dst,
                   struct tile src)
{
    const struct operand operands[] = { { dst, ACCESS_WRITE },
                                        { src, ACCESS_READ } };

    if (!is_empty(s, dst))
        schedule_op(s, new_op(s, OP_COPY, label), operands, 2);
}

void schedule_compute(struct schedule *s, enum op_kind kind,
                      const char *label, const struct operand *o, int64_t n,
                      int32_t detail)
{
    struct op op = new_op(s, kind, label);
    int needed = 0;

    for (int64_t i = 0; i < n; i++)
        needed |= o[i].access != ACCESS_READ && !is_empty(s, o[i].tile);
    op.segments = detail;
    if (needed)
        schedule_op(s, op, o, n);
}

/* A message without elements is no message, on either side. */
static void message(struct schedule *s, enum op_kind kind, const char *label,
                    enum channel c, int32_t peer, const struct tile *tiles,
                    int64_t n)
{
    struct operand *operands = xmalloc((size_t)n * sizeof *operands);
    struct op op = new_op(s, kind, label);
    int64_t kept = 0;

    for (int64_t i = 0; i < n; i++)
        if (!is_empty(s, tiles[i]))
            operands[kept++] = (struct operand){
                tiles[i], kind == OP_SEND ? ACCESS_READ : ACCESS_WRITE };
    op.channel = (uint8_t)c;
    op.peer = peer;
    if (kept)
        schedule_op(s, op, operands, kept);
    free(operands);
}

void schedule_send(struct schedule *s, const char *label, enum channel c,
                   int32_t peer, const struct tile *tiles, int64_t n)
{
    message(s, OP_SEND, label, c, peer, tiles, n);
}

void schedule_recv(struct schedule *s, const char *label, enum channel c,
                   int32_t peer, const struct tile *tiles, int64_t n)
{
    message(s, OP_RECV, label, c, peer, tiles, n);
}

void schedule_collective(struct schedule *s, const char *label,
                         enum channel c, enum collective what,
                         const int32_t *group, int64_t members,
                         int64_t tiles_per_message, const struct tile *tiles,
                         int64_t n)
{
    struct operand *operands = xmalloc((size_t)n * sizeof *operands);
    struct op op = new_op(s, OP_COLLECTIVE, label);
    int64_t reads = what == ALL_GATHER ? tiles_per_message
        : tiles_per_message * members;

    for (int64_t i = 0; i < n; i++)
        operands[i] = (struct operand){ tiles[i], i < reads ? ACCESS_READ
                                        : ACCESS_WRITE };
    op.channel = (uint8_t)c;
    op.collective = (uint8_t)what;
    op.peer = pool_group(s->pool, group, members);
    schedule_op(s, op, operands, n);
    free(operands);
}

void schedule_reduce(struct schedule *s, const char *label, enum channel c,
                     enum collective what, const int32_t *group,
                     int64_t members, const struct tile *in,
                     const struct tile *out, int64_t n, int64_t span)
{
    struct operand *o = xcalloc((size_t)(2 * n + 1), sizeof *o);
    struct op op = new_op(s, OP_COLLECTIVE, label);
    struct buffer staging = { .role = ROLE_SCRATCH, .map = -1,
                              .dtype = DTYPE_FP32,
                              .rows = tile_row_count(s, in[0]),
                              .heads = in[0].head_count,
                              .width = what == EXCLUSIVE_SCAN };

    for (int64_t i = 0; i < n; i++) {
        o[i] = (struct operand){ in[i], ACCESS_READ };
        o[n + i] = (struct operand){ out[i], ACCESS_WRITE };
        staging.width += s->buffers[in[i].buffer].width;
    }
    o[2 * n] = (struct operand){
        tile_whole(s, schedule_buffer(s, "staging", staging)), ACCESS_WRITE };
    op.channel = (uint8_t)c;
    op.collective = (uint8_t)what;
    op.peer = pool_group(s->pool, group, members);
    if (what == EXCLUSIVE_SCAN)
        op.segments = pool_numbers(s->pool, &span, 1);
    schedule_op(s, op, o, 2 * n + 1);
    free(o);
}

static uint64_t hash_buffer(const struct schedule *s, uint64_t h,
                            const struct buffer *b)
{
    const int64_t numbers[] = { b->role, b->tensor, b->dtype, b->heads,
                                b->head_first, b->width, b->rows, b->layer,
                                b->replicated };

    h = hash_bytes(h, numbers, sizeof numbers);
    h = hash_u64(h, pool_content(s->pool, POOL_LABELS, b->label));
    return hash_u64(h, b->map < 0 ? 0 : pool_map_get(s->pool, b->map)->hash);
}

static uint64_t hash_op(const struct schedule *s, uint64_t h,
                        const struct op *op)
{
    const struct pool *p = s->pool;
    uint64_t head = (uint64_t)op->kind << 24 | (uint64_t)op->channel << 16
        | (uint64_t)op->collective << 8 | op->backward;

    h = hash_u64(h, head << 32 | (uint32_t)op->step);
    h = hash_u64(h, pool_content(p, POOL_OPERANDS, op->operands));
    h = hash_u64(h, pool_content(p, op_has_numbers(op) ? POOL_NUMBERS
                                 : POOL_SEGMENTS, op->segments));
    h = hash_u64(h, pool_content(p, POOL_LABELS, op->label));
    return hash_u64(h, op->kind == OP_COLLECTIVE
                    ? pool_content(p, POOL_GROUPS, op->peer)
                    : (uint64_t)op->peer);
}

int schedule_freeze(struct schedule *s)
{
    int like = pattern_finish(s);
    uint64_t h = hash_u64(5, (uint64_t)s->rank << 32 | (uint32_t)s->ranks);

    for (int64_t i = 0; i < s->n_buffers; i++)
        h = hash_buffer(s, h, &s->buffers[i]);
    for (int64_t i = 0; i < s->n_ops; i++)
        h = hash_op(s, h, &s->ops[i]);
    s->hash = h;
    if (!like)
        plan_memory(s);
    builder_destroy(s->builder);
    s->builder = NULL;
    return like;
}

uint64_t schedule_hash_all(const uint64_t *hashes, int64_t ranks)
{
    uint64_t h = 13;

    for (int64_t i = 0; i < ranks; i++)
        h = hash_u64(h, hashes[i]);
    return h;
}
