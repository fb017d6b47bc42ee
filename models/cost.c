/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds of an op that computes or copies.
 *
 * A segment is timed from the surfaces of full and of causal blocks.  Away from
 * the edges of its band it costs what a full block of as many rows and of its
 * mean number of visible keys costs.  Along an edge the kernel works on tiles
 * of which it needs a part; what that adds over `n` rows is what a causal
 * square of n rows costs more than its visible pairs would in a full block:
 *
 *   t(segment) = full(q, mean k) + edge(rows on low) + edge(rows on high)
 *   edge(n)    = causal(n) - full(n, (n + 1) / 2)
 *
 * which gives both measured kinds back exactly.  Few rows, as in decode, take
 * the time of their keys and values, measured on a surface of their own: how
 * long those of one head are in the same cache as those of all heads here.
 *
 * Other ops take their flops at the measured rate of their kind; products of
 * which the machine has none at that of a full block of attention of their
 * size, the rest as long as their bytes. */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct attend_shape {
    const struct machine *m;
    const char *op, *kernel;
    enum dtype dtype;
    int64_t head_dim, value_dim, group, kv_heads;
};

static double block(const struct attend_shape *a, enum block_kind kind,
                    int64_t q, int64_t k)
{
    return machine_block_seconds(a->m, a->op, a->kernel, a->dtype, kind,
                                 a->head_dim, a->value_dim, a->group, q, k);
}

/* A full block of q rows and `pairs` visible pairs. */
static double full(const struct attend_shape *a, int64_t q, double pairs)
{
    int64_t k = max64(1, llround(pairs / (double)q));

    return block(a, BLOCK_FULL, q, k) * pairs / ((double)q * (double)k);
}

static double edge(const struct attend_shape *a, int64_t n)
{
    if (n <= 0)
        return 0;
    double pairs = 0.5 * (double)n * (double)(n + 1);
    return fmax(0, block(a, BLOCK_CAUSAL, n, n) - full(a, n, pairs));
}

/* K and V of all heads, as many keys of one head, in one memory. */
static double few(const struct attend_shape *a, const struct segment *g)
{
    double all = (double)g->q_count * (double)g->k_count;

    return block(a, BLOCK_FEW, g->q_count, g->k_count * a->kv_heads)
        / (double)a->kv_heads * (double)segment_pairs(g) / all;
}

static double segment_seconds(const struct attend_shape *a,
                              const struct segment *g)
{
    int64_t low = 0, high = 0;

    if (g->q_count <= MAX_QUERIES)
        return few(a, g);
    if (g->low > BAND_LOW)
        low = min64(max64(g->k_count + g->low, 0), g->q_count);
    if (g->high < BAND_HIGH)
        high = min64(max64(g->q_count - g->high, 0), g->q_count);
    if (low == 0 && high == 0)
        return block(a, BLOCK_FULL, g->q_count, g->k_count);
    if (high == 0 && g->low == 0 && g->q_count == g->k_count)
        return block(a, BLOCK_CAUSAL, g->q_count, g->q_count);
    return full(a, g->q_count, (double)segment_pairs(g)) + edge(a, low)
        + edge(a, high);
}

/* Few ranks do not crowd the node that many measured. */
static double crowding(const struct machine *m, int64_t ranks)
{
    int measured = m->measured_ranks;

    if (m->alone_ratio <= 0 || measured < 2 || ranks >= measured)
        return 1;
    return m->alone_ratio + (1 - m->alone_ratio) * (double)(ranks - 1)
        / (measured - 1);
}

static double attend_seconds(const struct machine *m, const char *kernel,
                             const struct schedule *s, const struct op *op)
{
    int64_t n, count;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &count);
    const struct segment *list = pool_segments_get(s->pool, op->segments, &n);
    const struct buffer *q = &s->buffers[o[0].tile.buffer];
    struct attend_shape a = {
        m, op_names[op->kind], kernel, q->dtype, q->width,
        s->buffers[o[2].tile.buffer].width, job_group(s->job),
        o[1].tile.head_count
    };
    double seconds = 0;

    for (int64_t i = 0; i < n; i++)
        seconds += segment_seconds(&a, &list[i]);
    return seconds * o[0].tile.head_count * crowding(m, s->ranks);
}

static double memory_seconds(const struct machine *m, const struct schedule *s,
                             const struct op *op)
{
    return m->memory_bandwidth > 0
        ? (double)op_work(s, op).memory_bytes / m->memory_bandwidth : 0;
}

