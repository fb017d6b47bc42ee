/* SPDX-License-Identifier: Apache-2.0
 *
 * What computes: attends over a grid of block shapes, and copies in memory. */
#include <config.h>

#include "mpi/calibrate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- One block ---------------------------------------------------------- */

enum { KV_HEADS = 2 };          /* of the layer whose first group is attended */

struct block_bench {
    const struct kernel_backend *kernel;
    int backward;
    int64_t group, rows;
    struct attend_args args;
    struct segment segment;
};

void bench_fill(void *data, enum dtype dtype, int64_t n, uint64_t seed)
{
    enum { PERIOD = 4093 };     /* prime: no two rows alike */
    float values[PERIOD];

    for (int i = 0; i < PERIOD; i++) {
        uint64_t h = hash_u64(seed, (uint64_t)i);
        float sum = 0;          /* of four uniform in [-1, 1) */
        for (int j = 0; j < 4; j++)
            sum += (float)(int16_t)(h >> 16 * j) / 32768.0f;
        values[i] = sum * 0.87f;
    }
    for (int64_t i = 0; i < n; i += PERIOD)
        convert((char *)data + (size_t)i * dtype_size(dtype), dtype, values,
                DTYPE_FP32, min64(PERIOD, n - i));
}

/* Head group 0 of [rows, heads, width], filled with N(0, 1)-like numbers. */
static struct tensor make_tensor(enum dtype dtype, int64_t rows, int64_t heads,
                                 int64_t taken, int64_t width, uint64_t seed)
{
    int64_t n = rows * heads * width;
    struct tensor t = { xalign((size_t)n * dtype_size(dtype)), dtype, rows,
                        heads * width, (int32_t)taken, (int32_t)width, 0 };

    bench_fill(t.data, dtype, n, seed);
    return t;
}

struct block_bench *block_bench_create(const struct calibration *c,
                                       enum dtype dtype, int64_t head_dim,
                                       int64_t group, int64_t Hk,
                                       int64_t rows, int64_t keys)
{
    struct block_bench *b = xcalloc(1, sizeof *b);
    int64_t H = Hk * group, D = head_dim;

    b->kernel = c->kernel;
    b->group = group;
    b->rows = rows;
    b->args = (struct attend_args){
        .q = make_tensor(dtype, rows, H, group, D, 1),
        .k = make_tensor(dtype, keys, Hk, 1, D, 2),
        .v = make_tensor(dtype, keys, Hk, 1, D, 3),
        .o = make_tensor(DTYPE_FP32, rows, H, group, D, 4),
        .lse = make_tensor(DTYPE_FP32, rows, H, group, 1, 5),
        .d_o = make_tensor(dtype, rows, H, group, D, 6),
        .delta = make_tensor(DTYPE_FP32, rows, H, group, 1, 7),
        .dq = make_tensor(DTYPE_FP32, rows, H, group, D, 8),
        .dk = make_tensor(DTYPE_FP32, keys, Hk, 1, D, 9),
        .dv = make_tensor(DTYPE_FP32, keys, Hk, 1, D, 10),
        .store_dk = 1, .store_dv = 1, .group = group,
        .scale = 1 / sqrtf((float)D), .segments = &b->segment,
        .n_segments = 1,
    };
    return b;
}

void block_bench_destroy(struct block_bench *b)
{
    struct tensor *t[] = { &b->args.q, &b->args.k, &b->args.v, &b->args.o,
                           &b->args.lse, &b->args.d_o, &b->args.delta,
                           &b->args.dq, &b->args.dk, &b->args.dv };

    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        free(t[i]->data);
    free(b);
}

