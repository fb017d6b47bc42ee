/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuDNN backend's backward pass.  cuDNN sums the rows of do * o itself: it
 * gets the output, or, if the caller has no more than these sums, something
 * that gives them.
 *
 * Work space, of one segment: n_q x heads x (4 D + 8) bytes, 2 E more without
 * the output; results that cuDNN does not write to where they belong; and
 * cuDNN's own, n_k x heads x 2 (D + E) with grouped heads.
 *
 * dq is summed in the order in which blocks of keys finish.  Repeatable is the
 * form in which cuDNN keeps ds, n_q x n_k x 2 bytes a head, and multiplies it
 * as a whole: as many KV heads at a time as WORK_MOST holds. */
#include <config.h>

#include "kernel/cuda_kernels.h"
#include "kernel/cudnn_call.h"
#include "kernel/cudnn_device.h"
#include "kernel/cudnn_state.h"

static const int64_t WORK_MOST = (int64_t)2 << 30;

enum { WORTH_SPLITTING = 1024 };

enum { DQ, DK, DV, RESULTS };

static const enum attention_name names[RESULTS] = {
    ATTENTION_DQ, ATTENTION_DK, ATTENTION_DV,
};

/* Segments that may add to a row of 16 bit: each rounds the sum once more, and
 * what other ranks add to dK and dV is rounded, too. */
static const int64_t writers[RESULTS] = { 2, 1, 1 };

struct backward {
    struct attend_args a;       /* its segments are those below */
    struct segment segments[2 * CALL_SEGMENTS];
    struct result r[RESULTS];
    int repeatable;
};

/* Can cuDNN read the output itself? */
static int has_output(const struct attend_args *a)
{
    return a->o.data && call_is_input(&a->o, a->q.dtype);
}

static struct tensor output_of(const struct attend_args *a,
                               const struct segment *s)
{
    struct tensor rows = tensor_rows(a->d_o, s->q_first, s->q_count);

    return has_output(a) ? tensor_rows(a->o, s->q_first, s->q_count)
                         : tensor_dense_like(rows, rows.dtype);
}

static const struct attention_plan *plan_of(const struct backward *b,
                                            const struct segment *s,
                                            const struct tensor *parts)
{
    struct attention_shape shape = call_shape(&b->a, s);

    shape.backward = 1;
    shape.keeps_ds = b->repeatable;
    shape.o_stride = output_of(&b->a, s).row_stride;
    shape.do_stride = b->a.d_o.row_stride;
    shape.dq_stride = parts[DQ].row_stride;
    shape.dk_stride = parts[DK].row_stride;
    shape.dv_stride = parts[DV].row_stride;
    return cudnn_plan(&shape);
}

static void set_parts(const struct backward *b, const struct segment *s,
                      struct tensor *parts)
{
    for (int i = 0; i < RESULTS; i++)
        parts[i] = call_destination(&b->r[i], s, b->a.q.dtype);
}

/* Results that are not where they belong yet. */
static void deliver(const struct backward *b, const struct segment *s,
                    const struct tensor *parts)
{
    struct delivery d[RESULTS];
    int n = 0;

    for (int i = 0; i < RESULTS; i++)
        if (!result_is_direct(&b->r[i], b->a.q.dtype))
            d[n++] = (struct delivery){ result_rows(&b->r[i], s), parts[i],
                                        result_stores(&b->r[i]), 0 };
    cudnn_deliver(d, n);
}

static void run_segment(const struct backward *b, const struct segment *s)
{
    const struct attend_args *a = &b->a;
    void *data[ATTENTION_NAMES] = { NULL }, *workspace;
    struct tensor lse = tensor_rows(a->lse, s->q_first, s->q_count);
    struct tensor delta = tensor_rows(a->delta, s->q_first, s->q_count);
    struct tensor d_o = tensor_rows(a->d_o, s->q_first, s->q_count);
    struct tensor o = output_of(a, s), p[RESULTS], dq_sum;
    struct tensor sums = tensor_dense_like(lse, DTYPE_FP32), turned = sums;
    struct call_numbers n;

    set_parts(b, s, p);
    dq_sum = tensor_dense_like(p[DQ], DTYPE_FP32);
    if (b->repeatable)
        dq_sum.rows = 0;

    const struct attention_plan *plan = plan_of(b, s, p);

    workspace = call_allocate((struct tensor *[]){ &o, &sums, &turned, &dq_sum,
                                                   &p[DQ], &p[DK], &p[DV] }, 7,
                              plan->plan.workspace);
    if (!has_output(a))
        cudnn_output_of_sums(d_o, delta, o);
    cudnn_turn(lse, turned.data);
    call_inputs(data, &n, a, s);
    data[ATTENTION_O] = o.data;
    data[ATTENTION_LSE] = turned.data;
    data[ATTENTION_DO] = d_o.data;
    data[ATTENTION_DELTA] = sums.data;
    data[ATTENTION_DQ_SUM] = dq_sum.data;
    for (int i = 0; i < RESULTS; i++)
        data[names[i]] = p[i].data;
    attention_run(plan, cudnn_open(), data, workspace);
    deliver(b, s, p);
}

/* ---- A call -------------------------------------------------------------- */

