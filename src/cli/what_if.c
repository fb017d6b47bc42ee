/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/what_internal.h"

#include "cli/planned.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int index_of(const struct strategy *st)
{
    int i = 0;

    while (strategies[i] != st)
        i++;
    return i;
}

static void take_best(struct what_best *b, const struct candidate *c,
                      double seconds, double memory, double sent)
{
    char options[160];

    options_text(c->strategy, &c->options, options, sizeof options);
    b->strategy = index_of(c->strategy);
    b->seconds = seconds;
    b->memory = memory;
    b->sent = sent;
    free(b->options);
    b->options = xstrdup(options);
}

static int is_fit(const struct candidate *c, const struct question *q)
{
    return !isnan(c->estimate.seconds)
        && (q->memory <= 0 || c->estimate.memory <= q->memory);
}

/* The first of those that closed forms cannot tell from the fastest: simpler
 * strategies come first. */
static const struct candidate *first_best(const struct candidates *all,
                                          const struct question *q)
{
    const double alike = 1.005;
    double least = INFINITY;

    for (int64_t i = 0; i < all->n; i++)
        if (is_fit(&all->list[i], q))
            least = fmin(least, all->list[i].estimate.seconds);
    for (int64_t i = 0; i < all->n; i++)
        if (is_fit(&all->list[i], q)
            && all->list[i].estimate.seconds <= alike * least)
            return &all->list[i];
    return NULL;
}

/* By closed forms; 0: there is none of what applies. */
static int estimate_point(struct walk *k, const struct question *q,
                          int64_t point)
{
    struct what_best *b = &k->r->best[point];
    double *by = &k->r->by_strategy[point * k->r->n_strategies];
    struct forms *f = forms_create(q->job, q->ranks);
    struct candidates all = { 0 };
    int without = 0;

    forms_machine_known(f, q->machine, q->kernel, walk_ways(k, q->ranks));
    candidates_find(&all, q->job, q->ranks);
    candidates_estimate(&all, f);
    for (int64_t i = 0; i < all.n; i++) {
        const struct candidate *c = &all.list[i];
        without += isnan(c->estimate.seconds);
        if (is_fit(c, q))
            by[index_of(c->strategy)] = fmin(by[index_of(c->strategy)],
                                             c->estimate.seconds);
    }
    const struct candidate *best = first_best(&all, q);
    if (best)
        take_best(b, best, best->estimate.seconds, best->estimate.memory,
                  best->estimate.sent);
    int done = all.n == 0 || without < all.n;
    k->r->candidates += done ? all.n : 0;
    candidates_clear(&all);
    forms_destroy(f);
    return done;
}

/* By the planner: nothing that fits is an answer, too. */
static int simulate_point(struct walk *k, struct question *q, int64_t point,
                          struct error *e)
{
    double *by = &k->r->by_strategy[point * k->r->n_strategies];
    struct answer a = { 0 };
    int rc = planner_answer(&a, q, max64(k->q->simulate, 1), NULL, 0, e);

    for (int64_t i = a.n - 1; !rc && i >= 0; i--) {
        const struct contender *x = &a.contenders[i];
        if (x->fits)
            by[index_of(x->candidate.strategy)] = x->seconds;
    }
    if (!rc)
        take_best(&k->r->best[point], &a.contenders[0].candidate,
                  a.contenders[0].seconds, (double)a.contenders[0].peak,
                  (double)a.contenders[0].sent);
    k->r->candidates += a.all.n;
    k->r->simulated += a.n;
    rc = a.none ? 0 : rc;
    answer_clear(&a);
    return rc;
}

static int ask(struct walk *k, struct scenario *s, char *const *sets,
               int64_t point, struct error *e)
{
    if (scenario_need_ranks(s, e) || walk_machine(k, s, sets, e))
        return -1;
    struct question q = {
        .job = &s->job, .ranks = s->ranks, .machine = k->machine,
        .kernel = s->kernel, .memory = walk_limit(k, s->ranks),
        .network = k->q->network ? k->q->network
                                 : network_default(k->machine)
    };
    if (!k->q->simulate && estimate_point(k, &q, point))
        return 0;
    return simulate_point(k, &q, point, e);
}

static int run_point(struct walk *k, int64_t point, struct error *e)
{
    char *sets[SWEEP_AXES];

    walk_sets(k->w, point, sets);
    struct scenario *s = what_with(k->s, (const char *const *)sets,
                                   k->w->n_axes, e);
    int rc = s ? ask(k, s, sets, point, e) : -1;
    scenario_destroy(s);
    walk_sets_free(k->w, sets);
    return rc;
}

/* Points in such an order that the machine changes least: the i-th, with the
 * machine's axes slowest. */
static int64_t point_at(const struct what_if *w, int64_t i)
{
    int64_t point = 0;

    for (int machine = 0; machine < 2; machine++)
        for (int k = w->n_axes - 1; k >= 0; k--)
            if (what_is_machine(&w->axes[k]) == machine) {
                point += i % w->axes[k].n * what_stride(w, k);
                i /= w->axes[k].n;
            }
    return point;
}

static void result_init(struct what_result *r, int64_t points)
{
    *r = (struct what_result){ .points = points };
    while (strategies[r->n_strategies])
        r->n_strategies++;
    r->best = xcalloc((size_t)points, sizeof *r->best);
    r->by_strategy = xcalloc((size_t)(points * r->n_strategies),
                             sizeof *r->by_strategy);
    for (int64_t i = 0; i < points; i++)
        r->best[i] = (struct what_best){ -1, NAN, NAN, NAN, xstrdup("") };
    for (int64_t i = 0; i < points * r->n_strategies; i++)
        r->by_strategy[i] = NAN;
}

void what_result_clear(struct what_result *r)
{
    for (int64_t i = 0; r->best && i < r->points; i++)
        free(r->best[i].options);
    free(r->best);
    free(r->by_strategy);
    *r = (struct what_result){ 0 };
}

int what_if_run(struct what_result *r, const struct what_if *w,
                struct scenario *s, const struct what_question *q,
                struct error *e)
{
    struct walk k = { .w = w, .s = s, .q = q, .r = r };
    double start = processor_seconds();
    int rc = 0, some = 0;

    result_init(r, w->points);
    for (int64_t i = 0; i < w->points && !rc; i++)
        rc = run_point(&k, point_at(w, i), e);
    for (int64_t i = 0; i < w->points && !rc; i++)
        some |= r->best[i].strategy >= 0;
    if (!rc && !some)
        rc = scenario_fail(s, "what_if", e, "nothing applies, or fits, at any "
                           "of the points");
    walk_clear(&k);
    r->seconds = processor_seconds() - start;
    return rc;
}