void block_bench_shape(struct block_bench *b, enum block_kind kind,
                       int backward, int64_t q, int64_t k)
{
    struct attend_args *a = &b->args;

    b->segment = (struct segment){
        0, q, 0, k, kind == BLOCK_CAUSAL ? 0 : BAND_LOW, BAND_HIGH
    };
    a->q.rows = a->o.rows = a->lse.rows = a->d_o.rows = q;
    a->delta.rows = a->dq.rows = q;
    a->k.rows = a->v.rows = a->dk.rows = a->dv.rows = k;
    /* Backward needs this block's own lse; forward then merges into it. */
    a->store = 1;
    b->kernel->attend(a);
    b->kernel->delta(a->o, a->d_o, a->delta);
    a->store = kind == BLOCK_CAUSAL;
    b->backward = backward;
}

void block_bench_poll(struct block_bench *b, struct poll poll)
{
    b->args.poll = poll;
}

void block_bench_call(void *bench)
{
    struct block_bench *b = bench;

    if (b->backward)
        b->kernel->attend_backward(&b->args);
    else
        b->kernel->attend(&b->args);
}

/* ---- Surfaces ----------------------------------------------------------- */

/* Rows and keys; the last one for causal squares only. */
static const int64_t grid_quick[] = { 64, 256, 1024, 2048, 4096 };
static const int64_t grid_full[] = { 16, 64, 256, 512, 1024, 2048, 4096, 8192 };

static const int64_t *grid(const struct calibration *c, int64_t *n)
{
    *n = c->request->quick ? sizeof grid_quick / sizeof *grid_quick
                           : sizeof grid_full / sizeof *grid_full;
    return c->request->quick ? grid_quick : grid_full;
}

/* A call longer than this ends a surface (slow kernels). */
static double longest_seconds(const struct calibration *c)
{
    return c->request->quick ? 1 : 5;
}

static double time_block(const struct calibration *c, struct block_bench *b,
                         enum block_kind kind, int backward, int64_t q,
                         int64_t k)
{
    block_bench_shape(b, kind, backward, q, k);
    MPI_Barrier(c->comm);
    return mean_over_ranks(c, time_call(c, block_bench_call, b)
                           / (double)b->group);
}

static struct surface empty_surface(const struct block_bench *b,
                                    enum block_kind kind, int backward)
{
    struct surface s = { .dtype = b->args.q.dtype, .block = kind,
                         .head_dim = b->args.q.width,
                         .value_dim = b->args.v.width, .group = b->group };

    snprintf(s.op, sizeof s.op, "%s",
             op_names[backward ? OP_ATTEND_BACKWARD : OP_ATTEND]);
    snprintf(s.kernel, sizeof s.kernel, "%s", b->kernel->name);
    return s;
}

/* Squares up to the grid's last, or to the first that takes too long. */
static struct surface measure_causal(const struct calibration *c,
                                     struct block_bench *b, int backward)
{
    struct surface s = empty_surface(b, BLOCK_CAUSAL, backward);
    int64_t n, cap = 0;
    const int64_t *at = grid(c, &n);

    for (int64_t i = 0; i < n; i++) {
        double growth = i ? (double)(at[i] * at[i])
            / (double)(at[i - 1] * at[i - 1]) : 0;
        if (i && s.points[i - 1].seconds * (double)b->group * growth
            > longest_seconds(c))
            break;
        struct surface_point p = {
            at[i], at[i],
            time_block(c, b, BLOCK_CAUSAL, backward, at[i], at[i])
        };
        ARRAY_PUSH(s.points, s.n, cap, p);
    }
    return s;
}

/* The grid of the `n` first sizes. */
static struct surface measure_full(const struct calibration *c,
                                   struct block_bench *b, int backward,
                                   int64_t n)
{
    struct surface s = empty_surface(b, BLOCK_FULL, backward);
    int64_t all, cap = 0;
    const int64_t *at = grid(c, &all);

    n = min64(n, all - 1);
    for (int64_t i = 0; i < n * n; i++) {
        int64_t q = at[i / n], k = at[i % n];
        struct surface_point p = {
            q, k, time_block(c, b, BLOCK_FULL, backward, q, k)
        };
        ARRAY_PUSH(s.points, s.n, cap, p);
    }
    return s;
}

