/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of reductions, in one process and on ranks: schedules of
 * nothing but reductions, and what they should give, in fp64. */
#ifndef SPAR_TESTS_REDUCE_CASE_H
#define SPAR_TESTS_REDUCE_CASE_H

#include "run/compute.h"
#include "schedule/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum gang { GANG_ALL, GANG_REVERSED, GANG_HALVES, GANG_STRIDED, GANG_ALONE };

/* Tiles a, b of one op: widths; b of merge is the lse. */
struct reduce_case {
    enum collective what;
    enum gang gang;
    enum channel channel;
    int64_t rows, heads, width[2];      /* width[1] 0: one tile */
};

static const struct reduce_case reduce_cases[] = {
    { ALL_REDUCE_MERGE, GANG_ALL, CHANNEL_KV, 5, 3, { 33, 1 } },
    { EXCLUSIVE_SCAN, GANG_ALL, CHANNEL_DKV, 1, 3, { 20, 0 } },
    { EXCLUSIVE_SCAN, GANG_REVERSED, CHANNEL_Q, 1, 3, { 7, 0 } },
    { ALL_REDUCE_MAX, GANG_STRIDED, CHANNEL_OUT, 4, 3, { 1, 0 } },
    { ALL_REDUCE_SUM, GANG_HALVES, CHANNEL_INTRA, 6, 3, { 9, 2 } },
    { ALL_REDUCE_MERGE, GANG_ALONE, CHANNEL_INTER, 2, 3, { 8, 1 } },
    /* A second use of a channel, and one of two groups. */
    { EXCLUSIVE_SCAN, GANG_REVERSED, CHANNEL_DKV, 1, 3, { 20, 0 } },
    { ALL_REDUCE_MERGE, GANG_STRIDED, CHANNEL_KV, 1, 3, { 600, 1 } },
    { ALL_REDUCE_SUM, GANG_ALL, CHANNEL_OUT, 64, 3, { 40, 1 } },
};
enum { REDUCE_CASES = sizeof reduce_cases / sizeof *reduce_cases,
       REDUCE_FIRST = 6, REDUCE_HEADS = 3, REDUCE_MOST_RANKS = 16 };

static double reduce_slopes[REDUCE_HEADS] = { 0.5, 0.02, 0 };

/* Job of such schedules; pass and lengths do not matter. */
static inline struct job reduce_job(void)
{
    return (struct job){
        .transformer = { .heads = REDUCE_HEADS, .kv_heads = REDUCE_HEADS,
                         .head_dim = 4, .value_dim = 5 },
        .linear = { .slopes = reduce_slopes },
    };
}

/* The group of `rank`, in order. */
static inline int64_t gang_of(enum gang g, int32_t ranks, int32_t rank,
                              int32_t *out)
{
    int64_t n = 0;

    for (int32_t i = 0; i < ranks; i++) {
        int32_t r = g == GANG_REVERSED ? ranks - 1 - i : i;
        int in = g == GANG_ALL || g == GANG_REVERSED
            || (g == GANG_HALVES && (2 * r < ranks) == (2 * rank < ranks))
            || (g == GANG_STRIDED && (r - rank) % 2 == 0)
            || (g == GANG_ALONE && r == rank);

        if (in)
            out[n++] = r;
    }
    return n;
}

/* Element i of tile `part` of a case, as `rank` has it.  Some partials are
 * empty, others have an lse that fp32 cannot take the exponential of. */
static inline float reduce_input(int c, int part, int32_t rank, int64_t i)
{
    uint64_t h = hash_u64(hash_u64((uint64_t)(c * 2 + part), (uint64_t)rank),
                          (uint64_t)i);
    float x = (float)(h >> 11) * 0x1p-52f - 1;
    int lse = reduce_cases[c].what == ALL_REDUCE_MERGE && part == 1;

    if (!lse)
        return x;
    return i % 3 == 0 || (i + rank) % 4 == 0 ? -INFINITY : 400 * x;
}

/* An empty partial is (0, -inf). */
static inline float reduce_value(int c, int part, int32_t rank, int64_t i)
{
    const struct reduce_case *x = &reduce_cases[c];

    if (x->what == ALL_REDUCE_MERGE && part == 0
        && isinf(reduce_input(c, 1, rank, i / x->width[0])))
        return 0;
    return reduce_input(c, part, rank, i);
}

static inline int64_t reduce_span(int32_t rank)
{
    return rank == 1 ? -1 : 3 + 2 * rank;
}

/* ---- Schedules ----------------------------------------------------------- */

static inline void add_case(struct schedule *s, int c)
{
    const struct reduce_case *x = &reduce_cases[c];
    struct tile in[2], out[2];
    int32_t group[REDUCE_MOST_RANKS];
    int64_t n = gang_of(x->gang, s->ranks, s->rank, group), parts = 0;

    for (; parts < 2 && x->width[parts]; parts++) {
        struct buffer b = { .map = -1, .role = ROLE_INPUT, .rows = x->rows,
                            .heads = (int32_t)x->heads,
                            .width = (int32_t)x->width[parts] };
        in[parts] = tile_whole(s, schedule_buffer(s, "in", b));
        b.role = ROLE_OUTPUT;
        out[parts] = tile_whole(s, schedule_buffer(s, "out", b));
    }
    schedule_reduce(s, "case", x->channel, x->what, group, n, in, out, parts,
                    reduce_span(s->rank));
}

