/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a scenario is simulated on one core: schedules built one by one, then
 * all ranks from event to event.  An event is an op or a message.
 *   bench_sim SCENARIO NETWORK [KEY=VALUE...] */
#include <config.h>

#include "cli/planned.h"
#include "models/simulate.h"

#include <stdio.h>
#include <stdlib.h>
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

static int entry(const struct scenario *s, int64_t i, const struct machine *m,
                 const struct network_model *network, struct error *e)
{
    struct simulate_options o = { .network = network, .kernel = s->kernel };
    struct simulate_result r;
    struct planned p;
    double start = now();
    int64_t n = 0;

    planned_open(&p, s, i, s->ranks);
    if (!p.plan)
        return fail(e, "%s does not apply: %s", p.asked->strategy->name,
                    p.reason.text);
    struct simulation *sim = simulation_create(p.ranks, m, &o);
    for (int32_t k = 0; k < p.ranks; k++) {
        struct schedule *one = plan_build(p.plan, k);
        simulation_add(sim, one);
        n += events(one);
        schedule_destroy(one);
    }
    int rc = simulation_ready(sim, e);
    double built = now();
    if (!rc) {
        simulation_run(sim, &r);
        double over = now();
        printf("%s %s, %d ranks, %s: %.3f M events, built in %.2f s, "
               "simulated in %.2f s: %.2f M events/s, %.0f MB; makespan "
               "%.9g s\n", p.asked->strategy->name, planned_layout(&p),
               (int)p.ranks, network->name, 1e-6 * (double)n, built - start,
               over - built, 1e-6 * (double)n / (over - start),
               peak_megabytes(), r.seconds);
        fflush(stdout);
        simulate_result_clear(&r);
    }
    simulation_destroy(sim);
    planned_close(&p);
    return rc;
}

int main(int argc, char **argv)
{
    struct error e = { 0 };

    if (argc < 3) {
        fprintf(stderr, "bench_sim SCENARIO NETWORK [KEY=VALUE...]\n");
        return 2;
    }
    struct scenario *s = scenario_load(argv[1],
                                       (const char *const *)argv + 3,
                                       argc - 3, &e);
    struct machine *m = s ? scenario_machine(s, NULL, &e) : NULL;
    const struct network_model *network = network_find(argv[2]);
    if (!m || !network) {
        fprintf(stderr, "bench_sim: %s\n", *e.text ? e.text : argv[2]);
        return 1;
    }
    int rc = 0;
    for (int64_t i = 0; i < s->n_strategies && !rc; i++)
        rc = entry(s, i, m, network, &e);
    if (rc)
        fprintf(stderr, "bench_sim: %s\n", e.text);
    machine_destroy(m);
    scenario_destroy(s);
    return rc != 0;
}
