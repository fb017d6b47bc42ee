/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/simulated.h"

#include "cli/progress.h"

#include <stdlib.h>
#include <string.h>

/* Ops and operands of schedules that are kept. */
enum { KEPT_MOST = 1 << 25 };

static struct rank_facts facts_of(const struct schedule *s)
{
    return (struct rank_facts){ s->hash, s->n_ops, schedule_sent_bytes(s),
                                schedule_pairs(s), (int64_t)s->peak_bytes,
                                schedule_flops(s) };
}

/* ---- Folding ------------------------------------------------------------- */

int64_t simulated_period(const struct planned *p, const struct machine *m,
                         const struct simulate_options *o)
{
    int64_t n = plan_period(p->plan);

    if (n >= p->ranks)
        return p->ranks;
    struct schedule **first = xcalloc((size_t)n, sizeof *first);
    for (int64_t r = 0; r < n; r++)
        first[r] = plan_build(p->plan, (int32_t)r);
    int64_t period = simulate_period((const struct schedule *const *)first, n,
                                     p->ranks, m, o);
    for (int64_t r = 0; r < n; r++)
        schedule_destroy(first[r]);
    free(first);
    return period;
}

/* Of one rank. */
static int64_t count_operands(const struct planned *p)
{
    struct schedule *s = plan_build(p->plan, 0);
    int64_t sum = s->n_ops, n;

    for (int64_t i = 0; i < s->n_ops; i++) {
        pool_operands_get(s->pool, s->ops[i].operands, &n);
        sum += n;
    }
    schedule_destroy(s);
    return sum;
}

/* Spans of ranks that others stand for. */
static void unfold(struct simulate_result *r, int64_t period, int64_t ranks)
{
    int64_t n = r->n_spans, times = ranks / period;

    r->n_spans = n * times;
    r->spans = xrealloc(r->spans, (size_t)(r->n_spans + 1) * sizeof *r->spans);
    for (int64_t i = n; i < r->n_spans; i++) {
        r->spans[i] = r->spans[i - n];
        r->spans[i].rank += (int32_t)period;
    }
}

/* ---- One by one ---------------------------------------------------------- */

static void add_rank(struct simulation *sim, const struct planned *p,
                     const struct schedule *s)
{
    struct schedule *low = planned_lower(p, s);

    simulation_add(sim, low ? low : s);
    schedule_destroy(low);
}

/* Ranks that others stand for are like them. */
static void add_all(struct simulated *x, struct planned *p,
                    struct simulation *sim, int keep)
{
    if (keep && !p->schedules)
        p->schedules = xcalloc((size_t)p->ranks, sizeof *p->schedules);
    for (int64_t r = 0; r < p->ranks; r++) {
        progress("%s: rank %lld of %lld", p->asked->strategy->name,
                 (long long)r, (long long)p->ranks);
        if (r >= x->period && !x->whole) {
            x->facts[r] = x->facts[r % x->period];
            x->facts[r].hash = 0;
            continue;
        }
        struct schedule *s = plan_build(p->plan, (int32_t)r);
        x->facts[r] = facts_of(s);
        if (r < x->period)
            add_rank(sim, p, s);
        if (keep)
            p->schedules[r] = s;
        else
            schedule_destroy(s);
    }
}

int simulated_run(struct simulated *x, struct planned *p, int fold,
                  const struct machine *m, struct simulate_options o, struct error *e)
{
    int64_t each = count_operands(p);

    *x = (struct simulated){ .period = p->ranks,
                             .whole = each * p->ranks <= KEPT_MOST };
    if (fold && !(p->lowered && p->lowered->as))
        x->period = simulated_period(p, m, &o);
    o.period = x->period;
    o.record = x->period * each <= KEPT_MOST;
    x->facts = xcalloc((size_t)p->ranks, sizeof *x->facts);
    struct simulation *sim = simulation_create(p->ranks, m, &o);
    add_all(x, p, sim, o.record);
    int rc = simulation_ready(sim, e);
    progress("%s: simulating", p->asked->strategy->name);
    if (!rc)
        simulation_run(sim, &x->result);
    progress_end();
    simulation_destroy(sim);
    if (rc)
        simulated_clear(x);
    else if (x->whole && x->period < p->ranks)
        unfold(&x->result, x->period, p->ranks);
    return rc;
}

double simulated_again(const struct simulated *x, const struct planned *p,
                       const struct machine *m, struct simulate_options o)
{
    struct simulate_result r;

    o.period = x->period;
    struct simulation *sim = simulation_create(p->ranks, m, &o);
    for (int64_t i = 0; i < x->period; i++)
        add_rank(sim, p, p->schedules[i]);
    simulation_run(sim, &r);
    simulation_destroy(sim);
    double seconds = r.seconds;
    simulate_result_clear(&r);
    return seconds;
}

void simulated_clear(struct simulated *x)
{
    simulate_result_clear(&x->result);
    free(x->facts);
    x->facts = NULL;
}

/* ---- What is known ------------------------------------------------------- */

uint64_t simulated_hash(const struct simulated *x, int64_t ranks)
{
    uint64_t *hashes = xcalloc((size_t)ranks, sizeof *hashes);
    int known = 1;

    for (int64_t r = 0; r < ranks; r++) {
        hashes[r] = x->facts[r].hash;
        known &= hashes[r] != 0;
    }
    uint64_t hash = known ? schedule_hash_all(hashes, ranks) : 0;
    free(hashes);
    return hash;
}

int64_t *simulated_by_rank(const struct simulated *x, int64_t ranks,
                           size_t offset)
{
    int64_t *values = xcalloc((size_t)ranks, sizeof *values);

    for (int64_t r = 0; r < ranks; r++)
        memcpy(&values[r], (const char *)&x->facts[r] + offset,
               sizeof *values);
    return values;
}

int64_t *simulated_bytes_expected(const struct simulated *x,
                                  const struct planned *p)
{
    int64_t *values = xcalloc((size_t)p->ranks, sizeof *values);

    for (int64_t r = 0; r < p->ranks; r++)
        values[r] = r < x->period || x->whole
            ? plan_bytes_expected(p->plan, (int32_t)r)
            : values[r % x->period];
    return values;
}

double simulated_flops(const struct simulated *x, int64_t ranks)
{
    double flops = 0;

    for (int64_t r = 0; r < ranks; r++)
        flops += x->facts[r].flops;
    return flops;
}
