/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuDNN backend: attention by cuDNN's fused engines, segment by segment,
 * and everything else, and what these do not take, by the cuda backend.
 *
 * cuDNN writes whole results in the type of its inputs.  They go to where they
 * belong if that is of this type and the segment alone writes these rows; else
 * to a work space, from which they are merged or added in fp32.
 *
 * Taken are calls in bf16 or fp16 with head sizes that are multiples of 8, rows
 * aligned to 16 bytes, heads in whole groups and up to 32 segments of 17 rows
 * and more, if an engine has the shape.  Of the engines that cuDNN's heuristics
 * name the first is taken: on an H100 it is the only fast one (the others take
 * 2 to 2.5 times as long at 4 K and 16 K tokens), and has no knobs that work.
 * Forward: same inputs, same bits.  Backward: cudnn_backward.c. */
#include <config.h>

#include "kernel/backends.h"
#include "kernel/cuda_kernels.h"
#include "kernel/cudnn_call.h"
#include "kernel/cudnn_state.h"

/* Before: wrong gradients if n_k % 128 != 0. */
enum { OLDEST = 91600 };

/* ---- Forward ------------------------------------------------------------ */

static const struct attention_plan *
forward_plan(const struct attend_args *a, const struct segment *s,
             const struct tensor *o, const struct tensor *lse)
{
    struct attention_shape shape = call_shape(a, s);

    shape.o_stride = o->row_stride;
    shape.lse_stride = lse->row_stride;
    return cudnn_plan(&shape);
}

/* Of segment s: (o, lse), and whether they are where they belong. */
static int forward_parts(const struct attend_args *a, const struct result *r,
                         const struct segment *s, struct tensor *o,
                         struct tensor *lse)
{
    int direct = result_is_direct(r, a->q.dtype);

    *o = call_destination(r, s, a->q.dtype);
    *lse = tensor_rows(a->lse, s->q_first, s->q_count);
    if (!direct)
        *lse = tensor_dense_like(*lse, DTYPE_FP32);
    return direct;
}

static void attend_segment(const struct attend_args *a, const struct result *r,
                           const struct segment *s)
{
    struct call_numbers n;
    void *data[ATTENTION_NAMES] = { NULL }, *workspace;
    struct tensor o, lse;
    int direct = forward_parts(a, r, s, &o, &lse);
    const struct attention_plan *plan = forward_plan(a, s, &o, &lse);

    workspace = call_allocate((struct tensor *[]){ &o, &lse }, 2,
                         plan->plan.workspace);
    call_inputs(data, &n, a, s);
    data[ATTENTION_O] = o.data;
    data[ATTENTION_LSE] = lse.data;
    attention_run(plan, cudnn_open(), data, workspace);
    if (!direct)
        cuda_merge(result_rows(r, s),
                   tensor_rows(a->lse, s->q_first, s->q_count),
                   result_stores(r), &o, &lse, 1);
}

/* Why cuDNN does not take the call; NULL: it does, and the plans are there. */
static const char *forward_refusal(const struct attend_args *a,
                                   struct result *o)
{
    const char *why = call_refusal(a);
    struct tensor part, lse;

    *o = (struct result){ a->o, segment_query_rows, a->store, 0 };
    if (!why && !result_open(o, a, 1))
        why = "segments with rows in common, stored in 16 bits";
    if (why)
        return why;
    cudnn_open();
    for (int64_t i = 0; i < a->n_segments; i++) {
        forward_parts(a, o, &a->segments[i], &part, &lse);
        if (!forward_plan(a, &a->segments[i], &part, &lse))
            return "a shape that no engine of cuDNN has";
    }
    return NULL;
}

/* (0, -inf) in rows that no segment stores. */
static void clear_forward(const struct attend_args *a, const struct result *o)
{
    for (struct range r = { 0, 0 };; r.first += r.count) {
        struct attend_args none = *a;

        r = result_gap(o, a, r.first);
        if (!r.count)
            return;
        none.q = tensor_rows(a->q, r.first, r.count);
        none.o = tensor_rows(a->o, r.first, r.count);
        none.lse = tensor_rows(a->lse, r.first, r.count);
        none.n_segments = 0;
        cuda_attend(&none);
    }
}

static void cudnn_attend(const struct attend_args *a)
{
    struct result o;

    if (forward_refusal(a, &o)) {
        cuda_attend(a);
        return;
    }
    clear_forward(a, &o);
    for (int64_t i = 0; i < a->n_segments; i++)
        attend_segment(a, &o, &a->segments[i]);
}

/* ---- The table ---------------------------------------------------------- */

static const char *leaves(const struct attend_args *a, int backward,
                          int repeatable)
{
    struct result o;

    return backward ? backward_refusal(a, repeatable) : forward_refusal(a, &o);
}

static const char *cudnn_leaves(const struct attend_args *a,
                                int backward)
{
    return leaves(a, backward, 0);
}

static const char *cudnn_leaves_repeatable(const struct attend_args *a,
                                           int backward)
{
    return leaves(a, backward, 1);
}

static int cudnn_available(struct error *e)
{
    size_t version = cudnnGetVersion();

    if (version < OLDEST)
        return fail(e, "kernel \"cudnn\": cuDNN %zu is older than %d", version,
                    OLDEST);
    if (device_cuda.count() > 0)
        return 0;
    return fail(e, "kernel \"cudnn\": there is no CUDA device here");
}

#define CUDNN_ENTRIES                                                         \
    .name = "cudnn",                                                          \
    .summary = "attention by cuDNN's fused engines, the rest as cuda",        \
    .device = &device_cuda,                                                   \
    .available = cudnn_available,                                             \
    .attend = cudnn_attend,                                                   \
    CUDA_ENTRIES

static const struct kernel_backend repeatable = {
    .attend_backward = cudnn_attend_backward_repeatable,
    .leaves = cudnn_leaves_repeatable,
    CUDNN_ENTRIES
};

const struct kernel_backend kernel_cudnn = {
    .attend_backward = cudnn_attend_backward,
    .leaves = cudnn_leaves,
    .repeatable = &repeatable,
    CUDNN_ENTRIES
};
