/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "run/dense.h"
#include "run/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#pragma GCC optimize("O3")      /* vectorise */

#include "run/dense_vector.h"

/* One query row at work: visible keys lo .. hi-1, their scores s, weights p and
 * gradients of scores ds. */
struct row {
    int64_t lo, hi, kv;         /* kv: its KV head */
    int64_t at, first;          /* its place in its sequence, which starts at
                                   token `first` */
    const float *q, *d_o;
    float *s, *p, *ds;          /* [longest sequence] */
    float *o;                   /* [E] rounded to dtype */
    float *columns;             /* [Hk, D, S] K, transposed */
    float lse, delta;
};

static const float *key(const struct dense_problem *p, int64_t token,
                        int64_t g)
{
    return p->k + (token * p->kv_heads + g) * p->head_dim;
}

static const float *value(const struct dense_problem *p, int64_t token,
                          int64_t g)
{
    return p->v + (token * p->kv_heads + g) * p->value_dim;
}

static float *transpose_keys(const struct dense_problem *p)
{
    int64_t tokens = p->offsets[p->sequences], n = p->kv_heads * p->head_dim;
    float *columns = xmalloc((size_t)(n * tokens) * sizeof *columns);

    for (int64_t t = 0; t < tokens; t++)
        for (int64_t x = 0; x < n; x++)
            columns[x * tokens + t] = p->k[t * n + x];
    return columns;
}

static struct row row_create(const struct dense_problem *p)
{
    int64_t longest = 0;
    struct row r = { 0 };

    for (int64_t s = 0; s < p->sequences; s++)
        longest = max64(longest, p->offsets[s + 1] - p->offsets[s]);
    r.s = xmalloc((size_t)longest * sizeof *r.s);
    r.p = xmalloc((size_t)longest * sizeof *r.p);
    r.ds = xmalloc((size_t)longest * sizeof *r.ds);
    r.columns = transpose_keys(p);
    r.o = xmalloc((size_t)p->value_dim * sizeof *r.o);
    return r;
}

static void row_destroy(struct row *r)
{
    free(r->columns);
    free(r->s);
    free(r->p);
    free(r->ds);
    free(r->o);
}

/* Scores of a row: terms in order, or in parts. */
static void scores(const struct dense_problem *p, struct row *r, int in_order)
{
    int64_t n = r->hi - r->lo, tokens = p->offsets[p->sequences];
    const float *columns = r->columns + r->kv * p->head_dim * tokens + r->lo;

    memset(r->s, 0, (size_t)n * sizeof *r->s);
    for (int64_t x = 0; in_order && x < p->head_dim; x++)
        add_scaled(r->s, r->q[x] * p->scale, columns + x * tokens, n);
    for (int64_t j = 0; !in_order && j < n; j++)
        r->s[j] = p->scale * dot(r->q, key(p, r->lo + j, r->kv), p->head_dim);
    for (int64_t j = 0; p->mask.block && j < n; j++)
        if (!oracle_sees(&p->mask, r->at, r->lo - r->first + j))
            r->s[j] = -INFINITY;
}

static void row_forward(const struct dense_problem *p, struct row *r,
                        int64_t token, int64_t head)
{
    int64_t s = sequence_of(p, token), n;
    int64_t left = p->mask.left, right = p->mask.right;
    float most = -INFINITY, total = 0;

    r->kv = head / (p->heads / p->kv_heads);
    r->q = p->q + (token * p->heads + head) * p->head_dim;
    r->first = p->offsets[s];
    r->at = token - r->first;
    r->lo = left < 0 ? r->first : max64(r->first, token - left);
    r->hi = right < 0 ? p->offsets[s + 1]
                      : min64(p->offsets[s + 1], token + right + 1);
    n = r->hi - r->lo;
    scores(p, r, p->in_order);
    for (int64_t j = 0; j < n; j++)
        most = r->s[j] > most ? r->s[j] : most;
    for (int64_t j = 0; j < n; j++)
        total += r->p[j] = expf(r->s[j] - most);
    memset(r->o, 0, (size_t)p->value_dim * sizeof *r->o);
    for (int64_t j = 0; j < n; j++) {
        r->p[j] /= total;
        add_scaled(r->o, r->p[j], value(p, r->lo + j, r->kv), p->value_dim);
    }
    r->lse = most + logf(total);
    round_to(p->dtype, r->o, p->value_dim);
}

/* After row_forward(): delta, p and ds. */
static void row_backward(const struct dense_problem *p, struct row *r,
                         int64_t token, int64_t head)
{
    r->d_o = p->d_o + (token * p->heads + head) * p->value_dim;
    r->delta = 0;
    for (int64_t x = 0; x < p->value_dim; x++)
        r->delta += r->d_o[x] * r->o[x];
    scores(p, r, !p->in_order);
    for (int64_t j = 0; j < r->hi - r->lo; j++) {
        r->p[j] = expf(r->s[j] - r->lse);
        float dp = dot(r->d_o, value(p, r->lo + j, r->kv), p->value_dim);
        r->ds[j] = r->p[j] * (dp - r->delta) * p->scale;
    }
}

static void row_dq(const struct dense_problem *p, const struct row *r,
                   float *dq)
{
    memset(dq, 0, (size_t)p->head_dim * sizeof *dq);
    for (int64_t j = 0; j < r->hi - r->lo; j++)
        add_scaled(dq, r->ds[j], key(p, r->lo + j, r->kv), p->head_dim);
    round_to(p->dtype, dq, p->head_dim);
}

