/* SPDX-License-Identifier: Apache-2.0
 *
 * What-ifs: every point against a scenario with these values planned alone, the
 * longest sequence against the memory there is, the file as others read it. */
#include <config.h>

#include "cli/what_report.h"

#include "trace/h5.h"

#include <hdf5_hl.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/planned.h"
#include "cli/records.h"
#include "models/simulate.h"

static const char text[] =
    "job: {transformer: {heads: 8, kv_heads: 4, head_dim: 64}, sequence: 4096,"
    " mask: causal, pass: forward_backward}\n"
    "run: {ranks: 4}\n"
    "machine: {name: unit, memory: 1 GB}\n"
    "what_if:\n"
    "  machine: {link: {bandwidth: [10 MB/s, 1 GB/s, 100 GB/s]}}\n"
    "  job.sequence: [1024, 8192, 16777216]\n"
    "  run.ranks: [2, 7]\n"
    "  job.mask: [causal, full]\n";

struct rig {
    struct scenario *s;
    struct what_if w;
    struct what_question q;
    struct what_result r;
};

static void set_up(struct rig *x)
{
    struct error e = { 0 };

    *x = (struct rig){ .q = { .reserve = 10 } };
    x->s = question_parse("test.yaml", text, strlen(text), NULL, 0, &e);
    if (!x->s || what_if_read(&x->w, x->s, &e)
        || what_if_run(&x->r, &x->w, x->s, &x->q, &e))
        fail_msg("%s", e.text);
}

static void tear_down(struct rig *x)
{
    what_result_clear(&x->r);
    what_if_clear(&x->w);
    scenario_destroy(x->s);
}

static void test_axes(void **state)
{
    struct rig x;

    (void)state;
    set_up(&x);
    assert_int_equal(x.w.n_axes, 4);
    assert_int_equal(x.w.points, 36);
    assert_string_equal(x.w.axes[0].key, "machine.link.bandwidth");
    assert_string_equal(x.w.axes[0].unit, "B/s");
    assert_true(x.w.axes[0].values[2] == 100e9);
    assert_true(x.w.axes[1].values[1] == 8192);
    assert_null(x.w.axes[3].values);
    assert_int_equal(what_index(&x.w, 35, 0), 2);
    assert_int_equal(what_index(&x.w, 13, 3), 1);
    assert_int_equal(what_stride(&x.w, 0), 12);
    tear_down(&x);
}

/* The same by a scenario of its own. */
static void check_point(struct rig *x, int64_t point)
{
    const struct what_best *b = &x->r.best[point];
    char *sets[4];
    double least = INFINITY, own = NAN;

    for (int a = 0; a < 4; a++)
        sets[a] = xasprintf("%s=%s", x->w.axes[a].key,
                            x->w.axes[a].texts[what_index(&x->w, point, a)]);
    struct scenario *s = question_parse("t.yaml", text, strlen(text),
                                        (const char *const *)sets, 4, NULL);
    struct machine *m = scenario_machine(s, NULL, NULL);
    struct forms *f = forms_create(&s->job, s->ranks);
    struct candidates all = { 0 };
    forms_machine(f, m, "auto");
    candidates_find(&all, &s->job, s->ranks);
    candidates_estimate(&all, f);
    for (int64_t i = 0; i < all.n; i++) {
        const struct candidate *c = &all.list[i];
        char options[160];
        options_text(c->strategy, &c->options, options, sizeof options);
        if (!(c->estimate.memory <= 0.9e9))
            continue;
        least = fmin(least, c->estimate.seconds);
        if (b->strategy >= 0 && c->strategy == strategies[b->strategy]
            && !strcmp(options, b->options))
            own = c->estimate.seconds;
    }
    if (b->strategy < 0)
        assert_true(isinf(least));
    else
        assert_true(own == b->seconds && own <= 1.005 * least);
    candidates_clear(&all);
    forms_destroy(f);
    machine_destroy(m);
    scenario_destroy(s);
    for (int a = 0; a < 4; a++)
        free(sets[a]);
}

