/* SPDX-License-Identifier: Apache-2.0
 *
 * The formulas of the oracle:
 *
 *     P_i = softmax(scale q_i K^T over visible keys),  o_i = P_i V
 *     dP_ij = do_i v_j,  delta_i = sum_j P_ij dP_ij
 *     dS_ij = P_ij (dP_ij - delta_i)
 *     dq_i = scale sum_j dS_ij k_j,  dk_j = scale sum_i dS_ij q_i,
 *     dv_j = sum_i P_ij do_i
 *
 * Inner loops are axpy and nothing else. */
#include <config.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/oracle_block.h"

enum { KEYS = 256 };            /* transposed at a time */

/* y += a x */
ORACLE_ANY_ISA static void axpy(double *restrict y, double a,
                         const double *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

/* y += |a| |x| */
ORACLE_ANY_ISA static void axpy_abs(double *restrict y, double a,
                             const double *restrict x, int64_t n)
{
    double size = fabs(a);

    for (int64_t i = 0; i < n; i++)
        y[i] += size * fabs(x[i]);
}

double *oracle_zeros(int64_t n)
{
    return xcalloc((size_t)max64(n, 1), sizeof(double));
}

static const double *key(const struct block *b, int64_t j)
{
    const struct oracle_problem *p = b->problem;

    return p->k + oracle_at(b->base + j, b->kv_head, p->kv_heads, p->head_dim);
}

static const double *value(const struct block *b, int64_t j)
{
    const struct oracle_problem *p = b->problem;

    return p->v + oracle_at(b->base + j, b->kv_head, p->kv_heads, p->value_dim);
}

static const double *query(const struct block *b, int64_t r)
{
    const struct oracle_problem *p = b->problem;

    return p->q +
           oracle_at(b->base + b->row[r], b->head, p->heads, p->head_dim);
}

static const double *gradient(const struct block *b, int64_t r)
{
    const struct oracle_problem *p = b->problem;

    return p->d_o +
           oracle_at(b->base + b->row[r], b->head, p->heads, p->value_dim);
}

typedef const double *vector_fn(const struct block *b, int64_t i);

/* out[r][j] = a_r b_j for keys [from, to), in chunks that are transposed first
 * so that the sum over the width runs along keys. */
static void products(const struct block *b, double *const *out, vector_fn *a,
                     vector_fn *of, int64_t width)
{
    for (int64_t j0 = b->from; j0 < b->to; j0 += KEYS) {
        int64_t n = min64(KEYS, b->to - j0);

        for (int64_t j = 0; j < n; j++) {
            const double *x = of(b, j0 + j);

            for (int64_t d = 0; d < width; d++)
                b->work[d * KEYS + j] = x[d];
        }
        for (int64_t r = 0; r < b->n; r++)
            memset(out[r] + j0, 0, (size_t)n * sizeof(double));
        for (int64_t d = 0; d < width; d++)
            for (int64_t r = 0; r < b->n; r++)
                axpy(out[r] + j0, a(b, r)[d], b->work + d * KEYS, n);
    }
}

/* Scores of row r into P: zero where hidden, lse -inf where all are. */
static void softmax(struct block *b, int64_t r)
{
    double *p = b->p[r], most = -INFINITY, sum = 0;

    for (int64_t j = b->from; j < b->to; j++) {
        int seen = oracle_sees(&b->problem->mask, b->row[r], j);

        p[j] = seen ? p[j] * b->problem->scale : -INFINITY;
        most = fmax(most, p[j]);
    }
    for (int64_t j = b->from; j < b->to; j++)
        sum += p[j] = p[j] == -INFINITY ? 0 : exp(p[j] - most);
    b->lse[r] = sum > 0 ? most + log(sum) : -INFINITY;
    for (int64_t j = b->from; sum > 0 && j < b->to; j++)
        p[j] /= sum;
}

void block_compute(struct block *b, const int64_t *rows, int64_t n,
                   int gradients)
{
    const struct oracle_problem *p = b->problem;
    int64_t left = p->mask.left, right = p->mask.right;

    b->n = n;
    b->from = b->length;
    b->to = 0;
    for (int64_t r = 0; r < n; r++) {
        int64_t i = b->row[r] = rows[r];

        b->from = min64(b->from, left < 0 ? 0 : max64(0, i - left));
        b->to = max64(b->to, right < 0 ? b->length
                                       : min64(b->length, i + right + 1));
    }
    products(b, b->p, query, key, p->head_dim);
    for (int64_t r = 0; r < n; r++)
        softmax(b, r);
    if (!gradients)
        return;
    products(b, b->dp, gradient, value, p->value_dim);
    for (int64_t r = 0; r < n; r++) {
        b->delta[r] = 0;
        for (int64_t j = b->from; j < b->to; j++)
            b->delta[r] += b->p[r][j] * b->dp[r][j];
    }
}

static double d_score(const struct block *b, int64_t r, int64_t j)
{
    return b->p[r][j] * (b->dp[r][j] - b->delta[r]);
}

/* The same with its own terms taken absolute. */
static double d_score_abs(const struct block *b, int64_t r, int64_t j)
{
    return b->p[r][j] * (fabs(b->dp[r][j]) + fabs(b->delta[r]));
}

void block_create(struct block *b, const struct oracle_problem *p, int64_t head,
                  int64_t sequence)
{
    *b = (struct block){
        .problem = p, .head = head,
        .kv_head = head / (p->heads / p->kv_heads),
        .base = p->offsets[sequence],
        .length = p->offsets[sequence + 1] - p->offsets[sequence],
    };
    b->work = oracle_zeros(max64(p->head_dim, p->value_dim) * KEYS);
    for (int r = 0; r < ORACLE_ROWS; r++) {
        b->p[r] = oracle_zeros(b->length);
        b->dp[r] = oracle_zeros(b->length);
    }
}

void block_destroy(struct block *b)
{
    for (int r = 0; r < ORACLE_ROWS; r++) {
        free(b->p[r]);
        free(b->dp[r]);
    }
    free(b->work);
}

void block_output(const struct block *b, int64_t r, double *o, double *size)
{
    int64_t width = b->problem->value_dim;

    memset(o, 0, (size_t)width * sizeof *o);
    for (int64_t j = b->from; j < b->to; j++) {
        axpy(o, b->p[r][j], value(b, j), width);
        if (size)
            axpy_abs(size, b->p[r][j], value(b, j), width);
    }
}

void block_dq(const struct block *b, int64_t r, double *dq, double *size)
{
    int64_t width = b->problem->head_dim;
    double scale = b->problem->scale;

    memset(dq, 0, (size_t)width * sizeof *dq);
    for (int64_t j = b->from; j < b->to; j++) {
        axpy(dq, scale * d_score(b, r, j), key(b, j), width);
        if (size)
            axpy_abs(size, scale * d_score_abs(b, r, j), key(b, j), width);
    }
}

void block_add_key(const struct block *b, int64_t r, int64_t j, double *dk,
                   double *dv)
{
    const struct oracle_problem *p = b->problem;

    if (dk)
        axpy(dk, p->scale * d_score(b, r, j), query(b, r), p->head_dim);
    if (dv)
        axpy(dv, b->p[r][j], gradient(b, r), p->value_dim);
}

void block_add_key_size(const struct block *b, int64_t r, int64_t j, double *dk,
                        double *dv)
{
    const struct oracle_problem *p = b->problem;

    if (dk)
        axpy_abs(dk, p->scale * d_score_abs(b, r, j), query(b, r), p->head_dim);
    if (dv)
        axpy_abs(dv, b->p[r][j], gradient(b, r), p->value_dim);
}