/* Causal with more keys than queries: the keys that all queries see, and a
 * square.  cuDNN is up to 1.6 times as slow with both in one. */
static int64_t split(const struct segment *s, struct segment *to)
{
    int64_t seen = s->high < BAND_HIGH ? 0 : -s->low;

    to[0] = to[1] = *s;
    if (min64(seen, min64(s->q_count, s->k_count - seen)) < WORTH_SPLITTING)
        return 1;
    to[0].k_count = seen;
    to[0].low = BAND_LOW;
    to[1].k_first += seen;
    to[1].k_count -= seen;
    to[1].low = 0;
    return 2;
}

static void set_segments(struct backward *b, const struct attend_args *a)
{
    b->a = *a;
    b->a.segments = b->segments;
    b->a.n_segments = 0;
    for (int64_t i = 0; i < a->n_segments; i++)
        b->a.n_segments += split(&a->segments[i],
                                 &b->segments[b->a.n_segments]);
}

static const char *call_open(struct backward *b, const struct attend_args *call,
                             int repeatable)
{
    const char *why = call_refusal(call);
    struct tensor parts[RESULTS];
    const struct attend_args *a = &b->a;

    if (why)
        return why;
    set_segments(b, call);
    b->repeatable = repeatable;
    b->r[DQ] = (struct result){ a->dq, segment_query_rows, a->store_dq, 0 };
    b->r[DK] = (struct result){ a->dk, segment_key_rows, a->store_dk, 0 };
    b->r[DV] = (struct result){ a->dv, segment_key_rows, a->store_dv, 0 };
    if (!call_is_input(&a->d_o, a->q.dtype))
        why = "gradients that are not aligned to 16 bytes";
    for (int i = 0; i < RESULTS && !why; i++)
        if (!result_open(&b->r[i], a, writers[i]))
            why = "segments with rows in common, stored in 16 bits";
    if (why)
        return why;
    cudnn_open();
    for (int64_t i = 0; i < a->n_segments; i++) {
        set_parts(b, &a->segments[i], parts);
        if (!plan_of(b, &a->segments[i], parts))
            return "a shape that no engine of cuDNN has";
    }
    return NULL;
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

static void run_call(const struct backward *b)
{
    for (int i = 0; i < RESULTS; i++)
        clear_gradient(&b->a, &b->r[i]);
    for (int64_t i = 0; i < b->a.n_segments; i++)
        run_segment(b, &b->a.segments[i]);
}

void cudnn_attend_backward(const struct attend_args *a)
{
    struct backward b;

    if (call_open(&b, a, 0))
        cuda_attend_backward(a);
    else
        run_call(&b);
}

/* ---- The same bits every time -------------------------------------------- */

/* KV heads whose ds have room at a time. */
static int64_t heads_at_once(const struct attend_args *a)
{
    int64_t pairs = 1, each = a->q.heads / a->k.heads;

    for (int64_t i = 0; i < a->n_segments; i++)
        pairs = max64(pairs, a->segments[i].q_count * a->segments[i].k_count);
    return min64(WORK_MOST / 2 / pairs / each, a->k.heads);
}

/* The heads first .. first + count of a tensor, or none of a tensor that is not
 * there. */
static struct tensor heads_of(struct tensor t, int64_t first, int64_t count)
{
    if (t.data)
        t.data = (char *)t.data +
                 (size_t)(first * t.width) * dtype_size(t.dtype);
    t.heads = (int32_t)count;
    t.head_first += (int32_t)first;
    return t;
}

/* The call for KV heads first .. first + count. */
static struct attend_args part_of(const struct attend_args *a, int64_t first,
                                  int64_t count)
{
    struct attend_args p = *a;
    struct tensor *of_q[] = { &p.q, &p.o, &p.lse, &p.d_o, &p.delta, &p.dq };
    struct tensor *of_k[] = { &p.k, &p.v, &p.dk, &p.dv };
    int64_t each = a->q.heads / a->k.heads;

    for (size_t i = 0; i < sizeof of_q / sizeof *of_q; i++)
        *of_q[i] = heads_of(*of_q[i], first * each, count * each);
    for (size_t i = 0; i < sizeof of_k / sizeof *of_k; i++)
        *of_k[i] = heads_of(*of_k[i], first, count);
    return p;
}

const char *backward_refusal(const struct attend_args *a, int repeatable)
{
    struct backward b;
    const char *why = call_refusal(a);
    int64_t step = why || !repeatable ? a->k.heads : heads_at_once(a);

    if (why)
        return why;
    if (!step)
        return "more work space than 2 GiB to be repeatable";
    for (int64_t g = 0; g < a->k.heads && !why; g += step) {
        struct attend_args p = part_of(a, g, min64(step, a->k.heads - g));

        why = call_open(&b, &p, repeatable);
    }
    return why;
}

void cudnn_attend_backward_repeatable(const struct attend_args *a)
{
    struct backward b;

    if (backward_refusal(a, 1)) {
        cuda_attend_backward(a);
        return;
    }
    for (int64_t g = 0, step = heads_at_once(a); g < a->k.heads; g += step) {
        struct attend_args p = part_of(a, g, min64(step, a->k.heads - g));

        call_open(&b, &p, 1);
        run_call(&b);
    }
}
