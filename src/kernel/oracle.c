/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle: dense attention and its gradients in fp64, by the formulas
 *
 *     P_i = softmax(scale q_i K^T over visible keys),  o_i = P_i V
 *     dP_ij = do_i v_j,  delta_i = sum_j P_ij dP_ij
 *     dS_ij = P_ij (dP_ij - delta_i)
 *     dq_i = scale sum_j dS_ij k_j,  dk_j = scale sum_i dS_ij q_i,
 *     dv_j = sum_i P_ij do_i
 *
 * Whole rows of P are formed, ROWS at a time, so nothing of size S x S is
 * stored.  Compiled without sanitizers: inner loops are axpy and nothing
 * else. */
#include <config.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/kernel.h"

enum { ROWS = 4, KEYS = 256 };

/* ROWS rows of one head in one sequence. P and dP: [ROWS][length]. */
struct block {
    const struct oracle_problem *problem;
    int64_t head, kv_head;
    int64_t base, length;       /* the sequence's tokens */
    int64_t n, row[ROWS];       /* rows, counted in the sequence */
    int64_t first[ROWS], last[ROWS];    /* keys that a row sees */
    int64_t from, to;           /* union of these */
    double *p[ROWS], *dp[ROWS];
    double lse[ROWS], delta[ROWS];
    double *work;               /* [max(D, E)][KEYS] */
};

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ANY_ISA __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define ANY_ISA
#endif

