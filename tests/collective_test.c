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

/* ---- Cores --------------------------------------------------------------- */

/* Two sockets of two cores behind a cache each; of all-to-alls it knows four
 * ranks, the two of a cache alone, and both pairs at once. */
#define ON_CORES(more)                                                        \
    "name: cores\nshared_core: true\nmeasured_ranks: 4\n" more               \
    "link: {segments: [{latency: 1 us, bandwidth: 1e9}]}\n"                   \
    "cluster: {links: {cache: {usable: 1e9}, memory: {usable: 1e9}, socket: "  \
    "{usable: 1e9}}, hosts: [{name: a, sockets: 2, cores: 2, caches: 1}]}\n"  \
    "surfaces:\n- {op: attend, kernel: cpu, head_dim: 64, points: [[1, 1, "   \
    "1e-9]]}\n- {op: attend, kernel: cpu, block: causal, head_dim: 64, "      \
    "points: [[1, 1, 1e-9]]}\n"                                               \
    "collectives:\n"                                                          \
    "- {op: all_to_all, ranks: 4, class: socket, groups: 1, p10: 0.5, p90: "   \
    "2, segments: [{latency: 4, bandwidth: 1e12}]}\n"                         \
    "- {op: all_to_all, ranks: 2, class: cache, groups: 1, segments: "         \
    "[{latency: 1, bandwidth: 1e12}]}\n"                                      \
    "- {op: all_to_all, ranks: 2, class: cache, groups: 2, segments: "         \
    "[{latency: 2, bandwidth: 1e12}]}\n"                                      \
    "- {op: all_to_all, ranks: 4, segments: [{latency: 8, bandwidth: 1e12}]}\n"

static struct machine *on_cores(const char *text)
{
    struct error e = { 0 };
    struct machine *m = machine_parse("cores.yaml", text, strlen(text), &e);

    if (!m)
        fail_msg("%s", e.text);
    return m;
}

/* Seconds of the first collective of an Ulysses or USP forward pass on cores;
 * *n how many were timed how. */
static double first_on_cores(const struct machine *m, const char *strategy,
                             int ranks, const int32_t *slots,
                             const struct jitter *jitter, int64_t *n)
{
    char *text = xasprintf("job: {transformer: {heads: 4, kv_heads: 4, "
                           "head_dim: 64}, sequence: 512, mask: causal}\nrun: "
                           "{ranks: %d}\nstrategies: [%s]\n", ranks, strategy);
    struct simulate_options o = { .network = network_find("flow"),
                                  .slots = slots, .jitter = jitter,
                                  .record = 1 };
    struct simulate_result r;
    struct planned p;
    struct error e = { 0 };
    struct scenario *s = scenario_parse("test", text, strlen(text), NULL, 0,
                                        &e);

    if (!s)
        fail_msg("%s", e.text);
    planned_open(&p, s, 0, ranks);
    planned_build(&p);
    simulate((const struct schedule *const *)p.schedules, ranks, m, &o, &r);
    double seconds = collective_span(&r, 0);
    memcpy(n, r.collectives, sizeof r.collectives);
    simulate_result_clear(&r);
    planned_close(&p);
    scenario_destroy(s);
    free(text);
    return seconds;
}

/* Latencies tell which table it was; bytes take next to nothing. */
static void cores_by_table(void **state)
{
    static const struct {
        const char *strategy;
        int ranks;
        double seconds;         /* 0: by messages */
    } cases[] = {
        { "{name: ulysses}", 4, 4 },
        { "{name: ulysses}", 2, 1 },
        { "{name: usp, head: 2}", 4, 2 },
        /* Groups of a core of each socket were not measured, nor were three. */
        { "{name: usp, head: 2, placement: context-first}", 4, 0 },
        { "{name: ulysses}", 3, 0 },
    };
    struct machine *m = on_cores(ON_CORES(""));
    int64_t n[COLLECTIVE_HOWS];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double seconds = first_on_cores(m, cases[i].strategy, cases[i].ranks,
                                        NULL, NULL, n);
        int by_table = cases[i].seconds > 0;
        assert_int_equal(n[COLLECTIVE_CONSTANTS], 0);
        assert_true((n[COLLECTIVE_TABLE] > 0) == by_table);
        assert_true((n[COLLECTIVE_MESSAGES] > 0) == !by_table);
        if (by_table)
            assert_true(fabs(seconds / cases[i].seconds - 1) < 1e-4);
        else
            assert_true(seconds < 0.1);
    }
    machine_destroy(m);
}

