/* SPDX-License-Identifier: Apache-2.0
 *
 * Trials of merge, sum, delta, rescale, normalize and of copies of rows. */
#include <config.h>

#include "tests/cuda_trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 8, MOST_SUMS = 20 };   /* sources of a merge; of a sum */

static int32_t some_heads(void)
{
    static const int32_t heads[] = { 1, 2, 3, 4, 8 };

    return trial_pick(heads);
}

/* Types of the partials: all alike, or (one in four) each another. */
static enum dtype next_dtype(enum dtype all, int mixed)
{
    return mixed ? trial_dtype() : all;
}

static void merge_trial(int64_t trial)
{
    int64_t n = trial % (MOST + 1), rows = trial_rows(), heads = some_heads();
    int32_t width = trial_width();
    int store = n == 0 || trial_below(2), mixed = trial_below(4) == 0;
    enum dtype from = trial_dtype(), to = store ? trial_dtype() : DTYPE_FP32;
    struct twin po[MOST], plse[MOST];
    struct tensor host[2][MOST], device[2][MOST];
    struct twin lse = store ? twin_make(DTYPE_FP32, rows, heads, 1,
                                        FILL_POISON, 0)
                            : twin_lse(rows, heads, 20);
    struct twin o = twin_make(to, rows, heads, width, store ? FILL_POISON
                              : FILL_RANDOM, 1);

    trial_describe("merge n %d store %d [%d, %d, %d] %s -> %s", (int)n, store,
                   (int)rows, (int)heads, width, mixed ? "mixed"
                   : dtype_name(from), dtype_name(to));
    lse.least = 20;
    if (!store)
        twin_poison(&o, &lse);
    for (int64_t i = 0; i < n; i++) {
        plse[i] = twin_lse(rows, heads, 20);
        po[i] = twin_make(next_dtype(from, mixed), rows, heads, width,
                          FILL_RANDOM, 1);
        twin_poison(&po[i], &plse[i]);
        host[0][i] = po[i].host, device[0][i] = po[i].device;
        host[1][i] = plse[i].host, device[1][i] = plse[i].device;
    }
    kernel_reference.merge(o.host, lse.host, store, host[0], host[1], n);
    trial_backend->merge(o.device, lse.device, store, device[0], device[1], n);
    twin_compare("o", &o, trial_tolerance(to, DTYPE_FP32));
    twin_compare("lse", &lse, 1e-5);
    for (int64_t i = 0; i < n; i++) {
        twin_free(&po[i]);
        twin_free(&plse[i]);
    }
    twin_free(&o);
    twin_free(&lse);
}

static void sum_trial(int64_t trial)
{
    int64_t n = trial % (MOST_SUMS + 1), rows = trial_rows(), heads = some_heads();
    int32_t width = trial_width();
    int store = (int)trial_below(2), mixed = trial_below(4) == 0;
    enum dtype from = trial_dtype(), to = trial_dtype();
    struct twin src[MOST_SUMS];
    struct tensor host[MOST_SUMS], device[MOST_SUMS];
    struct twin dst = twin_make(to, rows, heads, width,
                                store ? FILL_POISON : FILL_RANDOM, 1);

    trial_describe("sum n %d store %d [%d, %d, %d] %s -> %s", (int)n, store,
                   (int)rows, (int)heads, width, mixed ? "mixed"
                   : dtype_name(from), dtype_name(to));
    for (int64_t i = 0; i < n; i++) {
        src[i] = twin_make(next_dtype(from, mixed), rows, heads, width,
                           FILL_RANDOM, 1);
        host[i] = src[i].host, device[i] = src[i].device;
    }
    kernel_reference.sum(dst.host, store, host, n);
    trial_backend->sum(dst.device, store, device, n);
    twin_compare("sum", &dst, trial_tolerance(to, DTYPE_FP32));
    for (int64_t i = 0; i < n; i++)
        twin_free(&src[i]);
    twin_free(&dst);
}

