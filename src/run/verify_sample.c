/* SPDX-License-Identifier: Apache-2.0
 *
 * Verification of some rows of some heads, for sequences that are too long for
 * the dense oracle. */
#include <config.h>

#include "run/verify_internal.h"

#include <math.h>
#include <stdlib.h>

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

void verify_sampled(struct verify *v, row_fn row, void *arg, uint64_t seed)
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