static void test_points(void **state)
{
    struct rig x;
    int none = 0, differ = 0;

    (void)state;
    set_up(&x);
    for (int64_t p = 0; p < x.w.points; p++) {
        check_point(&x, p);
        none += x.r.best[p].strategy < 0;
        differ += x.r.best[p].strategy != x.r.best[0].strategy;
    }
    assert_true(none > 0 && differ > none);     /* it has something to say */
    tear_down(&x);
}

/* Simulated points are the planner's own answers. */
static void test_simulated(void **state)
{
    struct rig x;
    struct what_result simulated;
    struct error e = { 0 };

    (void)state;
    set_up(&x);
    x.q.simulate = 8;
    if (what_if_run(&simulated, &x.w, x.s, &x.q, &e))
        fail_msg("%s", e.text);
    assert_true(simulated.simulated > 36);
    for (int64_t p = 0; p < x.w.points; p++) {
        const struct what_best *a = &x.r.best[p], *b = &simulated.best[p];
        if (a->strategy < 0 || b->strategy < 0)
            continue;
        double ratio = a->seconds / b->seconds;
        if (!(ratio > 0.6 && ratio < 1.7))
            fail_msg("point %d: %g s by forms, %g simulated", (int)p,
                     a->seconds, b->seconds);
    }
    what_result_clear(&simulated);
    tear_down(&x);
}

/* The most that fits does, a little more does not: bandwidth and length do not
 * count, ranks and mask do. */
static void test_longest(void **state)
{
    struct rig x;
    int64_t n;

    (void)state;
    set_up(&x);
    struct what_longest *list = what_if_longest(&x.w, x.s, &x.q, &n);
    assert_int_equal(n, 4);
    for (int64_t i = 0; i < n; i++) {
        const struct what_longest *l = &list[i];
        int64_t ranks = what_index(&x.w, l->point, 2) ? 7 : 2;
        /* At least q, k, v, o and their gradients, in fp32. */
        double most = 0.9e9 * (double)ranks / (2 * 4 * 64 * (8 + 4 + 4 + 8));
        assert_true(l->strategy && l->tokens % 1024 == 0);
        assert_true((double)l->tokens < most
                    && (double)l->tokens > 0.3 * most);
    }
    free(list);
    tear_down(&x);
}

static void check_scales(hid_t file, const char *name, int rank)
{
    hid_t d = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(d);

    assert_int_equal(H5Sget_simple_extent_ndims(space), rank);
    for (int i = 0; i < rank; i++)
        assert_int_equal(H5DSget_num_scales(d, (unsigned)i), 1);
    H5Sclose(space);
    H5Dclose(d);
}

static void test_file(void **state)
{
    char path[] = "/tmp/spar-what-if.XXXXXX";
    struct rig x;
    struct error e = { 0 };
    double values[36];

    (void)state;
    set_up(&x);
    close(mkstemp(path));
    struct what_report r = { x.s, &x.w, &x.r, NULL, 0, 0 };
    if (what_write(path, &r, "spar plan test", &e))
        fail_msg("%s", e.text);
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(file >= 0);
    check_scales(file, "/sweep/seconds", 4);
    check_scales(file, "/sweep/options", 4);
    check_scales(file, "/sweep/by_strategy", 5);
    assert_true(H5LTread_dataset_double(file, "/sweep/seconds", values) >= 0);
    for (int i = 0; i < 36; i++)
        assert_true(values[i] == x.r.best[i].seconds
                    || (isnan(values[i]) && x.r.best[i].strategy < 0));
    assert_true(H5LTread_dataset_double(
        file, "/sweep/machine.link.bandwidth", values) >= 0);
    assert_true(values[0] == 10e6 && values[2] == 100e9);
    H5Fclose(file);
    unlink(path);
    tear_down(&x);
}

/* ---- Kernel times of a run ----------------------------------------------- */

static const char run_text[] =
    "job: {transformer: {heads: 8, kv_heads: 4, head_dim: 64}, sequence: 4096,"
    " mask: causal, pass: forward_backward}\n"
    "run: {ranks: 4}\n"
    "strategies: [{name: ring, layout: zigzag}, {name: ulysses}]\n"
    "machine: {name: unit, memory: {bandwidth: 40 GB/s}}\n";

