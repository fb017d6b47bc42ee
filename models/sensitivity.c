/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/sensitivity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BEST = 3, STEPS = 8, HALVINGS = 10 };
static const double farthest = 16;      /* = sqrt(2) ^ STEPS */
static const double better = 0.01;      /* less is as good */

/* A candidate, and its simulated seconds / its form's. */
struct rival {
    struct candidate c;
    double ratio;
};
struct field_of {
    const struct answer *a;
    const struct question *q;
    struct machine *m;
    int64_t n, cap;
    struct rival *rivals;       /* the choice first */
};

/* ---- Rivals -------------------------------------------------------------- */

static int is_same(const struct candidate *a, const struct candidate *b)
{
    return a->strategy == b->strategy
        && memcmp(&a->options, &b->options, sizeof a->options) == 0;
}

static void add_rival(struct field_of *f, const struct candidate *c,
                      double ratio)
{
    struct rival r = { *c, ratio };
    ARRAY_PUSH(f->rivals, f->n, f->cap, r);
}

static void add_contenders(struct field_of *f)
{
    for (int64_t i = 0; i < f->a->n; i++) {
        const struct contender *x = &f->a->contenders[i];
        double ratio = x->seconds / x->candidate.estimate.seconds;
        if (x->fits && isfinite(ratio))
            add_rival(f, &x->candidate, ratio);
    }
}

/* Large schedules are off by as much as others of their strategy. */
static double ratio_of(const struct field_of *f, const struct strategy *st)
{
    for (int64_t i = 0; i < f->n; i++)
        if (f->rivals[i].c.strategy == st)
            return f->rivals[i].ratio;
    return 1;
}

/* Small ones are simulated, on the machine as it was. */
static double own_ratio(const struct field_of *f, const struct candidate *c)
{
    const double small = 20000;         /* ops */

    return c->estimate.effort * (double)f->q->ranks <= small
        ? planner_seconds(f->q, c, f->q->machine) / c->estimate.seconds
        : ratio_of(f, c->strategy);
}

static int is_rival(const struct field_of *f, const struct candidate *c)
{
    for (int64_t i = 0; i < f->n; i++)
        if (is_same(&f->rivals[i].c, c))
            return 1;
    return 0;
}

static double seconds_of(const struct field_of *f, const struct rival *r)
{
    return r->ratio * forms_estimate(f->a->forms, r->c.strategy,
                                     &r->c.options).seconds;
}

static int fits(const struct field_of *f, const struct candidate *c)
{
    return f->q->memory <= 0 || c->estimate.memory <= f->q->memory;
}

/* The best of all candidates on the machine as it is now, into best[]; their
 * number. */
static int find_best(const struct field_of *f, struct rival best[BEST])
{
    const struct candidates *all = &f->a->all;
    int n = 0;
    double least[BEST] = { INFINITY, INFINITY, INFINITY };

    for (int64_t i = 0; i < all->n; i++) {
        struct rival r = { all->list[i],
                           ratio_of(f, all->list[i].strategy) };
        double seconds = fits(f, &r.c) ? seconds_of(f, &r) : NAN;
        int at = BEST;
        while (at > 0 && seconds < least[at - 1])
            at--;
        if (at == BEST)
            continue;
        for (int k = BEST - 1; k > at; k--) {
            least[k] = least[k - 1];
            best[k] = best[k - 1];
        }
        least[at] = seconds;
        best[at] = r;
    }
    while (n < BEST && isfinite(least[n]))
        n++;
    return n;
}

/* ---- Turns --------------------------------------------------------------- */

static void move_by(struct field_of *f, const struct knob *k, double factor)
{
    knob_scale(k, f->m, factor);
    forms_machine(f->a->forms, f->m, f->q->kernel);
}

/* Who is better than the choice; NULL: nobody. */
static const struct rival *winner(const struct field_of *f)
{
    const struct rival *best = NULL;
    double least = seconds_of(f, &f->rivals[0]) * (1 - better);

    for (int64_t i = 1; i < f->n; i++) {
        double seconds = seconds_of(f, &f->rivals[i]);
        if (seconds < least) {
            least = seconds;
            best = &f->rivals[i];
        }
    }
    return best;
}

static const struct rival *winner_at(struct field_of *f, const struct knob *k,
                                     double factor)
{
    move_by(f, k, factor);
    const struct rival *w = winner(f);
    move_by(f, k, 1 / factor);
    return w;
}