/* Rows of a decode step; keys up to 64 MiB of K and V, each 8 or 4 times the one
 * before. */
static struct surface measure_few(const struct calibration *c,
                                  enum dtype dtype, int64_t D, int64_t group)
{
    static const int64_t rows[] = { 1, 4, 16 };
    enum { ROWS = sizeof rows / sizeof *rows };
    const int64_t most = (64 << 20) / (2 * D * (int64_t)dtype_size(dtype));
    int step = c->request->quick ? 3 : 2, n = c->request->quick ? 4 : 6;
    struct block_bench *b = block_bench_create(c, dtype, D, group, 1,
                                               rows[ROWS - 1], most);
    struct surface s = empty_surface(b, BLOCK_FEW, 0);
    int64_t cap = 0;

    for (int i = 0; i < ROWS * n; i++) {
        struct surface_point p = {
            rows[i / n], max64(1, most >> step * (n - 1 - i % n)), 0
        };
        p.seconds = time_block(c, b, BLOCK_FEW, 0, p.q, p.k);
        ARRAY_PUSH(s.points, s.n, cap, p);
    }
    block_bench_destroy(b);
    return s;
}

static void report_surface(const struct calibration *c,
                           const struct surface *s)
{
    const struct surface_point *p = &s->points[s->n - 1];
    double D = (double)s->head_dim, pairs = (double)(p->q * p->k);

    if (s->block == BLOCK_CAUSAL)
        pairs = 0.5 * (double)p->q * (double)(p->q + 1);
    double flops = pairs * (strcmp(s->op, "attend") ? 10 * D : 4 * D);
    say(c, "%s %s, head size %d, group %d, %s: %.1f Gflop/s at %d x %d, "
        "cross-validated error %.1f %%", s->op, dtype_name(s->dtype),
        (int)s->head_dim, (int)s->group, block_names[s->block],
        flops / p->seconds * 1e-9, (int)p->q, (int)p->k,
        100 * surface_cross_error(s));
}

static void measure_surfaces(const struct calibration *c,
                             struct block_bench *b)
{
    struct machine *m = c->m;
    int64_t cap = m->n_surfaces;
    struct surface few = measure_few(c, b->args.q.dtype, b->args.q.width,
                                     b->group);

    for (int backward = 0; backward < 2; backward++) {
        struct surface causal = measure_causal(c, b, backward);
        report_surface(c, &causal);
        struct surface full = measure_full(c, b, backward, causal.n);
        report_surface(c, &full);
        ARRAY_PUSH(m->surfaces, m->n_surfaces, cap, full);
        ARRAY_PUSH(m->surfaces, m->n_surfaces, cap, causal);
    }
    report_surface(c, &few);
    ARRAY_PUSH(m->surfaces, m->n_surfaces, cap, few);
}

/* ---- Around a block ----------------------------------------------------- */

static void count_poll(void *arg)
{
    ++*(int64_t *)arg;
}

/* Seconds between two looks of a computing core. */
static double poll_interval(const struct calibration *c, struct block_bench *b)
{
    int64_t polls = 0;
    double seconds = 0;

    for (int backward = 0; backward < 2; backward++) {
        block_bench_shape(b, BLOCK_FULL, backward, 1024, 1024);
        block_bench_poll(b, (struct poll){ count_poll, &polls });
        double start = core_seconds();
        block_bench_call(b);
        seconds += core_seconds() - start;
        block_bench_poll(b, (struct poll){ 0 });
    }
    return mean_over_ranks(c, polls ? seconds / (double)polls : seconds);
}

