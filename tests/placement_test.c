/* SPDX-License-Identifier: Apache-2.0
 *
 * What ranks send each other, and where they are put for it. */
#include <config.h>

#include "models/placement.h"
#include "simulate_machine.h"
#include "topo/reader.h"

#include <stdio.h>

/* Hosts of so many GPUs on NVLink, a network interface each: 10 GB/s inside, 1
 * GB/s between. */
#define HOSTS(count, gpus)                                                    \
    "name: two\ncluster:\n  links: {nvlink: {usable: 10 GB/s}, pcie: {usable: "\
    "2 GB/s}, network: {usable: 1 GB/s}}\n  hosts:\n    - {name: h, count: "  \
    count ", sockets: 1, switches: [{name: p, on: socket0}],\n       gpus: "  \
    "[{on: p, count: " gpus "}], nics: [{on: p}], nvlink: switch}\n"          \
    "  fabric: {kind: switch}\n"

/* A strategy's schedules on such a machine. */
struct place_rig {
    struct job job;
    struct plan *plan;
    const struct schedule *s[RANKS];
    struct machine m;
    struct links *links;
    struct traffic t;
    int32_t slots[RANKS];
    struct placement_problem p;
};

static void rig_open(struct place_rig *g, const char *cluster, int32_t ranks,
                     const char *strategy, struct strategy_options options)
{
    struct error e = { 0 };

    g->job = make_job(8, 8, 64 * ranks, MASK_FULL, PASS_FORWARD);
    g->plan = plan_create(&g->job, strategy_find(strategy), &options, ranks,
                          &e);
    if (g->plan == NULL)
        fail_msg("%s", e.text);
    for (int32_t r = 0; r < ranks; r++) {
        g->s[r] = plan_build(g->plan, r);
        g->slots[r] = r;
    }
    g->m = unit_machine();
    g->m.graph = topology_read("two.yaml", cluster, strlen(cluster), &e);
    if (g->m.graph == NULL)
        fail_msg("%s", e.text);
    traffic_of(&g->t, g->s, ranks);
    g->links = links_create(&g->m, g->m.graph->n_slots);
    g->p = (struct placement_problem){ .machine = &g->m, .links = g->links,
                                       .traffic = &g->t, .slots = g->slots };
}

static void rig_close(struct place_rig *g)
{
    for (int64_t r = 0; r < g->t.ranks; r++)
        schedule_destroy((struct schedule *)g->s[r]);
    traffic_clear(&g->t);
    links_destroy(g->links);
    graph_destroy(g->m.graph);
    plan_destroy(g->plan);
    job_clear(&g->job);
}

static void choose(struct place_rig *g, struct placements *c)
{
    struct simulate_options o = { .network = network_find("flow"),
                                  .kernel = "cpu" };
    struct error e = { 0 };

    if (placement_choose(c, &g->p, g->s, &o, 1e6, &e))
        fail_msg("%s", e.text);
}

