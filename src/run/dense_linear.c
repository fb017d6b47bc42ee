/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain linear attention: each row's sum over all others, term by term, with
 * no state that is carried along.  Queries and keys are two sides of one form:
 *
 *     query i:  e = o_i,   e += w (f(q_i) f(k_j)) v_j
 *               d = dq_i,  d += w (do_i v_j) f(k_j),      times f'(q_i)
 *     key j:    e = dv_j,  e += w (f(k_j) f(q_i)) do_i
 *               d = dk_j,  d += w (v_j do_i) f(q_i),      times f'(k_j) */
#include <config.h>

#include "job/job.h"
#include "run/verify.h"

#include <stdlib.h>
#include <string.h>

#pragma GCC optimize("O3")      /* vectorise */

#include "run/dense_vector.h"

enum side { QUERIES, KEYS };

/* One head of one sequence. */
struct lines {
    const struct dense_problem *problem;
    int64_t head, kv_head;
    int64_t base, n;            /* the sequence's tokens */
    float *x[2], *y[2];         /* [side]: f(q), f(k) [n, D]; do, v [n, E] */
    float *slope[2];            /* f'(q), f'(k) [n, D] */
    float *decay;               /* [n] lambda^distance */
};

static float feature_of(int feature, float x)
{
    const float f[] = { x, x > 0 ? x + 1 : expf(x), x > 0 ? x : 0 };

    return f[feature];
}

static float slope_of(int feature, float x)
{
    const float f[] = { 1, x > 0 ? 1 : expf(x), x > 0 ? 1 : 0 };

    return f[feature];
}

/* One head of a tensor [S, heads, width]; NULL: zeros. */
static float *take(const struct lines *l, const float *from, int64_t head,
                   int64_t heads, int64_t width)
{
    float *to = xcalloc((size_t)max64(l->n * width, 1), sizeof *to);

    for (int64_t i = 0; from && i < l->n; i++)
        memcpy(to + i * width, from + ((l->base + i) * heads + head) * width,
               (size_t)width * sizeof *to);
    return to;
}

/* The raw q or k in x become f and f'. */
static void apply_feature(struct lines *l, enum side side)
{
    int64_t n = l->n * l->problem->head_dim;

    l->slope[side] = xcalloc((size_t)max64(n, 1), sizeof(float));
    for (int64_t i = 0; i < n; i++) {
        float raw = l->x[side][i];
        l->slope[side][i] = slope_of(l->problem->feature, raw);
        l->x[side][i] = feature_of(l->problem->feature, raw);
    }
}

static struct lines lines_create(const struct dense_problem *p, int64_t head,
                                 int64_t s)
{
    struct lines l = { .problem = p, .head = head, .base = p->offsets[s],
                       .kv_head = head / (p->heads / p->kv_heads),
                       .n = p->offsets[s + 1] - p->offsets[s] };

    l.x[QUERIES] = take(&l, p->q, head, p->heads, p->head_dim);
    l.y[QUERIES] = take(&l, p->d_o, head, p->heads, p->value_dim);
    l.x[KEYS] = take(&l, p->k, l.kv_head, p->kv_heads, p->head_dim);
    l.y[KEYS] = take(&l, p->v, l.kv_head, p->kv_heads, p->value_dim);
    apply_feature(&l, QUERIES);
    apply_feature(&l, KEYS);
    l.decay = xcalloc((size_t)max64(l.n, 1), sizeof *l.decay);
    for (int64_t i = 0; i < l.n; i++)
        l.decay[i] = p->slopes ? expf(-(float)p->slopes[head] * (float)i) : 1;
    return l;
}

/* Sums of absolute terms come out from now on. */
static void make_absolute(struct lines *l)
{
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < l->n * l->problem->head_dim; i++)
            l->x[side][i] = fabsf(l->x[side][i]);
        for (int64_t i = 0; i < l->n * l->problem->value_dim; i++)
            l->y[side][i] = fabsf(l->y[side][i]);
    }
}

static void lines_destroy(struct lines *l)
{
    for (int side = 0; side < 2; side++) {
        free(l->x[side]);
        free(l->y[side]);
        free(l->slope[side]);
    }
    free(l->decay);
}

/* Adds row i of a side: to d [D], to e [E]; NULL: not wanted. work: [D]. */
static void add_row(const struct lines *l, enum side side, int64_t i, float *d,
                    float *e, float *work)
{
    const struct dense_problem *p = l->problem;
    int64_t D = p->head_dim, E = p->value_dim;
    int64_t before = side == QUERIES ? p->mask.left : p->mask.right;
    int64_t after = side == QUERIES ? p->mask.right : p->mask.left;
    int64_t lo = before < 0 ? 0 : max64(0, i - before);
    int64_t hi = after < 0 ? l->n : min64(l->n, i + after + 1);
    const float *x = l->x[side] + i * D, *y = l->y[side] + i * E;

    memset(work, 0, (size_t)D * sizeof *work);
    for (int64_t c = 0; c < hi - lo; c++) {
        int64_t j = p->in_order ? lo + c : hi - 1 - c;
        const float *xj = l->x[!side] + j * D, *yj = l->y[!side] + j * E;
        float w = l->decay[i < j ? j - i : i - j];
        if (e)
            add_scaled(e, w * (p->in_order ? dot_in_parts(x, xj, D, 4)
                                           : dot(x, xj, D)), yj, E);
        if (d)
            add_scaled(work, w * (p->in_order ? dot_in_parts(y, yj, E, 4)
                                              : dot(y, yj, E)), xj, D);
    }
    for (int64_t c = 0; d && c < D; c++)
        d[c] += l->slope[side][i * D + c] * work[c];
}

