/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "kernel/cudnn_call.h"

#include <math.h>
#include <string.h>

#include "kernel/cuda_streams.h"

enum {
    FEWEST_ROWS = 17,   /* decoding has up to 16 queries */
    LONGEST = 1 << 24   /* cuDNN compares positions as fp32 */
};

/* ---- What cuDNN takes --------------------------------------------------- */

int call_is_input(const struct tensor *t, enum dtype type)
{
    return t->dtype == type && tensor_is_aligned(t);
}

/* cuDNN gives query head h the KV head h / (heads / kv_heads). */
static int heads_match(const struct attend_args *a)
{
    int64_t group = a->group, first = a->q.head_first;
    int64_t each = a->k.heads ? a->q.heads / a->k.heads : 0;

    if (!each || a->q.heads % a->k.heads || first / group != a->k.head_first)
        return 0;
    return a->k.heads == 1 ? (first + a->q.heads - 1) / group == first / group
                           : each == group && first % group == 0;
}

static const char *segments_refusal(const struct attend_args *a)
{
    if (a->n_segments > CALL_SEGMENTS)
        return "more than 32 segments";
    if (max64(a->q.rows, a->k.rows) >= LONGEST)
        return "more than 16 Mi rows";
    for (int64_t i = 0; i < a->n_segments; i++)
        if (a->segments[i].q_count < FEWEST_ROWS ||
            a->segments[i].k_count < FEWEST_ROWS)
            return "a segment of fewer than 17 rows";
    return a->n_segments ? NULL : "nothing is visible";
}

const char *call_refusal(const struct attend_args *a)
{
    enum dtype type = a->q.dtype;

    if (type == DTYPE_FP32)
        return "fp32";
    if (a->q.width % 8 || a->v.width % 8)
        return "a head size that is no multiple of 8";
    if (!call_is_input(&a->q, type) || !call_is_input(&a->k, type) ||
        !call_is_input(&a->v, type))
        return "rows that are not aligned to 16 bytes";
    return heads_match(a) ? segments_refusal(a)
                          : "heads that are not in whole groups";
}

/* ---- Operands ----------------------------------------------------------- */

struct attention_shape call_shape(const struct attend_args *a,
                                  const struct segment *s)
{
    struct attention_shape shape;

    memset(&shape, 0, sizeof shape);
    shape.has_low = s->low > BAND_LOW;
    shape.has_high = s->high < BAND_HIGH;
    shape.low_is_zero = s->low == 0;
    shape.type = a->q.dtype == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16
                                          : CUDNN_DATA_HALF;
    shape.n_q = s->q_count;
    shape.n_k = s->k_count;
    shape.heads = a->q.heads;
    shape.kv_heads = a->k.heads;
    shape.head_dim = a->q.width;
    shape.value_dim = a->v.width;
    shape.q_stride = a->q.row_stride;
    shape.k_stride = a->k.row_stride;
    shape.v_stride = a->v.row_stride;
    return shape;
}

void call_inputs(void **data, struct call_numbers *n,
                 const struct attend_args *a, const struct segment *s)
{
    *n = (struct call_numbers){
        .scale = a->scale, .masked = -INFINITY, .one = 1,
        .high_plus_one = s->high < BAND_HIGH ? (float)(s->high + 1) : 0,
        .minus_low = s->low > BAND_LOW ? (int32_t)-s->low : 0,
    };
    data[ATTENTION_Q] = tensor_rows(a->q, s->q_first, s->q_count).data;
    data[ATTENTION_K] = tensor_rows(a->k, s->k_first, s->k_count).data;
    data[ATTENTION_V] = tensor_rows(a->v, s->k_first, s->k_count).data;
    data[ATTENTION_SCALE] = &n->scale;
    data[ATTENTION_MASKED] = &n->masked;
    data[ATTENTION_ONE] = &n->one;
    data[ATTENTION_MINUS_LOW] = &n->minus_low;
    data[ATTENTION_HIGH_PLUS_ONE] = &n->high_plus_one;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

void *call_allocate(struct tensor *const *t, int n, int64_t bytes)
{
    size_t used = round_up((size_t)bytes), total = used;
    char *p;

    for (int i = 0; i < n; i++)
        total += t[i]->data ? 0 : round_up(tensor_bytes(t[i]));
    p = cuda_workspace(CUDA_WORK_CUDNN, total);
    for (int i = 0; i < n; i++)
        if (!t[i]->data) {
            t[i]->data = p + used;
            used += round_up(tensor_bytes(t[i]));
        }
    return p;
}

struct tensor call_destination(const struct result *r, const struct segment *s,
                               enum dtype type)
{
    struct tensor t = result_rows(r, s);

    return result_is_direct(r, type) ? t : tensor_dense_like(t, type);
}
