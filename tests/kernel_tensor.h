/* SPDX-License-Identifier: Apache-2.0
 *
 * For the kernel tests: backends under test, random tensors, comparisons. */
#ifndef SPAR_TESTS_KERNEL_TENSOR_H
#define SPAR_TESTS_KERNEL_TENSOR_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/backends.h"
#include "kernel/cpu.h"

#include <cmocka.h>     /* after base.h: it has a macro fail() */

enum { MAX_BACKENDS = 8 };
static struct kernel_backend backends[MAX_BACKENDS];
static int n_backends;          /* reference first, portable last */

static inline void collect_backends(void)
{
    const struct cpu_isa *isa;

    backends[n_backends++] = kernel_reference;
    for (int i = 0; (isa = cpu_isa_get(i)); i++)
        backends[n_backends++] = isa->kernels;
}

static uint64_t state = 1;

static inline uint64_t draw(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline int64_t draw_below(int64_t n)
{
    return (int64_t)(draw() % (uint64_t)n);
}

/* About N(0, 1). */
static inline float draw_normal(void)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += (double)(draw() >> 11) * 0x1p-53;
    return (float)(sum - 6);
}

enum { MAX_SEGMENTS = 64 };
enum { PAD = 3 };               /* elements between rows, to stay untouched */
static const float canary = 24.5f;

static inline int64_t index_of(const struct tensor *t, int64_t r, int64_t h,
                               int64_t x)
{
    return r * t->row_stride + h * t->width + x;
}

static inline float get(const struct tensor *t, int64_t r, int64_t h, int64_t x)
{
    return element_load(t->data, t->dtype, index_of(t, r, h, x));
}

/* NaN everywhere, canaries between the rows. */
static inline struct tensor make(enum dtype type, int64_t rows, int64_t heads,
                                 int64_t width)
{
    struct tensor t = {
        .dtype = type, .rows = rows, .row_stride = heads * width + PAD,
        .heads = (int32_t)heads, .width = (int32_t)width,
    };
    int64_t n = rows * t.row_stride;

    t.data = xmalloc((size_t)max64(n, 1) * dtype_size(type));
    for (int64_t i = 0; i < n; i++)
        element_store(t.data, type, i,
                      i % t.row_stride < heads * width ? NAN : canary);
    return t;
}

static inline struct tensor make_random(enum dtype type, int64_t rows,
                                        int64_t heads, int64_t width,
                                        float scale)
{
    struct tensor t = make(type, rows, heads, width);

    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t x = 0; x < width; x++)
                element_store(t.data, type, index_of(&t, r, h, x),
                              draw_normal() * scale);
    return t;
}

static inline struct tensor copy_of(const struct tensor *t)
{
    size_t bytes = (size_t)(t->rows * t->row_stride) * dtype_size(t->dtype);
    struct tensor c = *t;

    c.data = xmalloc(bytes ? bytes : 1);
    memcpy(c.data, t->data, bytes);
    return c;
}

static inline int same_bits(const struct tensor *a, const struct tensor *b)
{
    return !memcmp(a->data, b->data, (size_t)(a->rows * a->row_stride) *
                                     dtype_size(a->dtype));
}

/* Rows [first, first + rows) of t. */
static inline struct tensor part(const struct tensor *t, int64_t first,
                                 int64_t rows)
{
    struct tensor p = *t;

    p.data = (char *)t->data +
             (size_t)(first * t->row_stride) * dtype_size(t->dtype);
    p.rows = rows;
    return p;
}

static inline void check_canaries(const struct tensor *t)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t x = 0; x < PAD; x++)
            assert_true(get(t, r, t->heads, x) == canary);
}

static inline double *to_fp64(const struct tensor *t)
{
    double *out = xmalloc((size_t)(t->rows * t->heads * t->width + 1) * 8);
    double *p = out;

    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t h = 0; h < t->heads; h++)
            for (int64_t x = 0; x < t->width; x++)
                *p++ = (double)get(t, r, h, x);
    return out;
}

static inline double difference(const struct tensor *a, const struct tensor *b)
{
    double worst = 0, most = 1e-30;

    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t x = 0; x < a->width; x++) {
                double u = (double)get(a, r, h, x), v = (double)get(b, r, h, x);

                if (u == v)
                    continue;
                if (!isfinite(u) || !isfinite(v))
                    return INFINITY;
                worst = fmax(worst, fabs(u - v));
                most = fmax(most, fabs(v));
            }
    return worst / fmax(most, 1);
}

#endif