/* Who shares a core, or a link that is slower than it was. */
static void cores_by_messages(void **state)
{
    static const int32_t apart[] = { 0, 2 }, together[] = { 1, 1 };
    static const int32_t cache[] = { 2, 3 };
    struct jitter_link slow = { .rank = 1, .bandwidth = 0.5 };
    struct jitter jitter = { .n_links = 1, .links = &slow };
    struct machine *m = on_cores(ON_CORES(""));
    int64_t n[COLLECTIVE_HOWS];

    (void)state;
    assert_true(first_on_cores(m, "{name: ulysses}", 2, cache, NULL, n) >= 1);
    assert_true(first_on_cores(m, "{name: ulysses}", 2, apart, NULL, n) < 0.1);
    assert_true(first_on_cores(m, "{name: ulysses}", 2, together, NULL, n)
                < 0.1);
    assert_true(first_on_cores(m, "{name: ulysses}", 8, NULL, NULL, n) < 0.1);
    assert_true(first_on_cores(m, "{name: ulysses}", 2, NULL, &jitter, n)
                < 0.1);
    assert_true(n[COLLECTIVE_MESSAGES] > 0 && n[COLLECTIVE_TABLE] == 0);
    machine_destroy(m);
}

/* Without a cluster a table is of all that measured, no others. */
static void cores_flat(void **state)
{
    struct machine m = { .measured_ranks = 4, .shared_core = 1 };
    struct collective_table t[] = {
        { .kind = OF_ALL_REDUCE, .group = { 4, 2, 1, 1, CLASS_LEAF } },
        { .kind = OF_ALL_REDUCE, .group = { 2, 1, 1, 1, CLASS_CACHE } },
        { .kind = OF_ALL_GATHER, .group = { .ranks = 2, .hosts = 1 } },
    };
    struct collective_group all = { 4, 1, 1, 1, CLASS_SELF }, two = all;

    (void)state;
    m.collectives = t;
    m.n_collectives = 3;
    two.ranks = 2;
    assert_ptr_equal(machine_collective(&m, OF_ALL_REDUCE, &all), &t[0]);
    assert_ptr_equal(machine_collective(&m, OF_MERGE, &all), &t[0]);
    assert_null(machine_collective(&m, OF_SCAN, &all));
    assert_null(machine_collective(&m, OF_ALL_REDUCE, &two));
    assert_ptr_equal(machine_collective(&m, OF_ALL_GATHER, &two), &t[2]);
    all.groups = 0;
    assert_null(machine_collective(&m, OF_ALL_REDUCE, &all));
}

/* The host's part keeps the cores busy at least so long. */
static void cores_busy(void **state)
{
    struct machine *m = on_cores(ON_CORES(""));
    int64_t n[COLLECTIVE_HOWS];

    (void)state;
    m->link.overhead = 1;       /* of 3 tiles to and from 3 others: 18 */
    double seconds = first_on_cores(m, "{name: ulysses}", 4, NULL, NULL, n);
    assert_true(fabs(seconds - 18) < 1e-3);
    assert_int_equal(n[COLLECTIVE_MESSAGES], 0);
    m->link.overhead = 0;
    m->quantile = 1;
    seconds = first_on_cores(m, "{name: ulysses}", 4, NULL, NULL, n);
    assert_true(fabs(seconds - 8) < 1e-3);
    machine_destroy(m);
}

static void payloads_of(void **state)
{
    (void)state;
    assert_int_equal(collective_payload(OF_ALL_GATHER, 4, 300), 400);
    assert_int_equal(collective_payload(OF_ALL_TO_ALL, 2, 300), 600);
    assert_int_equal(collective_payload(OF_ALL_REDUCE, 4, 600), 400);
    assert_int_equal(collective_payload(OF_MERGE, 2, 300), 300);
    assert_int_equal(collective_payload(OF_SCAN, 4, 300), 300);
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
        cmocka_unit_test(cores_by_table), cmocka_unit_test(cores_by_messages),
        cmocka_unit_test(cores_flat), cmocka_unit_test(cores_busy),
        cmocka_unit_test(payloads_of),
        cmocka_unit_test(quantiles),
    };

    return cmocka_run_group_tests_name("collective", tests, NULL, NULL);
}
