/* SPDX-License-Identifier: Apache-2.0
 *
 * The null backend computes nothing: it measures the frame around kernels, and
 * is the template for a new backend. */
#include <config.h>

#include "kernel/backends.h"

static int null_available(struct error *e)
{
    (void)e;
    return 0;
}

static void null_attend(const struct attend_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

static void null_delta(struct tensor o, struct tensor d_o, struct tensor delta)
{
    (void)o;
    (void)d_o;
    (void)delta;
}

static void null_merge(struct tensor o, struct tensor lse, int store,
                       const struct tensor *po, const struct tensor *plse,
                       int64_t n)
{
    (void)o;
    (void)lse;
    (void)store;
    (void)po;
    (void)plse;
    (void)n;
}

static void null_sum(struct tensor dst, int store, const struct tensor *src,
                     int64_t n)
{
    (void)dst;
    (void)store;
    (void)src;
    (void)n;
}

static void null_linear(const struct linear_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

static void null_state(const struct linear_args *a, int backward)
{
    (void)backward;
    null_linear(a);
}

static void null_state_scan(struct tensor dst, int store,
                            const struct tensor *src, int64_t n,
                            const int64_t *spans, const double *slopes)
{
    (void)spans;
    (void)slopes;
    null_sum(dst, store, src, n);
}

static void null_rescale(struct tensor o, struct tensor lse, struct tensor m,
                         struct tensor num, struct tensor den)
{
    (void)o;
    (void)lse;
    (void)m;
    (void)num;
    (void)den;
}

static void null_scores(const struct scores_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

static void null_softmax(const struct tensor *s, int64_t n, struct tensor lse,
                         float scale)
{
    (void)s;
    (void)n;
    (void)lse;
    (void)scale;
}

static void null_softmax_backward(struct tensor dp, struct tensor p,
                                  struct tensor delta, float scale)
{
    (void)dp;
    (void)p;
    (void)delta;
    (void)scale;
}

#define NULL_ENTRIES                                                          \
    .attend = null_attend,                                                    \
    .attend_backward = null_attend,                                           \
    .delta = null_delta,                                                      \
    .merge = null_merge,                                                      \
    .sum = null_sum,                                                          \
    .rescale = null_rescale,                                                  \
    .normalize = null_rescale,                                                \
    .scores = null_scores,                                                    \
    .weigh = null_scores,                                                     \
    .weigh_transposed = null_scores,                                          \
    .softmax = null_softmax,                                                  \
    .softmax_backward = null_softmax_backward,                                \
    .state = null_state,                                                      \
    .state_scan = null_state_scan,                                            \
    .linear_intra = null_linear,                                              \
    .linear_inter = null_linear,                                              \
    .linear_intra_backward = null_linear,                                     \
    .linear_inter_dq = null_linear,                                           \
    .linear_inter_dkv = null_linear

const struct kernel_backend kernel_null = {
    .name = "none",
    .summary = "computes nothing; measures what surrounds the kernels",
    .available = null_available,
    NULL_ENTRIES,
};

#ifdef HAVE_CUDA
static int null_cuda_available(struct error *e)
{
    if (device_cuda.count() > 0)
        return 0;
    return fail(e, "kernel \"none-cuda\": there is no CUDA device here");
}

const struct kernel_backend kernel_null_cuda = {
    .name = "none-cuda",
    .summary = "computes nothing; measures what surrounds kernels on a CUDA "
               "device",
    .device = &device_cuda,
    .available = null_cuda_available,
    NULL_ENTRIES,
};
#endif
