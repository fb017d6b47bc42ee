/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of the cuda backend: entries of struct kernel_backend
 * (kernel.h), whose tensors are addresses of the device that the thread has
 * opened.  They enqueue on the thread's current stream and return.  Present
 * where the build found nvcc (HAVE_CUDA). */
#ifndef SPAR_CUDA_KERNELS_H
#define SPAR_CUDA_KERNELS_H

#include "kernel/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* cuda_attend.cu: heads of at most 256 elements. */
void cuda_attend(const struct attend_args *a);
void cuda_attend_backward(const struct attend_args *a);

/* cuda_rows.cu */
void cuda_merge(struct tensor o, struct tensor lse, int store,
                const struct tensor *po, const struct tensor *plse, int64_t n);
void cuda_sum(struct tensor dst, int store, const struct tensor *src,
              int64_t n);
/* cuda_parts.cu */
void cuda_delta(struct tensor o, struct tensor d_o, struct tensor delta);
void cuda_rescale(struct tensor o, struct tensor lse, struct tensor m,
                  struct tensor num, struct tensor den);
void cuda_normalize(struct tensor num, struct tensor den, struct tensor m,
                    struct tensor o, struct tensor lse);

/* cuda_scores.cu */
void cuda_scores(const struct scores_args *a);
void cuda_weigh(const struct scores_args *a);
void cuda_weigh_transposed(const struct scores_args *a);
void cuda_softmax(const struct tensor *s, int64_t n, struct tensor lse,
                  float scale);
void cuda_softmax_backward(struct tensor dp, struct tensor p,
                           struct tensor delta, float scale);

/* cuda_linear.cu */
void cuda_state(const struct linear_args *a, int backward);
void cuda_state_scan(struct tensor dst, int store, const struct tensor *src,
                     int64_t n, const int64_t *spans, const double *slopes);
void cuda_linear_intra(const struct linear_args *a);
void cuda_linear_inter(const struct linear_args *a);
void cuda_linear_intra_backward(const struct linear_args *a);
void cuda_linear_inter_dq(const struct linear_args *a);
void cuda_linear_inter_dkv(const struct linear_args *a);

/* All entries but attend and attend_backward, as both backends have them. */
#define CUDA_ENTRIES                                                          \
    .delta = cuda_delta,                                                      \
    .merge = cuda_merge,                                                      \
    .sum = cuda_sum,                                                          \
    .rescale = cuda_rescale,                                                  \
    .normalize = cuda_normalize,                                              \
    .scores = cuda_scores,                                                    \
    .weigh = cuda_weigh,                                                      \
    .weigh_transposed = cuda_weigh_transposed,                                \
    .softmax = cuda_softmax,                                                  \
    .softmax_backward = cuda_softmax_backward,                                \
    .state = cuda_state,                                                      \
    .state_scan = cuda_state_scan,                                            \
    .linear_intra = cuda_linear_intra,                                        \
    .linear_inter = cuda_linear_inter,                                        \
    .linear_intra_backward = cuda_linear_intra_backward,                      \
    .linear_inter_dq = cuda_linear_inter_dq,                                  \
    .linear_inter_dkv = cuda_linear_inter_dkv

#ifdef __cplusplus
}
#endif

#endif
