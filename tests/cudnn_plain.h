/* SPDX-License-Identifier: Apache-2.0
 *
 * For the test of the cuDNN backend: random tensors on the host, and plain
 * attention in 16 bits, whose errors make the gate of doc/interface.md. */
#ifndef SPAR_TESTS_CUDNN_PLAIN_H
#define SPAR_TESTS_CUDNN_PLAIN_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/backends.h"

/* ---- Random tensors, on the host and on the device ----------------------- */

static uint64_t state = 1;

static inline double draw(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

/* About N(0, 1). */
static inline float draw_normal(void)
{
    return (float)((draw() + draw() + draw() + draw() - 2) * sqrt(3));
}

static inline size_t bytes_of(const struct tensor *t)
{
    return (size_t)(t->rows * t->row_stride) * dtype_size(t->dtype);
}

static inline int64_t place(const struct tensor *t, int64_t r, int64_t h,
                            int64_t x)
{
    return r * t->row_stride + h * t->width + x;
}

static inline float get(const struct tensor *t, int64_t r, int64_t h, int64_t x)
{
    return element_load(t->data, t->dtype, place(t, r, h, x));
}

static inline void put(struct tensor *t, int64_t r, int64_t h, int64_t x,
                       float value)
{
    element_store(t->data, t->dtype, place(t, r, h, x), value);
}

/* On the host, NaN everywhere: all bytes 0xff. */
static inline struct tensor make(enum dtype type, int64_t rows, int32_t heads,
                                 int32_t width, int pad)
{
    struct tensor t = {
        .dtype = type, .rows = rows, .heads = heads, .width = width,
        .row_stride = (int64_t)heads * width + pad,
    };

    t.data = xmalloc(bytes_of(&t));
    memset(t.data, 0xff, bytes_of(&t));
    return t;
}

static inline struct tensor make_random(enum dtype type, int64_t rows,
                                        int32_t heads, int32_t width, int pad,
                                        float scale)
{
    struct tensor t = make(type, rows, heads, width, pad);

    for (int64_t r = 0; r < rows; r++)
        for (int32_t h = 0; h < heads; h++)
            for (int32_t x = 0; x < width; x++)
                put(&t, r, h, x, draw_normal() * scale);
    return t;
}

static inline struct tensor copy_as(const struct tensor *t, enum dtype type)
{
    struct tensor c = make(type, t->rows, t->heads, t->width, 0);

    c.head_first = t->head_first;
    for (int64_t r = 0; r < t->rows; r++)
        for (int32_t h = 0; h < t->heads; h++)
            for (int32_t x = 0; x < t->width; x++)
                put(&c, r, h, x, get(t, r, h, x));
    return c;
}

/* ---- Plain attention ---------------------------------------------------- */

static inline float rounded(float x, enum dtype type)
{
    uint32_t store = 0;

    element_store(&store, type, 0, x);
    return element_load(&store, type, 0);
}

static inline int sees(const struct attend_args *a, int64_t i, int64_t j)
{
    for (int64_t n = 0; n < a->n_segments; n++) {
        const struct segment *s = &a->segments[n];
        int64_t r = i - s->q_first, k = j - s->k_first;

        if (r >= 0 && r < s->q_count && k >= 0 && k < s->k_count &&
            s->low <= r - k && r - k <= s->high)
            return 1;
    }
    return 0;
}

static inline float dot(const struct tensor *x, int64_t i, int32_t g,
                        const struct tensor *y, int64_t j, int32_t h)
{
    float sum = 0;

    for (int32_t n = 0; n < x->width; n++)
        sum += get(x, i, g, n) * get(y, j, h, n);
    return sum;
}

static inline void add_to(struct tensor *t, int64_t r, int32_t h, float factor,
                          const struct tensor *x, int64_t i, int32_t g)
{
    float *out = (float *)t->data + place(t, r, h, 0);

    for (int32_t n = 0; n < t->width; n++)
        out[n] += factor * get(x, i, g, n);
}

/* Plain attention of a row in fp32, its weights rounded to the type of the
 * inputs before they are multiplied, as matrix units need them. */
static inline void plain_row(struct attend_args *a, int64_t i, int32_t h,
                             float *s)
{
    int32_t g = (int32_t)((a->q.head_first + h) / a->group - a->k.head_first);
    float most = -INFINITY, sum = 0, lse;

    for (int64_t j = 0; j < a->k.rows; j++) {
        s[j] = sees(a, i, j) ? a->scale * dot(&a->q, i, h, &a->k, j, g)
                             : -INFINITY;
        most = fmaxf(most, s[j]);
    }
    for (int64_t j = 0; j < a->k.rows && most > -INFINITY; j++)
        sum += expf(s[j] - most);
    lse = sum > 0 ? most + logf(sum) : -INFINITY;
    for (int64_t j = 0; j < a->k.rows; j++)
        if (s[j] > -INFINITY)
            add_to(&a->o, i, h, rounded(expf(s[j] - lse), a->q.dtype), &a->v, j,
                   g);
    put(&a->lse, i, h, 0, lse);
}

static inline void plain_row_backward(struct attend_args *a, int64_t i,
                                      int32_t h)
{
    int32_t g = (int32_t)((a->q.head_first + h) / a->group - a->k.head_first);

    for (int64_t j = 0; j < a->k.rows; j++) {
        if (!sees(a, i, j))
            continue;
        float p = expf(a->scale * dot(&a->q, i, h, &a->k, j, g) -
                       get(&a->lse, i, h, 0));
        float ds = rounded(p * (dot(&a->d_o, i, h, &a->v, j, g) -
                                get(&a->delta, i, h, 0)) * a->scale,
                           a->q.dtype);

        add_to(&a->dv, j, g, rounded(p, a->q.dtype), &a->d_o, i, h);
        add_to(&a->dq, i, h, ds, &a->k, j, g);
        add_to(&a->dk, j, g, ds, &a->q, i, h);
    }
}

/* max |x - truth| / max |truth|; infinite if one is NaN or both are not -inf
 * together. */
static inline double error_of(const struct tensor *x,
                              const struct tensor *truth)
{
    double worst = 0, most = 1e-30;

    for (int64_t r = 0; r < x->rows; r++)
        for (int32_t h = 0; h < x->heads; h++)
            for (int32_t n = 0; n < x->width; n++) {
                double a = (double)get(x, r, h, n);
                double b = (double)get(truth, r, h, n);

                if (a == b)
                    continue;
                if (!isfinite(a) || !isfinite(b))
                    return INFINITY;
                worst = fmax(worst, fabs(a - b));
            }
    for (int64_t r = 0; r < x->rows; r++)
        for (int32_t h = 0; h < x->heads; h++)
            for (int32_t n = 0; n < x->width; n++)
                if (isfinite(get(truth, r, h, n)))
                    most = fmax(most, fabs((double)get(truth, r, h, n)));
    return worst / most;
}

static inline int untouched_between_rows(const struct tensor *t)
{
    size_t item = dtype_size(t->dtype);

    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t x = (int64_t)t->heads * t->width * (int64_t)item;
             x < t->row_stride * (int64_t)item; x++)
            if (((unsigned char *)t->data)[r * t->row_stride * (int64_t)item +
                                           x] != 0xff)
                return 0;
    return 1;
}

#endif
