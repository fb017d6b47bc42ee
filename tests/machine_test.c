/* SPDX-License-Identifier: Apache-2.0
 *
 * Machines: interpolation, fits, files good and bad, what hwloc answers. */
#include <config.h>

#include "topo/cluster.h"
#include "topo/collective.h"
#include "topo/machine.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "preset.h"

static void assert_near(double value, double expected, double relative)
{
    if (!(fabs(value - expected) <= relative * fabs(expected)))
        fail_msg("%.12g, expected %.12g", value, expected);
}

static struct surface_point points[] = {
    { 64, 64, 1e-6 }, { 64, 256, 3e-6 }, { 64, 4096, 40e-6 },
    { 512, 64, 7e-6 }, { 512, 256, 22e-6 }, { 512, 4096, 300e-6 },
};
static struct surface grid = { "attend", "cpu", DTYPE_FP32, BLOCK_FULL, 64, 64,
                               1, 6, points, 0, 0, 0, 0, 0, 0 };

static void interpolates(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++)
        assert_true(surface_seconds(&grid, points[i].q, points[i].k)
                    == points[i].seconds);
    /* Geometric means half-way in logarithms. */
    assert_near(surface_seconds(&grid, 64, 128), sqrt(1e-6 * 3e-6), 1e-12);
    assert_near(surface_seconds(&grid, 512, 1024), sqrt(22e-6 * 300e-6),
                1e-12);
    /* Constant rate outside. */
    assert_near(surface_seconds(&grid, 1024, 8192), 4 * 300e-6, 1e-12);
    assert_near(surface_seconds(&grid, 32, 256), 1.5e-6, 1e-12);
    assert_near(surface_seconds(&grid, 1, 1), 1e-6 / 4096, 1e-12);
}

/* Full blocks measured as squares only: by area. */
static void squares(void **state)
{
    struct surface_point p[] = { { 64, 64, 1e-6 }, { 1024, 1024, 100e-6 } };
    struct surface s = { .block = BLOCK_FULL, .n = 2, .points = p };

    (void)state;
    assert_true(surface_seconds(&s, 1024, 1024) == 100e-6);
    assert_near(surface_seconds(&s, 256, 256), 10e-6, 1e-12);
    assert_near(surface_seconds(&s, 64, 1024), 10e-6, 1e-12);
    assert_near(surface_seconds(&s, 4096, 1024), 400e-6, 1e-12);
    s.block = BLOCK_CAUSAL;
    assert_near(surface_seconds(&s, 256, 256), 10e-6, 1e-12);
    assert_near(surface_seconds(&s, 2048, 2048), 100e-6 * 2048 * 2049
                / (1024.0 * 1025), 1e-12);
}

static void monotone(void **state)
{
    (void)state;
    for (int64_t q = 1; q < 3000; q = q * 5 / 4 + 1)
        for (int64_t k = 1; k < 9000; k = k * 5 / 4 + 1) {
            double t = surface_seconds(&grid, q, k);
            assert_true(t < surface_seconds(&grid, q + 1, k));
            assert_true(t < surface_seconds(&grid, q, k + 1));
        }
}

