/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "run/dense.h"
#include "run/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const result_names[] = { "o", "lse", "dq", "dk", "dv", NULL };
const enum tensor_name result_tensors[RESULTS] = {
    TENSOR_O, TENSOR_LSE, TENSOR_DQ, TENSOR_DK, TENSOR_DV
};

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
    struct expected x[RESULTS];
};

/* ---- Inputs: some heads of the job, rounded to its dtype -------------------- */

struct inputs {
    const struct job *job;
    int64_t head_first, heads, kv_first, kv_heads;
    float *f[4];                /* q k v do [S, heads or kv_heads, D or E] */
    double *d[4];
};

static const enum tensor_name input_tensors[4] = {
    TENSOR_Q, TENSOR_K, TENSOR_V, TENSOR_DO
};

static void inputs_fill(struct inputs *in, int which, row_fn row, void *arg)
{
    const struct job *job = in->job;
    enum tensor_name t = input_tensors[which];
    int kv = t == TENSOR_K || t == TENSOR_V;
    int64_t first = kv ? in->kv_first : in->head_first;
    int64_t heads = kv ? in->kv_heads : in->heads;
    int64_t width = tensor_width(job, t), n = job->tokens * heads;
    float *f = xmalloc((size_t)(n * width) * sizeof *f);
    double *d = xmalloc((size_t)(n * width) * sizeof *d);
    char *wire = xmalloc((size_t)width * dtype_size(job->dtype));

    for (int64_t i = 0; i < n; i++) {
        float *at = f + i * width;
        row(arg, t, i / heads, first + i % heads, width, at);
        convert(wire, job->dtype, at, DTYPE_FP32, width);
        convert(at, DTYPE_FP32, wire, job->dtype, width);
        for (int64_t x = 0; x < width; x++)
            d[i * width + x] = at[x];
    }
    free(wire);
    in->f[which] = f;
    in->d[which] = d;
}

static struct inputs inputs_make(const struct job *job, int64_t head_first,
                                 int64_t heads, row_fn row, void *arg)
{
    int64_t group = job_group(job);
    int64_t kv = head_first / group;
    struct inputs in = { .job = job, .head_first = head_first, .heads = heads,
                         .kv_first = kv,
                         .kv_heads = (head_first + heads - 1) / group - kv + 1 };

    for (int i = 0; i < (job->pass == PASS_FORWARD ? 3 : 4); i++)
        inputs_fill(&in, i, row, arg);
    return in;
}

static void inputs_clear(struct inputs *in)
{
    for (int i = 0; i < 4; i++) {
        free(in->f[i]);
        free(in->d[i]);
    }
}

static struct oracle_problem oracle_of(const struct inputs *in)
{
    const struct job *job = in->job;

    return (struct oracle_problem){
        .heads = in->heads, .kv_heads = in->kv_heads,
        .head_dim = job->transformer.head_dim,
        .value_dim = job->transformer.value_dim,
        .sequences = job->sequences, .offsets = job->offsets,
        .left = job->mask.left, .right = job->mask.right,
        .scale = job->scale,
        .q = in->d[0], .k = in->d[1], .v = in->d[2], .d_o = in->d[3],
    };
}

static struct dense_problem dense_of(const struct inputs *in)
{
    const struct job *job = in->job;

    return (struct dense_problem){
        .heads = in->heads, .kv_heads = in->kv_heads,
        .head_dim = job->transformer.head_dim,
        .value_dim = job->transformer.value_dim,
        .sequences = job->sequences, .offsets = job->offsets,
        .left = job->mask.left, .right = job->mask.right,
        .scale = (float)job->scale, .dtype = job->dtype,
        .q = in->f[0], .k = in->f[1], .v = in->f[2], .d_o = in->f[3],
    };
}

/* ---- Errors and gates ----------------------------------------------------------- */

/* max|x - expected| over n elements; NaN if there is a NaN. -inf equals -inf. */
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

static void set_divisor(struct expected *x, double magnitude)
{
    double most = largest(x->values, x->n * x->width);

    x->divisor = most > CANCELLED * magnitude ? most : magnitude;
    if (!(x->divisor > 0))
        x->divisor = 1;         /* all terms are zero */
}

/* The gate from what plain dense attention got, or a wider one already set. */
static void widen_gate(struct expected *x, enum dtype t, const float *dense)
{
    double e = largest_difference(x->values, dense, x->n * x->width)
               / x->divisor;
    double gate = gate_of(t, e);

    if (!(gate <= x->gate))     /* NaN stays */
        x->gate = gate;
}

static void expect(struct verify *v, enum result r, int64_t n)
{
    struct expected *x = &v->x[r];

    x->n = n;
    x->width = tensor_width(v->job, result_tensors[r]);
    x->values = xcalloc((size_t)(n * x->width), sizeof *x->values);
}

/* A logarithm has the unit 1. */
static const double LSE_MAGNITUDE = 1;

/* ---- Full --------------------------------------------------------------------------- */

