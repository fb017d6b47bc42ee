/* SPDX-License-Identifier: Apache-2.0
 *
 * A folded simulation is the simulation: every rank's times, op by op, for all
 * strategies that have a period, on every network. */
#include <config.h>

#include "simulate_machine.h"

static struct simulate_result simulate_ranks(struct plan *p, int64_t period,
                                             const struct machine *m,
                                             const char *network)
{
    struct simulate_options o = { .network = network_find(network),
                                  .kernel = "cpu", .record = 1,
                                  .period = period };
    int64_t ranks = plan_ranks(p);
    struct simulation *sim = simulation_create(ranks, m, &o);
    struct simulate_result r;

    for (int32_t i = 0; i < (period ? period : ranks); i++) {
        struct schedule *s = plan_build(p, i);
        simulation_add(sim, s);
        schedule_destroy(s);
    }
    simulation_run(sim, &r);
    simulation_destroy(sim);
    assert_false(r.deadlock);
    return r;
}

/* After which ranks repeat themselves on the machine. */
static int64_t period_on(struct plan *p, const struct machine *m,
                         const char *network)
{
    struct simulate_options o = { .network = network_find(network) };
    int64_t ranks = plan_ranks(p), n = plan_period(p);
    struct schedule **s = xcalloc((size_t)n, sizeof *s);

    for (int32_t i = 0; i < n; i++)
        s[i] = plan_build(p, i);
    int64_t period = simulate_period((const struct schedule *const *)s, n,
                                     ranks, m, &o);
    for (int32_t i = 0; i < n; i++)
        schedule_destroy(s[i]);
    free(s);
    return period;
}

/* Spans of both are sorted by rank: of rank r, and of who stands for it. */
static void same_spans(const struct simulate_result *all,
                       const struct simulate_result *few, int64_t ranks,
                       int64_t period)
{
    int64_t each = all->n_spans / ranks;

    assert_int_equal(each * ranks, all->n_spans);
    assert_int_equal(each * period, few->n_spans);
    for (int64_t i = 0; i < all->n_spans; i++) {
        const struct span *x = &all->spans[i];
        const struct span *y = &few->spans[i % few->n_spans];
        assert_int_equal(x->rank % period, y->rank);
        assert_int_equal(x->op, y->op);
        if (llabs(x->start - y->start) > 1 || llabs(x->end - y->end) > 1
            || llabs(x->ready - y->ready) > 1)
            fail_msg("rank %d op %d: %lld .. %lld, folded %lld .. %lld",
                     x->rank, x->op, (long long)x->start, (long long)x->end,
                     (long long)y->start, (long long)y->end);
    }
}

/* 1: it was folded. */
static int folds(struct plan *p, const struct machine *m, const char *network)
{
    int64_t ranks = plan_ranks(p), period = period_on(p, m, network);

    if (period == ranks)
        return 0;
    struct simulate_result all = simulate_ranks(p, 0, m, network);
    struct simulate_result few = simulate_ranks(p, period, m, network);
    assert_seconds(few.seconds, all.seconds);
    assert_true(fabs(few.overlap - all.overlap) < 1e-9
                || (isnan(few.overlap) && isnan(all.overlap)));
    for (int64_t r = 0; r < ranks; r++)
        assert_seconds(few.rank_seconds[r], all.rank_seconds[r]);
    same_spans(&all, &few, ranks, period);
    assert_int_equal(all.n_links, few.n_links);
    for (int64_t i = 0; i < all.n_links; i++) {
        assert_seconds(few.links[i].bytes, all.links[i].bytes);
        assert_seconds(few.links[i].busy, all.links[i].busy);
        assert_seconds(few.links[i].peak, all.links[i].peak);
    }
    simulate_result_clear(&all);
    simulate_result_clear(&few);
    return 1;
}

/* ---- Machines ----------------------------------------------------------- */

/* One core computes and communicates. */
static struct machine one_core(void)
{
    struct machine m = unit_machine();

    segments[0].latency = 3e-6;
    m.shared_core = 1;
    m.memory_bandwidth = 1e9;
    m.op_overhead = 1e-7;
    m.poll_interval = 2e-6;
    m.link.overhead = 1e-6;
    m.link.host_per_byte = 0.3e-9;
    return m;
}

static const char hosts[] =
    "name: hosts\n"
    "cluster:\n"
    "  links:\n"
    "    nvlink: {usable: 3 GB/s}\n"
    "    pcie: {usable: 2 GB/s}\n"
    "    network: {usable: 1 GB/s, latency: 1 us}\n"
    "  start: {nvlink: 5 us, pcie: 6 us, leaf: 10 us}\n"
    "  hosts:\n"
    "    - name: host\n"
    "      count: 4\n"
    "      sockets: 1\n"
    "      switches: [{name: p0, on: socket0}]\n"
    "      gpus: [{on: p0, count: 4}]\n"
    "      nics: [{on: p0, rail: 0}]\n"
    "      nvlink: switch\n"
    "  fabric: {kind: switch}\n";

