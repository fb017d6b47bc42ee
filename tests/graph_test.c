/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs of machines: routes, their classes, seconds and links, against what
 * the machine files say. */
#include <config.h>

#include "topo/machine.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "preset.h"

static struct machine *parse(const char *text)
{
    struct error e = { 0 };
    struct machine *m = machine_parse("test.yaml", text, strlen(text), &e);

    if (!m)
        fail_msg("%s", e.text);
    return m;
}

/* The names of what a route goes through, "-" between. */
static const char *route_text(struct graph *g, int32_t a, int32_t b)
{
    static char text[2000];
    char name[GRAPH_NAME];
    struct route r;

    if (graph_route(g, a, b, &r) != 0)
        return "none";
    snprintf(text, sizeof text, "%s:", class_names[r.class]);
    for (int32_t i = 0; i < r.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), " %s",
                 graph_name(g, link_to(g, r.links[i]), name, sizeof name));
    return text;
}

/* Links follow each other from a to b and add up to what the route says. */
static void assert_whole(struct graph *g, int32_t a, int32_t b)
{
    struct route r;
    double narrowest = INFINITY, latency = 0;
    int32_t at = g->slots[a];

    assert_int_equal(graph_route(g, a, b, &r), 0);
    for (int32_t i = 0; i < r.n; i++) {
        assert_int_equal(link_from(g, r.links[i]), at);
        at = link_to(g, r.links[i]);
        narrowest = fmin(narrowest, link_bandwidth(g, r.links[i]));
        latency += g->edges[r.links[i] / 2].latency;
    }
    assert_int_equal(at, g->slots[b]);
    assert_true(r.bandwidth == narrowest);
    assert_true(fabs(r.latency - latency - g->start[r.class]) < 1e-12);
}

static void all_whole(struct graph *g)
{
    for (int32_t a = 0; a < g->n_slots; a++)
        for (int32_t b = 0; b < g->n_slots; b++)
            assert_whole(g, a, b);
}

/* ---- Presets ------------------------------------------------------------- */

static void unit_cluster(void **state)
{
    struct machine *m = preset("unit-cluster");
    struct graph *g = m->graph;
    struct route r;

    (void)state;
    assert_int_equal(m->cores, 8);
    assert_int_equal(g->n_slots, 8);
    all_whole(g);
    assert_string_equal(route_text(g, 0, 3),
                        "nvlink: box0.nvswitch box0.gpu3");
    /* Each GPU takes the interface of its rail, within a rail one leaf. */
    assert_string_equal(route_text(g, 0, 4),
                        "fabric: box0.p0 box0.nic0 leaf0 spine0 leaf2 "
                        "box1.nic0 box1.p0 box1.gpu0");
    assert_int_equal(graph_route(g, 0, 4, &r), 0);
    /* 45 GB/s of one interface, halved by the taper, shared by two spines. */
    assert_true(r.bandwidth == 45e9 / 2 / 2);
    assert_true(fabs(r.latency - (10e-6 + 2 * 600e-9)) < 1e-15);
    assert_true(fabs(route_seconds(&r, 11250000) - (r.latency + 1e-3)) < 1e-12);
    machine_destroy(m);
}

/* What every preset must have: ways between all pairs, a class for each that
 * has its start-up. */
