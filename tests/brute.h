/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention by its definition, one query row at a time, for tests that do not
 * trust the oracle.  Shares nothing with src/. */
#ifndef SPAR_TESTS_BRUTE_H
#define SPAR_TESTS_BRUTE_H

#include "base/base.h"

#include <setjmp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct brute {
    int64_t heads, kv_heads, D, E;
    int64_t lengths[4];         /* packed, 0 ends */
    int64_t left, right;        /* the mask's bounds, -1 none */
    int64_t block, anchor, context;     /* star, of the only sequence */
    int linear;
    const char *feature;        /* "elu1", "relu", or the identity */
    const double *slopes;
    double *q, *k, *v, *d_o;    /* [S, heads or kv_heads, D or E] */
};

static inline int64_t brute_tokens(const struct brute *b)
{
    return b->lengths[0] + b->lengths[1] + b->lengths[2] + b->lengths[3];
}

/* Numbers in (-2, 2) that look random, a function of their place. */
static inline double *brute_numbers(int64_t n, int64_t seed)
{
    double *x = xcalloc((size_t)n, sizeof *x);

    for (int64_t i = 0; i < n; i++) {
        double t = sin((double)(i + 1) * 12.9898 + (double)seed * 78.233)
                   * 43758.5453;
        x[i] = (double)(float)(4 * (t - floor(t)) - 2);
    }
    return x;
}

static inline void brute_fill(struct brute *b)
{
    int64_t q = brute_tokens(b) * b->heads, k = brute_tokens(b) * b->kv_heads;

    b->q = brute_numbers(q * b->D, 1);
    b->k = brute_numbers(k * b->D, 2);
    b->v = brute_numbers(k * b->E, 3);
    b->d_o = brute_numbers(q * b->E, 4);
}

static inline void brute_free(struct brute *b)
{
    free(b->q);
    free(b->k);
    free(b->v);
    free(b->d_o);
}

static inline int brute_sees(const struct brute *b, int64_t i, int64_t j)
{
    int64_t start = 0;

    for (int s = 0; s < 4; start += b->lengths[s++]) {
        int has_i = i >= start && i < start + b->lengths[s];
        int has_j = j >= start && j < start + b->lengths[s];
        if (has_i != has_j)
            return 0;
    }
    if ((b->left >= 0 && j < i - b->left)
        || (b->right >= 0 && j > i + b->right))
        return 0;
    if (!b->block || i >= b->context)
        return 1;
    return j / b->block == i / b->block || j < b->anchor;
}

static inline double brute_feature(const struct brute *b, double x)
{
    if (b->feature && strcmp(b->feature, "elu1") == 0)
        return x < 0 ? exp(x) : 1 + x;
    if (b->feature && strcmp(b->feature, "relu") == 0)
        return x < 0 ? 0 : x;
    return x;
}

/* Unnormalised weight of key j for query i of head h: with softmax the
 * exponential of the score. */
static inline double brute_weight(const struct brute *b, int64_t i, int64_t j,
                                  int64_t h)
{
    const double *q = b->q + (i * b->heads + h) * b->D;
    const double *k = b->k + (j * b->kv_heads + h * b->kv_heads / b->heads)
                             * b->D;
    double sum = 0;

    for (int64_t x = 0; x < b->D; x++)
        sum += b->linear ? brute_feature(b, q[x]) * brute_feature(b, k[x])
                         : q[x] * k[x];
    if (!b->linear)
        return exp(sum / sqrt((double)b->D));
    return b->slopes ? sum * pow(exp(-b->slopes[h]), fabs((double)(i - j)))
                     : sum;
}

/* o [E] and lse of query i, head h. */
static inline void brute_row(const struct brute *b, int64_t i, int64_t h,
                             double *o, double *lse)
{
    double total = 0;

    memset(o, 0, (size_t)b->E * sizeof *o);
    for (int64_t j = 0; j < brute_tokens(b); j++) {
        if (!brute_sees(b, i, j))
            continue;
        double w = brute_weight(b, i, j, h);
        int64_t g = h * b->kv_heads / b->heads;
        total += w;
        for (int64_t x = 0; x < b->E; x++)
            o[x] += w * b->v[(j * b->kv_heads + g) * b->E + x];
    }
    for (int64_t x = 0; !b->linear && x < b->E; x++)
        o[x] /= total;
    *lse = log(total);
}

/* sum of do * o over all queries: its gradients are dq, dk, dv. */
static inline double brute_loss(const struct brute *b)
{
    double *o = xcalloc((size_t)b->E, sizeof *o), lse, sum = 0;

    for (int64_t i = 0; i < brute_tokens(b); i++)
        for (int64_t h = 0; h < b->heads; h++) {
            brute_row(b, i, h, o, &lse);
            for (int64_t x = 0; x < b->E; x++)
                sum += o[x] * b->d_o[(i * b->heads + h) * b->E + x];
        }
    free(o);
    return sum;
}

/* Its derivative by one element of q, k or v, by central differences. */
static inline double brute_slope(const struct brute *b, double *element)
{
    const double old = *element, step = 1e-4;
    double above, below;

    *element = old + step;
    above = brute_loss(b);
    *element = old - step;
    below = brute_loss(b);
    *element = old;
    return (above - below) / (2 * step);
}

#endif
