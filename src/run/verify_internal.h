/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files that verify. */
#ifndef SPAR_VERIFY_INTERNAL_H
#define SPAR_VERIFY_INTERNAL_H

#include "run/dense.h"
#include "run/verify.h"

/* What a result should be.  Row i of values is row rows[i] (token * heads +
 * head) of the global tensor; rows NULL: all of them. */
struct expected {
    int64_t n, width;
    int64_t *rows;
    double *values;             /* [n, width] */
    double divisor, gate;       /* gate: of the larger error so far */
};

struct verify {
    const struct job *job;
    enum attention attention;   /* of the layer */
    struct expected x[RESULTS];
};

/* Does the layer have this result?  Linear attention has no lse. */
int has_result(const struct verify *v, enum result r);

/* Room for n rows. */
void expect(struct verify *v, enum result r, int64_t n);
/* Where all terms cancel, errors are divided by their magnitude. */
void set_divisor(struct expected *x, double magnitude);
/* The gate from what plain dense attention got, or a wider one already set. */
void widen_gate(struct expected *x, enum dtype t, const float *dense);
/* Magnitude of lse: a logarithm has the unit 1. */
static const double LSE_MAGNITUDE = 1;

/* Inputs of some heads of the job, rounded to its dtype: q k v do
 * [S, heads or kv_heads, D or E]; q, in decode, zero but for the queries. */
struct inputs {
    const struct job *job;
    int linear;
    int64_t head_first, heads, kv_first, kv_heads;
    float *f[4];
    double *d[4];
};
struct inputs inputs_make(const struct verify *v, int64_t head_first,
                          int64_t heads, row_fn row, void *arg);
void inputs_clear(struct inputs *in);
struct oracle_problem oracle_of(const struct inputs *in);
struct dense_problem dense_of(const struct inputs *in);

/* Some rows and keys; in decode, `all`: every query. */
void verify_sampled(struct verify *v, int all, row_fn row, void *arg,
                    uint64_t seed);

#endif
