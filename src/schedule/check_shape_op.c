/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes of ops that compute. */
#include <config.h>

#include "schedule/check_internal.h"

/* ---- Operands ------------------------------------------------------------ */

/* Kernels take one run of rows; those of a lowered collective any stride. */
static int check_one_run(const struct task *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        int64_t n;
        const struct run *r = pool_rows_get(t->s->pool, t->o[i].tile.rows, &n);
        if (n > 1 || (n == 1 && r->count > 1 && r->stride != 1
                      && !t->op->channel))
            return task_fail(t, "operand %d is not one run of rows", (int)i);
    }
    return 0;
}

/* Operands first .. last: what is summed up over several ops is fp32. */
static int check_accumulators(const struct task *t, int64_t first,
                              int64_t last)
{
    for (int64_t i = first; i <= last; i++)
        if (t->o[i].access == ACCESS_UPDATE
            && task_shape(t, i).dtype != DTYPE_FP32)
            return task_fail(t, "operand %d accumulates in %s", (int)i,
                             dtype_name(task_shape(t, i).dtype));
    return 0;
}

static int check_all_fp32(const struct task *t)
{
    for (int64_t i = 0; i < t->n; i++)
        if (check_fp32(t, i))
            return -1;
    return 0;
}

/* Number, access, one run of rows. */
static int check_form(const struct task *t, const char *letters, int64_t n)
{
    return check_count(t, n) || check_access(t, letters) || check_one_run(t)
        ? -1 : 0;
}

/* Segments of the rows of operands q and k. */
static int check_segments(const struct task *t, int64_t q_rows,
                          int64_t k_rows)
{
    int64_t n;

    if (t->op->segments < 0)
        return task_fail(t, "no list of segments");
    const struct segment *s = pool_segments_get(t->s->pool, t->op->segments,
                                                &n);
    for (int64_t i = 0; i < n; i++)
        if (s[i].q_first < 0 || s[i].k_first < 0 || s[i].q_count < 0
            || s[i].k_count < 0 || s[i].q_first + s[i].q_count > q_rows
            || s[i].k_first + s[i].k_count > k_rows)
            return task_fail(t, "segment %d is outside of its tiles", (int)i);
    return 0;
}

/* The KV heads that the query heads use are there. */
static int check_heads(const struct task *t, int64_t q, int64_t k)
{
    struct shape x = task_shape(t, q), y = task_shape(t, k);
    int64_t G = job_group(t->s->job);

    if (x.heads == 0 || (x.first / G >= y.first && (x.first + x.heads - 1) / G
                         < y.first + y.heads))
        return 0;
    return task_fail(t, "query heads %d + %d on KV heads %d + %d", x.first,
                     x.heads, y.first, y.heads);
}

/* Operands i and k are of the same heads. */
static int check_same_heads(const struct task *t, int64_t i, int64_t k)
{
    if (task_shape(t, i).first == task_shape(t, k).first)
        return 0;
    return task_fail(t, "operands %d and %d are of different heads", (int)i,
                     (int)k);
}

/* ---- Attends, merges, sums ----------------------------------------------- */

/* q k v. */
static int check_qkv(const struct task *t)
{
    const struct transformer *f = &t->s->job->transformer;
    struct shape q = task_shape(t, 0), k = task_shape(t, 1);
    struct shape v = task_shape(t, 2);

    if (check_segments(t, q.rows, k.rows)
        || check_size(t, 0, -1, -1, f->head_dim)
        || check_size(t, 1, v.rows, v.heads, f->head_dim)
        || check_size(t, 2, -1, -1, f->value_dim) || check_heads(t, 0, 1))
        return -1;
    return q.heads > 0 ? check_same_heads(t, 1, 2) : 0;
}

static int shape_attend(const struct task *t)
{
    const struct transformer *f = &t->s->job->transformer;

    if (check_form(t, "rrrx", 5) || check_qkv(t))
        return -1;
    struct shape q = task_shape(t, 0);
    if (t->o[3].access != t->o[4].access)
        return task_fail(t, "o and lse differ in access");
    return check_size(t, 3, q.rows, q.heads, f->value_dim)
        || check_size(t, 4, q.rows, q.heads, 1) || check_accumulators(t, 3, 3)
        || check_fp32(t, 4) ? -1 : 0;
}

