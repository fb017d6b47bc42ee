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

const struct kernel_backend kernel_null = {
    .name = "none",
    .summary = "computes nothing; measures what surrounds the kernels",
    .available = null_available,
    .attend = null_attend,
    .attend_backward = null_attend,
    .delta = null_delta,
    .merge = null_merge,
    .sum = null_sum,
};
