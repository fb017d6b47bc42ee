/* SPDX-License-Identifier: Apache-2.0
 *
 * Rates of what computes besides attends: materialised scores, linear
 * attention; on a device what moves memory, too.  Each is an op of a schedule
 * of its own, called as the executor does. */
#include <config.h>

#include "mpi/calibrate_internal.h"
#include "run/compute.h"

#include <math.h>
#include <string.h>

/* Of a device, all at once. */
static int64_t heads_of(const struct calibration *c)
{
    return on_host(c) ? 8 : 32;
}

/* Buffers of a bench, and their widths in units of the head size. */
enum { Q, K, V, DO, OUT, PART1, PART2, O, DQ, DK, DV, LSE, LSE1, LSE2, STATE,
       SCORES, WEIGHTS };

struct product {
    enum op_kind kind;
    int n;
    struct {
        int buffer;
        enum access access;
    } operands[7];
};

#define R(b) { b, ACCESS_READ }
#define W(b) { b, ACCESS_WRITE }
#define X(b) { b, ACCESS_UPDATE }
static const struct product products[] = {
    { OP_SCORES, 3, { R(Q), R(K), W(SCORES) } },
    { OP_WEIGH, 3, { X(O), R(SCORES), R(V) } },
    { OP_WEIGH_TRANSPOSED, 3, { X(DV), R(SCORES), R(DO) } },
    { OP_SOFTMAX, 2, { W(LSE), X(SCORES) } },
    { OP_SOFTMAX_BACKWARD, 3, { X(SCORES), R(WEIGHTS), R(LSE) } },
    { OP_STATE, 3, { R(K), R(V), W(STATE) } },
    { OP_LINEAR_INTRA, 4, { R(Q), R(K), R(V), W(O) } },
    { OP_LINEAR_INTER, 3, { R(Q), R(STATE), X(O) } },
    { OP_LINEAR_INTRA_BACKWARD, 7,
      { R(Q), R(K), R(V), R(DO), W(DQ), W(DK), W(DV) } },
    { OP_LINEAR_INTER_DQ, 4, { R(Q), R(DO), R(STATE), X(DQ) } },
    { OP_LINEAR_INTER_DKV, 5, { R(K), R(V), R(STATE), X(DK), X(DV) } },
    /* Of these the bytes count. */
    { OP_DELTA, 3, { R(OUT), R(DO), W(LSE) } },
    { OP_MERGE, 6, { W(OUT), W(LSE), R(PART1), R(LSE1), R(PART2), R(LSE2) } },
    { OP_SUM, 2, { W(OUT), R(DQ) } },
    { OP_COPY, 2, { W(OUT), R(PART1) } },
};
#undef R
#undef W
#undef X
enum { PRODUCTS = sizeof products / sizeof *products };

/* A product of n rows on one rank, some times over, each of its own tensors:
 * what one finds in the cache is what the rest of a layer has left there. */
struct product_bench {
    const struct kernel_backend *kernel;
    struct pool *pool;
    struct job job;
    struct schedule *s;
    struct memory memory;
};

static struct tile bench_tile(struct schedule *s, int which, enum dtype dtype,
                              int64_t n, int64_t D)
{
    int inputs = which <= PART2;
    int64_t width = which == STATE ? D * D : which >= SCORES ? n
        : which >= LSE && which <= LSE2 ? 1 : D;

    return tile_whole(s, schedule_buffer(s, "", (struct buffer){
        .role = ROLE_SAVED, .map = -1, .rows = which == STATE ? 1 : n,
        .dtype = inputs ? dtype : DTYPE_FP32,
        .heads = (int32_t)s->job->transformer.heads,
        .width = (int32_t)width }));
}

static void fill(struct product_bench *b)
{
    for (int32_t i = 0; i < b->s->n_buffers; i++) {
        const struct buffer *x = &b->s->buffers[i];
        bench_fill(b->memory.device, memory_buffer(&b->memory, i), x->dtype,
                   x->rows * x->heads * x->width, (uint64_t)i + 1);
    }
}

/* One op more, of tensors of its own. */
static void add_op(struct schedule *s, const struct product *p,
                   enum dtype dtype, int64_t D, int64_t n)
{
    struct operand o[7];
    struct segment all = { 0, n, 0, n, BAND_LOW, BAND_HIGH };

    for (int i = 0; i < p->n; i++)
        o[i] = (struct operand){
            bench_tile(s, p->operands[i].buffer, dtype, n, D),
            p->operands[i].access
        };
    schedule_compute(s, p->kind, "", o, p->n,
                     pool_segments(s->pool, &all, 1));
}

/* So many that between two calls on the same tensors as much passes through the
 * cache as the host's layer has: Q, K, V, O and their gradients. */