static void softmax_all(const struct dense_problem *p, struct dense_result *r)
{
    int64_t tokens = p->offsets[p->sequences];
    int64_t D = p->head_dim, E = p->value_dim;
    struct row w = row_create(p);

    for (int64_t i = 0; r->dq && i < tokens * p->kv_heads * D; i++)
        r->dk[i] = 0;
    for (int64_t i = 0; r->dq && i < tokens * p->kv_heads * E; i++)
        r->dv[i] = 0;
    for (int64_t i = 0; i < tokens * p->heads; i++) {
        int64_t token = i / p->heads, head = i % p->heads;
        row_forward(p, &w, token, head);
        memcpy(r->o + i * E, w.o, (size_t)E * sizeof *w.o);
        r->lse[i] = w.lse;
        if (!r->dq)
            continue;
        row_backward(p, &w, token, head);
        row_dq(p, &w, r->dq + i * D);
        for (int64_t j = w.lo; j < w.hi; j++) {
            int64_t at = j * p->kv_heads + w.kv;
            add_scaled(r->dk + at * D, w.ds[j - w.lo], w.q, D);
            add_scaled(r->dv + at * E, w.p[j - w.lo], w.d_o, E);
        }
    }
    if (r->dq) {
        round_to(p->dtype, r->dk, tokens * p->kv_heads * D);
        round_to(p->dtype, r->dv, tokens * p->kv_heads * E);
    }
    row_destroy(&w);
}

/* Absolute terms of a gradient of a score: p scale (|do||v| + |do||o|). */
static double abs_ds(const struct dense_problem *p, const struct row *r,
                     int64_t j)
{
    const float *v = value(p, r->lo + j, r->kv);

    return (double)r->p[j] * p->scale
           * (abs_dot(r->d_o, v, p->value_dim)
              + abs_dot(r->d_o, r->o, p->value_dim));
}

static void row_magnitude(const struct dense_problem *p, const struct row *r,
                          struct dense_result *out)
{
    double *o = xcalloc((size_t)p->value_dim, sizeof *o);
    double *dq = xcalloc((size_t)p->head_dim, sizeof *dq);

    for (int64_t j = 0; j < r->hi - r->lo; j++) {
        add_abs(o, r->p[j], value(p, r->lo + j, r->kv), p->value_dim);
        if (out->dq)
            add_abs(dq, abs_ds(p, r, j), key(p, r->lo + j, r->kv),
                    p->head_dim);
    }
    raise_to(&out->magnitude[RESULT_O], o, p->value_dim);
    raise_to(&out->magnitude[RESULT_DQ], dq, p->head_dim);
    free(o);
    free(dq);
}

static void softmax_rows(const struct dense_problem *p, int64_t head,
                         const int64_t *rows, int64_t n,
                         struct dense_result *r)
{
    struct row w = row_create(p);

    for (int64_t i = 0; i < n; i++) {
        row_forward(p, &w, rows[i], head);
        memcpy(r->o + i * p->value_dim, w.o,
               (size_t)p->value_dim * sizeof *w.o);
        r->lse[i] = w.lse;
        if (r->dq) {
            row_backward(p, &w, rows[i], head);
            row_dq(p, &w, r->dq + i * p->head_dim);
        }
        row_magnitude(p, &w, r);
    }
    row_destroy(&w);
}

/* What one row adds to the listed keys. */
static void row_keys(const struct dense_problem *p, const struct row *w,
                     const int64_t *keys, int64_t n, struct dense_result *r,
                     double *abs_dk, double *abs_dv)
{
    int64_t D = p->head_dim, E = p->value_dim;

    for (int64_t i = 0; i < n; i++) {
        int64_t j = keys[i] - w->lo;
        if (keys[i] < w->lo || keys[i] >= w->hi)
            continue;
        add_scaled(r->dk + i * D, w->ds[j], w->q, D);
        add_scaled(r->dv + i * E, w->p[j], w->d_o, E);
        add_abs(abs_dk + i * D, abs_ds(p, w, j), w->q, D);
        add_abs(abs_dv + i * E, w->p[j], w->d_o, E);
    }
}

static void softmax_keys(const struct dense_problem *p, int64_t kv_head,
                         const int64_t *keys, int64_t n,
                         struct dense_result *r)
{
    int64_t D = p->head_dim, E = p->value_dim, group = p->heads / p->kv_heads;
    struct row w = row_create(p);
    double *abs_dk = xcalloc((size_t)(n * D), sizeof *abs_dk);
    double *abs_dv = xcalloc((size_t)(n * E), sizeof *abs_dv);

    memset(r->dk, 0, (size_t)(n * D) * sizeof *r->dk);
    memset(r->dv, 0, (size_t)(n * E) * sizeof *r->dv);
    for (int64_t t = 0; t < p->offsets[p->sequences]; t++)
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
            row_forward(p, &w, t, h);
            row_backward(p, &w, t, h);
            row_keys(p, &w, keys, n, r, abs_dk, abs_dv);
        }
    round_to(p->dtype, r->dk, n * D);
    round_to(p->dtype, r->dv, n * E);
    raise_to(&r->magnitude[RESULT_DK], abs_dk, n * D);
    raise_to(&r->magnitude[RESULT_DV], abs_dv, n * E);
    free(abs_dk);
    free(abs_dv);
    row_destroy(&w);
}

/* ---- Either attention --------------------------------------------------- */

void dense_all(const struct dense_problem *p, struct dense_result *r)
{
    (p->linear ? dense_linear_all : softmax_all)(p, r);
}

void dense_rows(const struct dense_problem *p, int64_t head,
                const int64_t *rows, int64_t n, struct dense_result *r)
{
    (p->linear ? dense_linear_rows : softmax_rows)(p, head, rows, n, r);
}

void dense_keys(const struct dense_problem *p, int64_t kv_head,
                const int64_t *keys, int64_t n, struct dense_result *r)
{
    (p->linear ? dense_linear_keys : softmax_keys)(p, kv_head, keys, n, r);
}
