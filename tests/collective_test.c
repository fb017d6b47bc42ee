/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives in the simulator: by the machine's table, by constants, or as
 * messages; and which it was. */
#include <config.h>

#include "cli/planned.h"
#include "models/simulate.h"

#include "base/file.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "preset.h"

enum { RANKS = 8, TOKENS = 16384, HEADS = 32, KV_HEADS = 8, DIM = 128 };

/* The strategy, `ulysses` or `{name: usp, head: 4}`, on a machine. */
static struct simulate_result run_on(const struct machine *m,
                                     const char *strategy,
                                     const char *network)
{
    char *text = xasprintf("job: {transformer: {heads: %d, kv_heads: %d, "
                           "head_dim: %d}, sequence: %d, mask: causal, dtype: "
                           "bf16}\nrun: {ranks: %d}\nstrategies: [%s]\n", HEADS,
                           KV_HEADS, DIM, TOKENS, RANKS, strategy);
    struct simulate_options o = { .network = network_find(network),
                                  .record = 1 };
    struct simulate_result r;
    struct planned p;
    struct error e = { 0 };
    struct scenario *s = scenario_parse("test", text, strlen(text), NULL, 0,
                                        &e);

    if (!s)
        fail_msg("%s", e.text);
    planned_open(&p, s, 0, RANKS);
    planned_build(&p);
    simulate((const struct schedule *const *)p.schedules, RANKS, m, &o, &r);
    planned_close(&p);
    scenario_destroy(s);
    free(text);
    return r;
}

/* Seconds of the n-th message of rank 0. */
static double collective_span(const struct simulate_result *r, int n)
{
    for (int64_t i = 0; i < r->n_spans && r->spans[i].rank == 0; i++)
        if (r->spans[i].lane >= LANE_FIRST_CHANNEL && n-- == 0)
            return 1e-9 * (double)(r->spans[i].end - r->spans[i].start);
    fail_msg("no such message");
    return 0;
}

/* All of q, k, v of a rank, and then of o. */
static const int64_t payloads[2] = {
    INT64_C(2) * (HEADS + 2 * KV_HEADS) * DIM * TOKENS / RANKS,
    INT64_C(2) * HEADS * DIM * TOKENS / RANKS
};

static void by_table(void **state)
{
    static const char *const networks[] = { "loggp", "flow" };
    struct machine *m = preset("dgx-a100");
    const struct collective_group group = { .ranks = RANKS, .hosts = 1 };
    const struct collective_table *t = machine_collective(m, OF_ALL_TO_ALL,
                                                          &group);

    (void)state;
    assert_non_null(t);
    for (int k = 0; k < 2; k++) {
        struct simulate_result r = run_on(m, "{name: ulysses}", networks[k]);
        assert_int_equal(r.collectives[COLLECTIVE_TABLE], 2);
        assert_int_equal(r.collectives[COLLECTIVE_CONSTANTS], 0);
        assert_int_equal(r.collectives[COLLECTIVE_MESSAGES], 0);
        for (int i = 0; i < 2; i++)
            assert_true(fabs(collective_span(&r, i) - collective_table_seconds(
                                 t, payloads[i])) < 2e-9);
        simulate_result_clear(&r);
    }
    machine_destroy(m);
}

static void by_constants(void **state)
{
    static const int32_t slots[RANKS] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    struct machine *m = preset("dgx-h100");
    struct collective_path path;

    (void)state;
    machine_drop_collectives(m);
    collective_path(m, slots, RANKS, OF_ALL_TO_ALL, &path);
    assert_int_equal(path.class, CLASS_NVLINK);
    assert_true(fabs(path.bandwidth / (0.68 * 450e9) - 1) < 1e-9);
    assert_int_equal(path.reduces, 1);
    struct simulate_result r = run_on(m, "{name: ulysses}", "loggp");
    assert_int_equal(r.collectives[COLLECTIVE_CONSTANTS], 2);
    for (int i = 0; i < 2; i++)
        assert_true(fabs(collective_span(&r, i) - collective_constants(
                             &path, OF_ALL_TO_ALL, RANKS, payloads[i]))
                    < 2e-9);
    simulate_result_clear(&r);
    machine_destroy(m);
}

/* NVLink from host to host is NVLink; a network between hosts is not. */
static void across_hosts(void **state)
{
    struct machine *rack = preset("gb200-nvl72");
    struct simulate_result r = run_on(rack, "{name: ulysses}", "flow");

    (void)state;
    assert_int_equal(rack->graph->vertices[rack->graph->slots[7]].host, 1);
    assert_int_equal(r.collectives[COLLECTIVE_CONSTANTS], 2);
    simulate_result_clear(&r);
    machine_destroy(rack);
    rack = preset("unit-cluster");
    assert_int_equal(rack->graph->n_slots, RANKS);
    r = run_on(rack, "{name: ulysses}", "flow");
    assert_int_equal(r.collectives[COLLECTIVE_MESSAGES], 2);
    simulate_result_clear(&r);
    machine_destroy(rack);
}

/* Two groups at once: over NVLink each by itself; on PCIe they share links. */
static void by_messages(void **state)
{
    struct machine *nvlink = preset("dgx-a100"), *pcie = preset("l20-8");
    struct simulate_result r = run_on(nvlink, "{name: usp, head: 4}", "flow");

    (void)state;
    assert_int_equal(r.collectives[COLLECTIVE_TABLE], 4);
    assert_int_equal(r.collectives[COLLECTIVE_MESSAGES], 0);
    simulate_result_clear(&r);
    r = run_on(pcie, "{name: usp, head: 4}", "flow");
    assert_int_equal(r.collectives[COLLECTIVE_MESSAGES], 4);
    simulate_result_clear(&r);
    r = run_on(pcie, "{name: ulysses}", "flow");
    assert_int_equal(r.collectives[COLLECTIVE_CONSTANTS], 2);
    simulate_result_clear(&r);
    r = run_on(nvlink, "{name: ulysses}", "ideal");
    assert_int_equal(r.collectives[COLLECTIVE_MESSAGES], 2);
    simulate_result_clear(&r);
    machine_destroy(nvlink);
    machine_destroy(pcie);
}

/* What leaves a PCIe switch of L40S is shared by those behind it. */
static void shared_paths(void **state)
{
    static const int32_t slots[RANKS] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    struct machine *m = preset("l40s-8");
    double before = INFINITY;

    (void)state;
    for (int64_t ranks = 2; ranks <= RANKS; ranks *= 2) {
        struct collective_path path;
        collective_path(m, slots, ranks, OF_ALL_TO_ALL, &path);
        assert_true(path.bandwidth < before / 1.9);
        assert_int_equal(path.reduces, 0);
        before = path.bandwidth;
    }
    machine_destroy(m);
}

static void quantiles(void **state)
{
    struct machine *m = preset("dgx-a100");
    double before = 0;

    (void)state;
    for (m->quantile = -1; m->quantile <= 1; m->quantile++) {
        struct simulate_result r = run_on(m, "{name: ulysses}", "loggp");
        assert_true(collective_span(&r, 0) > before);
        before = collective_span(&r, 0);
        simulate_result_clear(&r);
    }
    machine_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_table), cmocka_unit_test(by_constants),
        cmocka_unit_test(across_hosts), cmocka_unit_test(by_messages),
        cmocka_unit_test(shared_paths),
        cmocka_unit_test(quantiles),
    };

    return cmocka_run_group_tests_name("collective", tests, NULL, NULL);
}
