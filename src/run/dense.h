/* SPDX-License-Identifier: Apache-2.0
 *
 * Plain dense attention, softmax or linear, in the precision of a job: the
 * yardstick of the gates (interface.md, section 4).  Row by row, fp32
 * arithmetic, results rounded to the job's dtype (lse: fp32).  Written apart
 * from every kernel backend: a wrong kernel must not widen its own gate.  As in
 * every softmax that keeps (o, lse) and not P, backward makes the weights anew
 * from the rounded lse and from scores that were summed in another order than
 * forward's.  There are two orders, of which the larger error counts: where a
 * few scores decide, as with one huge key, the error of a single order may be
 * small by luck. */
#ifndef SPAR_DENSE_H
#define SPAR_DENSE_H

#include "kernel/kernel.h"

struct dense_problem {
    int64_t heads, kv_heads, head_dim, value_dim;
    int64_t sequences;
    const int64_t *offsets;     /* [sequences + 1] */
    struct oracle_mask mask;
    float scale;
    int linear, feature;        /* linear attention: as in oracle_problem */
    const double *slopes;       /* [heads] */
    enum dtype dtype;
    int in_order;               /* softmax: the terms of scores in order, or in
                                   parts; linear: rows sum over the others in
                                   order, or from the last */
    const float *q, *k, *v, *d_o;   /* rounded to dtype; [S, H or Hk, D or E] */
};

/* Results, NULL: not wanted; lse only of softmax.  magnitude[x], by enum result:
 * the largest sum of absolute terms behind any element computed (rows and keys
 * only). */
struct dense_result {
    float *o, *lse, *dq, *dk, *dv;
    double magnitude[5];
};

void dense_all(const struct dense_problem *p, struct dense_result *r);
/* Tokens rows[n] of a query head: o [n, E], lse [n], dq [n, D]. */
void dense_rows(const struct dense_problem *p, int64_t head,
                const int64_t *rows, int64_t n, struct dense_result *r);
/* Tokens keys[n], ascending, of a KV head: dk [n, D], dv [n, E]. */
void dense_keys(const struct dense_problem *p, int64_t kv_head,
                const int64_t *keys, int64_t n, struct dense_result *r);

#endif
