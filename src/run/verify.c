/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "run/verify_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const result_names[] = { "o", "lse", "dq", "dk", "dv", NULL };
const enum tensor_name result_tensors[RESULTS] = {
    TENSOR_O, TENSOR_LSE, TENSOR_DQ, TENSOR_DK, TENSOR_DV
};

/* ---- Errors and gates --------------------------------------------------- */

/* max|x - expected| of n elements; NaN if there is one. -inf equals -inf. */
static double largest_difference(const double *expected, const float *x,
                                 int64_t n)
{
    double most = 0;

    for (int64_t i = 0; i < n; i++) {
        double d = fabs(x[i] - expected[i]);
        if (isinf(expected[i]) && (double)x[i] == expected[i])
            d = 0;
        if (isnan(d))
            return NAN;
        most = d > most ? d : most;
    }
    return most;
}

static double largest(const double *x, int64_t n)
{
    double most = 0;

    for (int64_t i = 0; i < n; i++)
        if (isfinite(x[i]) && fabs(x[i]) > most)
            most = fabs(x[i]);
    return most;
}

/* Below this share of the absolute terms behind it, a tensor is what is left of
 * terms that cancel: fp64 sums of up to millions of terms leave up to about
 * 1e-12 of them, fp32 data that do not cancel leave far more. */
static const double CANCELLED = 1e-9;

static double gate_of(enum dtype t, double e)
{
    if (t != DTYPE_FP32)
        return 2.5 * e + 1e-3;
    return isnan(e) || 4 * e > 1e-5 ? 4 * e : 1e-5;
}

void set_divisor(struct expected *x, double magnitude)
{
    double most = largest(x->values, x->n * x->width);

    x->divisor = most > CANCELLED * magnitude ? most : magnitude;
    if (!(x->divisor > 0))
        x->divisor = 1;         /* all terms are zero */
}

void widen_gate(struct expected *x, enum dtype t, const float *dense)
{
    double e = largest_difference(x->values, dense, x->n * x->width)
               / x->divisor;
    double gate = gate_of(t, e);

    if (!isnan(x->gate) && !(gate <= x->gate))  /* a NaN stays */
        x->gate = gate;
}

int has_result(const struct verify *v, enum result r)
{
    if (r == RESULT_LSE)
        return v->attention == ATTENTION_SOFTMAX;
    return r == RESULT_O || job_has_backward(v->job);
}

void expect(struct verify *v, enum result r, int64_t n)
{
    struct expected *x = &v->x[r];

    x->n = n;
    x->width = tensor_width(v->job, result_tensors[r]);
    x->values = xcalloc((size_t)(n * x->width), sizeof *x->values);
}

/* ---- Full --------------------------------------------------------------- */

/* So many that no luck is left in the largest error: one order will do. */
static int many_rows(const struct job *job)
{
    return job->tokens * job->transformer.heads > 10000;
}

static void verify_full(struct verify *v, row_fn row, void *arg)
{
    const struct job *job = v->job;
    struct inputs in = inputs_make(v, 0, job->transformer.heads, row, arg);
    struct oracle_problem p = oracle_of(&in);
    struct dense_problem plain = dense_of(&in);
    struct oracle_result r = { 0 };
    struct dense_result d = { 0 };
    float **dense[] = { &d.o, &d.lse, &d.dq, &d.dk, &d.dv };
    double **exact[] = { &r.o, &r.lse, &r.dq, &r.dk, &r.dv };

    for (int i = 0; i < RESULTS; i++) {
        int64_t heads = tensor_heads(job, result_tensors[i]);
        if (!has_result(v, i))
            continue;
        expect(v, i, job->tokens * heads);
        *exact[i] = v->x[i].values;
        *dense[i] = xmalloc((size_t)(v->x[i].n * v->x[i].width)
                            * sizeof(float));
    }
    oracle_dense(&p, &r);
    double magnitude[] = { r.abs_o, LSE_MAGNITUDE, r.abs_dq, r.abs_dk,
                           r.abs_dv };
    for (int i = 0; i < RESULTS; i++)
        if (v->x[i].n)
            set_divisor(&v->x[i], magnitude[i]);
    for (plain.in_order = many_rows(job); plain.in_order < 2;
         plain.in_order++) {
        dense_all(&plain, &d);
        for (int i = 0; i < RESULTS; i++)
            if (v->x[i].n)
                widen_gate(&v->x[i], job->dtype, *dense[i]);
    }
    for (int i = 0; i < RESULTS; i++)
        free(*dense[i]);
    inputs_clear(&in);
}