/* So many that no luck is left in the largest error: one order will do. */
static int many_rows(const struct job *job)
{
    return job->tokens * job->transformer.heads > 10000;
}

static void verify_full(struct verify *v, row_fn row, void *arg)
{
    const struct job *job = v->job;
    int n = job->pass == PASS_FORWARD ? 2 : RESULTS;
    struct inputs in = inputs_make(job, 0, job->transformer.heads, row, arg);
    struct oracle_problem p = oracle_of(&in);
    struct dense_problem plain = dense_of(&in);
    struct oracle_result r = { 0 };
    struct dense_result d = { 0 };
    float **dense[] = { &d.o, &d.lse, &d.dq, &d.dk, &d.dv };
    double **exact[] = { &r.o, &r.lse, &r.dq, &r.dk, &r.dv };

    for (int i = 0; i < n; i++) {
        int64_t heads = tensor_heads(job, result_tensors[i]);
        expect(v, i, job->tokens * heads);
        *exact[i] = v->x[i].values;
        *dense[i] = xmalloc((size_t)(v->x[i].n * v->x[i].width)
                            * sizeof(float));
    }
    oracle_dense(&p, &r);
    double magnitude[] = { r.abs_o, LSE_MAGNITUDE, r.abs_dq, r.abs_dk,
                           r.abs_dv };
    for (int i = 0; i < n; i++)
        set_divisor(&v->x[i], magnitude[i]);
    for (plain.in_order = many_rows(job); plain.in_order < 2;
         plain.in_order++) {
        dense_all(&plain, &d);
        for (int i = 0; i < n; i++)
            widen_gate(&v->x[i], job->dtype, *dense[i]);
    }
    for (int i = 0; i < n; i++)
        free(*dense[i]);
    inputs_clear(&in);
}

/* ---- Sampled -------------------------------------------------------------------------- */

/* Multiply-adds that a sampled oracle may take. */
static const double BUDGET = 1e10;

struct sample {
    struct verify *v;
    row_fn row;
    void *arg;
    uint64_t seed;
    float *dense[2][RESULTS];   /* by order of summation */
    double magnitude[RESULTS];
    int backward;
};

/* One token from each of n equal stretches, ascending; the caller frees. */
static int64_t *stratified(int64_t tokens, int64_t n, uint64_t seed)
{
    int64_t *list = xmalloc((size_t)n * sizeof *list);

    for (int64_t i = 0; i < n; i++) {
        int64_t first = chunk_first(tokens, n, i);
        int64_t count = chunk_first(tokens, n, i + 1) - first;
        list[i] = first + (int64_t)(hash_u64(seed, (uint64_t)i)
                                    % (uint64_t)count);
    }
    return list;
}

static void sample_results(struct sample *m, enum result first,
                           enum result last, int64_t n)
{
    for (enum result r = first; r <= last; r++) {
        struct expected *x = &m->v->x[r];
        expect(m->v, r, n);
        x->rows = xmalloc((size_t)n * sizeof *x->rows);
        for (int i = 0; i < 2; i++)
            m->dense[i][r] = xmalloc((size_t)(n * x->width) * sizeof(float));
    }
}

static void take_magnitude(struct sample *m, const struct dense_result *d)
{
    for (int r = 0; r < RESULTS; r++)
        m->magnitude[r] = fmax(m->magnitude[r], d->magnitude[r]);
}

/* Rows at..at+n-1 of what is expected: tokens of one query head. */
static void sample_head(struct sample *m, int64_t head, int64_t at, int64_t n)
{
    const struct job *job = m->v->job;
    struct expected *x = m->v->x;
    struct inputs in = inputs_make(job, head, 1, m->row, m->arg);
    struct oracle_problem p = oracle_of(&in);
    struct dense_problem plain = dense_of(&in);
    int64_t *tokens = stratified(job->tokens, n,
                                 hash_u64(m->seed, (uint64_t)head));
    double *dq = m->backward
        ? x[RESULT_DQ].values + at * x[RESULT_DQ].width : NULL;

    oracle_rows(&p, 0, tokens, n, x[RESULT_O].values + at * x[RESULT_O].width,
                x[RESULT_LSE].values + at, dq);
    for (plain.in_order = 0; plain.in_order < 2; plain.in_order++) {
        float **f = m->dense[plain.in_order];
        struct dense_result d = {
            .o = f[RESULT_O] + at * x[RESULT_O].width,
            .lse = f[RESULT_LSE] + at,
            .dq = dq ? f[RESULT_DQ] + at * x[RESULT_DQ].width : NULL };
        dense_rows(&plain, 0, tokens, n, &d);
        take_magnitude(m, &d);
    }
    for (int r = 0; r <= (m->backward ? RESULT_DQ : RESULT_LSE); r++)
        for (int64_t i = 0; i < n; i++)
            x[r].rows[at + i] = tokens[i] * job->transformer.heads + head;
    free(tokens);
    inputs_clear(&in);
}

