/* SPDX-License-Identifier: Apache-2.0
 *
 * For the benchmarks on a CUDA device: random tensors, sorting of times. */
#ifndef SPAR_TESTS_BENCH_DEVICE_H
#define SPAR_TESTS_BENCH_DEVICE_H

#include <math.h>
#include <stdlib.h>

#include "kernel/backends.h"

enum { RANDOM_BLOCK = 1 << 20 };        /* elements that repeat */

/* [rows, heads, width], uniform in -sqrt 3 .. sqrt 3. */
static inline struct tensor random_on_device(enum dtype type, int64_t rows,
                                             int64_t heads, int64_t width)
{
    static uint64_t state = 1;
    struct tensor t = { .dtype = type, .rows = rows, .heads = (int32_t)heads,
                        .width = (int32_t)width, .row_stride = heads * width };
    size_t bytes = (size_t)(rows * t.row_stride) * dtype_size(type);
    size_t block = (size_t)RANDOM_BLOCK * dtype_size(type);
    char *host = xmalloc(block);
    struct error e;

    t.data = device_cuda.alloc(bytes, &e);
    if (!t.data)
        die("%s", e.text);
    for (int64_t i = 0; i < RANDOM_BLOCK; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        float x = (float)(state >> 40) * 0x1p-23f - 1;
        element_store(host, type, i, x * sqrtf(3));
    }
    device_cuda.put(t.data, host, bytes < block ? bytes : block);
    for (size_t at = block; at < bytes; at += block)
        device_cuda.copy_rows((char *)t.data + at, block, t.data, block,
                              bytes - at < block ? bytes - at : block, 1);
    free(host);
    return t;
}

/* For qsort(). */
static inline int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

#endif
