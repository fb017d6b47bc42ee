/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a scenario is simulated on one core: schedules built, then all ranks
 * from event to event.  An event is an op or a message.
 *   bench_sim SCENARIO NETWORK [KEY=VALUE...] */
#include <config.h>

#include "cli/planned.h"
#include "models/simulate.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double peak_megabytes(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss * 1024e-6;
}

static int64_t events(const struct planned *p)
{
    int64_t n = 0;

    for (int64_t r = 0; r < p->ranks; r++) {
        const struct schedule *s = p->schedules[r];
        n += s->n_ops;
        for (int64_t i = 0; i < s->n_ops; i++)
            n += s->ops[i].kind == OP_SEND;
    }
    return n;
}

static void entry(const struct scenario *s, int64_t i,
                  const struct machine *m, const struct network_model *network)
{
    struct simulate_options o = { .network = network, .kernel = s->kernel };
    struct simulate_result r;
    struct planned p;
    double start = now();

    planned_open(&p, s, i, s->ranks);
    planned_build(&p);
    double built = now();
    simulate((const struct schedule *const *)p.schedules, p.ranks, m, &o, &r);
    double over = now();
    printf("%-12s %-10s %5d ranks  %-6s %9.3f M events  built %6.2f s  simulated %6.2f s "
           " %6.2f M events/s  %6.0f MB  makespan %.6g s\n",
           p.asked->strategy->name, planned_layout(&p), (int)p.ranks,
           network->name, 1e-6 * (double)events(&p), built - start,
           over - built, 1e-6 * (double)events(&p) / (over - start),
           peak_megabytes(), r.seconds);
    fflush(stdout);
    simulate_result_clear(&r);
    planned_close(&p);
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
    for (int64_t i = 0; i < s->n_strategies; i++)
        entry(s, i, m, network);
    machine_destroy(m);
    scenario_destroy(s);
    return 0;
}