/* ---- Strategies --------------------------------------------------------- */

static const int32_t counts[] = { 2, 3, 4, 6, 8, 16 };

static struct job job_for(int32_t ranks, enum pass pass, enum mask_kind mask)
{
    return make_job(48, 48, 96 * ranks, mask, pass);
}

/* Of all options that make a difference, in both passes, how many folded. */
static int fold_strategy(const char *name, const struct strategy_options *o,
                         enum mask_kind mask, const struct machine *m)
{
    int n = 0;

    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int pass = PASS_FORWARD; pass <= PASS_FORWARD_BACKWARD; pass++) {
            struct job job = job_for(counts[c], (enum pass)pass, mask);
            struct error e = { 0 };
            struct plan *p = plan_create(&job, strategy_find(name), o,
                                         counts[c], &e);
            for (int i = 0; p && network_models[i]; i++)
                n += folds(p, m, network_models[i]->name);
            plan_destroy(p);
            job_clear(&job);
        }
    return n;
}

static const struct {
    const char *name;
    struct strategy_options o;
    enum mask_kind mask;
} rows[] = {
    { "ring", { 0 }, MASK_FULL },
    { "ring", { .backward = CIRCULATE_Q }, MASK_FULL },
    { "ring", { .reverse = 1, .needed = 1 }, MASK_FULL },
    { "allgather", { 0 }, MASK_FULL },
    { "allgather", { .head_group = 16 }, MASK_FULL },
    { "ulysses", { 0 }, MASK_FULL },
    { "ulysses", { .head_group = 24 }, MASK_CAUSAL },
    { "double-ring", { 0 }, MASK_FULL },
    { "double-ring", { .window = 2 }, MASK_FULL },
    { "usp", { .head = 2 }, MASK_FULL },
    { "usp", { .head = 2, .placement = CONTEXT_FIRST }, MASK_FULL },
    { "2d", { .head = 2 }, MASK_FULL },
    { "token-ring", { 0 }, MASK_FULL },
    { "rsa", { 0 }, MASK_FULL },
};

static void all_fold(const struct machine *m)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!fold_strategy(rows[i].name, &rows[i].o, rows[i].mask, m))
            fail_msg("%s (row %d) was never folded", rows[i].name, (int)i);
}

static void on_ports(void **state)
{
    struct machine m = unit_machine();

    (void)state;
    segments[0].latency = 3e-6;
    all_fold(&m);
}

static void on_one_core(void **state)
{
    struct machine m = one_core();

    (void)state;
    all_fold(&m);
}

static void on_a_graph(void **state)
{
    struct error e = { 0 };
    struct machine *m = machine_parse("hosts.yaml", hosts, strlen(hosts), &e);

    (void)state;
    if (!m)
        fail_msg("%s", e.text);
    m->n_surfaces = 3;
    m->surfaces = surfaces;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        fold_strategy(rows[i].name, &rows[i].o, rows[i].mask, m);
    assert_true(fold_strategy("ring", &rows[0].o, MASK_FULL, m) > 0);
    m->n_surfaces = 0;
    m->surfaces = NULL;
    machine_destroy(m);
}

/* What does not repeat itself is not folded. */
static void refused(void **state)
{
    static const struct strategy_options zigzag = { .layout = LAYOUT_ZIGZAG };
    struct machine m = unit_machine();

    (void)state;
    assert_int_equal(fold_strategy("ring", &rows[0].o, MASK_CAUSAL, &m), 0);
    assert_int_equal(fold_strategy("ring", &zigzag, MASK_CAUSAL, &m), 0);
    assert_int_equal(fold_strategy("usp", &rows[9].o, MASK_CAUSAL, &m), 0);
    m.devices = 2;
    assert_int_equal(fold_strategy("ring", &rows[0].o, MASK_FULL, &m), 0);
}

/* Ranks on hosts of four repeat themselves after four, on ports after one. */
static void periods(void **state)
{
    struct error e = { 0 };
    struct machine *m = machine_parse("hosts.yaml", hosts, strlen(hosts), &e);
    struct machine ports = unit_machine();
    struct job job = job_for(16, PASS_FORWARD, MASK_FULL);
    struct plan *p = plan_create(&job, strategy_find("ring"), &rows[0].o, 16,
                                 &e);

    (void)state;
    assert_int_equal(period_on(p, m, "loggp"), 4);
    assert_int_equal(period_on(p, m, "flow"), 16);
    assert_int_equal(period_on(p, &ports, "flow"), 1);
    plan_destroy(p);
    job_clear(&job);
    machine_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_ports), cmocka_unit_test(on_one_core),
        cmocka_unit_test(on_a_graph), cmocka_unit_test(refused),
        cmocka_unit_test(periods),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