static int shape_attend_backward(const struct task *t)
{
    const struct transformer *f = &t->s->job->transformer;

    if (check_form(t, "rrrrrrxxxr", t->n == 10 ? 10 : 9) || check_qkv(t))
        return -1;
    struct shape q = task_shape(t, 0), k = task_shape(t, 1);
    return check_size(t, 3, q.rows, q.heads, f->value_dim)
        || check_size(t, 4, q.rows, q.heads, 1)
        || check_size(t, 5, q.rows, q.heads, 1)
        || check_size(t, 6, q.rows, q.heads, f->head_dim)
        || check_size(t, 7, k.rows, k.heads, f->head_dim)
        || check_size(t, 8, k.rows, k.heads, f->value_dim)
        || (t->n == 10 && check_size(t, 9, q.rows, q.heads, f->value_dim))
        || check_fp32(t, 4) || check_fp32(t, 5)
        || check_accumulators(t, 6, 8) ? -1 : 0;
}

static int shape_delta(const struct task *t)
{
    if (check_form(t, "rrw", 3))
        return -1;
    struct shape o = task_shape(t, 0);
    return check_size(t, 1, o.rows, o.heads, o.width)
        || check_size(t, 2, o.rows, o.heads, 1) || check_fp32(t, 2) ? -1 : 0;
}

enum { MOST_SOURCES = 8 };

static int shape_merge(const struct task *t)
{
    if (t->n < 4 || t->n > 2 + 2 * MOST_SOURCES || t->n % 2)
        return task_fail(t, "%d operands", (int)t->n);
    if (check_form(t, "xxr", t->n))
        return -1;
    if (t->o[0].access != t->o[1].access)
        return task_fail(t, "o and lse differ in access");
    struct shape o = task_shape(t, 0);
    for (int64_t i = 0; i < t->n; i++)
        if (check_size(t, i, o.rows, o.heads, i % 2 ? 1 : o.width)
            || (i % 2 && check_fp32(t, i)))
            return -1;
    return 0;
}

static int shape_sum(const struct task *t)
{
    if (t->n < 1 || t->n > 1 + MOST_SOURCES)
        return task_fail(t, "%d operands", (int)t->n);
    if (check_form(t, "xr", t->n))
        return -1;
    struct shape d = task_shape(t, 0);
    for (int64_t i = 1; i < t->n; i++)
        if (check_size(t, i, d.rows, d.heads, d.width))
            return -1;
    return 0;
}

static int shape_copy(const struct task *t)
{
    if (check_count(t, 2) || check_access(t, "wr"))
        return -1;
    struct shape d = task_shape(t, 0);
    return check_size(t, 1, d.rows, d.heads, d.width);
}

/* ---- Parts of a merge ---------------------------------------------------- */

static int shape_rescale(const struct task *t)
{
    if (check_form(t, "rrrw", 5) || check_all_fp32(t))
        return -1;
    struct shape o = task_shape(t, 0);
    return check_size(t, 1, o.rows, o.heads, 1)
        || check_size(t, 2, o.rows, o.heads, 1)
        || check_size(t, 3, o.rows, o.heads, o.width)
        || check_size(t, 4, o.rows, o.heads, 1) ? -1 : 0;
}

static int shape_normalize(const struct task *t)
{
    if (check_form(t, "rrrw", 5))
        return -1;
    struct shape num = task_shape(t, 0);
    for (int64_t i = 0; i < 5; i++)
        if (check_size(t, i, num.rows, num.heads, i % 3 ? 1 : num.width)
            || (i != 3 && check_fp32(t, i)))
            return -1;
    return 0;
}

/* ---- Materialised scores ------------------------------------------------- */

static int shape_scores(const struct task *t)
{
    if (check_form(t, "rrw", 3))
        return -1;
    struct shape x = task_shape(t, 0), y = task_shape(t, 1);
    return check_segments(t, x.rows, y.rows)
        || check_size(t, 1, -1, -1, x.width) || check_heads(t, 0, 1)
        || check_size(t, 2, x.rows, x.heads, y.rows)
        || check_same_heads(t, 0, 2) || check_fp32(t, 2) ? -1 : 0;
}

