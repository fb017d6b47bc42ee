/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/candidates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES = 64 };           /* of an option */

/* ---- Options ------------------------------------------------------------ */

/* Values of an option, that of the default first; returns their number. */
typedef int64_t (*values_fn)(const struct job *job, int64_t ranks,
                             int64_t *values);

static int64_t count_up(int64_t n, int64_t *values)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = i;
    return n;
}

static int64_t layouts(const struct job *job, int64_t ranks, int64_t *values)
{
    (void)job;
    return count_up(ranks > 1 ? LAYOUTS : 1, values);
}

static int64_t two(const struct job *job, int64_t ranks, int64_t *values)
{
    (void)job;
    return count_up(ranks > 1 ? 2 : 1, values);
}

static int64_t backwards(const struct job *job, int64_t ranks, int64_t *values)
{
    return count_up(job_has_backward(job) && ranks > 1 ? CIRCULATES : 1,
                    values);
}

static int64_t reductions(const struct job *job, int64_t ranks,
                          int64_t *values)
{
    (void)job;
    return count_up(ranks > 1 ? REDUCTIONS : 1, values);
}

/* Chosen by the strategy (0), then proper divisors. */
static int64_t proper_divisors(int64_t of, int64_t *values)
{
    int64_t n = 0;

    values[n++] = 0;
    for (int64_t d = 2; d < of && n < VALUES; d++)
        if (of % d == 0)
            values[n++] = d;
    return n;
}

static int64_t degrees(const struct job *job, int64_t ranks, int64_t *values)
{
    (void)job;
    return proper_divisors(ranks, values);
}

static int64_t head_groups(const struct job *job, int64_t ranks,
                           int64_t *values)
{
    int64_t n = proper_divisors(job->transformer.kv_heads, values);

    if (job->transformer.kv_heads > 1 && ranks > 1 && n < VALUES)
        values[n++] = 1;
    return ranks > 1 ? n : 1;
}

#define AT(member) offsetof(struct strategy_options, member)
#define WIDE(member) AT(member),                                              \
    sizeof ((struct strategy_options *)0)->member == sizeof(int64_t)
static const struct dimension {
    const char *key;
    size_t offset;
    int wide;                   /* int64_t, else int */
    values_fn values;
} dimensions[] = {
    { "layout", WIDE(layout), layouts },
    { "head", WIDE(head), degrees },
    { "window", WIDE(window), degrees },
    { "placement", WIDE(placement), two },
    { "interleaved", WIDE(interleaved), two },
    { "backward", WIDE(backward), backwards },
    { "direction", WIDE(reverse), two },
    { "hops", WIDE(needed), two },
    { "head_group", WIDE(head_group), head_groups },
    { "reduce", WIDE(reduce), reductions },
};
#undef WIDE
#undef AT
enum { DIMENSIONS = sizeof dimensions / sizeof *dimensions };

static void set_option(struct strategy_options *o, const struct dimension *d,
                       int64_t value)
{
    void *at = (char *)o + d->offset;

    if (d->wide)
        *(int64_t *)at = value;
    else
        *(int *)at = (int)value;
}

static int takes(const struct strategy *st, const char *key)
{
    return name_index(st->options, key) >= 0;
}

/* ---- Differences -------------------------------------------------------- */

/* Does the mask let some blocks end their way early? */
static int mask_ends(const struct job *job)
{
    return job->mask.left >= 0 || job->mask.right >= 0;
}

/* The same schedule as another candidate's, or as a simpler strategy's. */
static int redundant(const struct strategy *st,
                     const struct strategy_options *o, const struct job *job,
                     int64_t ranks)
{
    int mesh = takes(st, "head"), rings = takes(st, "window");
    int64_t context = mesh && o->head ? ranks / o->head : ranks;

    if (mesh && ranks > 1 && (!o->head || o->head > job->transformer.heads))
        return 1;
    if (st == &strategy_ulysses && o->layout)   /* every rank gets all tokens */
        return 1;
    if (takes(st, "reduce"))
        return (o->window != 0) != (o->reduce == REDUCE_TWO_LEVEL)
            && ranks > 3;
    if (rings && ranks > 1 && (!o->window || o->window >= context))
        return 1;
    if (mesh && o->head_group
        && o->head_group >= ceil_div(job->transformer.kv_heads, o->head))
        return 1;
    return o->needed && !mask_ends(job);
}