static void presets(void **state)
{
    static const struct {
        const char *name;
        int32_t slots;
        const char *pair;       /* of slots 0 and the last */
        double bandwidth;
    } rows[] = {
        { "dgx-a100", 8, "nvlink", 228e9 }, { "a800", 8, "nvlink", 160e9 },
        { "dgx-h100", 8, "nvlink", 348e9 }, { "hgx-h200", 8, "nvlink", 348e9 },
        { "dgx-b200", 8, "nvlink", 617e9 },
        { "gb200-nvl72", 72, "nvlink", 617e9 },
        { "l40s-8", 8, "socket", 4.7e9 }, { "l20-8", 8, "socket", 22e9 },
        { "a10-4", 4, "numa", 24e9 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct machine *m = preset(rows[i].name);
        struct route r;
        assert_string_equal(m->name, rows[i].name);
        assert_int_equal(m->cores, rows[i].slots);
        all_whole(m->graph);
        assert_int_equal(graph_route(m->graph, 0, rows[i].slots - 1, &r), 0);
        assert_string_equal(class_names[r.class], rows[i].pair);
        assert_true(r.bandwidth == rows[i].bandwidth);
        assert_true(r.latency > 0);
        machine_destroy(m);
    }
}

/* ---- Hosts --------------------------------------------------------------- */

/* The farthest that a way goes through is its class. */
static void classes(void **state)
{
    struct machine *m = parse(
        "name: x\n"
        "cluster:\n"
        "  links: {pcie: {usable: 20 GB/s}, socket: {usable: 10 GB/s},\n"
        "          nvlink: {usable: 50 GB/s}}\n"
        "  hosts:\n"
        "    - sockets: 2\n"
        "      switches: [{name: a, on: socket0}, {name: b, on: a},\n"
        "                 {name: c, on: socket0}]\n"
        "      gpus: [{on: b, count: 3}, {on: a}, {on: c}, {on: socket1}]\n"
        "      nvlink: pairs\n");
    struct graph *g = m->graph;

    (void)state;
    all_whole(g);
    assert_string_equal(route_text(g, 0, 0), "self:");
    assert_string_equal(route_text(g, 0, 1), "nvlink: host0.gpu1");
    assert_string_equal(route_text(g, 1, 0), "nvlink: host0.gpu0");
    assert_string_equal(route_text(g, 0, 2), "pcie: host0.b host0.gpu2");
    assert_string_equal(route_text(g, 0, 3),
                        "pcie: host0.b host0.a host0.gpu3");
    assert_string_equal(route_text(g, 0, 4), "numa: host0.b host0.a "
                        "host0.socket0 host0.c host0.gpu4");
    /* Not over a bridge to a GPU and on from there. */
    assert_string_equal(route_text(g, 3, 5), "socket: host0.a host0.socket0 "
                        "host0.socket1 host0.gpu5");
    machine_destroy(m);
}

static void cores(void **state)
{
    struct machine *m = parse(
        "name: x\n"
        "cluster:\n"
        "  links: {cache: {usable: 30 GB/s}, memory: {usable: 20 GB/s,\n"
        "          duplex: half}, socket: {usable: 10 GB/s}}\n"
        "  hosts: [{sockets: 2, cores: 4, caches: 2}]\n");
    struct graph *g = m->graph;
    struct route r;

    (void)state;
    assert_int_equal(g->n_slots, 8);
    all_whole(g);
    assert_string_equal(route_text(g, 0, 1), "cache: host0.cache0 host0.core1");
    assert_string_equal(route_text(g, 0, 2), "numa: host0.cache0 host0.socket0 "
                        "host0.cache1 host0.core2");
    assert_string_equal(route_text(g, 0, 7), "socket: host0.cache0 "
                        "host0.socket0 host0.socket1 host0.cache3 "
                        "host0.core7");
    /* Half duplex: both directions of an edge are one resource. */
    assert_int_equal(graph_route(g, 0, 7, &r), 0);
    assert_int_equal(graph_resource(g, r.links[1]),
                     graph_resource(g, r.links[1] ^ 1));
    assert_int_not_equal(graph_resource(g, r.links[0]),
                         graph_resource(g, r.links[0] ^ 1));
    machine_destroy(m);
}

/* Hosts of two kinds on one switch: the slower interface decides. */
static void heterogeneous(void **state)
{
    struct machine *m = parse(
        "name: x\n"
        "cluster:\n"
        "  links: {pcie: {usable: 60 GB/s}, network: {usable: 50 GB/s}}\n"
        "  hosts:\n"
        "    - {name: new, sockets: 1, gpus: [{on: socket0}],\n"
        "       nics: [{on: socket0}]}\n"
        "    - {name: old, count: 2, sockets: 1, gpus: [{on: socket0}],\n"
        "       nics: [{on: socket0}], links: {network: {usable: 10 GB/s}}}\n"
        "  fabric: {kind: switch}\n");
    struct route r;

    (void)state;
    all_whole(m->graph);
    assert_string_equal(route_text(m->graph, 0, 2), "leaf: new0.socket0 "
                        "new0.nic0 switch0 old1.nic0 old1.socket0 old1.gpu0");
    assert_int_equal(graph_route(m->graph, 0, 2, &r), 0);
    assert_true(r.bandwidth == 10e9);
    machine_destroy(m);
}

/* ---- Fabrics ------------------------------------------------------------- */

#define BOXES(count, nics, fabric)                                            \
    "name: x\n"                                                               \
    "cluster:\n"                                                              \
    "  links: {pcie: {usable: 64 GB/s}, network: {usable: 50 GB/s}}\n"        \
    "  hosts: [{count: " #count ", sockets: 1, gpus: [{on: socket0, count: "  \
    #nics "}], nics: [{on: socket0, count: " #nics "}]}]\n"                   \
    "  fabric: " fabric "\n"

/* Destinations of one leaf are spread over the spines, a shift of hosts loads
 * every uplink alike. */
static void leaf_spine(void **state)
{
    struct machine *m = parse(BOXES(16, 1, "{kind: leaf-spine, hosts_per_leaf: "
                                    "4, spines: 4, taper: 1}"));
    struct graph *g = m->graph;
    int *uses = xcalloc((size_t)g->n_edges * 2, sizeof *uses);

    (void)state;
    all_whole(g);
    for (int32_t a = 0; a < 16; a++) {
        struct route r;
        assert_int_equal(graph_route(g, a, (a + 4) % 16, &r), 0);
        assert_int_equal(r.class, CLASS_FABRIC);
        assert_true(r.bandwidth == 50e9);
        for (int32_t i = 0; i < r.n; i++)
            assert_true(++uses[r.links[i]] == 1);
        assert_int_equal(graph_route(g, a, a ^ 1, &r), 0);
        assert_int_equal(r.class, CLASS_LEAF);
    }
    free(uses);
    machine_destroy(m);
}

/* Rails: the same GPU of any two hosts is a leaf away. */
static void rails(void **state)
{
    struct machine *m = parse(BOXES(4, 2, "{kind: rail, spines: 1}"));
    struct graph *g = m->graph;

    (void)state;
    all_whole(g);
    assert_string_equal(route_text(g, 1, 7), "leaf: host0.socket0 host0.nic1 "
                        "leaf1 host3.nic1 host3.socket0 host3.gpu1");
    assert_string_equal(route_text(g, 0, 6), "leaf: host0.socket0 host0.nic0 "
                        "leaf0 host3.nic0 host3.socket0 host3.gpu0");
    machine_destroy(m);
}

/* Manhattan distance with wrap-around, x before y before z. */
static void torus(void **state)
{
    struct machine *m = parse(BOXES(60, 1, "{kind: torus, size: [5, 4, 3]}"));
    const int size[] = { 5, 4, 3 };

    (void)state;
    all_whole(m->graph);
    for (int32_t a = 0; a < 60; a++)
        for (int32_t b = 0; b < 60; b++) {
            int hops = 0, x = a, y = b;
            struct route r;
            for (int d = 0; d < 3; d++) {
                int way = abs(x % size[d] - y % size[d]);
                hops += way < size[d] - way ? way : size[d] - way;
                x /= size[d];
                y /= size[d];
            }
            assert_int_equal(graph_route(m->graph, a, b, &r), 0);
            assert_int_equal(r.n, a == b ? 0 : hops + 6);
        }
    assert_string_equal(route_text(m->graph, 0, 26), "fabric: host0.socket0 "
                        "host0.nic0 router0 router1 router6 router26 "
                        "host26.nic0 host26.socket0 host26.gpu0");
    machine_destroy(m);
}

/* The same pair takes the same way, whatever was asked before. */
static void stable(void **state)
{
    struct machine *m = preset("unit-cluster"), *n = preset("unit-cluster");
    struct route r, s;

    (void)state;
    for (int32_t a = 0; a < 8; a++)
        for (int32_t b = 8; b-- > 0;) {
            assert_int_equal(graph_route(m->graph, a, b, &r), 0);
            assert_int_equal(graph_route(n->graph, a, b, &s), 0);
            assert_int_equal(r.n, s.n);
            assert_memory_equal(r.links, s.links,
                                (size_t)r.n * sizeof *r.links);
        }
    machine_destroy(m);
    machine_destroy(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unit_cluster),
        cmocka_unit_test(presets),
        cmocka_unit_test(classes),
        cmocka_unit_test(cores),
        cmocka_unit_test(heterogeneous),
        cmocka_unit_test(leaf_spine),
        cmocka_unit_test(rails),
        cmocka_unit_test(torus),
        cmocka_unit_test(stable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
