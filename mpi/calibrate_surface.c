/* SPDX-License-Identifier: Apache-2.0
 *
 * Surfaces: attends over a grid of block shapes. */
#include <config.h>

#include "mpi/calibrate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows and keys, ascending; the last one for causal squares only. */
struct grid {
    int64_t n;
    const int64_t *at;
};
#define GRID(...)                                                             \
    { sizeof (const int64_t[]){ __VA_ARGS__ } / sizeof (int64_t),             \
      (const int64_t[]){ __VA_ARGS__ } }

/* [on a device][quick][coarse] */
static const struct grid grids[2][2][2] = {
    { { GRID(16, 64, 256, 512, 1024, 2048, 4096, 8192),
        GRID(16, 64, 256, 512, 1024, 2048, 4096, 8192) },
      { GRID(64, 256, 1024, 2048, 4096), GRID(64, 256, 1024, 2048, 4096) } },
    { { GRID(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536),
        GRID(1024, 4096, 16384, 65536) },
      { GRID(1024, 4096, 8192, 16384, 32768), GRID(1024, 8192, 32768) } },
};

static const struct grid *grid_of(const struct calibration *c, int coarse)
{
    return &grids[!on_host(c)][c->request->quick][coarse];
}

/* A call longer than this ends a surface (slow kernels). */
static double longest_seconds(const struct calibration *c)
{
    return on_host(c) ? c->request->quick ? 1 : 5
                      : c->request->quick ? 0.1 : 0.5;
}

/* ---- Points ------------------------------------------------------------- */

static double time_block(const struct calibration *c, struct block_bench *b,
                         enum block_kind kind, int backward, int64_t q,
                         int64_t k)
{
    block_bench_shape(b, kind, backward, q, k);
    MPI_Barrier(c->comm);
    double seconds = on_host(c) ? time_call(c, block_bench_call, b)
        : device_time_cold(c, block_bench_call, b);
    return mean_over_ranks(c, seconds / (double)block_bench_heads(b));
}

/* Squares up to the grid's last, or to the first that takes too long. */
static struct surface measure_causal(const struct calibration *c,
                                     struct block_bench *b, int backward,
                                     const struct grid *g)
{
    struct surface s = block_bench_surface(b, BLOCK_CAUSAL, backward);
    int64_t cap = 0;

    for (int64_t i = 0; i < g->n; i++) {
        double growth = i ? (double)(g->at[i] * g->at[i])
            / (double)(g->at[i - 1] * g->at[i - 1]) : 0;
        if (i && s.points[i - 1].seconds * (double)block_bench_heads(b)
            * growth > longest_seconds(c))
            break;
        struct surface_point p = {
            g->at[i], g->at[i],
            time_block(c, b, BLOCK_CAUSAL, backward, g->at[i], g->at[i])
        };
        ARRAY_PUSH(s.points, s.n, cap, p);
    }
    return s;
}

/* The grid of the `n` first sizes. */
static struct surface measure_grid(const struct calibration *c,
                                   struct block_bench *b, enum block_kind kind,
                                   int backward, const struct grid *g,
                                   int64_t n)
{
    struct surface s = block_bench_surface(b, kind, backward);
    int64_t cap = 0;

    for (int64_t i = 0; i < n * n; i++) {
        int64_t q = g->at[i / n], k = g->at[i % n];
        struct surface_point p = {
            q, k, time_block(c, b, kind, backward, q, k)
        };
        ARRAY_PUSH(s.points, s.n, cap, p);
    }
    return s;
}

/* What results in fp32, and added ones, take more, by element. */
static void measure_results(const struct calibration *c, struct block_bench *b,
                            int backward, struct surface *s)
{
    enum { SIZE = 4096 };
    double t[3], elements = 0;

    if (on_host(c))
        return;
    for (int i = RESULTS_STORED; i <= RESULTS_ADDED; i++) {
        block_bench_results(b, (enum bench_results)i);
        t[i] = time_block(c, b, BLOCK_FULL, backward, SIZE, SIZE)
            * (double)block_bench_heads(b);
        elements = block_bench_elements(b);
    }
    block_bench_results(b, RESULTS_STORED);
    s->store_fp32 = digits(fmax(0, t[RESULTS_FP32] - t[RESULTS_STORED])
                           / elements);
    s->update = digits(fmax(0, t[RESULTS_ADDED] - t[RESULTS_STORED])
                       / elements);
}

