/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/planner.h"

#include "base/units.h"
#include "models/classes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TIES = 8 };              /* of the best, that are simulated too */
/* Forms are up to so much above the buffers that are planned: what may fit is
 * tried. */
static const double memory_slack = 1.4;
enum { TRIES = 4 };             /* times `most`, where much does not fit */
/* Whose form is so many times the best one's does not win a simulation. */
static const double hopeless = 1.65;

double question_memory(const struct machine *m, int64_t ranks)
{
    int64_t share = 1;

    if (m->devices)
        share = ceil_div(max64(ranks, m->devices), m->devices);
    else if (m->shared_core)
        share = max64(m->cores, 1);
    return (double)m->memory_bytes / (double)share;
}

/* ---- Simulating one ----------------------------------------------------- */

/* What is kept of the schedules of all ranks. */
struct sums {
    uint64_t *hashes;
    int64_t most_pairs, pairs;
};

static void add_schedule(struct contender *x, const struct answer *a,
                         const struct schedule *s, struct sums *all)
{
    int64_t pairs = schedule_pairs(s);

    all->most_pairs = max64(all->most_pairs, pairs);
    all->pairs += pairs;
    all->hashes[s->rank] = s->hash;
    x->sent = max64(x->sent, schedule_sent_bytes(s));
    x->peak = max64(x->peak, (int64_t)s->peak_bytes);
    if (a->classes)
        classes_add(a->classes, s, x->by_class);
}

static void add_all(struct contender *x, const struct answer *a,
                    struct plan *p, struct simulation *sim)
{
    int32_t ranks = plan_ranks(p);
    struct sums all = { .hashes = xcalloc((size_t)ranks, sizeof *all.hashes) };

    for (int32_t r = 0; r < ranks; r++) {
        struct schedule *s = plan_build(p, r);
        add_schedule(x, a, s, &all);
        simulation_add(sim, s);
        schedule_destroy(s);
    }
    x->hash = schedule_hash_all(all.hashes, ranks);
    x->imbalance = all.pairs ? (double)all.most_pairs * ranks
        / (double)all.pairs : 1;
    for (int k = 0; k < ROUTE_CLASSES; k++)
        x->by_class[k] /= ranks;
    free(all.hashes);
}

/* Seconds of what a rank computes. */
static double computed(const struct question *q, struct plan *p, int32_t rank)
{
    struct schedule *s = plan_build(p, rank);
    double seconds = 0;

    for (int64_t i = 0; i < s->n_ops; i++) {
        int lane[2];
        op_lanes(&s->ops[i], lane);
        if (lane[0] == LANE_COMPUTE)
            seconds += op_seconds(q->machine, q->kernel, s, &s->ops[i]);
    }
    schedule_destroy(s);
    return seconds;
}

static int32_t last_rank(const struct simulate_result *r, int64_t ranks)
{
    int32_t last = 0;

    for (int32_t i = 1; i < ranks; i++)
        if (r->rank_seconds[i] > r->rank_seconds[last])
            last = i;
    return last;
}

static void take(struct contender *x, const struct question *q, struct plan *p,
                 const struct simulate_result *r)
{
    x->seconds = r->seconds;
    x->overlap = r->overlap;
    x->computed = computed(q, p, last_rank(r, q->ranks));
    x->fits = q->memory <= 0 || (double)x->peak <= q->memory;
}

static int contend(struct contender *x, const struct answer *a,
                   const struct question *q, struct error *e)
{
    const struct candidate *c = &x->candidate;
    struct simulate_options o = { .network = q->network, .kernel = q->kernel,
                                  .links = a->links, .slots = q->slots };
    struct simulate_result r;
    struct plan *p = plan_create(q->job, c->strategy, &c->options,
                                 (int32_t)q->ranks, e);

    if (!p)
        return -1;
    struct simulation *sim = simulation_create(q->ranks, q->machine, &o);
    add_all(x, a, p, sim);
    int rc = simulation_ready(sim, e);
    if (!rc) {
        simulation_run(sim, &r);
        take(x, q, p, &r);
        simulate_result_clear(&r);
    }
    simulation_destroy(sim);
    plan_destroy(p);
    return rc;
}

/* ---- Intervals ----------------------------------------------------------- */

/* Ops beyond which an interval is not simulated but in proportion to forms. */
static const double large = 200000;

double planner_seconds(const struct question *q, const struct candidate *c,
                       const struct machine *m)
{
    struct simulate_options o = { .network = q->network, .kernel = q->kernel,
                                  .slots = q->slots };
    struct simulate_result r;
    struct plan *p = plan_create(q->job, c->strategy, &c->options,
                                 (int32_t)q->ranks, NULL);
    struct simulation *sim = simulation_create(q->ranks, m, &o);

    for (int32_t i = 0; i < q->ranks; i++) {
        struct schedule *s = plan_build(p, i);
        simulation_add(sim, s);
        schedule_destroy(s);
    }
    simulation_run(sim, &r);
    double seconds = r.seconds;
    simulate_result_clear(&r);
    simulation_destroy(sim);
    plan_destroy(p);
    return seconds;
}