/* Other results than plain attention's. */
static int approximate(const struct strategy *st)
{
    return strcmp(st->family, "star") == 0;
}

/* ---- All of them -------------------------------------------------------- */

static void refuse(struct candidates *c, const struct strategy *st,
                   const struct error *reason)
{
    struct refusal r = { st, 1, *reason };

    if (c->n_refusals && c->refusals[c->n_refusals - 1].strategy == st)
        c->refusals[c->n_refusals - 1].count++;
    else
        ARRAY_PUSH(c->refusals, c->n_refusals, c->refusals_cap, r);
}

/* Set the options of dimension `d` on, in every combination. */
static void combine(struct candidates *c, const struct job *job,
                    int64_t ranks, struct candidate *x, int d)
{
    const struct dimension *own = &dimensions[d];
    struct error reason = { 0 };
    int64_t values[VALUES];

    if (d == DIMENSIONS) {
        if (redundant(x->strategy, &x->options, job, ranks))
            return;
        if (plan_applies(job, x->strategy, &x->options, ranks, &reason))
            refuse(c, x->strategy, &reason);
        else
            ARRAY_PUSH(c->list, c->n, c->cap, *x);
        return;
    }
    int64_t n = takes(x->strategy, own->key) ? own->values(job, ranks, values)
                                             : 0;
    for (int64_t i = 0; i < max64(n, 1); i++) {
        if (n)
            set_option(&x->options, own, values[i]);
        combine(c, job, ranks, x, d + 1);
    }
    if (n)
        set_option(&x->options, own, 0);
}

void candidates_find(struct candidates *c, const struct job *job,
                     int64_t ranks)
{
    static const struct strategy_options none;

    for (int i = 0; strategies[i]; i++) {
        struct candidate x = { .strategy = strategies[i],
                               .estimate = { NAN, NAN, NAN, NAN, NAN } };
        struct error reason = { 0 };
        if (plan_applies(job, x.strategy, &none, ranks, &reason))
            refuse(c, x.strategy, &reason);
        else if (approximate(x.strategy)) {
            fail(&reason, "its results are approximate: it is for you to "
                 "choose");
            refuse(c, x.strategy, &reason);
        } else {
            combine(c, job, ranks, &x, 0);
        }
    }
}

void candidates_clear(struct candidates *c)
{
    free(c->list);
    free(c->refusals);
    *c = (struct candidates){ 0 };
}

void candidates_estimate(struct candidates *c, struct forms *f)
{
    for (int64_t i = 0; i < c->n; i++)
        c->list[i].estimate = forms_estimate(f, c->list[i].strategy,
                                             &c->list[i].options);
}

/* Stable: of equals the one found first, with options nearer to defaults. */
static int by_seconds(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    double s = x->estimate.seconds, t = y->estimate.seconds;

    if (isnan(s) || isnan(t))
        return isnan(s) - isnan(t);
    if (s != t)
        return s < t ? -1 : 1;
    return 0;
}

static void merge_sort(struct candidate *list, struct candidate *spare,
                       int64_t n)
{
    int64_t half = n / 2, i = 0, k = half;

    if (n < 2)
        return;
    merge_sort(list, spare, half);
    merge_sort(list + half, spare, n - half);
    for (int64_t out = 0; out < n; out++)
        spare[out] = k == n || (i < half && by_seconds(&list[i], &list[k]) <= 0)
            ? list[i++] : list[k++];
    memcpy(list, spare, (size_t)n * sizeof *list);
}

void candidates_sort(struct candidates *c)
{
    struct candidate *spare = xmalloc((size_t)max64(c->n, 1) * sizeof *spare);

    merge_sort(c->list, spare, c->n);
    free(spare);
}