static int64_t copies(const struct calibration *c, const struct schedule *s,
                      int64_t D, int64_t n)
{
    enum { LAYER = 8 };         /* tensors */
    int64_t layer = LAYER * n * heads_of(c) * D * (int64_t)sizeof(float);

    return on_host(c) ? 1 + layer / op_work(s, &s->ops[0]).memory_bytes : 1;
}

static void product_open(struct product_bench *b, const struct calibration *c,
                         const struct product *p, enum dtype dtype, int64_t D,
                         int64_t n)
{
    struct error e = { 0 };

    *b = (struct product_bench){ .kernel = c->kernel, .pool = pool_create() };
    b->job = (struct job){ .transformer = { .heads = heads_of(c),
                                            .head_dim = D },
                           .dtype = dtype, .attention = ATTENTION_LINEAR };
    if (job_finish(&b->job, &n, 1, &e) != 0)
        die("calibrate: %s", e.text);
    b->s = schedule_create(b->pool, &b->job, 1, 0);
    add_op(b->s, p, dtype, D, n);
    for (int64_t i = copies(c, b->s, D, n); i > 1; i--)
        add_op(b->s, p, dtype, D, n);
    schedule_freeze(b->s);
    if (memory_create(&b->memory, b->s, c->device, 0, &e) != 0)
        die("calibrate: %s", e.text);
    fill(b);
}

static void product_close(struct product_bench *b)
{
    memory_destroy(&b->memory);
    schedule_destroy(b->s);
    job_clear(&b->job);
    pool_destroy(b->pool);
}

static void product_call(void *arg)
{
    struct product_bench *b = arg;

    for (int64_t i = 0; i < b->s->n_ops; i++)
        compute_op(b->s, &b->s->ops[i], &b->memory, b->kernel,
                   (struct poll){ 0 });
}

/* ---- Rates -------------------------------------------------------------- */

/* As in a job, most of them more than a cache takes. [on a device][quick] */
static const struct {
    int64_t n, rows[7], most_scores;
} sizes[2][2] = {
    { { 7, { 16, 64, 256, 512, 1024, 2048, 8192 }, 2048 },
      { 3, { 64, 512, 4096 }, 1024 } },
    { { 7, { 256, 512, 1024, 2048, 8192, 16384, 65536 }, 8192 },
      { 4, { 512, 2048, 8192, 32768 }, 8192 } },
};

/* Scores are as wide as they are long. */
static int64_t most_rows(const struct calibration *c, const struct product *p)
{
    for (int i = 0; i < p->n; i++)
        if (p->operands[i].buffer >= SCORES)
            return sizes[!on_host(c)][c->request->quick].most_scores;
    return INT64_MAX;
}

static struct rate measure_rate(const struct calibration *c,
                                const struct product *p, enum dtype dtype,
                                int64_t D)
{
    struct rate r = { .dtype = dtype, .head_dim = D, .value_dim = D,
                      .heads = on_host(c) ? 0 : heads_of(c) };
    int64_t n = sizes[!on_host(c)][c->request->quick].n, cap = 0;
    const int64_t *rows = sizes[!on_host(c)][c->request->quick].rows;

    snprintf(r.op, sizeof r.op, "%s", op_names[p->kind]);
    snprintf(r.kernel, sizeof r.kernel, "%s", c->kernel->name);
    for (int64_t i = 0; i < n; i++) {
        struct product_bench b;
        int64_t at = min64(rows[i], most_rows(c, p));
        if (r.n && at <= r.points[r.n - 1].rows)
            break;
        product_open(&b, c, p, dtype, D, at);
        MPI_Barrier(c->comm);
        double seconds = mean_over_ranks(c, time_call(c, product_call, &b)
                                         / (double)b.s->n_ops);
        struct rate_point point = {
            at, digits(op_work(b.s, &b.s->ops[0]).flops / seconds)
        };
        product_close(&b);
        ARRAY_PUSH(r.points, r.n, cap, point);
        if (seconds > 0.25)     /* a slow kernel: eight times as long, next */
            break;
    }
    say(c, "%s %s, head size %d: %.1f Gflop/s at %d rows", r.op,
        dtype_name(dtype), (int)D, r.points[r.n - 1].flops * 1e-9,
        (int)r.points[r.n - 1].rows);
    return r;
}

void calibrate_products(const struct calibration *c, enum dtype dtype,
                        int64_t head_dim)
{
    struct machine *m = c->m;
    int64_t cap = m->n_rates;

    for (int i = 0; i < PRODUCTS; i++)
        if (!on_host(c) || products[i].kind >= OP_SCORES)
            ARRAY_PUSH(m->rates, m->n_rates, cap,
                       measure_rate(c, &products[i], dtype, head_dim));
}
