/* SPDX-License-Identifier: Apache-2.0
 *
 * For the files of the reference backend: elements as fp64. */
#ifndef SPAR_REFERENCE_H
#define SPAR_REFERENCE_H

#include "kernel/kernel.h"

static inline double load(const struct tensor *t, int64_t row, int64_t head,
                          int64_t x)
{
    return element_load(t->data, t->dtype,
                        row * t->row_stride + head * t->width + x);
}

static inline void store(const struct tensor *t, int64_t row, int64_t head,
                         int64_t x, double value)
{
    element_store(t->data, t->dtype,
                  row * t->row_stride + head * t->width + x, (float)value);
}

static inline double *doubles(int64_t n)
{
    return xcalloc((size_t)max64(n, 1), sizeof(double));
}

/* reference_scores.c */
void reference_rescale(struct tensor o, struct tensor lse, struct tensor m,
                       struct tensor num, struct tensor den);
void reference_normalize(struct tensor num, struct tensor den,
                         struct tensor m, struct tensor o, struct tensor lse);
void reference_scores(const struct scores_args *a);
void reference_weigh(const struct scores_args *a);
void reference_weigh_transposed(const struct scores_args *a);
void reference_softmax(const struct tensor *s, int64_t n, struct tensor lse,
                       float scale);
void reference_softmax_backward(struct tensor dp, struct tensor p,
                                struct tensor delta, float scale);

/* reference_linear.c */
void reference_state(const struct linear_args *a, int backward);
void reference_state_scan(struct tensor dst, int store,
                          const struct tensor *src, int64_t n,
                          const int64_t *spans, const double *slopes);
void reference_linear_intra(const struct linear_args *a);
void reference_linear_inter(const struct linear_args *a);
void reference_linear_intra_backward(const struct linear_args *a);
void reference_linear_inter_dq(const struct linear_args *a);
void reference_linear_inter_dkv(const struct linear_args *a);

#endif