static void delta_trial(int64_t trial)
{
    int64_t rows = trial_rows(), heads = some_heads();
    int32_t width = trial_width();
    struct twin o = twin_make(trial_dtype(), rows, heads, width, FILL_RANDOM,
                              1);
    struct twin d_o = twin_make(trial % 3 ? o.host.dtype : trial_dtype(), rows,
                                heads, width, FILL_RANDOM, 1);
    struct twin delta = twin_make(DTYPE_FP32, rows, heads, 1, FILL_POISON, 0);

    trial_describe("delta [%d, %d, %d] %s, %s", (int)rows, (int)heads, width,
                   dtype_name(o.host.dtype), dtype_name(d_o.host.dtype));
    delta.least = sqrt(width);
    kernel_reference.delta(o.host, d_o.host, delta.host);
    trial_backend->delta(o.device, d_o.device, delta.device);
    twin_compare("delta", &delta, 2e-5);
    twin_free(&o);
    twin_free(&d_o);
    twin_free(&delta);
}

/* rescale, then normalize of its results: what the ops of a reduction do. */
static void parts_trial(int64_t trial)
{
    int64_t rows = trial_rows(), heads = some_heads();
    int32_t width = trial_width();
    enum dtype from = trial_dtype(), to = trial_dtype();
    enum dtype between = trial % 3 ? DTYPE_FP32 : trial_dtype();
    struct twin lse = twin_lse(rows, heads, 20), m, num, den, o, out;
    double tolerance = trial_tolerance(between, DTYPE_FP32);

    lse.least = 5;
    trial_describe("parts [%d, %d, %d] %s -> %s -> %s", (int)rows, (int)heads,
                   width, dtype_name(from), dtype_name(between),
                   dtype_name(to));
    o = twin_make(from, rows, heads, width, FILL_RANDOM, 1);
    twin_poison(&o, &lse);
    m = twin_make(DTYPE_FP32, rows, heads, 1, FILL_RANDOM, 5);
    num = twin_make(between, rows, heads, width, FILL_POISON, 0);
    den = twin_make(DTYPE_FP32, rows, heads, 1, FILL_POISON, 0);
    out = twin_make(to, rows, heads, width, FILL_POISON, 0);
    /* m is a maximum: not far below lse */
    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++) {
            float *most = (float *)m.host.data + r * m.host.row_stride + h;
            float own = ((float *)lse.host.data)[r * lse.host.row_stride + h];
            *most = *most < own - 1 ? own - 1 : *most;
        }
    twin_put(&m);
    kernel_reference.rescale(o.host, lse.host, m.host, num.host, den.host);
    trial_backend->rescale(o.device, lse.device, m.device, num.device,
                           den.device);
    twin_compare("num", &num, tolerance);
    twin_compare("den", &den, 2e-5);
    twin_put(&num);
    twin_put(&den);
    kernel_reference.normalize(num.host, den.host, m.host, out.host, lse.host);
    trial_backend->normalize(num.device, den.device, m.device, out.device,
                             lse.device);
    twin_compare("o", &out, trial_tolerance(to, DTYPE_FP32));
    twin_compare("lse", &lse, 1e-5);
    struct twin *all[] = { &o, &lse, &m, &num, &den, &out };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        twin_free(all[i]);
}

/* Head slices and every n-th row, as an all-to-all and a layout have them. */
static void copy_trial(int64_t trial)
{
    int64_t rows = trial_rows(), heads = some_heads();
    int64_t part = 1 + trial_below(heads), every = 1 + trial % 3;
    int32_t width = trial_width();
    enum dtype t = trial_dtype();
    struct twin src = twin_make(t, rows * every, heads, width, FILL_RANDOM, 1);
    struct twin dst = twin_make(t, rows, heads, width, FILL_RANDOM, 1);
    size_t size = dtype_size(t), block = (size_t)part * (size_t)width * size;
    size_t to = (size_t)dst.host.row_stride * size;
    size_t from = (size_t)(src.host.row_stride * every) * size;

    trial_describe("copy of %d heads [%d, %d, %d] %s, every %d. row", (int)part,
                   (int)rows, (int)heads, width, dtype_name(t), (int)every);
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)dst.host.data + (size_t)r * to,
               (char *)src.host.data + (size_t)r * from, block);
    trial_backend->device->copy_rows(dst.device.data, to, src.device.data,
                                     from, block, (size_t)rows);
    twin_compare("copy", &dst, 1e-30);
    twin_free(&src);
    twin_free(&dst);
}

const struct trials rows_trials[] = {
    { "merge", 600, merge_trial },
    { "sum", 600, sum_trial },
    { "delta", 200, delta_trial },
    { "rescale, normalize", 200, parts_trial },
    { "copy of rows", 200, copy_trial },
    { NULL, 0, NULL },
};