static void sample_rows(struct sample *m)
{
    const struct job *job = m->v->job;
    const struct transformer *t = &job->transformer;
    int64_t width = t->head_dim + t->value_dim;
    double per_row = (double)job->tokens * (double)width
                     * (m->backward ? 4 : 1);
    int64_t rows = (int64_t)fmin(1024, fmax(16, BUDGET / per_row));
    int64_t heads = min64(t->heads, max64(4, rows / 16));
    int64_t each = min64(job->tokens, ceil_div(rows, heads));

    sample_results(m, RESULT_O, m->backward ? RESULT_DQ : RESULT_LSE,
                   heads * each);
    for (int64_t i = 0; i < heads; i++)
        sample_head(m, chunk_first(t->heads, heads, i), i * each, each);
}

static void sample_kv_head(struct sample *m, int64_t kv, int64_t at, int64_t n)
{
    const struct job *job = m->v->job;
    struct expected *k = &m->v->x[RESULT_DK], *v = &m->v->x[RESULT_DV];
    int64_t group = job_group(job);
    struct inputs in = inputs_make(job, kv * group, group, m->row, m->arg);
    struct oracle_problem p = oracle_of(&in);
    struct dense_problem plain = dense_of(&in);
    int64_t *tokens = stratified(job->tokens, n,
                                 hash_u64(~m->seed, (uint64_t)kv));

    oracle_keys(&p, 0, tokens, n, k->values + at * k->width,
                v->values + at * v->width);
    for (plain.in_order = 0; plain.in_order < 2; plain.in_order++) {
        float **f = m->dense[plain.in_order];
        struct dense_result d = { .dk = f[RESULT_DK] + at * k->width,
                                  .dv = f[RESULT_DV] + at * v->width };
        dense_keys(&plain, 0, tokens, n, &d);
        take_magnitude(m, &d);
    }
    for (int64_t i = 0; i < n; i++)
        k->rows[at + i] = v->rows[at + i] =
            tokens[i] * job->transformer.kv_heads + kv;
    free(tokens);
    inputs_clear(&in);
}

/* Behind every element of dk and dv are all rows that see the key, each with
 * all keys that it sees. */
static void sample_keys(struct sample *m)
{
    const struct job *job = m->v->job;
    const struct transformer *t = &job->transformer;
    double per_head = (double)job_pairs(job) * (double)job_group(job)
                      * 2 * (double)(t->head_dim + t->value_dim);
    int64_t heads = min64(t->kv_heads, (int64_t)(BUDGET / per_head));
    int64_t each = min64(job->tokens, 64);

    if (!heads)
        return;                 /* not compared */
    sample_results(m, RESULT_DK, RESULT_DV, heads * each);
    for (int64_t i = 0; i < heads; i++)
        sample_kv_head(m, chunk_first(t->kv_heads, heads, i), i * each, each);
}

static void verify_sampled(struct verify *v, row_fn row, void *arg,
                           uint64_t seed)
{
    struct sample m = { .v = v, .row = row, .arg = arg, .seed = seed,
                        .magnitude = { [RESULT_LSE] = LSE_MAGNITUDE },
                        .backward = v->job->pass == PASS_FORWARD_BACKWARD };

    sample_rows(&m);
    if (m.backward)
        sample_keys(&m);
    for (int r = 0; r < RESULTS; r++) {
        if (!v->x[r].n)
            continue;
        set_divisor(&v->x[r], m.magnitude[r]);
        for (int i = 0; i < 2; i++) {
            widen_gate(&v->x[r], v->job->dtype, m.dense[i][r]);
            free(m.dense[i][r]);
        }
    }
}

/* ---- All together ------------------------------------------------------------------------ */

size_t verify_bytes(const struct job *job, enum verify_mode mode)
{
    const struct transformer *t = &job->transformer;
    int64_t width = t->head_dim + t->value_dim;
    int64_t heads = 0;

    if (mode == VERIFY_FULL)    /* inputs; results, two of them at work */
        heads = 2 * (t->heads + t->kv_heads);
    else if (mode == VERIFY_SAMPLED)
        heads = job->pass == PASS_FORWARD ? 2 : 1 + job_group(job);
    return (size_t)job->tokens * (size_t)(heads * width)
           * (sizeof(double) + 2 * sizeof(float));
}

struct verify *verify_create(const struct job *job, enum verify_mode mode,
                             row_fn row, void *arg, uint64_t seed)
{
    struct verify *v = xcalloc(1, sizeof *v);

    v->job = job;
    if (mode == VERIFY_FULL)
        verify_full(v, row, arg);
    else if (mode == VERIFY_SAMPLED)
        verify_sampled(v, row, arg, seed);
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

/* A NaN anywhere, sampled or not: rows that nothing wrote are poisoned. */
static int has_nan(const struct verify *v, enum result r, const float *x)
{
    enum tensor_name t = result_tensors[r];
    int64_t n = v->job->tokens * tensor_heads(v->job, t)
                * tensor_width(v->job, t);

    for (int64_t i = 0; x && i < n; i++)
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
