/* SPDX-License-Identifier: Apache-2.0
 *
 * All ranks of a scenario by loopback on one device: how long it takes, and how
 * long that device is predicted to take for as many ranks.
 *   bench_predict SCENARIO RANKS [KEY=VALUE...] */
#include <config.h>

#include "cli/planned.h"
#include "cli/predict.h"
#include "kernel/kernel.h"
#include "run/compute.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PERIOD = 4093, WARMUPS = 2, REPEATS = 5 };

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Numbers like N(0, 1) that soon repeat, in all inputs: these are of the job's
 * dtype, one behind the other. */
static void fill_inputs(struct memory *m)
{
    enum dtype type = m->schedule->job->dtype;
    size_t bytes = m->schedule->role_bytes[ROLE_INPUT];
    size_t some = PERIOD * dtype_size(type);
    float values[PERIOD];
    char typed[PERIOD * sizeof(float)];
    uint64_t seed = 1;

    input_seeded(&seed, TENSOR_Q, 0, 0, PERIOD, values);
    convert(typed, type, values, DTYPE_FP32, PERIOD);
    for (size_t at = 0; at < bytes; at += some)
        m->device->put(m->base + at, typed,
                       some < bytes - at ? some : bytes - at);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Median of the seconds of a run of all ranks; NaN and *e. */
static double measure(const struct planned *p,
                      const struct kernel_backend *kernel, struct error *e)
{
    double values[REPEATS];
    struct loopback l;

    if (loopback_create_on(&l, (const struct schedule *const *)p->schedules,
                           p->ranks, kernel->device, e))
        return NAN;
    for (int64_t r = 0; r < p->ranks; r++)
        fill_inputs(&l.memories[r]);
    int rc = 0;
    for (int i = -WARMUPS; i < REPEATS && !rc; i++) {
        double start = now();
        rc = loopback_run(&l, kernel, 0, e);
        kernel->device->sync();
        if (i >= 0)
            values[i] = now() - start;
    }
    loopback_destroy(&l);
    qsort(values, REPEATS, sizeof *values, ascending);
    return rc ? NAN : values[REPEATS / 2];
}

static void entry(const struct scenario *s, int64_t i, int64_t ranks,
                  const struct kernel_backend *kernel,
                  const struct machine *m)
{
    struct planned p;
    struct error e = { 0 };

    planned_open(&p, s, i, ranks);
    planned_build(&p);
    if (p.plan) {
        double predicted = predict_seconds(
            (const struct schedule *const *)p.schedules, ranks, m,
            kernel->name, NULL, NULL);
        double measured = measure(&p, kernel, &e);
        printf("%-12s %-10s %2d ranks  measured %9.3f ms  predicted %9.3f ms  "
               "%+.1f %%  %s\n", p.asked->strategy->name, planned_layout(&p),
               (int)ranks, 1e3 * measured, 1e3 * predicted,
               100 * (predicted / measured - 1), e.text);
        fflush(stdout);
    }
    planned_close(&p);
}

int main(int argc, char **argv)
{
    struct error e = { 0 };

    if (argc < 3) {
        fprintf(stderr, "bench_predict SCENARIO RANKS [KEY=VALUE...]\n");
        return 2;
    }
    const struct string_list sets = { argv + 3, argc - 3, 0 };
    struct scenario *s = scenario_load(argv[1], &sets, &e);
    const struct kernel_backend *kernel = s ? kernel_find(s->kernel, &e)
                                            : NULL;
    struct machine *m = kernel ? scenario_machine(s, NULL, &e) : NULL;
    if (!m || !kernel->device || kernel->device->open(0, &e)) {
        fprintf(stderr, "bench_predict: %s\n", *e.text ? e.text
                : "the kernel works on the host");
        machine_destroy(m);
        return 1;
    }
    m->devices = 1;
    for (int64_t i = 0; i < s->n_strategies; i++)
        entry(s, i, atoi(argv[2]), kernel, m);
    machine_destroy(m);
    scenario_destroy(s);
    return 0;
}