/* ---- All together ------------------------------------------------------- */

size_t verify_bytes(const struct job *job, int64_t layer,
                    enum verify_mode mode)
{
    const struct transformer *t = &job->transformer;
    int64_t width = t->head_dim + t->value_dim;
    int linear = job_attention(job, layer) == ATTENTION_LINEAR;
    int64_t heads = 0;

    if (mode == VERIFY_FULL && job->pass != PASS_DECODE)
        heads = 2 * (t->heads + t->kv_heads);   /* inputs, results: twice */
    else if (mode != VERIFY_NONE)
        heads = 1 + job_group(job);
    heads += linear && heads;                   /* one at work */
    return (size_t)job->tokens * (size_t)(heads * width)
           * (sizeof(double) + 2 * sizeof(float));
}

struct verify *verify_create(const struct job *job, int64_t layer,
                             enum verify_mode mode, row_fn row, void *arg,
                             uint64_t seed)
{
    struct verify *v = xcalloc(1, sizeof *v);

    v->job = job;
    v->attention = job_attention(job, layer);
    if (mode == VERIFY_FULL && job->pass != PASS_DECODE)
        verify_full(v, row, arg);
    else if (mode != VERIFY_NONE)
        verify_sampled(v, mode == VERIFY_FULL, row, arg, seed);
    return v;
}

void verify_destroy(struct verify *v)
{
    if (!v)
        return;
    for (int r = 0; r < RESULTS; r++) {
        free(v->x[r].rows);
        free(v->x[r].values);
    }
    free(v);
}

static double error_of(const struct expected *x, const float *result)
{
    double most = 0;

    if (!result)
        return NAN;
    if (!x->rows)
        return largest_difference(x->values, result, x->n * x->width)
               / x->divisor;
    for (int64_t i = 0; i < x->n; i++) {
        double d = largest_difference(x->values + i * x->width,
                                      result + x->rows[i] * x->width,
                                      x->width);
        if (isnan(d))
            return NAN;
        most = d > most ? d : most;
    }
    return most / x->divisor;
}

/* A NaN anywhere, sampled or not: rows that nothing wrote are poisoned.  Only
 * queries have results. */
static int has_nan(const struct verify *v, enum result r, const float *x)
{
    enum tensor_name t = result_tensors[r];
    int64_t row = tensor_heads(v->job, t) * tensor_width(v->job, t);

    for (int64_t i = job_first_query(v->job) * row;
         x && has_result(v, r) && i < v->job->tokens * row; i++)
        if (isnan(x[i]))
            return 1;
    return 0;
}

void verify_results(const struct verify *v, const float *const results[],
                    struct verdict *verdict)
{
    int passed = 1, zero = 1;

    memset(verdict, 0, sizeof *verdict);
    for (int r = 0; r < RESULTS; r++) {
        const struct expected *x = &v->x[r];
        int nan = has_nan(v, r, results[r]);
        verdict->error[r] = verdict->gate[r] = NAN;
        passed = passed && !nan;
        if (!x->n)
            continue;
        verdict->compared += x->n * x->width;
        verdict->error[r] = nan ? NAN : error_of(x, results[r]);
        verdict->gate[r] = x->gate;
        if (!(verdict->error[r] <= x->gate))
            passed = 0;
        if (r != RESULT_LSE && largest(x->values, x->n * x->width) > 0)
            zero = 0;
    }
    verdict->passed = passed && verdict->compared > 0 && !zero;
}