/* Time of a block with the other cores idle / with all at work, in turns. */
static double alone_ratio(const struct calibration *c, struct block_bench *b)
{
    enum { TURNS = 5 };
    double together[TURNS], alone[TURNS] = { 0 };

    block_bench_shape(b, BLOCK_FULL, 0, 1024, 1024);
    for (int i = 0; i < TURNS; i++) {
        MPI_Barrier(c->comm);
        together[i] = time_call(c, block_bench_call, b);
        quiet_barrier(c);
        if (c->rank == 0)
            alone[i] = time_call(c, block_bench_call, b);
        quiet_barrier(c);
    }
    double ratio = quartile(alone, TURNS) / quartile(together, TURNS);
    ratio = digits(fmin(1, ratio));
    MPI_Bcast(&ratio, 1, MPI_DOUBLE, 0, c->comm);
    return c->ranks > 1 ? ratio : 1;
}

struct copy_bench {
    const struct kernel_backend *kernel;
    struct tensor to, from;
};

static void copy_call(void *arg)
{
    struct copy_bench *b = arg;

    b->kernel->sum(b->to, 1, &b->from, 1);
}

/* Bytes read and written a second by what a schedule's sums and casts call. */
static double memory_bandwidth(const struct calibration *c)
{
    enum { ROWS = 1024, HEADS = 8, WIDTH = 64 };
    struct copy_bench b = {
        c->kernel, make_tensor(DTYPE_FP32, ROWS, HEADS, HEADS, WIDTH, 1),
        make_tensor(DTYPE_FP32, ROWS, HEADS, HEADS, WIDTH, 2)
    };

    MPI_Barrier(c->comm);
    double seconds = mean_over_ranks(c, time_call(c, copy_call, &b));
    free(b.to.data);
    free(b.from.data);
    return digits(2.0 * ROWS * HEADS * WIDTH * 4 / seconds);
}

static double mean_error(const struct machine *m)
{
    double sum = 0;

    for (int64_t i = 0; i < m->n_surfaces; i++)
        sum += surface_cross_error(&m->surfaces[i]) / (double)m->n_surfaces;
    return isnan(sum) ? 0 : digits(sum);
}

void calibrate_compute(const struct calibration *c)
{
    static const int64_t head_dims[] = { 64, 128 }, groups[] = { 1, 4 };
    static const enum dtype fp32 = DTYPE_FP32;
    const struct calibrate_request *r = c->request;
    const enum dtype *dtypes = r->dtypes ? r->dtypes : &fp32;
    const int64_t *dims = r->head_dims ? r->head_dims : head_dims;
    const int64_t *group = r->groups ? r->groups : groups;
    int64_t n_dtypes = r->dtypes ? r->n_dtypes : 1, n;
    int64_t n_dims = r->head_dims ? r->n_head_dims : 2;
    int64_t n_groups = r->groups ? r->n_groups : 2;
    int64_t most = grid(c, &n)[n - 1];

    for (int64_t t = 0; t < n_dtypes; t++)
        for (int64_t d = 0; d < n_dims; d++)
            for (int64_t g = 0; g < n_groups; g++) {
                struct block_bench *b = block_bench_create(
                    c, dtypes[t], dims[d], group[g], KV_HEADS, most, most);
                measure_surfaces(c, b);
                if (t == 0 && d == 0 && g == 0) {
                    c->m->poll_interval = poll_interval(c, b);
                    c->m->alone_ratio = alone_ratio(c, b);
                }
                block_bench_destroy(b);
            }
    for (int64_t t = 0; t < n_dtypes; t++)
        for (int64_t d = 0; d < n_dims; d++)
            calibrate_products(c, dtypes[t], dims[d]);
    c->m->memory_bandwidth = memory_bandwidth(c);
    c->m->fit_error = mean_error(c->m);
    say(c, "memory %.1f GB/s; a look at messages every %.1f us; a block alone "
        "takes %.2f of its time among %d ranks",
        c->m->memory_bandwidth * 1e-9, c->m->poll_interval * 1e6,
        c->m->alone_ratio, c->ranks);
}
