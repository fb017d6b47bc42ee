/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine made up for tests of the simulator: 1 ns a visible pair, 1 GB/s,
 * nothing else unless a case says so. */
#ifndef SPAR_SIMULATE_MACHINE_H
#define SPAR_SIMULATE_MACHINE_H

#include "models/simulate.h"
#include "strategy/strategy.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { RANKS = 64 };
static const double PAIR = 1e-9, BYTE = 1e-9;

static struct surface_point point = { 1, 1, 1e-9 };
#define SURFACE(of, kind) { .op = of, .kernel = "cpu", .block = kind, \
    .dtype = DTYPE_FP32, .head_dim = 8, .value_dim = 8, .group = 1, .n = 1, \
    .points = &point, .p10 = 1, .p90 = 1 }
static struct surface surfaces[] = {
    SURFACE("attend", BLOCK_FULL), SURFACE("attend", BLOCK_CAUSAL),
    SURFACE("attend_backward", BLOCK_FULL),
};
#undef SURFACE
static struct link_segment segments[2];
static const struct links *with_links;  /* NULL: the machine's */
static const int32_t *with_slots;
static const struct jitter *with_jitter;

static struct machine unit_machine(void)
{
    struct machine m = { .name = "unit", .cores = RANKS, .n_surfaces = 3,
                         .surfaces = surfaces };

    segments[0] = (struct link_segment){ 0, INT64_MAX, 0, 1e9, 0 };
    m.link = (struct link){ .n = 1, .segments = segments };
    return m;
}

static struct job make_job(int64_t heads, int64_t kv_heads, int64_t length,
                           enum mask_kind mask, enum pass pass)
{
    struct job job = {
        .transformer = { .heads = heads, .kv_heads = kv_heads, .head_dim = 8,
                         .value_dim = 8 },
        .mask = { .kind = mask }, .pass = pass, .dtype = DTYPE_FP32,
        .wire_grad = DTYPE_FP32, .wire_partial = DTYPE_FP32,
    };
    struct error e = { 0 };

    if (job_finish(&job, &length, 1, &e))
        fail_msg("%s", e.text);
    return job;
}

static void assert_seconds(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-12 + 1e-9 * fabs(expected)))
        fail_msg("%.12g s, expected %.12g s", value, expected);
}

static struct simulate_result simulate_with(const struct job *job,
                                            const char *strategy,
                                            const struct strategy_options *with,
                                            int32_t ranks,
                                            const struct machine *m,
                                            const char *network)
{
    struct error e = { 0 };
    struct simulate_result r;
    struct simulate_options o = { .network = network_find(network),
                                  .kernel = "cpu", .record = 1,
                                  .links = with_links, .slots = with_slots,
                                  .jitter = with_jitter };
    struct plan *p = plan_create(job, strategy_find(strategy), with, ranks,
                                 &e);
    const struct schedule *s[RANKS];

    if (p == NULL)
        fail_msg("%s", e.text);
    for (int32_t i = 0; i < ranks; i++)
        s[i] = plan_build(p, i);
    assert_int_equal(simulate_ready(s, ranks, m, "cpu", &e), 0);
    simulate(s, ranks, m, &o, &r);
    for (int32_t i = 0; i < ranks; i++)
        schedule_destroy((struct schedule *)s[i]);
    plan_destroy(p);
    assert_false(r.deadlock);
    return r;
}

static inline struct simulate_result simulate_plan(
    const struct job *job, const char *strategy, enum layout layout,
    int32_t ranks, const struct machine *m, const char *network)
{
    struct strategy_options options = { .layout = layout, .block = 1 };

    return simulate_with(job, strategy, &options, ranks, m, network);
}

#endif
