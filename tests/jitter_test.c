/* SPDX-License-Identifier: Apache-2.0
 *
 * Slow and late ranks, ranks that share a core, derated links, in the
 * simulator. */
#include <config.h>

#include "simulate_bench.h"

static struct simulate_result run_with(struct bench *t, const struct machine *m,
                                       const char *network,
                                       const struct jitter *j)
{
    with_jitter = j;
    struct simulate_result r = bench_run(t, m, network);
    with_jitter = NULL;
    return r;
}

/* 0 attends for 40 us and sends 100 us to 1, which attends for 10 us. */
static double relay(const struct jitter *j, const char *network)
{
    struct machine m = unit_machine();
    struct bench t;

    bench_open(&t, 2);
    attend_keys(&t, 0, 40);
    schedule_send(t.s[0], "x", CHANNEL_KV, 1, &t.o[0], 1);
    schedule_recv(t.s[1], "x", CHANNEL_KV, 0, &t.q[1], 1);
    attend_keys(&t, 1, 10);
    struct simulate_result r = run_with(&t, &m, network, j);
    double seconds = r.seconds;
    simulate_result_clear(&r);
    bench_close(&t);
    return seconds * 1e6;
}

static void on_every_network(void **state)
{
    struct jitter_rank first = { 0, 7e-6, 1.5 }, second = { 1, 1e-6, 3 };
    struct jitter_rank both[] = { first, second };
    struct jitter_link link = { .rank = 1, .bandwidth = 0.25 };
    const struct { struct jitter j; double us; } cases[] = {
        { { 0 }, 40 + 32 + 10 },
        { { 1, 0, &first, NULL }, 7 + 60 + 32 + 10 },
        { { 1, 0, &second, NULL }, 40 + 32 + 30 },
        { { 2, 0, both, NULL }, 7 + 60 + 32 + 30 },
        { { 0, 1, NULL, &link }, 40 + 4 * 32 + 10 },
        { { 1, 1, &first, &link }, 7 + 60 + 4 * 32 + 10 },
    };

    (void)state;
    for (int n = 0; network_models[n]; n++)
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            assert_seconds(relay(&cases[i].j, network_models[n]->name),
                           cases[i].us);
}

/* One slow rank of a ring holds everyone up: N steps of its pace. */
static void slow_ring(void **state)
{
    struct machine m = unit_machine();
    struct jitter_rank slow = { 2, 0, 1.5 };
    struct jitter j = { 1, 0, &slow, NULL };
    struct job job = make_job(2, 2, 4 * 256, MASK_FULL, PASS_FORWARD);

    (void)state;
    struct simulate_result a = simulate_plan(&job, "ring", LAYOUT_CONTIGUOUS,
                                             4, &m, "ideal");
    with_jitter = &j;
    struct simulate_result b = simulate_plan(&job, "ring", LAYOUT_CONTIGUOUS,
                                             4, &m, "ideal");
    with_jitter = NULL;
    assert_seconds(b.seconds, 1.5 * a.seconds);
    simulate_result_clear(&a);
    simulate_result_clear(&b);
    job_clear(&job);
}

/* ---- Links of a graph --------------------------------------------------- */

static const char pair[] =
    "name: pair\n"
    "cluster:\n"
    "  links:\n"
    "    pcie: {usable: 2 GB/s}\n"
    "    network: {usable: 1 GB/s}\n"
    "  hosts:\n"
    "    - name: host\n"
    "      count: 2\n"
    "      sockets: 1\n"
    "      switches: [{name: p0, on: socket0}]\n"
    "      gpus: [{on: p0, count: 1}]\n"
    "      nics: [{on: p0, rail: 0}]\n"
    "  fabric: {kind: switch}\n";

static void named_link(void **state)
{
    struct error e = { 0 };
    struct machine *m = machine_parse("pair.yaml", pair, strlen(pair), &e);
    struct jitter_link link = { -1, (char *)"host0.nic0", NULL, 0.5 };
    struct jitter j = { 0, 1, NULL, &link };
    char name[64];

    (void)state;
    if (!m)
        fail_msg("%s", e.text);
    const struct graph *g = m->graph;
    for (int32_t v = 0; v < g->n_vertices; v++)
        if (g->vertices[v].kind == VERTEX_SWITCH)
            link.to = (char *)graph_name(g, v, name, sizeof name);
    for (int n = 0; network_models[n]; n++) {
        struct bench t;
        assert_int_equal(simulate_jitter(m, &j, network_models[n], &e), 0);
        bench_open(&t, 2);
        move(&t, 0, t.a[0], 1, t.a[1]);
        struct simulate_result r = run_with(&t, m, network_models[n]->name,
                                            &j);
        assert_seconds(r.seconds, 200e-6);
        simulate_result_clear(&r);
        bench_close(&t);
    }
    link.from = (char *)"host7.nic0";
    assert_int_equal(simulate_jitter(m, &j, network_models[0], &e), -1);
    assert_non_null(strstr(e.text, "has no \"host7.nic0\""));
    link.from = (char *)"host0.gpu0";
    assert_int_equal(simulate_jitter(m, &j, network_models[0], &e), -1);
    assert_non_null(strstr(e.text, "no link of machine pair connects"));
    machine_destroy(m);
}

/* ---- Ranks that share a core --------------------------------------------- */

/* Two ranks take turns on one core, a third has the other. */
static void shared_cores(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    m.shared_core = 1;
    for (m.cores = 1; m.cores <= 3; m.cores++) {
        bench_open(&t, 3);
        for (int r = 0; r < 3; r++)
            attend_keys(&t, r, 40);
        struct simulate_result r = bench_run(&t, &m, "loggp");
        assert_seconds(r.seconds, 40e-6 * (m.cores == 1 ? 3 : m.cores == 2 ? 2
                                           : 1));
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_every_network), cmocka_unit_test(slow_ring),
        cmocka_unit_test(named_link), cmocka_unit_test(shared_cores),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
