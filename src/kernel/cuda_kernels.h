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
/* For tests: 1 keeps to the kernels that every device has. */
extern int cuda_attend_portable;

/* cuda_rows.cu */
void cuda_delta(struct tensor o, struct tensor d_o, struct tensor delta);
void cuda_merge(struct tensor o, struct tensor lse, int store,
                const struct tensor *po, const struct tensor *plse, int64_t n);
void cuda_sum(struct tensor dst, int store, const struct tensor *src,
              int64_t n);
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

#ifdef __cplusplus
}
#endif

#endif