static int shape_softmax(const struct task *t)
{
    if (t->n < 1)
        return task_fail(t, "no operands");
    if (check_form(t, "wu", t->n) || check_size(t, 0, -1, -1, 1))
        return -1;
    struct shape lse = task_shape(t, 0);
    for (int64_t i = 1; i < t->n; i++)
        if (check_size(t, i, lse.rows, lse.heads, -1)
            || check_same_heads(t, 0, i))
            return -1;
    return check_all_fp32(t);
}

static int shape_softmax_backward(const struct task *t)
{
    if (check_form(t, "urr", 3) || check_all_fp32(t))
        return -1;
    struct shape s = task_shape(t, 0);
    return check_size(t, 1, s.rows, s.heads, s.width)
        || check_size(t, 2, s.rows, s.heads, 1) ? -1 : 0;
}

static int shape_weigh(const struct task *t)
{
    if (check_form(t, "xrr", 3) || check_fp32(t, 1))
        return -1;
    struct shape p = task_shape(t, 1), v = task_shape(t, 2);
    return check_segments(t, p.rows, v.rows)
        || check_size(t, 1, -1, -1, v.rows) || check_heads(t, 1, 2)
        || check_size(t, 0, p.rows, p.heads, v.width)
        || check_same_heads(t, 0, 1) || check_accumulators(t, 0, 0) ? -1 : 0;
}

static int shape_weigh_transposed(const struct task *t)
{
    if (check_form(t, "xrr", 3) || check_fp32(t, 1))
        return -1;
    struct shape out = task_shape(t, 0), p = task_shape(t, 1);
    return check_segments(t, p.rows, out.rows)
        || check_size(t, 1, -1, -1, out.rows) || check_heads(t, 1, 0)
        || check_size(t, 2, p.rows, p.heads, out.width)
        || check_same_heads(t, 1, 2) || check_accumulators(t, 0, 0) ? -1 : 0;
}

/* ---- Linear attention ---------------------------------------------------- */

/* Operand i is a state of the heads of operand q (below 0: any). */
static int check_state(const struct task *t, int64_t i, int64_t q)
{
    const struct transformer *f = &t->s->job->transformer;

    if (check_fp32(t, i)
        || check_size(t, i, 1, q < 0 ? -1 : task_shape(t, q).heads,
                      f->head_dim * f->value_dim))
        return -1;
    return q < 0 ? 0 : check_same_heads(t, i, q);
}

/* Operands i and i + 1 are k and v. */
static int check_kv(const struct task *t, int64_t i)
{
    const struct transformer *f = &t->s->job->transformer;
    struct shape k = task_shape(t, i);

    return check_size(t, i, -1, -1, f->head_dim)
        || check_size(t, i + 1, k.rows, k.heads, f->value_dim)
        || check_same_heads(t, i, i + 1) ? -1 : 0;
}

/* Operands i and k are q and do, or o. */
static int check_q_do(const struct task *t, int64_t i, int64_t k)
{
    const struct transformer *f = &t->s->job->transformer;
    struct shape q = task_shape(t, i);

    return check_size(t, i, -1, -1, f->head_dim)
        || check_size(t, k, q.rows, q.heads, f->value_dim)
        || check_same_heads(t, i, k) ? -1 : 0;
}

/* Operand k is a gradient of operand i. */
static int check_gradient(const struct task *t, int64_t k, int64_t i)
{
    struct shape x = task_shape(t, i);

    return check_size(t, k, x.rows, x.heads, x.width)
        || check_same_heads(t, k, i) || check_accumulators(t, k, k) ? -1 : 0;
}

static int shape_state(const struct task *t)
{
    if (check_form(t, "rrw", 3))
        return -1;
    if (t->op->backward)
        return check_q_do(t, 0, 1) || check_state(t, 2, 0) ? -1 : 0;
    return check_kv(t, 0) || check_state(t, 2, -1) || check_heads(t, 2, 0)
        ? -1 : 0;
}

