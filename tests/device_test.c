/* SPDX-License-Identifier: Apache-2.0
 *
 * Every strategy by loopback on a device, with each kernel backend that works
 * on one, against the fp64 oracle.  Skipped where there is no device. */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Backends that work on a device here. */
static const char *names[4];
static int n_names;

static const enum dtype dtypes[] = { DTYPE_BF16, DTYPE_FP16, DTYPE_FP32 };
static const struct mask masks[] = {
    { MASK_CAUSAL, -1, 0 }, { MASK_FULL, -1, -1 }, { MASK_WINDOW, 40, 3 },
};
static const int64_t sizes[][2] = { { 64, 64 }, { 128, 128 }, { 40, 24 } };

/* Number i of the trials of a strategy. */
static struct trial deal(const char *backend, const struct strategy *st,
                         int64_t i)
{
    struct trial t = {
        .strategy = st->name, .kernel = backend,
        .options.layout = (enum layout)(i % LAYOUTS), .mask = masks[i / 3 % 3],
        .pass = i % 4 ? PASS_FORWARD_BACKWARD : PASS_FORWARD,
        .ranks = 1 + (int32_t)(i % 5), .lengths = { 300 + 17 * i },
        .heads = 4, .kv_heads = i % 2 ? 2 : 4,
        .head_dim = sizes[i % 3][0], .value_dim = sizes[i % 3][1],
        .dtype = dtypes[i / 2 % 3], .wire_partial = dtypes[i / 2 % 3] };

    if (i % 5 == 4) {
        t.sequences = 3;
        t.lengths[1] = 1;
        t.lengths[2] = 130;
    }
    return t;
}

/* What the family wants of a job. */
static void suit(struct trial *t, const char *family, int64_t i)
{
    static const double slopes[] = { 0.5, 0.1, 0.01, 0 };

    if (!strcmp(family, "linear") || !strcmp(family, "hybrid")) {
        t->options.layout = (enum layout)(i % 2);
        t->mask = masks[0];
        t->attention = ATTENTION_LINEAR;
        t->slopes = i % 2 ? slopes : NULL;
        t->feature = (enum feature)(i % FEATURES);
    }
    if (!strcmp(family, "hybrid"))
        t->pattern = "LS";
    if (!strcmp(family, "decode") || !strcmp(family, "star")) {
        t->sequences = 1;
        t->pass = *family == 'd' ? PASS_DECODE : PASS_FORWARD;
        t->queries = 1 + i % 16;
        t->mask = masks[0];
        t->options.reduce = (enum reduction)(i % REDUCTIONS);
    }
}

/* SPAR_TEST_TRIALS bounds those of a strategy: sanitizers are slow. */
static void run_all(const char *backend)
{
    const char *most = getenv("SPAR_TEST_TRIALS");
    int n = most && atoi(most) > 0 ? atoi(most) : 12, ran = 0;
    int step = n < 12 ? 12 / n : 1;

    for (int s = 0; strategies[s]; s++)
        for (int64_t i = s % step; i < 12; i += step) {
            struct trial t = deal(backend, strategies[s], i);
            suit(&t, strategies[s]->family, i);
            ran += trial_run(&t, NULL);
        }
    print_message("# %d trials on %s\n", ran, backend);
    assert_true(ran > 100 / step);
}

static void every_strategy(void **state)
{
    (void)state;
    for (int i = 0; i < n_names; i++)
        run_all(names[i]);
}

/* Nothing is allocated by a run that was rehearsed. */
static int run_rehearsed(const struct trial *t, int repeatable)
{
    struct rig g;
    struct error e = { 0 };

    if (!rig_create(&g, t))
        return 0;
    const struct device *d = g.kernel->device;
    if (repeatable)
        g.kernel = kernel_repeatable(g.kernel);
    assert_int_equal(d->open(0, &e), 0);        /* without work space */
    assert_int_equal(d->work(), 0);
    rig_load(&g);
    for (int32_t r = 0; r < t->ranks; r++)
        compute_rehearse(g.schedules[r], &g.loop.memories[r], g.kernel);
    size_t work = d->work();
    assert_int_equal(loopback_run(&g.loop, g.kernel, 0, &e), 0);
    d->sync();
    assert_int_equal(d->work(), work);
    rig_destroy(&g);
    return work > 0;
}

static void a_rehearsal_knows_the_work_space(void **state)
{
    int needed = 0;

    (void)state;
    for (int b = 0; b < n_names; b++)
        for (int s = 0; strategies[s]; s++)
            for (int64_t i = 0; i < 3; i++) {
                struct trial t = deal(names[b], strategies[s], i);
                suit(&t, strategies[s]->family, i);
                needed += run_rehearsed(&t, i == 1);
            }
    print_message("# %d trials needed work space\n", needed);
    assert_true(needed > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_strategy),
        cmocka_unit_test(a_rehearsal_knows_the_work_space),
    };

    for (int b = 0; kernel_backends[b]; b++) {
        const struct kernel_backend *k = kernel_backends[b];
        struct error e = { 0 };
        if (k->device && strncmp(k->name, "none", 4) && !k->available(&e) && !k->device->open(0, &e))
            names[n_names++] = k->name;
    }
    if (n_names)
        return cmocka_run_group_tests(tests, NULL, NULL);
    printf("1..1\nok 1 # SKIP no device\n");
    return 0;
}