static void chooses_surface(void **state)
{
    struct surface_point p[] = { { 1, 1, 1 }, { 1, 1, 2 }, { 1, 1, 3 },
                                 { 1, 1, 4 } };
    struct surface s[] = {
        { "attend", "cpu", DTYPE_FP32, BLOCK_FULL, 64, 64, 1, 1, &p[0], 0, 0,
          0, 0, 0, 0 },
        { "attend", "cpu", DTYPE_FP32, BLOCK_FULL, 64, 64, 8, 1, &p[1], 0, 0,
          0, 0, 0, 0 },
        { "attend", "cpu", DTYPE_FP32, BLOCK_FULL, 128, 128, 1, 1, &p[2], 0, 0,
          0, 0, 0, 0 },
        { "attend", "cuda", DTYPE_BF16, BLOCK_FULL, 128, 128, 1, 1, &p[3], 0,
          0, 0, 0, 0, 0 },
    };
    struct machine m = { .n_surfaces = 4, .surfaces = s };
    struct error e;

    (void)state;
#define SECONDS(kernel, dtype, D, group) \
    machine_block_seconds(&m, "attend", kernel, \
                          &(struct block_shape){ dtype, D, D, group, 1 }, \
                          BLOCK_FULL, 1, 1)
    assert_near(SECONDS("cpu", DTYPE_FP32, 64, 2), 1, 0);
    assert_near(SECONDS("cpu", DTYPE_FP32, 64, 4), 2, 0);
    assert_near(SECONDS("cpu", DTYPE_BF16, 128, 8), 3, 0);
    assert_near(SECONDS("cpu", DTYPE_FP32, 256, 1), 6, 1e-12);
    p[2].seconds = 1.5;         /* a line in the head size */
    assert_near(SECONDS("cpu", DTYPE_FP32, 32, 1), 0.75, 1e-12);
    assert_near(SECONDS("cpu", DTYPE_FP32, 96, 1), 1.25, 1e-12);
    assert_near(SECONDS("cpu", DTYPE_FP32, 256, 1), 2.5, 1e-12);
    p[2].seconds = 3;
    assert_near(SECONDS("cuda", DTYPE_FP32, 64, 1), 2, 1e-12);
    assert_near(SECONDS("auto", DTYPE_FP32, 64, 1), 1, 0);
    assert_near(SECONDS("none", DTYPE_FP32, 64, 1), 0, 0);
#undef SECONDS
    /* No causal surface: the visible pairs at the full block's rate. */
    assert_near(machine_block_seconds(&m, "attend", "cpu",
                                      &(struct block_shape){ DTYPE_FP32, 64,
                                                             64, 1, 1 },
                                      BLOCK_CAUSAL, 9, 9), 45, 1e-12);
    assert_int_equal(machine_has_surface(&m, "attend", "cuda", &e), 0);
    assert_int_equal(machine_has_surface(&m, "attend_backward", "cpu", &e),
                     -1);
}

/* Points made of two exact segments come back. */
static void fits_segments(void **state)
{
    struct link_point p[24];
    struct link l = { 0 };

    (void)state;
    for (int i = 0; i < 24; i++) {
        p[i].bytes = INT64_C(8) << i;
        p[i].seconds = i < 12 ? 1e-6 + (double)p[i].bytes / 4e9
            : 6e-6 + (double)p[i].bytes / 11e9;
    }
    link_fit(&l, p, 24);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.segments[0].from, 0);
    assert_int_equal(l.segments[0].to, 8 << 12);
    assert_int_equal(l.segments[1].from, 8 << 12);
    assert_true(l.segments[1].to == INT64_MAX);
    assert_near(l.segments[0].latency, 1e-6, 1e-6);
    assert_near(l.segments[0].bandwidth, 4e9, 1e-6);
    assert_near(l.segments[1].latency, 6e-6, 1e-6);
    assert_near(l.segments[1].bandwidth, 11e9, 1e-6);
    assert_true(l.segments[0].error < 1e-9);

    struct machine m = { .link = l };
    assert_near(machine_message_seconds(&m, 0), 1e-6, 1e-6);
    assert_near(machine_message_seconds(&m, 1 << 20), 6e-6 + 1048576 / 11e9,
                1e-6);
    link_fit(&l, p, 1);
    assert_int_equal(l.n, 1);
    assert_near(l.segments[0].latency, p[0].seconds, 1e-3);
    free(l.segments);
}

static void cross_validates(void **state)
{
    struct surface_point line[] = { { 8, 8, 1e-6 }, { 8, 16, 2e-6 },
                                    { 8, 32, 4e-6 }, { 16, 8, 1e-6 },
                                    { 16, 16, 4e-6 }, { 16, 32, 4e-6 } };
    struct surface s = { .block = BLOCK_FULL, .n = 6, .points = line };

    (void)state;
    /* Of two points with neighbours, one lies on the line and one is twice as
     * high. */
    assert_near(surface_cross_error(&s), 0.25, 1e-9);
    s.n = 1;
    assert_true(isnan(surface_cross_error(&s)));
}

/* ---- Files -------------------------------------------------------------- */

static struct machine *parse(const char *text, struct error *e)
{
    *e = (struct error){ 0 };
    return machine_parse("m.yaml", text, strlen(text), e);
}

static char *written(const struct machine *m)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    assert_int_equal(machine_write(m, f), 0);
    fclose(f);
    return text;
}

/* ---- Rates -------------------------------------------------------------- */

