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
 * which gives both measured kinds back exactly.  A block whose last row sees
 * all keys is of a kind of its own where the machine has it.  Few rows, as in
 * decode, take the time of their keys and values, measured on a surface of their
 * own: how long those of one head are in the same cache as those of all heads
 * here.
 *
 * Other ops take their flops at the measured rate of their kind, which a host
 * was found to have where a call finds as little in the cache as between the
 * other ops of a layer; products of which the machine has none at that of a full
 * block of attention of their size, the rest as long as their bytes.
 *
 * Where all heads are computed at once, surfaces are of results stored in the
 * job's dtype: those in fp32, and those added to, take more by element. */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct attend_shape {
    const struct machine *m;
    const char *op, *kernel;
    struct block_shape shape;
    int64_t kv_heads;
};

static double block(const struct attend_shape *a, enum block_kind kind,
                    int64_t q, int64_t k)
{
    return machine_block_seconds(a->m, a->op, a->kernel, &a->shape, kind, q,
                                 k);
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

/* K and V of all heads, as many keys of one head, in one memory; heads at once
 * were measured so. */
static double few(const struct attend_shape *a, const struct segment *g)
{
    double all = (double)g->q_count * (double)g->k_count;
    const struct surface *s = machine_surface(a->m, a->op, a->kernel,
                                              &a->shape, BLOCK_FEW);
    int64_t heads = s != NULL && s->heads ? 1 : a->kv_heads;

    return block(a, BLOCK_FEW, g->q_count, g->k_count * heads)
        / (double)heads * (double)segment_pairs(g) / all;
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
    if (high == 0 && g->low == g->q_count - g->k_count
        && machine_surface(a->m, a->op, a->kernel, &a->shape, BLOCK_CORNER))
        return block(a, BLOCK_CORNER, g->q_count, g->k_count);
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

/* Rows of a result that the segments touch: of dk and dv, of keys. */
static double rows_touched(const struct segment *list, int64_t n, int of_keys)
{
    double rows = 0;

    for (int64_t i = 0; i < n; i++)
        rows += (double)(of_keys ? list[i].k_count : list[i].q_count);
    return rows;
}

/* What results in fp32, or added to, take more: operands from the fourth on
 * that are written. */
static double result_seconds(const struct attend_shape *a,
                             const struct schedule *s, const struct operand *o,
                             int64_t n, const struct segment *list,
                             int64_t segments)
{
    const struct surface *x = machine_surface(a->m, a->op, a->kernel,
                                              &a->shape, BLOCK_FULL);
    double update = x && x->heads ? x->update : 0, seconds = 0;
    double store = x && x->heads ? x->store_fp32 : 0;

    if (a->m->merge > 0)
        update = store = a->m->merge;
    for (int64_t i = 3; i < n; i++) {
        const struct buffer *b = &s->buffers[o[i].tile.buffer];
        double elements = rows_touched(list, segments, i >= 7)
            * o[i].tile.head_count * b->width;
        if (o[i].access == ACCESS_UPDATE)
            seconds += elements * update;
        else if (o[i].access == ACCESS_WRITE && b->width > 1
                 && b->dtype != a->shape.dtype)
            seconds += elements * store;
    }
    return seconds;
}

static struct attend_shape attend_shape(const struct machine *m,
                                        const char *kernel,
                                        const struct schedule *s,
                                        const struct op *op,
                                        const struct operand *o)
{
    const struct buffer *q = &s->buffers[o[0].tile.buffer];

    return (struct attend_shape){
        m, op_names[op->kind], kernel,
        { q->dtype, q->width, s->buffers[o[2].tile.buffer].width,
          job_group(s->job), o[0].tile.head_count },
        o[1].tile.head_count
    };
}

static double segments_seconds(const struct attend_shape *a, int64_t ranks,
                               const struct segment *list, int64_t n)
{
    double seconds = 0;

    for (int64_t i = 0; i < n; i++)
        seconds += segment_seconds(a, &list[i]);
    return seconds * (double)a->shape.heads * crowding(a->m, ranks);
}

double attend_block_seconds(const struct machine *m, enum op_kind kind,
                            const char *kernel,
                            const struct block_shape *shape, int64_t kv_heads,
                            int64_t ranks, const struct segment *list,
                            int64_t n)
{
    struct attend_shape a = { m, op_names[kind], kernel, *shape, kv_heads };

    return segments_seconds(&a, ranks, list, n);
}

static double attend_seconds(const struct machine *m, const char *kernel,
                             const struct schedule *s, const struct op *op)
{
    int64_t n, count;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &count);
    const struct segment *list = pool_segments_get(s->pool, op->segments, &n);
    struct attend_shape a = attend_shape(m, kernel, s, op, o);

    return segments_seconds(&a, s->ranks, list, n)
        + result_seconds(&a, s, o, count, list, n);
}

static double memory_seconds(const struct machine *m, const struct schedule *s,
                             const struct op *op)
{
    return m->memory_bandwidth > 0
        ? (double)op_work(s, op).memory_bytes / m->memory_bandwidth : 0;
}

/* The slowest PCIe link; 0: there is none. */
static double pcie_bandwidth(const struct graph *g)
{
    double least = 0;

    for (int64_t i = 0; g && i < g->n_edges; i++) {
        const struct edge *edge = &g->edges[i];
        double b = fmin(edge->bandwidth[0], edge->bandwidth[1]);
        if (edge->type == EDGE_PCIE && isfinite(b) && (least <= 0 || b < least))
            least = b;
    }
    return least;
}

/* Between a device and its host: as measured, as fast as a block of so many
 * bytes, else over PCIe. */
static double stage_seconds(const struct machine *m, const struct schedule *s,
                            const struct op *op)
{
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
    int64_t bytes = (int64_t)tile_bytes(s, o[0].tile);
    double rate = machine_copy_bandwidth(m, op->kind == OP_STAGE_OUT
                                         ? COPY_TO_HOST : COPY_FROM_HOST,
                                         bytes);

    if (rate <= 0)
        rate = pcie_bandwidth(m->graph);
    return rate > 0 ? (double)bytes / rate : memory_seconds(m, s, op);
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
    struct block_shape shape = { s->job->dtype, t->head_dim, t->value_dim,
                                 job_group(s->job), o[0].tile.head_count };
    double seconds = machine_block_seconds(m, op_names[OP_ATTEND], kernel,
                                           &shape, BLOCK_FULL, rows, keys);
    double flops = 2.0 * (double)(t->head_dim + t->value_dim) * (double)rows
        * (double)keys;
    return seconds > 0 ? flops / seconds : 0;
}

/* Measured, or of their bytes if that is longer: rates of bytes are of heads at
 * once only. */
static double rated_seconds(const struct machine *m, const char *kernel,
                            const struct schedule *s, const struct op *op)
{
    const struct transformer *t = &s->job->transformer;
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
    int64_t rows = tile_row_count(s, o[0].tile);
    struct block_shape shape = { s->job->dtype, t->head_dim, t->value_dim,
                                 job_group(s->job), o[0].tile.head_count };
    double rate = machine_rate(m, op_names[op->kind], kernel, &shape, rows);
    double bytes = memory_seconds(m, s, op);

    if (m->devices && rate > 0)
        bytes = 0;
    if (rate <= 0 && op_is_product(op))
        rate = block_rate(m, kernel, s, op, rows);
    return fmax(bytes, rate > 0 ? op_work(s, op).flops / rate
                       * crowding(m, s->ranks) : 0);
}

double op_seconds(const struct machine *m, const char *kernel,
                  const struct schedule *s, const struct op *op)
{
    int attends = op->kind == OP_ATTEND || op->kind == OP_ATTEND_BACKWARD;

    if (op->kind == OP_SEND || op->kind == OP_RECV
        || op->kind == OP_COLLECTIVE)
        return 0;
    if (op->kind == OP_STAGE_OUT || op->kind == OP_STAGE_IN)
        return m->op_overhead + stage_seconds(m, s, op);
    if (!attends)
        return m->op_overhead + rated_seconds(m, kernel, s, op);
    double seconds = memory_seconds(m, s, op);
    if (op_work(s, op).pairs > 0)
        seconds = fmax(seconds, attend_seconds(m, kernel, s, op));
    return m->op_overhead + seconds;
}

/* A product without rates is timed as an attend. */
static int can_time(const struct machine *m, enum op_kind kind,
                    const char *kernel, struct error *e)
{
    const struct op op = { .kind = (uint8_t)kind };
    const struct block_shape any = { DTYPE_FP32, 64, 64, 1, 1 };

    if (!op_is_product(&op))
        return 0;
    if (machine_rate(m, op_names[kind], kernel, &any, 64) > 0)
        return 0;
    return machine_has_surface(m, op_names[kind == OP_ATTEND_BACKWARD
                                           ? OP_ATTEND_BACKWARD : OP_ATTEND],
                               kernel, e);
}

int costs_known(const struct machine *m, const char *kernel,
                const int64_t kinds[OP_KINDS], struct error *e)
{
    for (int k = 0; k < OP_KINDS; k++)
        if (kinds[k] && can_time(m, (enum op_kind)k, kernel, e) != 0)
            return -1;
    int within = m->devices == 1 && machine_copy_bandwidth(m, COPY_DEVICE, 1);
    if (kinds[OP_SEND] + kinds[OP_RECV] + kinds[OP_COLLECTIVE] && !m->link.n
        && !m->graph && !within)
        return fail(e, "machine %s: no link: messages cannot be timed",
                    m->name);
    return 0;
}

int simulate_ready(const struct schedule *const *schedules, int64_t ranks,
                   const struct machine *m, const char *kernel,
                   struct error *e)
{
    int64_t kinds[OP_KINDS] = { 0 };

    for (int64_t r = 0; r < ranks; r++)
        for (int64_t i = 0; i < schedules[r]->n_ops; i++)
            kinds[schedules[r]->ops[i].kind]++;
    return costs_known(m, kernel, kinds, e);
}

/* ---- Cache -------------------------------------------------------------- */

/* What the time of an attend depends on. */
struct cost_key {
    int32_t kind, segments, heads;
    int32_t dtype, head_dim, value_dim;
    int32_t results;            /* how they are stored */
};
enum { CACHE_SLOTS = 4096 };
struct cost_cache {
    struct cost_key keys[CACHE_SLOTS];
    int32_t index[CACHE_SLOTS];         /* + 1; 0: empty */
};

struct cost_cache *cost_cache_create(void)
{
    return xcalloc(1, sizeof(struct cost_cache));
}

void cost_cache_destroy(struct cost_cache *c)
{
    free(c);
}

static int32_t results_key(const struct schedule *s, const struct operand *o,
                           int64_t n)
{
    uint32_t key = 0;

    for (int64_t i = 3; i < n; i++)
        key = 16 * key + 4 * (uint32_t)o[i].access
            + (uint32_t)s->buffers[o[i].tile.buffer].dtype;
    return (int32_t)key;
}

static int32_t add_seconds(struct simulation *sim, const struct schedule *s,
                           const struct op *op)
{
    double seconds = op_seconds(sim->m, sim->o.kernel, s, op);

    ARRAY_PUSH(sim->seconds, sim->n_seconds, sim->seconds_cap, seconds);
    return (int32_t)(sim->n_seconds - 1);
}

int32_t cost_index(struct simulation *sim, const struct schedule *s,
                   const struct op *op)
{
    struct cost_cache *c = sim->costs;
    int64_t n;

    if (op->kind != OP_ATTEND && op->kind != OP_ATTEND_BACKWARD)
        return add_seconds(sim, s, op);
    /* Without segments it is rows that count. */
    pool_segments_get(s->pool, op->segments, &n);
    if (n == 0)
        return add_seconds(sim, s, op);
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
    struct cost_key key = {
        op->kind, op->segments, o[0].tile.head_count,
        (int32_t)s->buffers[o[0].tile.buffer].dtype,
        s->buffers[o[0].tile.buffer].width,
        s->buffers[o[2].tile.buffer].width, results_key(s, o, n)
    };
    uint64_t slot = hash_bytes(0, &key, sizeof key) % CACHE_SLOTS;
    if (!c->index[slot] || memcmp(&c->keys[slot], &key, sizeof key) != 0) {
        c->keys[slot] = key;
        c->index[slot] = add_seconds(sim, s, op) + 1;
    }
    return c->index[slot] - 1;
}

/* ---- What it leans on ---------------------------------------------------- */

/* The block that most of a segment's time is of: edges left aside. */
static struct block_time main_block(const struct attend_shape *a,
                                  const struct segment *g)
{
    int64_t k = max64(1, llround((double)segment_pairs(g)
                                 / (double)g->q_count));
    enum block_kind kind = BLOCK_FULL;

    if (g->q_count <= MAX_QUERIES)
        kind = BLOCK_FEW;
    else if (g->high >= BAND_HIGH && g->low == 0 && g->q_count == g->k_count)
        kind = BLOCK_CAUSAL;
    return machine_estimate(a->m, a->op, a->kernel, &a->shape, kind,
                            g->q_count, kind == BLOCK_FULL ? k : g->k_count);
}

static const struct segment *largest_of(const struct segment *list, int64_t n)
{
    const struct segment *best = list;

    for (int64_t i = 1; i < n; i++)
        if (segment_pairs(&list[i]) > segment_pairs(best))
            best = &list[i];
    return best;
}

static void lean_on(struct leans *l, enum op_kind op, struct block_time x,
                    double seconds)
{
    int64_t i = 0;

    while (i < l->n && (l->items[i].op != op || l->items[i].how != x.how
                        || l->items[i].point != x.point))
        i++;
    if (i == l->n) {
        struct lean new = { op, x.how, x.surface, x.point, 0, 0, x.low,
                            x.high };
        ARRAY_PUSH(l->items, l->n, l->cap, new);
    }
    l->items[i].ops++;
    l->items[i].seconds += seconds;
}

static int by_seconds(const void *a, const void *b)
{
    double x = ((const struct lean *)a)->seconds;
    double y = ((const struct lean *)b)->seconds;

    return (x < y) - (x > y);
}

void cost_leans(const struct machine *m, const char *kernel,
                const struct schedule *s, struct leans *l)
{
    int64_t n, count;

    for (int32_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind != OP_ATTEND && op->kind != OP_ATTEND_BACKWARD)
            continue;
        const struct operand *o = pool_operands_get(s->pool, op->operands,
                                                    &count);
        const struct segment *list = pool_segments_get(s->pool, op->segments,
                                                       &n);
        if (n == 0)
            continue;
        struct attend_shape a = attend_shape(m, kernel, s, op, o);
        lean_on(l, (enum op_kind)op->kind, main_block(&a, largest_of(list, n)),
                op_seconds(m, kernel, s, op));
    }
    if (l->n > 0)
        qsort(l->items, (size_t)l->n, sizeof *l->items, by_seconds);
}
