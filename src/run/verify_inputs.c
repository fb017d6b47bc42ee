/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "run/verify_internal.h"

#include <stdlib.h>

static const enum tensor_name input_tensors[4] = {
    TENSOR_Q, TENSOR_K, TENSOR_V, TENSOR_DO
};

static void inputs_fill(struct inputs *in, int which, row_fn row, void *arg)
{
    const struct job *job = in->job;
    enum tensor_name t = input_tensors[which];
    int kv = t == TENSOR_K || t == TENSOR_V;
    int64_t first = kv ? in->kv_first : in->head_first;
    int64_t heads = kv ? in->kv_heads : in->heads;
    int64_t width = tensor_width(job, t), n = job->tokens * heads;
    int64_t from = kv ? 0 : job_first_query(job) * heads;
    float *f = xcalloc((size_t)(n * width), sizeof *f);
    double *d = xcalloc((size_t)(n * width), sizeof *d);
    char *wire = xmalloc((size_t)width * dtype_size(job->dtype));

    for (int64_t i = from; i < n; i++) {
        float *at = f + i * width;
        row(arg, t, i / heads, first + i % heads, width, at);
        convert(wire, job->dtype, at, DTYPE_FP32, width);
        convert(at, DTYPE_FP32, wire, job->dtype, width);
        for (int64_t x = 0; x < width; x++)
            d[i * width + x] = at[x];
    }
    free(wire);
    in->f[which] = f;
    in->d[which] = d;
}

struct inputs inputs_make(const struct verify *v, int64_t head_first,
                          int64_t heads, row_fn row, void *arg)
{
    const struct job *job = v->job;
    int64_t group = job_group(job);
    int64_t kv = head_first / group;
    int64_t last = (head_first + heads - 1) / group;
    struct inputs in = { .job = job, .linear = v->attention == ATTENTION_LINEAR,
                         .head_first = head_first, .heads = heads,
                         .kv_first = kv, .kv_heads = last - kv + 1 };

    for (int i = 0; i < (job_has_backward(job) ? 4 : 3); i++)
        inputs_fill(&in, i, row, arg);
    return in;
}

void inputs_clear(struct inputs *in)
{
    for (int i = 0; i < 4; i++) {
        free(in->f[i]);
        free(in->d[i]);
    }
}

static struct oracle_mask mask_of(const struct job *job)
{
    struct oracle_mask m = { .left = job->mask.left, .right = job->mask.right };

    if (job->mask.kind == MASK_STAR) {
        m.block = job->star.block;
        m.anchor = job->star.anchor;
        m.context = job->star.context;
    }
    return m;
}

/* Of the inputs' query heads. */
static const double *slopes_of(const struct inputs *in)
{
    const double *slopes = in->job->linear.slopes;

    return slopes ? slopes + in->head_first : NULL;
}

struct oracle_problem oracle_of(const struct inputs *in)
{
    const struct job *job = in->job;

    return (struct oracle_problem){
        .heads = in->heads, .kv_heads = in->kv_heads,
        .head_dim = job->transformer.head_dim,
        .value_dim = job->transformer.value_dim,
        .sequences = job->sequences, .offsets = job->offsets,
        .mask = mask_of(job), .scale = job->scale, .linear = in->linear,
        .feature = (int)job->linear.feature, .slopes = slopes_of(in),
        .q = in->d[0], .k = in->d[1], .v = in->d[2], .d_o = in->d[3],
    };
}

struct dense_problem dense_of(const struct inputs *in)
{
    const struct job *job = in->job;

    return (struct dense_problem){
        .heads = in->heads, .kv_heads = in->kv_heads,
        .head_dim = job->transformer.head_dim,
        .value_dim = job->transformer.value_dim,
        .sequences = job->sequences, .offsets = job->offsets,
        .mask = mask_of(job), .scale = (float)job->scale, .linear = in->linear,
        .feature = (int)job->linear.feature, .slopes = slopes_of(in),
        .dtype = job->dtype,
        .q = in->f[0], .k = in->f[1], .v = in->f[2], .d_o = in->f[3],
    };
}