static struct rate_point slow[] = { { 64, 1e9 } };
static struct rate_point fast[] = { { 16, 1e9 }, { 64, 4e9 }, { 256, 2e9 } };
static struct rate rates[] = {
    { "state", "cpu", DTYPE_BF16, 64, 64, 1, slow, 0 },
    { "state", "cpu", DTYPE_FP32, 64, 32, 3, fast, 0 },
};

static void rates_interpolate(void **state)
{
    struct machine m = { .n_rates = 2, .rates = rates };
    struct block_shape fp32 = { DTYPE_FP32, 128, 128, 1, 1 };
    struct block_shape bf16 = { DTYPE_BF16, 8, 8, 1, 1 };
    const struct { int64_t rows; double flops; } cases[] = {
        { 1, 1e9 }, { 16, 1e9 }, { 32, 2e9 }, { 64, 4e9 },
        { 128, 4e9 / sqrt(2) }, { 256, 2e9 }, { 1 << 20, 2e9 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_near(machine_rate(&m, "state", "cpu", &fp32,
                                 cases[i].rows), cases[i].flops, 1e-12);
    assert_near(machine_rate(&m, "state", NULL, &bf16, 1000), 1e9,
                1e-12);
    assert_true(machine_rate(&m, "scores", "cpu", &fp32, 64) == 0);
    assert_true(machine_rate(&m, "state", "cuda", &fp32, 64) == 0);
}

/* Seconds of a flop 1e-11 + 6.4e-10 (1/D + 1/E) / 2: exact at, between and beyond
 * the head sizes measured; never less for a smaller head. */
static void rates_of_head_sizes(void **state)
{
    struct rate_point p[] = { { 64, 5e10 }, { 64, 1e11 / 1.5 }, { 64, 1e10 } };
    struct rate r[] = {
        { "state", "cpu", DTYPE_FP32, 64, 64, 1, &p[0], 0 },
        { "state", "cpu", DTYPE_FP32, 128, 128, 1, &p[1], 0 },
        { "state", "cpu", DTYPE_BF16, 32, 32, 1, &p[2], 0 },
    };
    struct machine m = { .n_rates = 3, .rates = r };

    (void)state;
#define RATE_OF(D, E) \
    machine_rate(&m, "state", "cpu", \
                 &(struct block_shape){ DTYPE_FP32, D, E, 1, 1 }, 64)
    assert_near(RATE_OF(64, 64), 5e10, 0);
    assert_near(RATE_OF(128, 128), 1e11 / 1.5, 0);
    assert_near(RATE_OF(32, 32), 1e11 / 3, 1e-12);
    assert_near(RATE_OF(64, 128), 1e11 / 1.75, 1e-12);
    assert_near(RATE_OF(128, 64), 1e11 / 1.75, 1e-12);
    assert_near(RATE_OF(256, 256), 1e11 / 1.25, 1e-12);
    p[1].flops = 4e10;
    assert_near(RATE_OF(32, 32), 5e10, 1e-12);
    p[1].flops = 2e11;          /* nothing but rows: as many a second */
    assert_near(RATE_OF(32, 32), 2.5e10, 1e-12);
#undef RATE_OF
}

/* ---- Copies ------------------------------------------------------------- */

static struct copy_point blocks[] = { { 256, 1e11 }, { 1 << 20, 4e11 } };
static struct copy copies[] = { { COPY_DEVICE, 2, blocks },
                                { COPY_FROM_HOST, 1, blocks } };

static void copies_interpolate(void **state)
{
    struct machine m = { .n_copies = 2, .copies = copies };

    (void)state;
    assert_near(machine_copy_bandwidth(&m, COPY_DEVICE, 256), 1e11, 0);
    assert_near(machine_copy_bandwidth(&m, COPY_DEVICE, 64), 2.5e10, 1e-12);
    assert_near(machine_copy_bandwidth(&m, COPY_DEVICE, 16384), 2e11, 1e-12);
    assert_near(machine_copy_bandwidth(&m, COPY_DEVICE, 1 << 30), 4e11, 0);
    assert_true(machine_copy_bandwidth(&m, COPY_PEER, 256) == 0);
}

/* All heads at once: between the numbers of heads on either side. */
static void chooses_heads(void **state)
{
    struct surface_point p[] = { { 1, 1, 1 }, { 1, 1, 2 }, { 1, 1, 3 } };
    struct surface s[] = {
        { "attend", "cuda", DTYPE_BF16, BLOCK_FULL, 64, 64, 4, 1, &p[0], 32, 0,
          0, 0, 0, 0 },
        { "attend", "cuda", DTYPE_BF16, BLOCK_FULL, 64, 64, 4, 1, &p[1], 8, 0,
          0, 0, 0, 0 },
        { "attend", "cuda", DTYPE_BF16, BLOCK_FULL, 64, 64, 1, 1, &p[2], 32, 0,
          0, 0, 0, 0 },
    };
    struct machine m = { .n_surfaces = 3, .surfaces = s };
    static const struct { int64_t group, heads; double seconds; } cases[] = {
        { 4, 32, 1 }, { 4, 16, M_SQRT2 }, { 4, 8, 2 }, { 4, 4, 2 }, { 1, 32, 3 },
        { 1, 64, 3 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct block_shape shape = { DTYPE_BF16, 64, 64, cases[i].group,
                                     cases[i].heads };
        assert_near(machine_block_seconds(&m, "attend", "cuda", &shape,
                                          BLOCK_FULL, 1, 1),
                    cases[i].seconds, 1e-12);
    }
}

static void round_trip(void **state)
{
    struct link_segment segments[] = {
        { 0, 16384, 1.1e-6, 4.07e9, 0.031 },
        { 16384, INT64_MAX, 0.1 + 0.2, 1.0 / 3, 0 },
    };
    struct machine m = {
        .name = "box: \"a\\b\"", .processor = "x", .cores = 3,
        .measured_ranks = 2, .memory_bytes = INT64_C(25) << 30,
        .memory_bandwidth = 8.123456789e9, .op_overhead = 1e-7,
        .repeat_overhead = 3e-6, .shared_core = 1, .poll_interval = 1.5e-4,
        .alone_ratio = 0.97, .n_surfaces = 1, .surfaces = &grid,
        .n_rates = 2, .rates = rates,
        .link = { 2, segments, 2e-7, 1.25e-10 }, .fit_error = 0.04,
        .versions = "a 1, b 2", .created = "2026-01-02T03:04:05Z"
    };
    struct error e;

    (void)state;
    char *once = written(&m);
    assert_null(strstr(once, "enqueue"));
    struct machine *back = parse(once, &e);
    if (back == NULL)
        fail_msg("%s", e.text);
    char *twice = written(back);
    assert_string_equal(once, twice);
    assert_string_equal(back->name, m.name);
    assert_true(back->link.segments[1].latency == segments[1].latency);
    assert_true(back->link.segments[1].bandwidth == segments[1].bandwidth);
    assert_true(back->link.segments[0].to == 16384);
    assert_memory_equal(back->surfaces[0].points, points, sizeof points);
    assert_int_equal(back->n_rates, 2);
    assert_string_equal(back->rates[1].kernel, "cpu");
    assert_memory_equal(back->rates[1].points, fast, sizeof fast);
    assert_int_equal(back->memory_bytes, m.memory_bytes);
    assert_int_equal(back->shared_core, 1);
    machine_destroy(back);
    free(once);
    free(twice);
}

/* What devices have besides. */
static void round_trip_device(void **state)
{
    struct surface at_once = grid;
    struct rate merges = rates[1];
    struct machine m = {
        .name = "pair", .cores = 4, .devices = 2, .enqueue = 4e-6,
        .event_latency = 3e-6, .push_overhead = 2e-6, .attend_beside = 1.04,
        .bytes_beside = 1.25, .n_copies = 2, .copies = copies,
        .n_surfaces = 1, .surfaces = &at_once, .n_rates = 1, .rates = &merges
    };
    struct error e;

    (void)state;
    at_once.block = BLOCK_CORNER;
    at_once.heads = 32;
    at_once.store_fp32 = 1e-12;
    at_once.update = 4e-12;
    strcpy(merges.op, "merge");
    merges.heads = 16;
    char *text = written(&m);
    struct machine *back = parse(text, &e);
    if (back == NULL)
        fail_msg("%s", e.text);
    char *again = written(back);
    assert_string_equal(text, again);
    assert_int_equal(back->devices, 2);
    assert_true(back->enqueue == m.enqueue);
    assert_true(back->event_latency == m.event_latency);
    assert_true(back->push_overhead == m.push_overhead);
    assert_true(back->attend_beside == m.attend_beside);
    assert_true(back->bytes_beside == m.bytes_beside);
    assert_int_equal(back->n_copies, 2);
    assert_int_equal(back->copies[1].path, COPY_FROM_HOST);
    assert_memory_equal(back->copies[0].points, blocks, sizeof blocks);
    assert_int_equal(back->surfaces[0].block, BLOCK_CORNER);
    assert_int_equal(back->surfaces[0].heads, 32);
    assert_true(back->surfaces[0].store_fp32 == 1e-12);
    assert_true(back->surfaces[0].update == 4e-12);
    assert_int_equal(back->rates[0].heads, 16);
    machine_destroy(back);
    free(text);
    free(again);
}

static void units(void **state)
{
    struct error e;
    struct machine *m = parse("{name: a, cores: 1, memory: 80 GB, link: {"
                              "overhead: 200 ns, segments: [{latency: 1.5 us, "
                              "bandwidth: 400 Gbit/s}]}}", &e);

    (void)state;
    if (m == NULL)
        fail_msg("%s", e.text);
    assert_true(m->memory_bytes == 80000000000);
    assert_near(m->link.overhead, 200e-9, 1e-12);
    assert_near(m->link.segments[0].latency, 1.5e-6, 1e-12);
    assert_near(m->link.segments[0].bandwidth, 50e9, 1e-12);
    assert_string_equal(m->versions, "");
    machine_destroy(m);
}

#define SURFACE "name: a\ncores: 1\nsurfaces:\n- {op: attend, kernel: cpu, " \
                "head_dim: 64, "

#define RATE "name: a\ncores: 1\nrates:\n- {op: state, kernel: cpu, " \
             "head_dim: 64, "

/* Presets with a cluster, and one that calibrate would write. */
static void round_trip_cluster(void **state)
{
    static const char *const presets[] = { "unit-cluster", "dgx-h100",
                                           "gb200-nvl72", "l20-8", "a10-4" };
    static const char torus[] = "name: t\ncluster: {links: {network: "
        "{usable: 1e9, duplex: half}, pcie: {usable: 2e9}, memory: {usable: "
        "3e9}}, hosts: [{name: a, count: 6, sockets: 1, cores: 2, nics: [{on: "
        "socket0}], links: {pcie: {usable: 1e9}}}], fabric: {kind: torus, "
        "size: [3, 2]}}\nclasses: [{class: leaf, overhead: 1 us, segments: "
        "[{latency: 2 us, bandwidth: 1e9}, {from: 64, bandwidth: 2e9}]}]\n"
        "contention: [{class: leaf, pairs: 2, bandwidth: 1.5e9}, {class: "
        "leaf, both_ways: true, bandwidth: 1e9}]\ncollectives: [{op: merge, "
        "ranks: 4, hosts: 2, class: leaf, groups: 3, segments: [{latency: 5 "
        "us, bandwidth: 1e9}]}]\n";
    struct error e;

    (void)state;
    for (size_t i = 0; i <= sizeof presets / sizeof *presets; i++) {
        struct machine *m = i ? preset(presets[i - 1])
            : parse(torus, &e);
        assert_non_null(m);
        char *once = written(m);
        struct machine *back = parse(once, &e);
        if (back == NULL)
            fail_msg("%s: %s", m->name, e.text);
        char *twice = written(back);
        assert_string_equal(once, twice);
        assert_int_equal(back->graph->n_edges, m->graph->n_edges);
        for (int64_t k = 0; k < m->graph->n_edges; k++)
            assert_memory_equal(&back->graph->edges[k], &m->graph->edges[k],
                                sizeof(struct edge));
        assert_memory_equal(back->graph->start, m->graph->start,
                            sizeof m->graph->start);
        if (i == 0) {
            assert_true(link_seconds(&back->classes[CLASS_LEAF], 32)
                        == 2e-6 + 32e-9);
            assert_int_equal(back->classes[CLASS_NUMA].n, 0);
            assert_int_equal(back->n_contention, 2);
            assert_int_equal(back->contention[0].pairs, 2);
            assert_int_equal(back->contention[1].both, 1);
            const struct collective_table *t = back->collectives;
            assert_int_equal(t->kind, OF_MERGE);
            assert_int_equal(t->group.class, CLASS_LEAF);
            assert_true(t->group.cores && t->group.groups == 3);
        }
        machine_destroy(back);
        machine_destroy(m);
        free(once);
        free(twice);
    }
}

static const struct { const char *text, *error; } bad[] = {
    { "", "m.yaml:1:1" },
    { "name: a\n", "cores: missing" },
    { "name: a\ncores: 0\n", "m.yaml:2:8: cores" },
    { "name: a\ncores: 1\ncorse: 2\n", "m.yaml:3:1: corse: unknown key, "
      "did you mean \"cores\"" },
    { "name: a\ncores: two\n", "\"two\" is not a whole number" },
    { "name: a\ncores: 1\nop_overhead: -1\n", "m.yaml:3:14: op_overhead" },
    { "name: a\ncores: 1\nop_overhead: 3 kg\n", "m.yaml:3:14" },
    { "name: a\ncores: 1\nmemory: -3 GB\n", "m.yaml:3:9" },
    { "name: a\ncores: 1\nshared_core: 7\n", "m.yaml:3:14: shared_core" },
    { "name: a\ncores: 1\nlink: {segments: []}\n", "link.segments" },
    { "name: a\ncores: 1\nlink: {segments: [{latency: 1}]}\n",
      "link.segments.0.bandwidth: missing" },
    { "name: a\ncores: 1\nlink: {segments: [{bandwidth: 0}]}\n",
      "a bandwidth of 0" },
    { "name: a\ncores: 1\nlink: {segments: [{from: 8, bandwidth: 1}]}\n",
      "m.yaml:3:19: link.segments.0: segments go from 0" },
    { "name: a\ncores: 1\nlink: {segments: [{bandwidth: 1}, {from: 0, "
      "bandwidth: 1}]}\n", "link.segments.1" },
    { "name: a\ncores: 1\nclasses: [{segments: []}]\n",
      "classes.0.class: missing" },
    { "name: a\ncores: 1\nclasses: [{class: moon}]\n",
      "classes.0.class: \"moon\" is not one of" },
    { "name: a\ncores: 1\nclasses: [{class: numa}]\n",
      "classes.0.segments: missing" },
    { "name: a\ncores: 1\nclasses: [{class: numa, segments: [{bandwidth: "
      "1}]}, {class: numa, segments: []}]\n", "classes.1: numa is there "
      "twice" },
    { "name: a\ncores: 1\ncontention: [{class: numa, pairs: 2}]\n",
      "contention.0: a bandwidth of 0" },
    { "name: a\ncores: 1\ncontention: [{class: numa, pairs: 0}]\n",
      "contention.0.pairs" },
    { "name: a\ncores: 1\ncollectives: [{op: merge, ranks: 2, class: numa}]\n",
      "collectives.0.groups: missing" },
    { "name: a\ncores: 1\ncollectives: [{op: merge, ranks: 2, groups: 1}]\n",
      "collectives.0.class: missing" },
    { "name: a\ncores: 1\ncollectives: [{op: merge, ranks: 2, groups: 1, "
      "class: moon}]\n", "collectives.0.class: \"moon\" is not one of" },
    { "name: a\ncores: 1\ncollectives: [{op: merge, ranks: 2, groups: 0, "
      "class: numa}]\n", "collectives.0.groups" },
    { "name: a\ncores: 1\nsurfaces: [{}]\n", "surfaces.0.op: missing" },
    { SURFACE "points: []}\n", "surfaces.0.points" },
    { SURFACE "points: [[1, 1]]}\n", "surfaces.0.points.0: needs [rows" },
    { SURFACE "points: [[1, 1, 0]]}\n", "takes no time" },
    { SURFACE "points: [[1, 2, 1], [1, 1, 1]]}\n", "surfaces.0.points.1: "
      "out of place" },
    { SURFACE "points: [[1, 1, 1], [1, 2, 1], [2, 1, 1]]}\n", "not whole" },
    { SURFACE "points: [[1, 1, 1], [1, 2, 1], [2, 1, 1], [2, 3, 1]]}\n",
      "surfaces.0.points.3: out of place" },
    { SURFACE "block: causal, points: [[1, 2, 1]]}\n", "squares" },
    { SURFACE "points: [[1, 1, 1], [2, 2, 1], [3, 4, 1]]}\n",
      "surfaces.0.points.2: out of place: squares" },
    { SURFACE "block: round, points: [[1, 1, 1]]}\n",
      "surfaces.0.block: \"round\"" },
    { SURFACE "points: [[1, 1, nan]]}\n", "m.yaml:4" },
    { SURFACE "p10: 0.9, points: [[1, 1, 1]]}\n",
      "surfaces.0: p10 and p90 go together" },
    { SURFACE "p10: 2, p90: 1, points: [[1, 1, 1]]}\n", "p10 <= p90" },
    { SURFACE "p10: 0, p90: 1, points: [[1, 1, 1]]}\n",
      "surfaces.0.p10: \"0\"" },
    { RATE "points: []}\n", "m.yaml:4:50: rates.0.points: needs" },
    { RATE "points: [[1, 1, 1]]}\n", "needs [rows, flop/s]" },
    { RATE "points: [[1, 0]]}\n", "rates.0.points: \"0\"" },
    { RATE "points: [[2, 1], [1, 1]]}\n", "out of place" },
    { SURFACE "heads: 0, points: [[1, 1, 1]]}\n", "surfaces.0.heads" },
    { SURFACE "update: -1, points: [[1, 1, 1]]}\n", "surfaces.0.update" },
    { "name: a\ncores: 1\ndevices: -1\n", "m.yaml:3:10: devices" },
    { "name: a\ncores: 1\nenqueue: soon\n", "m.yaml:3:10: enqueue" },
    { "name: a\ncores: 1\ncopies: [{path: up, points: [[1, 1]]}]\n",
      "copies.0.path: \"up\" is not one of" },
    { "name: a\ncores: 1\ncopies: [{points: [[1, 1]]}]\n",
      "copies.0.path: missing" },
    { "name: a\ncores: 1\ncopies: [{path: peer}]\n",
      "copies.0.points: missing" },
    { "name: a\ncores: 1\ncopies: [{path: peer, points: [1]}]\n",
      "needs [bytes of a block, B/s]" },
    { "name: a\ncores: 1\ncopies: [{path: peer, points: [[8, 1], [8, 2]]"
      "}]\n", "copies.0.points: out of place" },
    { "name: a\ncores: 1\nrates: [{op: attend, kernel: cpu, head_dim: 8, "
      "points: [[1, 1]]}]\n", "rates.0.op: \"attend\" is not one of" },
    { "name: a\ncores: 1\nrates: [{op: state}]\n",
      "rates.0.kernel: missing" },
    { "name: a\ncores: 1\nrates: 3\n", "m.yaml:3:8: rates: needs a list" },
    { "name: a\ncores: 1\nname: b\n", "given twice" },
    { "name: " "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
      "aaaaaaaaaaaaaaaaa\ncores: 1\n", "longer than 63" },
    { "name: [\n", "m.yaml:2:1" },
};

static void bad_files(void **state)
{
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct machine *m = parse(bad[i].text, &e);
        if (m != NULL)
            fail_msg("accepted: %s", bad[i].text);
        if (strstr(e.text, bad[i].error) == NULL)
            fail_msg("%s, expected %s", e.text, bad[i].error);
        assert_int_equal(e.status, SPAR_USAGE);
    }
}

/* ---- This node ---------------------------------------------------------- */

static void this_node(void **state)
{
    struct error e = { 0 };
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    (void)state;
    assert_true(topo_cores() >= 1);
    assert_true(topo_memory_available() > 0);
    assert_true(topo_memory_available() <= topo_memory());
    assert_int_equal(topo_print(0, f, &e), 0);
    fflush(f);
    assert_non_null(strstr(text, "Core 0"));
    rewind(f);
    assert_int_equal(topo_print(1, f, &e), 0);
    fclose(f);
    assert_int_equal(text[0], '{');
    int depth = 0;
    for (const char *c = text; *c; c++) {
        depth += (*c == '{' || *c == '[') - (*c == '}' || *c == ']');
        assert_true(depth > 0 || strcmp(c, "}\n") == 0 || *c == '\n');
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interpolates), cmocka_unit_test(squares),
        cmocka_unit_test(monotone),
        cmocka_unit_test(chooses_surface), cmocka_unit_test(fits_segments),
        cmocka_unit_test(cross_validates), cmocka_unit_test(rates_interpolate),
        cmocka_unit_test(rates_of_head_sizes),
        cmocka_unit_test(copies_interpolate), cmocka_unit_test(chooses_heads),
        cmocka_unit_test(round_trip), cmocka_unit_test(round_trip_device),
        cmocka_unit_test(round_trip_cluster),
        cmocka_unit_test(units), cmocka_unit_test(bad_files),
        cmocka_unit_test(this_node),
    };

    /* What hwloc's PCI component loads (libpciaccess) leaks. */
    setenv("HWLOC_COMPONENTS", "-pci", 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