/* In steps of `step` (more or less than 1) to where somebody wins, then in
 * halves back to where that begins. */
static struct turn find_turn(struct field_of *f, const struct swing *s,
                             double step)
{
    const struct rival *w = NULL;
    double held = 1, lost = 1;

    for (int i = 0; i < STEPS && !w; i++) {
        held = lost;
        lost *= step;
        w = winner_at(f, s->knob, lost);
    }
    if (!w)
        return (struct turn){ .value = NAN };
    for (int i = 0; i < HALVINGS; i++) {
        double middle = sqrt(held * lost);
        const struct rival *x = winner_at(f, s->knob, middle);
        w = x ? x : w;
        *(x ? &lost : &held) = middle;
    }
    return (struct turn){ s->value * lost, w->c };
}

/* ---- Memory -------------------------------------------------------------- */

static struct turn memory_turn(const struct contender *x, double value,
                               double limit)
{
    return x ? (struct turn){ value / limit * (double)x->peak, x->candidate }
             : (struct turn){ .value = NAN };
}

/* The choice needs so much; what would be better than it needs more. */
static void memory_swing(struct sensitivity *s, const struct field_of *f,
                         const struct knob *k)
{
    const struct contender *all = f->a->contenders, *less = NULL, *more = NULL;
    double value = knob_value(k, f->m);

    if (f->q->memory <= 0 || !(value > 0))
        return;
    for (int64_t i = f->a->n - 1; i > 0; i--) {
        if (all[i].fits && all[i].peak < all[0].peak)
            less = &all[i];
        if (!all[i].fits && all[i].seconds < all[0].seconds * (1 - better))
            more = &all[i];
    }
    struct turn below = memory_turn(less, value, f->q->memory);
    below.value = less ? value / f->q->memory * (double)all[0].peak : NAN;
    s->list[s->n++] = (struct swing){ k, value, 0, below,
                                      memory_turn(more, value, f->q->memory) };
}

/* ---- All of them --------------------------------------------------------- */

static double elasticity(struct field_of *f, const struct knob *k)
{
    const double by = 1.1;
    double t[2];

    for (int i = 0; i < 2; i++) {
        move_by(f, k, i ? by : 1 / by);
        t[i] = seconds_of(f, &f->rivals[0]);
        move_by(f, k, i ? 1 / by : by);
    }
    return log(t[1] / t[0]) / (2 * log(by));
}

static int by_elasticity(const void *a, const void *b)
{
    const struct swing *x = a, *y = b;
    double s = fabs(x->elasticity), t = fabs(y->elasticity);

    return s != t ? s < t ? 1 : -1 : (x->knob > y->knob) - (x->knob < y->knob);
}

/* Of a number that counts, or would at its extremes. */
static void swing(struct sensitivity *s, struct field_of *f,
                  const struct knob *k)
{
    struct swing x = { .knob = k, .value = knob_value(k, f->m) };

    if (!(x.value > 0) || s->n == SWINGS)
        return;
    x.elasticity = elasticity(f, k);
    for (int i = 0; i < 2; i++) {
        double factor = i ? farthest : 1 / farthest;
        struct rival best[BEST];
        move_by(f, k, factor);
        int n = find_best(f, best);
        move_by(f, k, 1 / factor);
        for (int b = 0; b < n; b++)
            if (!is_rival(f, &best[b].c))
                add_rival(f, &best[b].c, own_ratio(f, &best[b].c));
    }
    x.below = find_turn(f, &x, 1 / sqrt(2));
    x.above = find_turn(f, &x, sqrt(2));
    s->list[s->n++] = x;
}

void sensitivity_find(struct sensitivity *s, const struct answer *a,
                      const struct question *q, struct machine *m)
{
    struct field_of f = { .a = a, .q = q, .m = m };

    *s = (struct sensitivity){ 0 };
    if (a->n == 0 || isnan(a->contenders[0].candidate.estimate.seconds))
        return;
    add_contenders(&f);
    for (const struct knob *k = machine_knobs; k->name && f.n; k++)
        if (strcmp(k->name, "memory") == 0)
            memory_swing(s, &f, k);
        else
            swing(s, &f, k);
    qsort(s->list, (size_t)s->n, sizeof *s->list, by_elasticity);
    free(f.rivals);
}