/* All rows of a side into global tensors. */
static void add_side(const struct lines *l, enum side side, float *d, float *e,
                     float *work)
{
    const struct dense_problem *p = l->problem;
    int64_t heads = side == QUERIES ? p->heads : p->kv_heads;
    int64_t head = side == QUERIES ? l->head : l->kv_head;

    for (int64_t i = 0; (d || e) && i < l->n; i++) {
        int64_t at = (l->base + i) * heads + head;
        add_row(l, side, i, d ? d + at * p->head_dim : NULL,
                e ? e + at * p->value_dim : NULL, work);
    }
}

static void clear(float *x, int64_t n)
{
    if (x)
        memset(x, 0, (size_t)n * sizeof *x);
}

static void finish(const struct dense_problem *p, float *x, int64_t n)
{
    if (x)
        round_to(p->dtype, x, n);
}

void dense_linear_all(const struct dense_problem *p, struct dense_result *r)
{
    int64_t q = p->offsets[p->sequences] * p->heads;
    int64_t k = p->offsets[p->sequences] * p->kv_heads;
    float *x[] = { r->o, r->dq, r->dk, r->dv };
    int64_t n[] = { q * p->value_dim, q * p->head_dim, k * p->head_dim,
                    k * p->value_dim };
    float *work = xmalloc((size_t)p->head_dim * sizeof *work);

    for (int i = 0; i < 4; i++)
        clear(x[i], n[i]);
    for (int64_t h = 0; h < p->heads; h++)
        for (int64_t s = 0; s < p->sequences; s++) {
            struct lines l = lines_create(p, h, s);
            add_side(&l, QUERIES, r->dq, r->o, work);
            add_side(&l, KEYS, r->dk, r->dv, work);
            lines_destroy(&l);
        }
    for (int i = 0; i < 4; i++)
        finish(p, x[i], n[i]);
    free(work);
}

/* The listed tokens of a side, one head: added to d [n, D] and e [n, E], their
 * absolute terms to abs_d, abs_e. */
static void add_listed(const struct dense_problem *p, int64_t head,
                       enum side side, const int64_t *list, int64_t n,
                       float *const to[2], float *const sizes[2])
{
    int64_t D = p->head_dim, E = p->value_dim;
    float *work = xmalloc((size_t)D * sizeof *work);

    for (int64_t s = 0; s < p->sequences; s++) {
        struct lines l = lines_create(p, head, s);
        for (int absolute = 0; absolute < 2; absolute++) {
            float *const *at = absolute ? sizes : to;
            if (absolute)
                make_absolute(&l);
            for (int64_t i = 0; i < n; i++)
                if (sequence_of(p, list[i]) == s)
                    add_row(&l, side, list[i] - l.base,
                            at[0] ? at[0] + i * D : NULL, at[1] + i * E, work);
        }
        lines_destroy(&l);
    }
    free(work);
}

/* Of heads first .. +heads, listed tokens of a side: d, e, and the largest of
 * the absolute terms behind them. */
static void listed(const struct dense_problem *p, int64_t first, int64_t heads,
                   enum side side, const int64_t *list, int64_t n,
                   float *const to[2], double *const most[2])
{
    int64_t sizes[2] = { n * p->head_dim, n * p->value_dim };
    float *terms[2];

    for (int i = 0; i < 2; i++) {
        clear(to[i], sizes[i]);
        terms[i] = to[i] ? xcalloc((size_t)max64(sizes[i], 1), sizeof(float))
                         : NULL;
    }
    for (int64_t h = first; h < first + heads; h++)
        add_listed(p, h, side, list, n, to, terms);
    for (int i = 0; i < 2; i++) {
        finish(p, to[i], sizes[i]);
        for (int64_t x = 0; to[i] && x < sizes[i]; x++)
            *most[i] = fmax(*most[i], terms[i][x]);
        free(terms[i]);
    }
}

void dense_linear_rows(const struct dense_problem *p, int64_t head,
                       const int64_t *rows, int64_t n, struct dense_result *r)
{
    float *const to[2] = { r->dq, r->o };
    double *const most[2] = { &r->magnitude[RESULT_DQ],
                              &r->magnitude[RESULT_O] };

    listed(p, head, 1, QUERIES, rows, n, to, most);
}

void dense_linear_keys(const struct dense_problem *p, int64_t kv_head,
                       const int64_t *keys, int64_t n, struct dense_result *r)
{
    int64_t group = p->heads / p->kv_heads;
    float *const to[2] = { r->dk, r->dv };
    double *const most[2] = { &r->magnitude[RESULT_DK],
                              &r->magnitude[RESULT_DV] };

    listed(p, kv_head * group, group, KEYS, keys, n, to, most);
}