static int shape_state_scan(const struct task *t)
{
    int64_t n = 0;

    if (t->n < 1)
        return task_fail(t, "no operands");
    if (check_form(t, "xr", t->n))
        return -1;
    for (int64_t i = 0; i < t->n; i++)
        if (check_state(t, i, i ? 0 : -1))
            return -1;
    int64_t wanted = t->n - (t->o[0].access == ACCESS_WRITE);
    const int64_t *span = t->op->segments < 0 ? NULL
        : pool_numbers_get(t->s->pool, t->op->segments, &n);
    if (n != wanted)
        return task_fail(t, "%d spans instead of %d", (int)n, (int)wanted);
    for (int64_t i = 0; i < n; i++)
        if (span[i] < 0)
            return task_fail(t, "a span of %lld tokens", (long long)span[i]);
    return 0;
}

static int check_chunk(const struct task *t)
{
    int64_t rows = task_shape(t, 0).rows;

    return check_qkv(t) || check_size(t, 1, rows, -1, -1) ? -1 : 0;
}

static int shape_linear_intra(const struct task *t)
{
    return check_form(t, "rrrx", 4) || check_chunk(t) || check_q_do(t, 0, 3)
        || check_accumulators(t, 3, 3) ? -1 : 0;
}

static int shape_linear_inter(const struct task *t)
{
    return check_form(t, "rrx", 3) || check_q_do(t, 0, 2)
        || check_state(t, 1, 0) || check_accumulators(t, 2, 2)
        || check_segments(t, task_shape(t, 0).rows, INT64_MAX) ? -1 : 0;
}

static int shape_linear_intra_backward(const struct task *t)
{
    return check_form(t, "rrrrx", 7) || check_chunk(t) || check_q_do(t, 0, 3)
        || check_gradient(t, 4, 0) || check_gradient(t, 5, 1)
        || check_gradient(t, 6, 2) ? -1 : 0;
}

static int shape_linear_inter_dq(const struct task *t)
{
    return check_form(t, "rrrx", 4) || check_q_do(t, 0, 1)
        || check_state(t, 2, 0) || check_gradient(t, 3, 0)
        || check_segments(t, task_shape(t, 0).rows, INT64_MAX) ? -1 : 0;
}

static int shape_linear_inter_dkv(const struct task *t)
{
    return check_form(t, "rrrx", 5) || check_kv(t, 0)
        || check_state(t, 2, -1) || check_heads(t, 2, 0)
        || check_gradient(t, 3, 0) || check_gradient(t, 4, 1)
        || check_segments(t, INT64_MAX, task_shape(t, 0).rows) ? -1 : 0;
}

static int (*const shapes[OP_KINDS])(const struct task *) = {
    [OP_ATTEND] = shape_attend,
    [OP_ATTEND_BACKWARD] = shape_attend_backward,
    [OP_DELTA] = shape_delta,
    [OP_MERGE] = shape_merge,
    [OP_SUM] = shape_sum,
    [OP_COPY] = shape_copy,
    [OP_STAGE_OUT] = shape_copy,
    [OP_STAGE_IN] = shape_copy,
    [OP_RESCALE] = shape_rescale,
    [OP_NORMALIZE] = shape_normalize,
    [OP_SCORES] = shape_scores,
    [OP_SOFTMAX] = shape_softmax,
    [OP_SOFTMAX_BACKWARD] = shape_softmax_backward,
    [OP_WEIGH] = shape_weigh,
    [OP_WEIGH_TRANSPOSED] = shape_weigh_transposed,
    [OP_STATE] = shape_state,
    [OP_STATE_SCAN] = shape_state_scan,
    [OP_LINEAR_INTRA] = shape_linear_intra,
    [OP_LINEAR_INTER] = shape_linear_inter,
    [OP_LINEAR_INTRA_BACKWARD] = shape_linear_intra_backward,
    [OP_LINEAR_INTER_DQ] = shape_linear_inter_dq,
    [OP_LINEAR_INTER_DKV] = shape_linear_inter_dkv,
};

int check_compute_shape(const struct task *t)
{
    return shapes[t->op->kind](t);
}
