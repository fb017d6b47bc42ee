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
    float *f = xmalloc((size_t)(n * width) * sizeof *f);
    double *d = xmalloc((size_t)(n * width) * sizeof *d);
    char *wire = xmalloc((size_t)width * dtype_size(job->dtype));

    for (int64_t i = 0; i < n; i++) {
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

struct inputs inputs_make(const struct job *job, int64_t head_first,
                          int64_t heads, row_fn row, void *arg)
{
    int64_t group = job_group(job);
    int64_t kv = head_first / group;
    int64_t last = (head_first + heads - 1) / group;
    struct inputs in = { .job = job, .head_first = head_first, .heads = heads,
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

struct oracle_problem oracle_of(const struct inputs *in)
{
    const struct job *job = in->job;

    return (struct oracle_problem){
        .heads = in->heads, .kv_heads = in->kv_heads,
        .head_dim = job->transformer.head_dim,
        .value_dim = job->transformer.value_dim,
        .sequences = job->sequences, .offsets = job->offsets,
        .left = job->mask.left, .right = job->mask.right,
        .scale = job->scale,
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
        .left = job->mask.left, .right = job->mask.right,
        .scale = (float)job->scale, .dtype = job->dtype,
        .q = in->f[0], .k = in->f[1], .v = in->f[2], .d_o = in->f[3],
    };
}