static const struct placed *row(const struct placements *c, const char *name)
{
    for (int64_t i = 0; i < c->n; i++)
        if (strcmp(c->rows[i].name, name) == 0)
            return &c->rows[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void assert_map(const struct placed *x, const int32_t *expected,
                       size_t bytes)
{
    assert_non_null(x->map);
    assert_memory_equal(x->map, expected, bytes);
}

/* ---- Traffic ------------------------------------------------------------- */

/* A ring sends K and V, [64, 8, 8] each, to the next rank at every step but the
 * last. */
static void ring_traffic(void **state)
{
    struct place_rig g;

    (void)state;
    rig_open(&g, HOSTS("2", "2"), 4, "ring", (struct strategy_options){ 0 });
    assert_int_equal(g.t.steps, 3);
    assert_int_equal(g.t.n, 12);
    for (int64_t i = 0; i < g.t.n; i++) {
        const struct traffic_item *x = &g.t.items[i];
        assert_int_equal(x->step, i / 4);
        assert_int_equal(x->to, (x->from + 1) % 4);
        assert_int_equal(x->bytes, 2 * 64 * 8 * 8 * 4);
    }
    assert_int_equal(g.t.of_members, 0);
    /* One hop of each step leaves each host. */
    assert_true(placement_busiest_nic(&g.p, g.slots) == 3 * 32768.0);
    assert_seconds(placement_seconds(&g.p, g.slots), 3 * 32768 * BYTE);
    /* Every other rank on the other host: two hops of a step. */
    const int32_t apart[] = { 0, 2, 1, 3 };
    assert_true(placement_busiest_nic(&g.p, apart) == 2 * 3 * 32768.0);
    assert_seconds(placement_seconds(&g.p, apart), 2 * 3 * 32768 * BYTE);
    rig_close(&g);
}

/* All that ranks send, collectives too. */
static void all_traffic(void **state)
{
    static const char *const names[] = { "ulysses", "allgather", "usp",
                                         "double-ring", "2d", "token-ring" };

    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        struct place_rig g;
        int64_t sent = 0;
        rig_open(&g, HOSTS("2", "4"), 8, names[k],
                 (struct strategy_options){ .head = 2, .window = 2 });
        for (int32_t r = 0; r < 8; r++)
            sent += schedule_sent_bytes(g.s[r]);
        for (int64_t i = 0; i < g.t.n; i++)
            sent -= g.t.items[i].bytes;
        assert_int_equal(sent, 0);
        assert_int_equal(g.t.first[g.t.steps], g.t.n);
        rig_close(&g);
    }
}

/* ---- Rules --------------------------------------------------------------- */

/* Ranks numbered in the one way, placed in the other. */
static void meshes(void **state)
{
    static const int32_t linear[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    static const int32_t turned[] = { 0, 4, 1, 5, 2, 6, 3, 7 };
    static const int32_t back[] = { 0, 2, 4, 6, 1, 3, 5, 7 };
    struct placements c;
    struct place_rig g;

    (void)state;
    rig_open(&g, HOSTS("2", "4"), 8, "2d",
             (struct strategy_options){ .head = 2 });
    assert_int_equal(g.t.of_members, 2);
    assert_int_equal(g.t.n_groups, 4);
    choose(&g, &c);
    assert_map(row(&c, "head-first"), linear, sizeof linear);
    assert_string_equal(row(&c, "head-first")->as, "linear");
    assert_map(row(&c, "context-first"), turned, sizeof turned);
    placement_clear(&c);
    rig_close(&g);
    rig_open(&g, HOSTS("2", "4"), 8, "2d", (struct strategy_options){
        .head = 2, .placement = CONTEXT_FIRST });
    choose(&g, &c);
    assert_map(row(&c, "head-first"), back, sizeof back);
    assert_map(row(&c, "context-first"), linear, sizeof linear);
    placement_clear(&c);
    rig_close(&g);
}

static void snakes(void **state)
{
    static const int32_t expected[] = { 0, 1, 2, 5, 4, 3, 6, 7, 8 };
    struct placements c;
    struct place_rig g;

    (void)state;
    rig_open(&g, HOSTS("3", "3"), 9, "ring", (struct strategy_options){ 0 });
    choose(&g, &c);
    assert_map(row(&c, "snake"), expected, sizeof expected);
    assert_null(row(&c, "exhaustive")->map);
    assert_null(row(&c, "head-first")->map);
    placement_clear(&c);
    rig_close(&g);
}

/* The best of all orders, counted here in another way: by Heap's algorithm. */
static void best_order(struct place_rig *g, int32_t *map, int n, double *least)
{
    for (int i = 0; i < n; i++) {
        if (n == 1)
            *least = fmin(*least, placement_seconds(&g->p, map));
        else
            best_order(g, map, n - 1, least);
        int swap = n % 2 ? 0 : i;
        int32_t slot = map[swap];
        map[swap] = map[n - 1];
        map[n - 1] = slot;
    }
}

static void exhausts(void **state)
{
    static const int32_t order[] = { 0, 3, 1, 4, 2, 5 };
    struct placements c;
    struct place_rig g;
    int32_t map[6];
    double least = INFINITY;

    (void)state;
    rig_open(&g, HOSTS("2", "3"), 6, "double-ring",
             (struct strategy_options){ .window = 3 });
    memcpy(g.slots, order, sizeof order);
    memcpy(map, order, sizeof order);
    best_order(&g, map, 6, &least);
    choose(&g, &c);
    assert_seconds(row(&c, "exhaustive")->alone, least);
    assert_true(least < 0.7 * row(&c, "linear")->alone);
    placement_clear(&c);
    rig_close(&g);
}

/* ---- Choosing ------------------------------------------------------------ */

/* Hosts dealt in turn: a ring crosses at every hop, and need not. */
static void finds(void **state)
{
    struct placements c, again;
    struct place_rig g;

    (void)state;
    rig_open(&g, HOSTS("4", "4"), 16, "ring", (struct strategy_options){ 0 });
    for (int32_t r = 0; r < 16; r++)
        g.slots[r] = r % 4 * 4 + r / 4;
    choose(&g, &c);
    choose(&g, &again);
    assert_true(c.rows[c.best].predicted < 0.5 * c.rows[0].predicted);
    assert_true(c.rows[c.best].busiest_nic < 0.5 * c.rows[0].busiest_nic);
    assert_int_equal(c.best, again.best);
    for (int64_t i = 0; i < c.n; i++) {
        int seen[16] = { 0 };
        for (int r = 0; c.rows[i].map && r < 16; r++)
            assert_int_equal(seen[c.rows[i].map[r]]++, 0);
        if (c.rows[i].map)
            assert_memory_equal(c.rows[i].map, again.rows[i].map,
                                16 * sizeof(int32_t));
    }
#ifdef HAVE_SCOTCH
    assert_true(row(&c, "scotch")->alone < 0.5 * c.rows[0].alone);
#else
    assert_null(row(&c, "scotch")->map);
#endif
    placement_clear(&c);
    placement_clear(&again);
    rig_close(&g);
}

/* What a row says is what a simulation with its map says. */
static void says_so(void **state)
{
    struct placements c;
    struct place_rig g;

    (void)state;
    rig_open(&g, HOSTS("2", "4"), 8, "usp",
             (struct strategy_options){ .head = 4 });
    choose(&g, &c);
    for (int64_t i = 0; i < c.n; i++) {
        if (c.rows[i].map == NULL)
            continue;
        with_slots = c.rows[i].map;
        struct simulate_result r = simulate_with(&g.job, "usp",
            &(struct strategy_options){ .head = 4 }, 8, &g.m, "flow");
        with_slots = NULL;
        assert_seconds(c.rows[i].predicted, r.seconds);
        simulate_result_clear(&r);
    }
    assert_true(row(&c, "context-first")->predicted
                != row(&c, "linear")->predicted);
    placement_clear(&c);
    rig_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_traffic), cmocka_unit_test(all_traffic),
        cmocka_unit_test(meshes),       cmocka_unit_test(snakes),
        cmocka_unit_test(exhausts),     cmocka_unit_test(finds),
        cmocka_unit_test(says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
