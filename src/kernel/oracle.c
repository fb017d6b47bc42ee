/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle: dense attention and its gradients in fp64, all of it or samples.
 * Compiled without sanitizers. */
#include <config.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/oracle_block.h"

static void grow_to_largest(double *largest, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        *largest = fmax(*largest, fabs(x[i]));
}

static void clear(double *x, int64_t n)
{
    if (x)
        memset(x, 0, (size_t)n * sizeof *x);
}

/* ---- All rows, all keys ------------------------------------------------- */

/* Sums of absolute terms: of a row, and of each key of a sequence. */
struct sizes {
    double *row;                /* [max(D, E)] */
    double *dk, *dv;            /* [length, D], [length, E] */
};

static void dense_row(const struct block *b, int64_t r, struct sizes *z,
                      struct oracle_result *out)
{
    const struct oracle_problem *p = b->problem;
    int64_t i = b->base + b->row[r];

    if (out->lse)
        out->lse[oracle_at(i, b->head, p->heads, 1)] = b->lse[r];
    if (out->o) {
        double *o = out->o + oracle_at(i, b->head, p->heads, p->value_dim);

        clear(z->row, p->value_dim);
        block_output(b, r, o, z->row);
        grow_to_largest(&out->abs_o, z->row, p->value_dim);
    }
    if (out->dq) {
        double *dq = out->dq + oracle_at(i, b->head, p->heads, p->head_dim);

        clear(z->row, p->head_dim);
        block_dq(b, r, dq, z->row);
        grow_to_largest(&out->abs_dq, z->row, p->head_dim);
    }
}

static void dense_key(const struct block *b, int64_t j, struct sizes *z,
                      struct oracle_result *out)
{
    const struct oracle_problem *p = b->problem;
    int64_t i = b->base + j;
    double *dk = out->dk, *dv = out->dv;

    if (dk)
        dk += oracle_at(i, b->kv_head, p->kv_heads, p->head_dim);
    if (dv)
        dv += oracle_at(i, b->kv_head, p->kv_heads, p->value_dim);
    for (int64_t r = 0; r < b->n; r++) {
        if (b->p[r][j] == 0)
            continue;
        block_add_key(b, r, j, dk, dv);
        block_add_key_size(b, r, j, dk ? z->dk + j * p->head_dim : NULL,
                           dv ? z->dv + j * p->value_dim : NULL);
    }
}

static void dense_head(const struct oracle_problem *p, int64_t head,
                       int64_t sequence, struct sizes *z,
                       struct oracle_result *out)
{
    int keys = out->dk || out->dv;
    struct block b;

    block_create(&b, p, head, sequence);
    for (int64_t i = 0; i < b.length; i += ORACLE_ROWS) {
        int64_t rows[ORACLE_ROWS] = { i, i + 1, i + 2, i + 3 };

        block_compute(&b, rows, min64(ORACLE_ROWS, b.length - i),
                      keys || out->dq);
        for (int64_t r = 0; r < b.n; r++)
            dense_row(&b, r, z, out);
        for (int64_t j = b.from; keys && j < b.to; j++)
            dense_key(&b, j, z, out);
    }
    block_destroy(&b);
}

void oracle_dense(const struct oracle_problem *p, struct oracle_result *r)
{
    int64_t group = p->heads / p->kv_heads;
    int64_t tokens = p->offsets[p->sequences];

    if (p->linear) {
        linear_dense(p, r);
        return;
    }
    clear(r->dk, tokens * p->kv_heads * p->head_dim);
    clear(r->dv, tokens * p->kv_heads * p->value_dim);
    r->abs_o = r->abs_dq = r->abs_dk = r->abs_dv = 0;
    for (int64_t g = 0; g < p->kv_heads; g++)
        for (int64_t s = 0; s < p->sequences; s++) {
            int64_t length = p->offsets[s + 1] - p->offsets[s];
            struct sizes z = {
                oracle_zeros(max64(p->head_dim, p->value_dim)),
                oracle_zeros(length * p->head_dim),
                oracle_zeros(length * p->value_dim),
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

/* ---- Some rows, some keys ----------------------------------------------- */

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

    while (count < ORACLE_ROWS && i + count < n &&
           rows[i + count] >= p->offsets[s] &&
           rows[i + count] < p->offsets[s + 1])
        count++;
    return count;
}

void oracle_rows(const struct oracle_problem *p, int64_t head,
                 const int64_t *rows, int64_t n, double *o, double *lse,
                 double *dq)
{
    int64_t count;

    if (p->linear) {
        linear_rows(p, head, rows, n, o, dq);
        return;
    }
    for (int64_t i = 0; i < n; i += count) {
        int64_t local[ORACLE_ROWS];
        struct block b;

        count = run_of_rows(p, rows, i, n);
        block_create(&b, p, head, sequence_of(p, rows[i]));
        for (int64_t r = 0; r < count; r++)
            local[r] = rows[i + r] - b.base;
        block_compute(&b, local, count, dq != NULL);
        for (int64_t r = 0; r < count; r++) {
            lse[i + r] = b.lse[r];
            block_output(&b, r, o + (i + r) * p->value_dim, NULL);
            if (dq)
                block_dq(&b, r, dq + (i + r) * p->head_dim, NULL);
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
    int64_t rows[ORACLE_ROWS] = { i, i + 1, i + 2, i + 3 };

    block_compute(b, rows, n, 1);
    for (int64_t x = 0; x < n_keys; x++)
        for (int64_t r = 0; r < n; r++) {
            int64_t j = keys[x] - b->base;

            if (j >= b->from && j < b->to)
                block_add_key(b, r, j, dk + x * p->head_dim,
                              dv + x * p->value_dim);
        }
}

/* Rows [*first, *last) of the block's sequence that may see a listed key. */
static void rows_that_see(const struct block *b, const int64_t *keys, int64_t n,
                          int64_t *first, int64_t *last)
{
    int64_t left = b->problem->mask.left, right = b->problem->mask.right;

    *first = b->length;
    *last = 0;
    for (int64_t x = 0; x < n; x++) {
        int64_t j = keys[x] - b->base;

        if (j < 0 || j >= b->length)
            continue;
        *first = min64(*first, right < 0 ? 0 : max64(0, j - right));
        *last = max64(*last, left < 0 ? b->length
                                      : min64(b->length, j + left + 1));
    }
}

void oracle_keys(const struct oracle_problem *p, int64_t kv_head,
                 const int64_t *keys, int64_t n, double *dk, double *dv)
{
    int64_t group = p->heads / p->kv_heads, first, last;

    if (p->linear) {
        linear_keys(p, kv_head, keys, n, dk, dv);
        return;
    }
    clear(dk, n * p->head_dim);
    clear(dv, n * p->value_dim);
    for (int64_t s = 0; s < p->sequences; s++)
        for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
            struct block b;

            block_create(&b, p, h, s);
            rows_that_see(&b, keys, n, &first, &last);
            for (; first < last; first += ORACLE_ROWS)
                rows_to_keys(&b, first, min64(ORACLE_ROWS, last - first), keys,
                             n, dk, dv);
            block_destroy(&b);
        }
}