/* Rows of a decode step; keys up to 64 MiB of K and V of a host, 1 GiB of a
 * device, and down from there in steps of 2, where caches end, or more. */
static struct surface measure_few(const struct calibration *c,
                                  const struct bench_shape *shape)
{
    static const int64_t rows[] = { 1, 4, 16 };
    static const int shifts[] = { 10, 8, 6, 4, 3, 2, 1, 0 };
    static const int quick[] = { 9, 6, 3, 0 };
    enum { ROWS = sizeof rows / sizeof *rows };
    struct bench_shape one = *shape;
    int64_t key = 2 * shape->head_dim * (int64_t)dtype_size(shape->dtype);
    int64_t bytes = 64 << 20;
    const int *shift = c->request->quick ? quick : shifts;
    int n = c->request->quick ? sizeof quick / sizeof *quick
        : sizeof shifts / sizeof *shifts;

    if (on_host(c)) {
        one.heads = 0;          /* its keys stand for those of all heads */
    } else {
        bytes = 1 << 30;
        key *= shape->heads / shape->group;
    }
    int64_t most = bytes / key, cap = 0;
    struct block_bench *b = block_bench_create(c, &one, rows[ROWS - 1], most);
    struct surface s = block_bench_surface(b, BLOCK_FEW, 0);
    for (int i = 0; i < ROWS * n; i++) {
        struct surface_point p = {
            rows[i / n], max64(1, most >> shift[i % n]), 0
        };
        p.seconds = time_block(c, b, BLOCK_FEW, 0, p.q, p.k);
        ARRAY_PUSH(s.points, s.n, cap, p);
    }
    block_bench_destroy(b);
    return s;
}

/* ---- Surfaces ----------------------------------------------------------- */

static void report_surface(const struct calibration *c,
                           const struct surface *s)
{
    const struct surface_point *p = &s->points[s->n - 1];
    double D = (double)s->head_dim, pairs = (double)(p->q * p->k);

    if (s->block == BLOCK_CAUSAL || s->block == BLOCK_CORNER)
        pairs = 0.5 * (double)p->q * (double)(p->q + 1);
    double flops = pairs * (strcmp(s->op, "attend") ? 10 * D : 4 * D);
    say(c, "%s %s, head size %d, group %d, %s: %.1f Gflop/s at %d x %d, "
        "cross-validated error %.1f %%", s->op, dtype_name(s->dtype),
        (int)s->head_dim, (int)s->group, block_names[s->block],
        flops / p->seconds * 1e-9, (int)p->q, (int)p->k,
        100 * surface_cross_error(s));
}

static void keep(const struct calibration *c, struct surface s)
{
    struct machine *m = c->m;
    int64_t cap = m->n_surfaces;

    report_surface(c, &s);
    ARRAY_PUSH(m->surfaces, m->n_surfaces, cap, s);
}

void calibrate_surfaces(const struct calibration *c,
                        const struct bench_shape *shape, int coarse)
{
    const struct grid *g = grid_of(c, coarse);
    int64_t most = g->at[g->n - 1];
    struct block_bench *b = block_bench_create(c, shape, most, most);

    for (int backward = 0; backward < 2; backward++) {
        struct surface causal = measure_causal(c, b, backward, g);
        struct surface full = measure_grid(c, b, BLOCK_FULL, backward, g,
                                           min64(causal.n, g->n - 1));
        measure_results(c, b, backward, &full);
        keep(c, full);
        keep(c, causal);
        if (on_host(c) || coarse)
            continue;
        const struct grid *few = grid_of(c, 1);
        keep(c, measure_grid(c, b, BLOCK_CORNER, backward, few,
                             min64(few->n, causal.n)));
    }
    block_bench_destroy(b);
    keep(c, measure_few(c, shape));
}
