/* SPDX-License-Identifier: Apache-2.0
 *
 * Verification of some rows of some heads, for sequences that are too long for
 * the dense oracle; and of all queries of a decode step, which are few. */
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
    int all;                    /* every query and head */
};

/* One token from each of n equal stretches of `count` tokens, ascending. */
static void stratified(int64_t first, int64_t count, int64_t n, uint64_t seed,
                       int64_t *list)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t at = chunk_first(count, n, i);
        int64_t length = chunk_first(count, n, i + 1) - at;
        list[i] = first + at
                  + (int64_t)(hash_u64(seed, (uint64_t)i) % (uint64_t)length);
    }
}

/* n tokens that are queries; the caller frees.  The query part of star is of a
 * kind of its own and short: up to half of them. */
static int64_t *query_tokens(const struct job *job, int64_t n, uint64_t seed)
{
    int64_t *list = xmalloc((size_t)n * sizeof *list);
    int64_t first = job_first_query(job), last = job->tokens, part = 0;

    if (job->mask.kind == MASK_STAR) {
        last = job->star.context;
        part = max64(n - (last - first), min64(n / 2, job->tokens - last));
    }
    stratified(first, last - first, n - part, seed, list);
    stratified(last, job->tokens - last, part, seed, list + n - part);
    return list;
}

/* Room for n rows each of results first .. last. */
static void sample_results(struct sample *m, enum result first,
                           enum result last, int64_t n)
{
    for (enum result r = first; r <= last; r++) {
        struct expected *x = &m->v->x[r];
        if (!has_result(m->v, r))
            continue;
        expect(m->v, r, n);
        x->rows = xmalloc((size_t)n * sizeof *x->rows);
        for (int i = 0; i < 2; i++)
            m->dense[i][r] = xmalloc((size_t)(n * x->width) * sizeof(float));
    }
}

/* Row `at` of what is expected, of what an order of summation got; NULL where
 * there is no such result. */
static double *exact(const struct sample *m, enum result r, int64_t at)
{
    const struct expected *x = &m->v->x[r];

    return x->n ? x->values + at * x->width : NULL;
}

static float *plain(const struct sample *m, int order, enum result r,
                    int64_t at)
{
    const struct expected *x = &m->v->x[r];

    return x->n ? m->dense[order][r] + at * x->width : NULL;
}

static void take_magnitude(struct sample *m, const struct dense_result *d)
{
    for (int r = 0; r < RESULTS; r++)
        m->magnitude[r] = fmax(m->magnitude[r], d->magnitude[r]);
}

/* Rows at .. at+n-1 of results first .. last are of these tokens and head. */
static void set_rows(struct sample *m, enum result first, enum result last,
                     int64_t at, const int64_t *tokens, int64_t n,
                     int64_t head)
{
    for (enum result r = first; r <= last; r++) {
        int64_t heads = tensor_heads(m->v->job, result_tensors[r]);
        for (int64_t i = 0; m->v->x[r].n && i < n; i++)
            m->v->x[r].rows[at + i] = tokens[i] * heads + head;
    }
}

/* Rows at .. at+n-1 of what is expected: tokens of one query head. */
static void sample_head(struct sample *m, const struct inputs *in, int64_t head,
                        int64_t at, int64_t n)
{
    struct oracle_problem p = oracle_of(in);
    struct dense_problem dense = dense_of(in);
    int64_t *tokens = query_tokens(m->v->job, n,
                                   hash_u64(m->seed, (uint64_t)head));
    int64_t local = head - in->head_first;

    oracle_rows(&p, local, tokens, n, exact(m, RESULT_O, at),
                exact(m, RESULT_LSE, at), exact(m, RESULT_DQ, at));
    for (int i = 0; i < 2; i++) {
        struct dense_result d = { .o = plain(m, i, RESULT_O, at),
                                  .lse = plain(m, i, RESULT_LSE, at),
                                  .dq = plain(m, i, RESULT_DQ, at) };
        dense.in_order = i;
        dense_rows(&dense, local, tokens, n, &d);
        take_magnitude(m, &d);
    }
    set_rows(m, RESULT_O, RESULT_DQ, at, tokens, n, head);
    free(tokens);
}