/* y += a x */
ANY_ISA static void axpy(double *restrict y, double a,
                         const double *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

/* y += |a| |x| */
ANY_ISA static void axpy_abs(double *restrict y, double a,
                             const double *restrict x, int64_t n)
{
    double size = fabs(a);

    for (int64_t i = 0; i < n; i++)
        y[i] += size * fabs(x[i]);
}

static double *zeros(int64_t n)
{
    return xcalloc((size_t)max64(n, 1), sizeof(double));
}

static void grow_to_largest(double *largest, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        *largest = fmax(*largest, fabs(x[i]));
}

/* Row of [S, heads, width] */
static int64_t at(int64_t token, int64_t head, int64_t heads, int64_t width)
{
    return (token * heads + head) * width;
}

static const double *key(const struct block *b, int64_t j)
{
    const struct oracle_problem *p = b->problem;

    return p->k + at(b->base + j, b->kv_head, p->kv_heads, p->head_dim);
}

static const double *value(const struct block *b, int64_t j)
{
    const struct oracle_problem *p = b->problem;

    return p->v + at(b->base + j, b->kv_head, p->kv_heads, p->value_dim);
}

static const double *query(const struct block *b, int64_t r)
{
    const struct oracle_problem *p = b->problem;

    return p->q + at(b->base + b->row[r], b->head, p->heads, p->head_dim);
}

static const double *gradient(const struct block *b, int64_t r)
{
    const struct oracle_problem *p = b->problem;

    return p->d_o + at(b->base + b->row[r], b->head, p->heads, p->value_dim);
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

    for (int64_t j = b->first[r]; j < b->last[r]; j++)
        most = fmax(most, p[j] *= b->problem->scale);
    for (int64_t j = b->from; j < b->to; j++) {
        int hidden = j < b->first[r] || j >= b->last[r];

        p[j] = hidden ? 0 : exp(p[j] - most);
        sum += p[j];
    }
    b->lse[r] = sum > 0 ? most + log(sum) : -INFINITY;
    for (int64_t j = b->from; sum > 0 && j < b->to; j++)
        p[j] /= sum;
}

/* P and lse of the listed rows; with `gradients`, dP and delta. */
static void block_compute(struct block *b, const int64_t *rows, int64_t n,
                          int gradients)
{
    const struct oracle_problem *p = b->problem;

    b->n = n;
    b->from = b->length;
    b->to = 0;
    for (int64_t r = 0; r < n; r++) {
        int64_t i = b->row[r] = rows[r];

        b->first[r] = p->left < 0 ? 0 : max64(0, i - p->left);
        b->last[r] = p->right < 0 ? b->length
                                  : min64(b->length, i + p->right + 1);
        b->from = min64(b->from, b->first[r]);
        b->to = max64(b->to, b->last[r]);
    }
    products(b, b->p, query, key, p->head_dim);
    for (int64_t r = 0; r < n; r++)
        softmax(b, r);
    if (!gradients)
        return;
    products(b, b->dp, gradient, value, p->value_dim);
    for (int64_t r = 0; r < n; r++) {
        b->delta[r] = 0;
        for (int64_t j = b->first[r]; j < b->last[r]; j++)
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

static void block_create(struct block *b, const struct oracle_problem *p,
                         int64_t head, int64_t sequence)
{
    *b = (struct block){
        .problem = p, .head = head,
        .kv_head = head / (p->heads / p->kv_heads),
        .base = p->offsets[sequence],
        .length = p->offsets[sequence + 1] - p->offsets[sequence],
    };
    b->work = zeros(max64(p->head_dim, p->value_dim) * KEYS);
    for (int r = 0; r < ROWS; r++) {
        b->p[r] = zeros(b->length);
        b->dp[r] = zeros(b->length);
    }
}

static void block_destroy(struct block *b)
{
    for (int r = 0; r < ROWS; r++) {
        free(b->p[r]);
        free(b->dp[r]);
    }
    free(b->work);
}

/* o [E] = P_r V; `size`, if not NULL, the sum of absolute terms. */
static void row_output(const struct block *b, int64_t r, double *o,
                       double *size)
{
    int64_t width = b->problem->value_dim;

    memset(o, 0, (size_t)width * sizeof *o);
    for (int64_t j = b->first[r]; j < b->last[r]; j++) {
        axpy(o, b->p[r][j], value(b, j), width);
        if (size)
            axpy_abs(size, b->p[r][j], value(b, j), width);
    }
}

/* dq [D], likewise. */
static void row_dq(const struct block *b, int64_t r, double *dq, double *size)
{
    int64_t width = b->problem->head_dim;
    double scale = b->problem->scale;

    memset(dq, 0, (size_t)width * sizeof *dq);
    for (int64_t j = b->first[r]; j < b->last[r]; j++) {
        axpy(dq, scale * d_score(b, r, j), key(b, j), width);
        if (size)
            axpy_abs(size, scale * d_score_abs(b, r, j), key(b, j), width);
    }
}

/* Row r's part of dk [D] and dv [E] of key j. */
static void add_key(const struct block *b, int64_t r, int64_t j, double *dk,
                    double *dv)
{
    const struct oracle_problem *p = b->problem;

    if (dk)
        axpy(dk, p->scale * d_score(b, r, j), query(b, r), p->head_dim);
    if (dv)
        axpy(dv, b->p[r][j], gradient(b, r), p->value_dim);
}

/* ---- All rows, all keys ------------------------------------------------------ */

/* Sums of absolute terms: of a row, and of each key of a sequence. */
struct sizes {
    double *row;                /* [max(D, E)] */
    double *dk, *dv;            /* [length, D], [length, E] */
};

static void dense_row(const struct block *b, int64_t r, struct sizes *z,
                      struct oracle_result *out)
{
    const struct oracle_problem *p = b->problem;
    int64_t i = b->base + b->row[r], width = max64(p->head_dim, p->value_dim);

    if (out->lse)
        out->lse[at(i, b->head, p->heads, 1)] = b->lse[r];
    if (out->o) {
        memset(z->row, 0, (size_t)width * sizeof *z->row);
        row_output(b, r, out->o + at(i, b->head, p->heads, p->value_dim),
                   z->row);
        grow_to_largest(&out->abs_o, z->row, p->value_dim);
    }
    if (out->dq) {
        memset(z->row, 0, (size_t)width * sizeof *z->row);
        row_dq(b, r, out->dq + at(i, b->head, p->heads, p->head_dim), z->row);
        grow_to_largest(&out->abs_dq, z->row, p->head_dim);
    }
}

static void dense_key(const struct block *b, int64_t j, struct sizes *z,
                      struct oracle_result *out)
{
    const struct oracle_problem *p = b->problem;
    int64_t dk = at(b->base + j, b->kv_head, p->kv_heads, p->head_dim);
    int64_t dv = at(b->base + j, b->kv_head, p->kv_heads, p->value_dim);

    for (int64_t r = 0; r < b->n; r++) {
        if (j < b->first[r] || j >= b->last[r])
            continue;
        add_key(b, r, j, out->dk ? out->dk + dk : NULL,
                out->dv ? out->dv + dv : NULL);
        if (out->dk)
            axpy_abs(z->dk + j * p->head_dim, p->scale * d_score_abs(b, r, j),
                     query(b, r), p->head_dim);
        if (out->dv)
            axpy_abs(z->dv + j * p->value_dim, b->p[r][j], gradient(b, r),
                     p->value_dim);
    }
}

static void dense_head(const struct oracle_problem *p, int64_t head,
                       int64_t sequence, struct sizes *z,
                       struct oracle_result *out)
{
    int keys = out->dk || out->dv;
    struct block b;

    block_create(&b, p, head, sequence);
    for (int64_t i = 0; i < b.length; i += ROWS) {
        int64_t rows[ROWS] = { i, i + 1, i + 2, i + 3 };

        block_compute(&b, rows, min64(ROWS, b.length - i), keys || out->dq);
        for (int64_t r = 0; r < b.n; r++)
            dense_row(&b, r, z, out);
        for (int64_t j = b.from; keys && j < b.to; j++)
            dense_key(&b, j, z, out);
    }
    block_destroy(&b);
}

static void clear(double *x, int64_t n)
{
    if (x)
        memset(x, 0, (size_t)n * sizeof *x);
}

void oracle_dense(const struct oracle_problem *p, struct oracle_result *r)
{
    int64_t group = p->heads / p->kv_heads;
    int64_t tokens = p->offsets[p->sequences];

    clear(r->dk, tokens * p->kv_heads * p->head_dim);
    clear(r->dv, tokens * p->kv_heads * p->value_dim);
    r->abs_o = r->abs_dq = r->abs_dk = r->abs_dv = 0;
    for (int64_t g = 0; g < p->kv_heads; g++)
        for (int64_t s = 0; s < p->sequences; s++) {
            int64_t length = p->offsets[s + 1] - p->offsets[s];
            struct sizes z = {
                zeros(max64(p->head_dim, p->value_dim)),
                zeros(length * p->head_dim), zeros(length * p->value_dim),
            };

            for (int64_t h = g * group; h < (g + 1) * group; h++)
                dense_head(p, h, s, &z, r);
            grow_to_largest(&r->abs_dk, z.dk, length * p->head_dim);
            grow_to_largest(&r->abs_dv, z.dv, length * p->value_dim);
            free(z.row);
            free(z.dk);
            free(z.dv);
        }
}

/* ---- Some rows, some keys ---------------------------------------------------- */

static int64_t sequence_of(const struct oracle_problem *p, int64_t token)
{
    int64_t s = 0;

    while (p->offsets[s + 1] <= token)
        s++;
    return s;
}

/* Listed rows [i, i + n) lie in one sequence and fill one block at most. */
static int64_t run_of_rows(const struct oracle_problem *p, const int64_t *rows,
                           int64_t i, int64_t n)
{
    int64_t s = sequence_of(p, rows[i]), count = 1;

    while (count < ROWS && i + count < n && rows[i + count] >= p->offsets[s] &&
           rows[i + count] < p->offsets[s + 1])
        count++;
    return count;
}

void oracle_rows(const struct oracle_problem *p, int64_t head,
                 const int64_t *rows, int64_t n, double *o, double *lse,
                 double *dq)
{
    int64_t count;

    for (int64_t i = 0; i < n; i += count) {
        int64_t local[ROWS];
        struct block b;

        count = run_of_rows(p, rows, i, n);
        block_create(&b, p, head, sequence_of(p, rows[i]));
        for (int64_t r = 0; r < count; r++)
            local[r] = rows[i + r] - b.base;
        block_compute(&b, local, count, dq != NULL);
        for (int64_t r = 0; r < count; r++) {
            lse[i + r] = b.lse[r];
            row_output(&b, r, o + (i + r) * p->value_dim, NULL);
            if (dq)
                row_dq(&b, r, dq + (i + r) * p->head_dim, NULL);
        }
        block_destroy(&b);
    }
}

/* What rows [i, i + n) of block b give to the listed keys. */
static void rows_to_keys(struct block *b, int64_t i, int64_t n,
                         const int64_t *keys, int64_t n_keys, double *dk,
                         double *dv)
{
    const struct oracle_problem *p = b->problem;
    int64_t rows[ROWS] = { i, i + 1, i + 2, i + 3 };

    block_compute(b, rows, n, 1);
    for (int64_t x = 0; x < n_keys; x++)
        for (int64_t r = 0; r < n; r++) {
            int64_t j = keys[x] - b->base;

            if (j >= b->first[r] && j < b->last[r])
                add_key(b, r, j, dk + x * p->head_dim, dv + x * p->value_dim);
        }
}

/* Rows [*first, *last) of the block's sequence that may see a listed key. */
static void rows_that_see(const struct block *b, const int64_t *keys, int64_t n,
                          int64_t *first, int64_t *last)
{
    const struct oracle_problem *p = b->problem;

    *first = b->length;
    *last = 0;
    for (int64_t x = 0; x < n; x++) {
        int64_t j = keys[x] - b->base;

        if (j < 0 || j >= b->length)
            continue;
        *first = min64(*first, p->right < 0 ? 0 : max64(0, j - p->right));
        *last = max64(*last, p->left < 0 ? b->length
                                         : min64(b->length, j + p->left + 1));
    }
}

void oracle_keys(const struct oracle_problem *p, int64_t kv_head,
                 const int64_t *keys, int64_t n, double *dk, double *dv)
{
    int64_t group = p->heads / p->kv_heads, first, last;

    clear(dk, n * p->head_dim);
    clear(dv, n * p->value_dim);
    for (int64_t s = 0; s < p->sequences; s++)
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
            struct block b;

            block_create(&b, p, h, s);
            rows_that_see(&b, keys, n, &first, &last);
            for (; first < last; first += ROWS)
                rows_to_keys(&b, first, min64(ROWS, last - first), keys, n, dk,
                             dv);
            block_destroy(&b);
        }
}