/* P10 (-1) or P90 (1): all tables and links as wrong as each other, at once. */
static void find_quantile(struct answer *a, const struct question *q,
                          int quantile)
{
    struct machine moved = *q->machine;

    moved.quantile = quantile;
    forms_machine(a->forms, &moved, q->kernel);
    for (int64_t i = 0; i < a->n; i++) {
        struct contender *x = &a->contenders[i];
        const struct candidate *c = &x->candidate;
        double form = c->estimate.seconds;
        int small = isnan(form) || c->estimate.effort * (double)q->ranks
            <= large;
        x->interval[quantile > 0] = small ? planner_seconds(q, c, &moved)
            : x->seconds / form * forms_estimate(a->forms, c->strategy,
                                                 &c->options).seconds;
    }
    forms_machine(a->forms, q->machine, q->kernel);
}

/* ---- Choosing who is simulated ------------------------------------------ */

static int same_options(const struct candidate *a, const struct candidate *b)
{
    return a->strategy == b->strategy
        && memcmp(&a->options, &b->options, sizeof a->options) == 0;
}

/* Not told apart by their forms. */
static int same_estimate(const struct candidate *a, const struct candidate *b)
{
    const struct estimate *x = &a->estimate, *y = &b->estimate;

    return a->strategy == b->strategy && x->sent == y->sent
        && x->memory == y->memory
        && fabs(x->seconds - y->seconds) <= 1e-9 * y->seconds;
}

static int add(struct answer *a, const struct question *q,
               const struct candidate *c, int asked, struct error *e)
{
    for (int64_t i = 0; i < a->n; i++)
        if (same_options(&a->contenders[i].candidate, c)) {
            a->contenders[i].asked |= asked;
            return 0;
        }
    struct contender x = { .candidate = *c, .seconds = NAN, .asked = asked };
    x.candidate.estimate = forms_estimate(a->forms, c->strategy, &c->options);
    if (contend(&x, a, q, e))
        return -1;
    ARRAY_PUSH(a->contenders, a->n, a->cap, x);
    if (!isnan(x.candidate.estimate.effort))
        a->ops += x.candidate.estimate.effort * (double)q->ranks;
    return 0;
}

static int is_new(const struct answer *a, const struct candidate *c,
                  int by_strategy)
{
    for (int64_t i = 0; i < a->n; i++) {
        const struct candidate *x = &a->contenders[i].candidate;
        if (by_strategy ? x->strategy == c->strategy : same_estimate(x, c))
            return 0;
    }
    return 1;
}

static int may_fit(const struct question *q, const struct candidate *c)
{
    return q->memory <= 0 || isnan(c->estimate.memory)
        || c->estimate.memory <= memory_slack * q->memory;
}

static int64_t fitting(const struct answer *a)
{
    int64_t n = 0;

    for (int64_t i = 0; i < a->n; i++)
        n += a->contenders[i].fits;
    return n;
}

/* Is there time for another one? */
static int may_try(const struct answer *a, const struct question *q,
                   const struct candidate *c, int64_t most)
{
    double ops = c->estimate.effort * (double)q->ranks;

    if (c->estimate.seconds > hopeless * a->all.list[0].estimate.seconds)
        return 0;
    return fitting(a) < most && a->n / TRIES < most && may_fit(q, c)
        && (a->n == 0 || a->ops + ops <= MOST_OPS);
}

/* The best of each strategy; then the best of all, until `most` fit. */
static int simulate_best(struct answer *a, const struct question *q,
                         int64_t most, struct error *e)
{
    for (int by_strategy = 1; by_strategy >= 0; by_strategy--)
        for (int64_t i = 0; i < a->all.n; i++) {
            const struct candidate *c = &a->all.list[i];
            int form = !isnan(c->estimate.seconds);
            if (form && !may_try(a, q, c, most))
                continue;
            if (is_new(a, c, by_strategy && form) && add(a, q, c, 0, e))
                return -1;
        }
    return 0;
}

static int by_seconds(const void *a, const void *b)
{
    const struct contender *x = a, *y = b;

    if (x->fits != y->fits)
        return y->fits - x->fits;
    if (isnan(x->seconds) || isnan(y->seconds))
        return isnan(x->seconds) - isnan(y->seconds);
    if (x->seconds != y->seconds)
        return x->seconds < y->seconds ? -1 : 1;
    if (x->peak != y->peak)
        return x->peak < y->peak ? -1 : 1;
    return x->candidate.estimate.seconds < y->candidate.estimate.seconds ? -1
        : x->candidate.estimate.seconds > y->candidate.estimate.seconds;
}

static void sort(struct answer *a)
{
    if (a->n > 0)
        qsort(a->contenders, (size_t)a->n, sizeof *a->contenders, by_seconds);
}

/* Placements, say: the same in the forms, perhaps not on the machine. */
static int simulate_ties(struct answer *a, const struct question *q,
                         struct error *e)
{
    int left = TIES;

