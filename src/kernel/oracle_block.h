/* SPDX-License-Identifier: Apache-2.0
 *
 * What the oracle computes with: whole rows of P and dP of one head in one
 * sequence, a few at a time, in fp64, so nothing of size S x S is stored. */
#ifndef SPAR_ORACLE_BLOCK_H
#define SPAR_ORACLE_BLOCK_H

#include "kernel/kernel.h"

enum { ORACLE_ROWS = 4 };

/* A function of inner loops, compiled for what the processor may have. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define ORACLE_ANY_ISA \
    __attribute__((target_clones("avx512f", "arch=haswell", "default")))
#else
#define ORACLE_ANY_ISA
#endif

struct block {
    const struct oracle_problem *problem;
    int64_t head, kv_head;
    int64_t base, length;       /* the sequence's tokens */
    int64_t n, row[ORACLE_ROWS];        /* rows, counted in the sequence */
    int64_t from, to;           /* keys that a row of them may see */
    double *p[ORACLE_ROWS], *dp[ORACLE_ROWS];       /* [length]; p 0 where
                                                       hidden */
    double lse[ORACLE_ROWS], delta[ORACLE_ROWS];
    double *work;
};

void block_create(struct block *b, const struct oracle_problem *p, int64_t head,
                  int64_t sequence);
void block_destroy(struct block *b);

/* P and lse of the listed rows; with `gradients`, dP and delta. */
void block_compute(struct block *b, const int64_t *rows, int64_t n,
                   int gradients);

/* Of row r: o [E], dq [D]; `size`, if not NULL, gets the sums of absolute terms
 * added, those of dS taken absolute too. */
void block_output(const struct block *b, int64_t r, double *o, double *size);
void block_dq(const struct block *b, int64_t r, double *dq, double *size);
/* Adds row r's part of key j: dk [D], dv [E]; NULL is left out. */
void block_add_key(const struct block *b, int64_t r, int64_t j, double *dk,
                   double *dv);
void block_add_key_size(const struct block *b, int64_t r, int64_t j, double *dk,
                        double *dv);

/* oracle_dense(), _rows(), _keys() of linear attention (oracle_linear.c). */
void linear_dense(const struct oracle_problem *p, struct oracle_result *r);
void linear_rows(const struct oracle_problem *p, int64_t head,
                 const int64_t *rows, int64_t n, double *o, double *dq);
void linear_keys(const struct oracle_problem *p, int64_t kv_head,
                 const int64_t *keys, int64_t n, double *dk, double *dv);

/* Row of head `head` of token `token` in [S, heads, width]. */
static inline int64_t oracle_at(int64_t token, int64_t head, int64_t heads,
                                int64_t width)
{
    return (token * heads + head) * width;
}

/* Zeroed, of any n. */
double *oracle_zeros(int64_t n);

#endif