/* How many of `heads` heads, and tokens of each, for so much work a row. */
static void spread(double per_row, int64_t tokens, int64_t *heads,
                   int64_t *each)
{
    int64_t rows = (int64_t)fmin(1024, fmax(16, BUDGET / per_row));

    *heads = min64(*heads, max64(4, rows / 16));
    *each = min64(tokens, ceil_div(rows, *heads));
}

static void sample_rows(struct sample *m)
{
    const struct job *job = m->v->job;
    const struct transformer *t = &job->transformer;
    int64_t queries = job->tokens - job_first_query(job);
    int64_t heads = t->heads, each = queries;
    struct inputs in = { 0 };

    if (!m->all)
        spread((double)job->tokens * (double)(t->head_dim + t->value_dim)
               * (job_has_backward(job) ? 4 : 1), queries, &heads, &each);
    int64_t together = heads == t->heads ? job_group(job) : 1;
    sample_results(m, RESULT_O, RESULT_DQ, heads * each);
    for (int64_t i = 0; i < heads; i++) {
        int64_t head = chunk_first(t->heads, heads, i);
        if (head >= in.head_first + in.heads) {
            inputs_clear(&in);
            in = inputs_make(m->v, head, together, m->row, m->arg);
        }
        sample_head(m, &in, head, i * each, each);
    }
    inputs_clear(&in);
}

static void sample_kv_head(struct sample *m, int64_t kv, int64_t at, int64_t n)
{
    const struct job *job = m->v->job;
    int64_t group = job_group(job);
    struct inputs in = inputs_make(m->v, kv * group, group, m->row, m->arg);
    struct oracle_problem p = oracle_of(&in);
    struct dense_problem dense = dense_of(&in);
    int64_t *tokens = xmalloc((size_t)n * sizeof *tokens);

    stratified(0, job->tokens, n, hash_u64(~m->seed, (uint64_t)kv), tokens);
    oracle_keys(&p, 0, tokens, n, exact(m, RESULT_DK, at),
                exact(m, RESULT_DV, at));
    for (int i = 0; i < 2; i++) {
        struct dense_result d = { .dk = plain(m, i, RESULT_DK, at),
                                  .dv = plain(m, i, RESULT_DV, at) };
        dense.in_order = i;
        dense_keys(&dense, 0, tokens, n, &d);
        take_magnitude(m, &d);
    }
    set_rows(m, RESULT_DK, RESULT_DV, at, tokens, n, kv);
    free(tokens);
    inputs_clear(&in);
}

/* With softmax there are behind every element of dk and dv all rows that see
 * the key, each with all keys that it sees; else only the former. */
static void sample_keys(struct sample *m)
{
    const struct job *job = m->v->job;
    const struct transformer *t = &job->transformer;
    double pair = (double)job_group(job) * 2
                  * (double)(t->head_dim + t->value_dim);
    int64_t heads = t->kv_heads, each = min64(job->tokens, 64);

    if (m->v->attention == ATTENTION_LINEAR)
        spread((double)job->tokens * pair, job->tokens, &heads, &each);
    else
        heads = min64(heads, (int64_t)(BUDGET / ((double)job_pairs(job)
                                                 * pair)));
    if (!heads)
        return;                 /* not compared */
    sample_results(m, RESULT_DK, RESULT_DV, heads * each);
    for (int64_t i = 0; i < heads; i++)
        sample_kv_head(m, chunk_first(t->kv_heads, heads, i), i * each, each);
}

void verify_sampled(struct verify *v, int all, row_fn row, void *arg,
                    uint64_t seed)
{
    struct sample m = { .v = v, .row = row, .arg = arg, .seed = seed,
                        .magnitude = { [RESULT_LSE] = LSE_MAGNITUDE },
                        .all = all };

    sample_rows(&m);
    if (job_has_backward(v->job))
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
