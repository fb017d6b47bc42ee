/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast scenarios are simulated on one core: schedules built one by one, then
 * all ranks from event to event.  An event is an op or a message of a rank that
 * is simulated.
 *   bench_sim SCENARIO NETWORK [--fold] [KEY=VALUE...] */
#include <config.h>

#include "cli/simulated.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* Of the processor's time, which the neighbours do not lengthen as much. */
static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double peak_megabytes(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss * 1024e-6;
}

static int64_t events(const struct schedule *s)
{
    int64_t n = s->n_ops;

    for (int64_t i = 0; i < s->n_ops; i++)
        n += s->ops[i].kind == OP_SEND;
    return n;
}

/* All seconds, and those without building schedules. */
struct times {
    double all, simulated;
    int64_t events;
};

static int simulate_entry(struct planned *p, const struct machine *m,
                          const struct simulate_options *o, struct times *t,
                          struct simulate_result *r, struct error *e)
{
    double start = now();
    struct simulation *sim = simulation_create(p->ranks, m, o);

    *t = (struct times){ 0 };
    for (int64_t k = 0; k < o->period; k++) {
        struct schedule *one = plan_build(p->plan, (int32_t)k);
        simulation_add(sim, one);
        t->events += events(one);
        schedule_destroy(one);
    }
    double built = now();
    int rc = simulation_ready(sim, e);
    if (!rc)
        simulation_run(sim, r);
    t->all = now() - start;
    t->simulated = now() - built;
    simulation_destroy(sim);
    return rc;
}

static int entry(const struct scenario *s, int64_t i, const struct machine *m,
                 const struct network_model *network, int fold,
                 struct error *e)
{
    struct simulate_options o = { .network = network, .kernel = s->kernel };
    struct simulate_result r;
    struct planned p;
    struct times t;
    double start = now();

    planned_open(&p, s, i, s->ranks);
    if (!p.plan)
        return fail(e, "%s does not apply: %s", p.asked->strategy->name,
                    p.reason.text);
    o.period = fold ? simulated_period(&p, m, &o) : p.ranks;
    double planned = now() - start;
    int rc = simulate_entry(&p, m, &o, &t, &r, e);
    if (!rc) {
        double seconds = planned + t.all;
        printf("%s %s, %d ranks, %d of them simulated, %s: %.3f M events in "
               "%.2f s, simulated in %.2f s: %.2f M events/s, %.0f MB; "
               "makespan %.9g s\n", p.asked->strategy->name,
               planned_layout(&p), (int)p.ranks, (int)o.period, network->name,
               1e-6 * (double)t.events, seconds, t.simulated,
               1e-6 * (double)t.events / seconds, peak_megabytes(),
               r.seconds);
        fflush(stdout);
        simulate_result_clear(&r);
    }
    planned_close(&p);
    return rc;
}

int main(int argc, char **argv)
{
    struct error e = { 0 };
    int fold = argc > 3 && strcmp(argv[3], "--fold") == 0, at = 3 + fold;

    if (argc < 3) {
        fprintf(stderr, "bench_sim SCENARIO NETWORK [--fold] [KEY=VALUE...]\n");
        return 2;
    }
    const struct string_list sets = { argv + at, argc - at, 0 };
    struct scenario *s = scenario_load(argv[1], &sets, &e);
    struct machine *m = s ? scenario_machine(s, NULL, &e) : NULL;
    const struct network_model *network = network_find(argv[2]);
    if (!m || !network) {
        fprintf(stderr, "bench_sim: %s\n", *e.text ? e.text : argv[2]);
        return 1;
    }
    int rc = 0;
    for (int64_t i = 0; i < s->n_strategies && !rc; i++)
        rc = entry(s, i, m, network, fold, &e);
    if (rc)
        fprintf(stderr, "bench_sim: %s\n", e.text);
    machine_destroy(m);
    scenario_destroy(s);
    return rc != 0;
}