    for (int64_t i = 0; i < a->all.n && left > 0; i++) {
        int64_t before = a->n;
        if (same_estimate(&a->all.list[i], &a->contenders[0].candidate)
            && a->ops <= MOST_OPS && add(a, q, &a->all.list[i], 0, e))
            return -1;
        left -= a->n > before;
    }
    return 0;
}

/* ---- The answer --------------------------------------------------------- */

double processor_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double find_all(struct answer *a, const struct question *q)
{
    double start = processor_seconds();

    candidates_clear(&a->all);
    candidates_find(&a->all, q->job, q->ranks);
    candidates_estimate(&a->all, a->forms);
    return processor_seconds() - start;
}

static void estimate_all(struct answer *a, const struct question *q)
{
    a->forms = forms_create(q->job, q->ranks);
    forms_machine(a->forms, q->machine, q->kernel);
    a->ready_seconds = find_all(a, q);
    a->find_seconds = find_all(a, q);
    candidates_sort(&a->all);
    for (int64_t i = 0; i < a->all.n; i++)
        a->fit += may_fit(q, &a->all.list[i]);
}

static int refuse_all(const struct answer *a, struct error *e)
{
    char lines[sizeof e->text] = "";

    for (int64_t i = 0; i < a->all.n_refusals; i++)
        snprintf(lines + strlen(lines), sizeof lines - strlen(lines),
                 "%s%s does not apply: %.240s", i ? "\nspar: " : "",
                 a->all.refusals[i].strategy->name,
                 a->all.refusals[i].reason.text);
    return fail_usage(e, "%s", lines);
}

static int nothing_fits(const struct answer *a, const struct question *q,
                        struct error *e)
{
    const struct candidate *least = &a->all.list[0];
    char most[24], need[24];

    for (int64_t i = 1; i < a->all.n; i++)
        if (a->all.list[i].estimate.memory < least->estimate.memory)
            least = &a->all.list[i];
    return fail(e, "nothing fits in %s a rank: %s needs least, %s",
                quantity_print(q->memory, "B", most, sizeof most),
                least->strategy->name,
                quantity_print(least->estimate.memory, "B", need,
                               sizeof need));
}

/* Routes are found once for all simulations. */
static void know_graph(struct answer *a, const struct machine *m)
{
    if (!m->graph)
        return;
    a->links = links_create(m, m->devices ? m->devices : m->graph->n_slots);
    a->classes = classes_create(m->graph);
}

int planner_answer(struct answer *a, const struct question *q, int64_t most,
                   const struct candidate *asked, int64_t n, struct error *e)
{
    estimate_all(a, q);
    a->none = a->all.n == 0;
    if (a->none)
        return refuse_all(a, e);
    know_graph(a, q->machine);
    if (simulate_best(a, q, most, e))
        return -1;
    sort(a);
    a->none = a->n == 0 || !a->contenders[0].fits;
    if (a->none)
        return nothing_fits(a, q, e);
    if (simulate_ties(a, q, e))
        return -1;
    for (int64_t i = 0; i < n; i++)
        if (add(a, q, &asked[i], 1, e))
            return -1;
    sort(a);
    find_quantile(a, q, -1);
    find_quantile(a, q, 1);
    return 0;
}

void answer_clear(struct answer *a)
{
    candidates_clear(&a->all);
    forms_destroy(a->forms);
    links_destroy(a->links);
    classes_destroy(a->classes);
    placement_clear(&a->placed);
    free(a->contenders);
    *a = (struct answer){ 0 };
}

/* ---- Why not ------------------------------------------------------------ */

static const char *quantity(char text[24], double value, const char *unit)
{
    return quantity_print(value, unit, text, 24);
}

void contender_loses(const struct contender *x, const struct contender *best,
                     char *text, size_t size)
{
    double more = x->seconds - best->seconds;
    double compute = x->computed - best->computed, wait = more - compute;
    char a[24], b[24], c[24];

    if (!x->fits)
        snprintf(text, size, "does not fit: %s a rank",
                 quantity(a, (double)x->peak, "B"));
    else if (isnan(x->seconds))
        snprintf(text, size, "deadlock");
    else if (more <= 0.002 * best->seconds)
        snprintf(text, size, "as fast; %s sent, %s of memory",
                 quantity(a, (double)x->sent, "B"),
                 quantity(b, (double)x->peak, "B"));
    else if (compute > wait && x->imbalance > best->imbalance + 0.02)
        snprintf(text, size, "%s more to compute: the busiest rank has %.2f "
                 "times the mean", quantity(a, compute, "s"), x->imbalance);
    else if (compute > wait)
        snprintf(text, size, "%s more to compute, for the same pairs",
                 quantity(a, compute, "s"));
    else if (x->sent == best->sent)
        snprintf(text, size, "%s more of exposed communication, for the same "
                 "bytes", quantity(a, wait, "s"));
    else
        snprintf(text, size, "%s more of exposed communication (%s sent, not "
                 "%s)", quantity(a, wait, "s"),
                 quantity(b, (double)x->sent, "B"),
                 quantity(c, (double)best->sent, "B"));
}