/* The first cases have a channel each, so ranks may have them in unlike
 * orders, and do. */
static inline struct schedule *reduce_schedule(struct pool *pool,
                                               const struct job *job,
                                               int32_t ranks, int32_t rank)
{
    struct schedule *s = schedule_create(pool, job, ranks, rank);

    for (int c = 0; c < REDUCE_FIRST; c++)
        add_case(s, (c + rank) % REDUCE_FIRST);
    for (int c = REDUCE_FIRST; c < REDUCE_CASES; c++)
        add_case(s, c);
    schedule_freeze(s);
    return s;
}

/* Case and part of a buffer: inputs and outputs of a case follow each other,
 * and then comes its staging. */
static inline int case_of(int32_t rank, int position)
{
    return position < REDUCE_FIRST ? (position + rank) % REDUCE_FIRST
                                   : position;
}

typedef void (*reduce_visit)(struct memory *m, int c, int part, int32_t in,
                             int32_t out);

static inline void reduce_walk(struct memory *m, reduce_visit visit)
{
    int32_t b = 0;

    for (int i = 0; i < REDUCE_CASES; i++) {
        int c = case_of(m->schedule->rank, i);

        for (int part = 0; part < 2 && reduce_cases[c].width[part]; part++) {
            visit(m, c, part, b, b + 1);
            b += 2;
        }
        b++;
    }
}

static inline int64_t reduce_elements(int c, int part)
{
    const struct reduce_case *x = &reduce_cases[c];

    return x->rows * x->heads * x->width[part];
}

static inline void reduce_fill(struct memory *m, int c, int part, int32_t in,
                               int32_t out)
{
    float *x = memory_buffer(m, in);

    (void)out;
    for (int64_t i = 0; i < reduce_elements(c, part); i++)
        x[i] = reduce_value(c, part, m->schedule->rank, i);
}

/* ---- What they should give ----------------------------------------------- */

static inline double merged(int c, int part, const int32_t *group, int64_t n,
                            int64_t i)
{
    int64_t row = part ? i : i / reduce_cases[c].width[0];
    double m = -INFINITY, total = 0, sum = 0;

    for (int64_t k = 0; k < n; k++)
        m = fmax(m, (double)reduce_value(c, 1, group[k], row));
    for (int64_t k = 0; k < n && m > -INFINITY; k++) {
        double w = exp((double)reduce_value(c, 1, group[k], row) - m);

        total += w;
        sum += w * (double)reduce_value(c, 0, group[k], i);
    }
    if (part)
        return total > 0 ? m + log(total) : -INFINITY;
    return total > 0 ? sum / total : 0;
}

static inline double scanned(int c, const int32_t *group, int32_t rank,
                             int64_t i)
{
    int64_t head = i / reduce_cases[c].width[0];
    double sum = 0;

    for (int64_t k = 0; group[k] != rank; k++) {
        int64_t span = reduce_span(group[k]);

        sum = sum * (span < 0 ? 0 : exp(-reduce_slopes[head] * (double)span))
            + (double)reduce_value(c, 0, group[k], i);
    }
    return sum;
}

static inline double reduce_expected(int c, int part, int32_t ranks,
                                     int32_t rank, int64_t i)
{
    const struct reduce_case *x = &reduce_cases[c];
    int32_t group[REDUCE_MOST_RANKS];
    int64_t n = gang_of(x->gang, ranks, rank, group);
    double most = -INFINITY, sum = 0;

    if (x->what == EXCLUSIVE_SCAN)
        return scanned(c, group, rank, i);
    if (x->what == ALL_REDUCE_MERGE)
        return merged(c, part, group, n, i);
    for (int64_t k = 0; k < n; k++) {
        double value = (double)reduce_value(c, part, group[k], i);

        most = fmax(most, value);
        sum += value;
    }
    return x->what == ALL_REDUCE_MAX ? most : sum;
}

static inline void reduce_compare(struct memory *m, int c, int part,
                                  int32_t in, int32_t out)
{
    const struct schedule *s = m->schedule;
    const float *x = memory_buffer(m, out);

    (void)in;
    for (int64_t i = 0; i < reduce_elements(c, part); i++) {
        double good = reduce_expected(c, part, s->ranks, s->rank, i);
        double most = fmax(1, fabs(good));

        if ((double)x[i] != good
            && !(fabs((double)x[i] - good) < 2e-6 * most))
            fail_msg("case %d part %d rank %d of %d element %d: %g, not %g", c,
                     part, s->rank, s->ranks, (int)i, (double)x[i], good);
    }
}

/* Payload of a rank by interface.md, section 4. */
static inline int64_t reduce_bytes(int32_t ranks, int32_t rank)
{
    int64_t sum = 0;

    for (int c = 0; c < REDUCE_CASES; c++) {
        const struct reduce_case *x = &reduce_cases[c];
        int32_t group[REDUCE_MOST_RANKS];
        int64_t n = gang_of(x->gang, ranks, rank, group);
        int64_t bytes = 4 * x->rows * x->heads * (x->width[0] + x->width[1]);

        if (x->what != EXCLUSIVE_SCAN)
            sum += 2 * (n - 1) * bytes / n;
        else if (group[n - 1] != rank)
            sum += bytes + 4 * x->heads;
    }
    return sum;
}

#endif
