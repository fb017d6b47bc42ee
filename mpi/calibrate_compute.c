/* SPDX-License-Identifier: Apache-2.0
 *
 * What computes: which shapes, and what is around a block. */
#include <config.h>

#include "mpi/calibrate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* Bytes read and written a second by what a schedule's sums and casts call; of
 * a device, more than its cache takes. */
static double memory_bandwidth(const struct calibration *c)
{
    enum { HEADS = 8, WIDTH = 64, STRIDE = HEADS * WIDTH };
    int64_t rows = on_host(c) ? 1024 : 131072, n = rows * STRIDE;
    size_t bytes = (size_t)n * sizeof(float);
    struct tensor t[2];

    for (int i = 0; i < 2; i++) {
        t[i] = (struct tensor){ bench_alloc(c->device, bytes), DTYPE_FP32,
                                rows, STRIDE, HEADS, WIDTH, 0 };
        bench_fill(c->device, t[i].data, DTYPE_FP32, n, (uint64_t)i + 1);
    }
    struct copy_bench b = { c->kernel, t[0], t[1] };
    MPI_Barrier(c->comm);
    double seconds = mean_over_ranks(c, time_call(c, copy_call, &b));
    c->device->free(t[0].data);
    c->device->free(t[1].data);
    return digits(2.0 * (double)bytes / seconds);
}

static double mean_error(const struct machine *m)
{
    double sum = 0;
    int64_t n = 0;

    for (int64_t i = 0; i < m->n_surfaces; i++) {
        double error = surface_cross_error(&m->surfaces[i]);
        if (isnan(error))       /* too few points */
            continue;
        sum += error;
        n++;
    }
    return n ? digits(sum / (double)n) : 0;
}

/* ---- Shapes ------------------------------------------------------------- */

/* Asked for, or the usual ones of the host or of a device. */
struct wanted {
    const enum dtype *dtypes;
    const int64_t *dims, *groups, *heads;
    int64_t n_dtypes, n_dims, n_groups, n_heads;
};

static struct wanted wanted(const struct calibration *c)
{
    static const enum dtype dtypes[] = { DTYPE_FP32, DTYPE_BF16 };
    static const int64_t dims[][2] = { { 64, 128 }, { 128, 64 } };
    static const int64_t groups[][2] = { { 1, 4 }, { 4, 1 } };
    static const int64_t heads[] = { 32, 16, 8, 4 }, host_heads[] = { 8 };
    const struct calibrate_request *r = c->request;
    int device = !on_host(c);
    struct wanted w = { &dtypes[device], dims[device], groups[device],
                        device ? heads : host_heads, 1, 2, 2, device ? 4 : 1 };

    if (r->n_dtypes)
        w.dtypes = r->dtypes, w.n_dtypes = r->n_dtypes;
    if (r->n_head_dims)
        w.dims = r->head_dims, w.n_dims = r->n_head_dims;
    if (r->n_groups)
        w.groups = r->groups, w.n_groups = r->n_groups;
    if (r->n_heads && device)
        w.heads = r->heads, w.n_heads = r->n_heads;
    return w;
}

/* The host measures every combination; a device those that differ from the
 * first in one respect, and these at fewer points. */
static void measure_shapes(const struct calibration *c, const struct wanted *w,
                           enum dtype dtype)
{
    for (int64_t d = 0; d < w->n_dims; d++)
        for (int64_t g = 0; g < w->n_groups; g++)
            for (int64_t h = 0; h < w->n_heads; h++) {
                struct bench_shape shape = { dtype, w->dims[d], w->groups[g],
                                             w->heads[h] };
                int differ = (d > 0) + (g > 0) + (h > 0);
                if (on_host(c) || (differ < 2 && shape.heads % shape.group
                                   == 0))
                    calibrate_surfaces(c, &shape, differ > 0);
            }
}

static void measure_around(const struct calibration *c, const struct wanted *w)
{
    struct bench_shape shape = { w->dtypes[0], w->dims[0], w->groups[0], 0 };
    struct block_bench *b = block_bench_create(c, &shape, 1024, 1024);

    c->m->poll_interval = poll_interval(c, b);
    c->m->alone_ratio = alone_ratio(c, b);
    block_bench_destroy(b);
    say(c, "a look at messages every %.1f us; a block alone takes %.2f of its "
        "time among %d ranks", c->m->poll_interval * 1e6, c->m->alone_ratio,
        c->ranks);
}

void calibrate_compute(const struct calibration *c)
{
    struct wanted w = wanted(c);

    for (int64_t t = 0; t < w.n_dtypes; t++)
        measure_shapes(c, &w, w.dtypes[t]);
    if (on_host(c))
        measure_around(c, &w);
    for (int64_t t = 0; t < w.n_dtypes; t++)
        for (int64_t d = 0; d < w.n_dims; d++)
            calibrate_products(c, w.dtypes[t], w.dims[d]);
    c->m->memory_bandwidth = memory_bandwidth(c);
    c->m->fit_error = mean_error(c->m);
    say(c, "memory %.1f GB/s", c->m->memory_bandwidth * 1e-9);
}