static struct machine *machine_with(const char *set)
{
    struct scenario *s = scenario_parse("r.yaml", run_text, strlen(run_text),
                                        &set, set ? 1 : 0, NULL);
    struct machine *m = scenario_machine(s, NULL, NULL);

    scenario_destroy(s);
    return m;
}

static void simulate_entry(const struct planned *n, const struct machine *m,
                           int64_t entry, struct simulate_result *r)
{
    struct simulate_options o = { .network = network_find("loggp"),
                                  .kernel = "auto", .entry = (int32_t)entry,
                                  .record = 1 };

    simulate((const struct schedule *const *)n->schedules, n->ranks, m, &o, r);
}

/* A trace as if `m` had been measured; seconds of its entries. */
static void write_run(const char *path, const struct machine *m, int simulated,
                      double seconds[2])
{
    struct scenario *s = scenario_parse("r.yaml", run_text, strlen(run_text),
                                        NULL, 0, NULL);
    const char *hosts[4] = { "a", "a", "a", "a" };
    struct trace_clock clocks[4] = { { 0, 0, 0 } };
    struct trace_entry entries[2];
    struct planned planned[2];
    struct records records;
    struct span *spans = NULL;
    struct error e = { 0 };
    int64_t n = 0;

    records_init(&records);
    for (int i = 0; i < 2; i++) {
        struct simulate_result r;
        planned_open(&planned[i], s, i, 4);
        planned_build(&planned[i]);
        simulate_entry(&planned[i], m, i, &r);
        seconds[i] = r.seconds;
        entries[i] = records_entry(&records, planned[i].asked->strategy->name,
                                   planned_layout(&planned[i]),
                                   (const struct schedule *const *)
                                   planned[i].schedules, 4);
        entries[i].repeats = 1;
        entries[i].repeat_ns = xcalloc(1, sizeof(int64_t));
        spans = xrealloc(spans, (size_t)(n + r.n_spans) * sizeof *spans);
        memcpy(spans + n, r.spans, (size_t)r.n_spans * sizeof *spans);
        n += r.n_spans;
        simulate_result_clear(&r);
    }
    struct trace t = { .simulated = simulated, .scenario_json = s->json,
                       .command = "", .machine = "", .versions = "",
                       .ranks = 4, .hosts = hosts, .clocks = clocks,
                       .n_entries = 2, .entries = entries, .n_spans = n,
                       .spans = spans };
    records_describe(&records, &t);
    if (trace_write(path, &t, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < 2; i++) {
        records_entry_clear(&entries[i]);
        planned_close(&planned[i]);
    }
    records_clear(&records);
    free(spans);
    scenario_destroy(s);
}

/* What ran on a machine of half the speed is predicted as it ran. */
static void test_anchor(void **state)
{
    char path[] = "/tmp/spar-anchor.XXXXXX";
    struct machine *slow = machine_with("machine.compute=0.5");
    struct machine *m = machine_with(NULL);
    struct anchor a;
    struct error e = { 0 };
    double ran[2], again[2];

    (void)state;
    close(mkstemp(path));
    write_run(path, slow, 1, ran);
    assert_int_equal(anchor_measure(&a, path, m, "auto", &e), -1);
    assert_non_null(strstr(e.text, "simulated"));
    slow->memory_bandwidth /= 4;
    write_run(path, slow, 0, ran);
    if (anchor_measure(&a, path, m, "auto", &e))
        fail_msg("%s", e.text);
    assert_true(fabs(a.kinds[OP_ATTEND].measured
                     / a.kinds[OP_ATTEND].told - 2) < 1e-3);
    assert_true(fabs(a.measured / a.told - 4) < 1e-3);
    anchor_apply(&a, m);
    write_run(path, m, 0, again);
    for (int i = 0; i < 2; i++)
        assert_true(fabs(again[i] / ran[i] - 1) < 1e-3);
    unlink(path);
    machine_destroy(slow);
    machine_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_axes),
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_simulated),
        cmocka_unit_test(test_longest),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_anchor),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
