/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuDNN backend: attention by cuDNN's fused engines, segment by segment,
 * and everything else, and what these do not take, by the cuda backend.
 *
 * cuDNN writes whole results in the type of its inputs. They go to where they
 * belong if that is of this type and the segment alone writes these rows; else
 * to a workspace, from which the cuda backend merges or adds them in fp32. */
#include <config.h>

#include <math.h>
#include <string.h>

#include "kernel/backends.h"
#include "kernel/cuda_kernels.h"
#include "kernel/cudnn_backend.h"
#include "kernel/cudnn_device.h"
#include "kernel/cudnn_result.h"
#include "kernel/cudnn_state.h"

enum {
    OLDEST = 91600,     /* before: wrong gradients if n_k % 128 != 0 */
    SEGMENTS = 32,      /* more in a call, or fewer rows: the cuda backend */
    FEWEST_ROWS = 17,   /* decoding has up to 16 queries */
    LONGEST = 1 << 24   /* cuDNN compares positions as fp32 */
};

/* ---- What cuDNN takes --------------------------------------------------- */

static int is_input(const struct tensor *t, enum dtype type)
{
    return t->dtype == type && t->width % 8 == 0 && t->width <= 256 &&
           tensor_is_aligned(t);
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

static int segments_fit(const struct attend_args *a)
{
    if (a->n_segments < 1 || a->n_segments > SEGMENTS ||
        max64(a->q.rows, a->k.rows) >= LONGEST)
        return 0;
    for (int64_t i = 0; i < a->n_segments; i++)
        if (a->segments[i].q_count < FEWEST_ROWS ||
            a->segments[i].k_count < FEWEST_ROWS)
            return 0;
    return 1;
}

static int inputs_fit(const struct attend_args *a)
{
    enum dtype type = a->q.dtype;

    return type != DTYPE_FP32 && is_input(&a->q, type) &&
           is_input(&a->k, type) && is_input(&a->v, type) && heads_match(a) &&
           segments_fit(a);
}

/* ---- Operands ----------------------------------------------------------- */

static cudnnDataType_t type_of(enum dtype type)
{
    return type == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_HALF;
}

/* What forward and backward have in common. */
static struct attention_shape shape_of(const struct attend_args *a,
                                       const struct segment *s)
{
    struct attention_shape shape;

    memset(&shape, 0, sizeof shape);
    shape.has_low = s->low > BAND_LOW;
    shape.has_high = s->high < BAND_HIGH;
    shape.low_is_zero = s->low == 0;
    shape.type = type_of(a->q.dtype);
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

/* The numbers that the operands point to. */
struct numbers {
    float scale, masked, one, high_plus_one;
    int32_t minus_low;
};

static struct numbers numbers_of(const struct attend_args *a,
                                 const struct segment *s)
{
    return (struct numbers){
        .scale = a->scale, .masked = -INFINITY, .one = 1,
        .high_plus_one = s->high < BAND_HIGH ? (float)(s->high + 1) : 0,
        .minus_low = s->low > BAND_LOW ? (int32_t)-s->low : 0,
    };
}

static void set_inputs(void **data, struct numbers *n,
                       const struct attend_args *a, const struct segment *s)
{
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

/* Gives memory to every t[i] that has none.  Returns `bytes` more for cuDNN;
 * all is lost at the next call. */
static void *allocate(struct tensor **t, int n, int64_t bytes)
{
    size_t used = round_up((size_t)bytes), total = used;
    char *p;

    for (int i = 0; i < n; i++)
        total += t[i]->data ? 0 : round_up(tensor_bytes(t[i]));
    p = cudnn_workspace(total);
    for (int i = 0; i < n; i++)
        if (!t[i]->data) {
            t[i]->data = p + used;
            used += round_up(tensor_bytes(t[i]));
        }
    return p;
}

/* Where cuDNN's part of a result goes. */
static struct tensor destination(const struct result *r,
                                 const struct segment *s, enum dtype type)
{
    struct tensor t = result_rows(r, s);

    return result_is_direct(r, type) ? t : tensor_dense_like(t, type);
}

/* ---- Forward ------------------------------------------------------------ */

static const struct attention_plan *
forward_plan(const struct attend_args *a, const struct segment *s,
             const struct tensor *o, const struct tensor *lse)
{
    struct attention_shape shape = shape_of(a, s);

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

    *o = destination(r, s, a->q.dtype);
    *lse = tensor_rows(a->lse, s->q_first, s->q_count);
    if (!direct)
        *lse = tensor_dense_like(*lse, DTYPE_FP32);
    return direct;
}

static void attend_segment(const struct attend_args *a, const struct result *r,
                           const struct segment *s)
{
    struct numbers n = numbers_of(a, s);
    void *data[ATTENTION_NAMES] = { NULL }, *workspace;
    struct tensor o, lse;
    int direct = forward_parts(a, r, s, &o, &lse);
    const struct attention_plan *plan = forward_plan(a, s, &o, &lse);

    workspace = allocate((struct tensor *[]){ &o, &lse }, 2,
                         plan->plan.workspace);
    set_inputs(data, &n, a, s);
    data[ATTENTION_O] = o.data;
    data[ATTENTION_LSE] = lse.data;
    attention_run(plan, cudnn_open(), data, workspace);
    if (!direct)
        cuda_merge(result_rows(r, s),
                   tensor_rows(a->lse, s->q_first, s->q_count),
                   result_stores(r), &o, &lse, 1);
}

/* Does cuDNN take the call?  Then the thread's device is open and the plans are
 * there. */
static int forward_fits(const struct attend_args *a, struct result *o)
{
    struct tensor part, lse;

    *o = (struct result){ a->o, segment_query_rows, a->store, 0 };
    if (!inputs_fit(a) || !result_open(o, a))
        return 0;
    cudnn_open();
    for (int64_t i = 0; i < a->n_segments; i++) {
        forward_parts(a, o, &a->segments[i], &part, &lse);
        if (!forward_plan(a, &a->segments[i], &part, &lse))
            return 0;
    }
    return 1;
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

    if (!forward_fits(a, &o)) {
        cuda_attend(a);
        return;
    }
    clear_forward(a, &o);
    for (int64_t i = 0; i < a->n_segments; i++)
        attend_segment(a, &o, &a->segments[i]);
}

/* ---- Backward ----------------------------------------------------------- */

enum { DQ, DK, DV, RESULTS };

static const enum attention_name result_names[RESULTS] = {
    ATTENTION_DQ, ATTENTION_DK, ATTENTION_DV,
};

static const struct attention_plan *
backward_plan(const struct attend_args *a, const struct segment *s,
              const struct tensor *parts)
{
    struct attention_shape shape = shape_of(a, s);

    shape.backward = 1;
    shape.o_stride = (int64_t)a->d_o.heads * a->d_o.width;
    shape.lse_stride = a->lse.row_stride;
    shape.do_stride = a->d_o.row_stride;
    shape.dq_stride = parts[DQ].row_stride;
    shape.dk_stride = parts[DK].row_stride;
    shape.dv_stride = parts[DV].row_stride;
    return cudnn_plan(&shape);
}

static void gradient_parts(const struct attend_args *a, const struct result *r,
                           const struct segment *s, struct tensor *parts)
{
    for (int i = 0; i < RESULTS; i++)
        parts[i] = destination(&r[i], s, a->q.dtype);
}

static void backward_segment(const struct attend_args *a,
                             const struct result *r, const struct segment *s)
{
    struct numbers n = numbers_of(a, s);
    void *data[ATTENTION_NAMES] = { NULL }, *workspace;
    struct tensor d_o = tensor_rows(a->d_o, s->q_first, s->q_count);
    struct tensor delta = tensor_rows(a->delta, s->q_first, s->q_count);
    struct tensor o = tensor_dense_like(d_o, d_o.dtype), p[RESULTS];
    struct tensor sums = tensor_dense_like(delta, DTYPE_FP32), dq_sum;

    gradient_parts(a, r, s, p);
    dq_sum = tensor_dense_like(p[DQ], DTYPE_FP32);

    const struct attention_plan *plan = backward_plan(a, s, p);

    workspace = allocate((struct tensor *[]){ &o, &sums, &dq_sum, &p[DQ],
                                              &p[DK], &p[DV] }, 6,
                         plan->plan.workspace);
    cudnn_output_of_sums(d_o, delta, o);
    set_inputs(data, &n, a, s);
    data[ATTENTION_O] = o.data;
    data[ATTENTION_LSE] = tensor_rows(a->lse, s->q_first, s->q_count).data;
    data[ATTENTION_DO] = d_o.data;
    data[ATTENTION_DELTA] = sums.data;
    data[ATTENTION_DQ_SUM] = dq_sum.data;
    for (int i = 0; i < RESULTS; i++)
        data[result_names[i]] = p[i].data;
    attention_run(plan, cudnn_open(), data, workspace);
    for (int i = 0; i < RESULTS; i++)
        if (!result_is_direct(&r[i], a->q.dtype))
            cuda_sum(result_rows(&r[i], s), result_stores(&r[i]), &p[i], 1);
}

static int backward_fits(const struct attend_args *a, struct result *r)
{
    struct tensor parts[RESULTS];

    r[DQ] = (struct result){ a->dq, segment_query_rows, a->store_dq, 0 };
    r[DK] = (struct result){ a->dk, segment_key_rows, a->store_dk, 0 };
    r[DV] = (struct result){ a->dv, segment_key_rows, a->store_dv, 0 };
    if (!inputs_fit(a) || !is_input(&a->d_o, a->q.dtype))
        return 0;
    for (int i = 0; i < RESULTS; i++)
        if (!result_open(&r[i], a))
            return 0;
    cudnn_open();
    for (int64_t i = 0; i < a->n_segments; i++) {
        gradient_parts(a, r, &a->segments[i], parts);
        if (!backward_plan(a, &a->segments[i], parts))
            return 0;
    }
    return 1;
}

/* Zeros in rows that no segment stores. */
static void clear_gradient(const struct attend_args *a, const struct result *r)
{
    for (struct range x = { 0, 0 };; x.first += x.count) {
        x = result_gap(r, a, x.first);
        if (!x.count)
            return;
        cuda_sum(tensor_rows(r->t, x.first, x.count), 1, NULL, 0);
    }
}

static void cudnn_attend_backward(const struct attend_args *a)
{
    struct result r[RESULTS];

    if (!backward_fits(a, r)) {
        cuda_attend_backward(a);
        return;
    }
    for (int i = 0; i < RESULTS; i++)
        clear_gradient(a, &r[i]);
    for (int64_t i = 0; i < a->n_segments; i++)
        backward_segment(a, r, &a->segments[i]);
}

int cudnn_prepare(const struct attend_args *a, int backward)
{
    struct result r[RESULTS];

    return backward ? backward_fits(a, r) : forward_fits(a, r);
}

/* ---- The table ---------------------------------------------------------- */

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

const struct kernel_backend kernel_cudnn = {
    .name = "cudnn",
    .summary = "attention by cuDNN's fused engines, the rest as cuda",
    .device = &device_cuda,
    .available = cudnn_available,
    .attend = cudnn_attend,
    .attend_backward = cudnn_attend_backward,
    CUDA_ENTRIES
};