/* Rows and keys of a full block like the product, to find its rate. */
static double block_rate(const struct machine *m, const char *kernel,
                         const struct schedule *s, const struct op *op,
                         int64_t rows)
{
    const struct transformer *t = &s->job->transformer;
    int64_t n, keys = rows;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);

    if (op->kind == OP_SCORES || op->kind == OP_WEIGH)
        keys = tile_row_count(s, o[op->kind == OP_SCORES ? 1 : 2].tile);
    double seconds = machine_block_seconds(
        m, op_names[OP_ATTEND], kernel, s->job->dtype, BLOCK_FULL, t->head_dim,
        t->value_dim, job_group(s->job), rows, keys);
    double flops = 2.0 * (double)(t->head_dim + t->value_dim) * (double)rows
        * (double)keys;
    return seconds > 0 ? flops / seconds : 0;
}

static double rated_seconds(const struct machine *m, const char *kernel,
                              const struct schedule *s, const struct op *op)
{
    const struct transformer *t = &s->job->transformer;
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
    int64_t rows = tile_row_count(s, o[0].tile);
    double rate = machine_rate(m, op_names[op->kind], kernel, s->job->dtype,
                               t->head_dim, t->value_dim, rows);

    if (rate <= 0 && op_is_product(op))
        rate = block_rate(m, kernel, s, op, rows);
    return rate > 0 ? op_work(s, op).flops / rate * crowding(m, s->ranks) : 0;
}

double op_seconds(const struct machine *m, const char *kernel,
                  const struct schedule *s, const struct op *op)
{
    int attends = op->kind == OP_ATTEND || op->kind == OP_ATTEND_BACKWARD;

    if (op->kind == OP_SEND || op->kind == OP_RECV
        || op->kind == OP_COLLECTIVE)
        return 0;
    double seconds = memory_seconds(m, s, op);
    if (attends && op_work(s, op).pairs > 0)
        seconds = fmax(seconds, attend_seconds(m, kernel, s, op));
    else if (!attends)
        seconds = fmax(seconds, rated_seconds(m, kernel, s, op));
    return m->op_overhead + seconds;
}

/* A product without rates is timed as an attend. */
static int can_time(const struct machine *m, enum op_kind kind,
                    const char *kernel, struct error *e)
{
    const struct op op = { .kind = (uint8_t)kind };

    if (!op_is_product(&op))
        return 0;
    if (machine_rate(m, op_names[kind], kernel, DTYPE_FP32, 64, 64, 64) > 0)
        return 0;
    return machine_has_surface(m, op_names[kind == OP_ATTEND_BACKWARD
                                           ? OP_ATTEND_BACKWARD : OP_ATTEND],
                               kernel, e);
}

int simulate_ready(const struct schedule *const *schedules, int64_t ranks,
                   const struct machine *m, const char *kernel,
                   struct error *e)
{
    int64_t seen[OP_KINDS] = { 0 };

    for (int64_t r = 0; r < ranks; r++)
        for (int64_t i = 0; i < schedules[r]->n_ops; i++)
            seen[schedules[r]->ops[i].kind]++;
    for (int k = 0; k < OP_KINDS; k++)
        if (seen[k] && can_time(m, (enum op_kind)k, kernel, e) != 0)
            return -1;
    if (seen[OP_SEND] + seen[OP_RECV] + seen[OP_COLLECTIVE] && !m->link.n)
        return fail(e, "machine %s: no link: messages cannot be timed",
                    m->name);
    return 0;
}

/* ---- Cache -------------------------------------------------------------- */

/* What the time of an attend depends on. */
struct cost_key {
    int32_t kind, segments, heads;
    int32_t dtype, head_dim, value_dim;
};
enum { CACHE_SLOTS = 4096 };
struct cost_cache {
    struct cost_key keys[CACHE_SLOTS];
    double seconds[CACHE_SLOTS];        /* 0: empty */
};

struct cost_cache *cost_cache_create(void)
{
    return xcalloc(1, sizeof(struct cost_cache));
}

void cost_cache_destroy(struct cost_cache *c)
{
    free(c);
}

double cost_cached(struct cost_cache *c, const struct machine *m,
                   const char *kernel, const struct schedule *s,
                   const struct op *op)
{
    int64_t n;

    if (op->kind != OP_ATTEND && op->kind != OP_ATTEND_BACKWARD)
        return op_seconds(m, kernel, s, op);
    /* Without segments it is rows that count. */
    pool_segments_get(s->pool, op->segments, &n);
    if (n == 0)
        return op_seconds(m, kernel, s, op);
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
    struct cost_key key = {
        op->kind, op->segments, o[0].tile.head_count,
        (int32_t)s->buffers[o[0].tile.buffer].dtype,
        s->buffers[o[0].tile.buffer].width, s->buffers[o[2].tile.buffer].width
    };
    uint64_t slot = hash_bytes(0, &key, sizeof key) % CACHE_SLOTS;
    if (c->seconds[slot] > 0
        && memcmp(&c->keys[slot], &key, sizeof key) == 0)
        return c->seconds[slot];
    c->keys[slot] = key;
    return c->seconds[slot] = op_seconds(m, kernel, s, op);
}
