/* SPDX-License-Identifier: Apache-2.0
 *
 * What both plain attentions (dense.c, dense_linear.c) are made of. */
#ifndef SPAR_DENSE_VECTOR_H
#define SPAR_DENSE_VECTOR_H

#include "run/dense.h"

#include <math.h>

/* Of linear attention (dense_linear.c): dense_all(), _rows(), _keys(). */
void dense_linear_all(const struct dense_problem *p, struct dense_result *r);
void dense_linear_rows(const struct dense_problem *p, int64_t head,
                       const int64_t *rows, int64_t n, struct dense_result *r);
void dense_linear_keys(const struct dense_problem *p, int64_t kv_head,
                       const int64_t *keys, int64_t n, struct dense_result *r);

enum { PARTS = 16 };            /* partial sums, so that dots vectorise */

/* In so many partial sums; `parts` a constant <= PARTS. */
static inline float dot_in_parts(const float *a, const float *b, int64_t n,
                                 int parts)
{
    float part[PARTS] = { 0 }, total = 0;
    int64_t i = 0;

    for (; i + parts <= n; i += parts)
        for (int k = 0; k < parts; k++)
            part[k] += a[i + k] * b[i + k];
    for (; i < n; i++)
        part[0] += a[i] * b[i];
    for (int k = 0; k < parts; k++)
        total += part[k];
    return total;
}

static inline float dot(const float *a, const float *b, int64_t n)
{
    return dot_in_parts(a, b, n, PARTS);
}

static inline void add_scaled(float *y, float a, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static inline double abs_dot(const float *a, const float *b, int64_t n)
{
    double total = 0;

    for (int64_t i = 0; i < n; i++)
        total += fabs((double)a[i] * b[i]);
    return total;
}

static inline void add_abs(double *y, double a, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += fabs(a * x[i]);
}

static inline void raise_to(double *most, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] > *most)
            *most = x[i];
}

static inline void round_to(enum dtype t, float *x, int64_t n)
{
    uint16_t half[256];

    for (int64_t i = 0; t != DTYPE_FP32 && i < n; i += 256) {
        int64_t m = min64(n - i, 256);
        convert(half, t, x + i, DTYPE_FP32, m);
        convert(x + i, DTYPE_FP32, half, t, m);
    }
}

static inline int64_t sequence_of(const struct dense_problem *p, int64_t token)
{
    int64_t low = 0, high = p->sequences - 1;

    while (low < high) {
        int64_t middle = (low + high + 1) / 2;
        if (p->offsets[middle] <= token)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

#endif
