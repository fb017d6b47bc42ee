/* SPDX-License-Identifier: Apache-2.0
 *
 * Op by op, the backends that work on a device against the reference backend:
 * one point an op, of many random trials.  SPAR_TEST_SEED repeats a run,
 * SPAR_TEST_TRIALS bounds the trials of each op.  Skipped, with their number,
 * where there is no device.
 *   cuda.t [BACKEND]
 *   SPAR_TEST_TRIALS=4 compute-sanitizer --tool memcheck tests/cuda.t cuda */
#include <config.h>

#include "tests/cuda_trial.h"

#include <stdio.h>
#include <string.h>

/* `cudnn` has all but attention from `cuda`, and plans every new shape. */
static const struct suite {
    const char *backend;
    const struct trials *trials;
} suites[] = {
    { "cuda", rows_trials },
    { "cuda", attend_trials },
    { "cuda", scores_trials },
    { "cudnn", planned_trials },
};
enum { SUITES = sizeof suites / sizeof *suites };

static const struct kernel_backend *open_backend(const char *name)
{
    struct error e;
    const struct kernel_backend *k = kernel_find(name, &e);

    return k && k->device && !k->device->open(0, &e) ? k : NULL;
}

/* One point. Returns whether it is not ok. */
static int point(const struct suite *s, const struct trials *t, int number,
                 const char *only)
{
    int asked = !only || !strcmp(only, s->backend), failed;

    trial_backend = asked ? open_backend(s->backend) : NULL;
    if (!trial_backend) {
        printf("ok %d - %s %s # SKIP %d trials: %s\n", number, s->backend,
               t->op, trials_count(t), asked ? "no device" : "not asked for");
        return 0;
    }
    failed = trials_run(t);
    printf("%s %d - %s %s, %d trials\n", failed ? "not ok" : "ok", number,
           s->backend, t->op, trials_count(t));
    return failed != 0;
}

int main(int argc, char **argv)
{
    int points = 0, failed = 0, number = 0;

    for (int i = 0; i < SUITES; i++)
        for (const struct trials *t = suites[i].trials; t->count; t++)
            points++;
    printf("1..%d\n# SPAR_TEST_SEED=%llu\n", points,
           (unsigned long long)trial_seed());
    for (int i = 0; i < SUITES; i++)
        for (const struct trials *t = suites[i].trials; t->count; t++)
            failed |= point(&suites[i], t, ++number,
                            argc > 1 ? argv[1] : NULL);
    return failed;
}
