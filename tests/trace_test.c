/* SPDX-License-Identifier: Apache-2.0
 *
 * Traces: written, read, damaged, compared, summed up. */
#include <config.h>

#include "trace/trace.h"
#include "folder.h"

#include <hdf5.h>
#include <sys/stat.h>

/* ---- A trace ------------------------------------------------------------- */

/* Two entries of two ranks.  Entry 0, rank 0: op 0 attends, op 1 sends, op 2
 * attends, op 3 has no span; rank 1: op 0 attends.  Entry 1 was not traced. */
static const char *names[] = { "forward.own", "forward.kv.send",
                               "forward.step1", "never", "µ" };
static const char *kinds[] = { "attend", "send" };
static const char *lanes[] = { "compute", "copy", "kv.send" };
static const char *hosts[] = { "node0", "node1" };
static const char *slots[] = { "CPUs 0-3", "0000:18:00.0 GPU-1" };
static const char *places[] = { "spine.leaf1.node0", "" };
static const struct trace_job job = {
    .id = "12", .nodes = "node[0-1]", .tasks = "1(x2)",
    .topology = "SwitchName=leaf1 Nodes=node[0-1]\n", .places = places
};
static const struct trace_clock clocks[] = { { 0, 0, 0 }, { 12.5, -3, 40 } };
static struct op_record rank0[] = { { 0, 0, 0, -1, 0, 1e9 },
                                    { 1, 1, 0, 1, 4096, 0 },
                                    { 2, 0, 1, -1, 0, 2e9 },
                                    { 3, 0, 2, -1, 7, 0.5 } };
static struct op_record rank1[] = { { 4, 0, 0, -1, 0, 3e9 } };
static struct op_record *entry_ops[] = { rank0, rank1 };
static int64_t n_ops[] = { 4, 1 };
static int64_t peak[] = { 1000, 2000 };

/* t_start, end, ready in us. */
#define SPAN(s, e, r, rep, rank, o, l)                                        \
    { (s) * 1000, (e) * 1000, (r) * 1000, 0, rep, rank, o, l, 0 }
static const struct span measured_spans[] = {
    SPAN(10, 110, 0, 0, 0, 0, 0), SPAN(20, 50, 20, 0, 0, 1, 2),
    SPAN(150, 250, 140, 0, 0, 2, 0), SPAN(0, 300, 0, 0, 1, 0, 0),
    SPAN(10, 110, 0, 1, 0, 0, 0), SPAN(20, 60, 20, 1, 0, 1, 2),
    SPAN(150, 250, 140, 1, 0, 2, 0), SPAN(0, 100, 0, 1, 1, 0, 0),
    SPAN(150, 350, 100, 1, 1, 0, 0),
};
static const struct span predicted_spans[] = {
    SPAN(0, 100, 0, 0, 0, 0, 0), SPAN(0, 70, 0, 0, 0, 1, 2),
    SPAN(110, 260, 110, 0, 0, 2, 0), SPAN(0, 290, 0, 0, 1, 0, 0),
};
static int64_t measured_ns[] = { 320000, 300000, 310000 };
static int64_t predicted_ns[] = { 290000 };

static struct trace_entry entries[2];

static struct trace make_trace(int simulated)
{
    struct trace_entry x = {
        .strategy = "ring", .layout = "zigzag", .schedule_hash = 0xabcdef12345u,
        .ranks = 2, .repeats = simulated ? 1 : 3,
        .repeat_ns = simulated ? predicted_ns : measured_ns,
        .spans_ns = 350000, .n_ops = n_ops, .ops = entry_ops,
        .peak_bytes = peak,
    };

    entries[0] = entries[1] = x;
    strcpy(entries[1].strategy, "ulysses");
    return (struct trace){
        .simulated = simulated, .scenario_json = "{\"a\": \"µ\"}",
        .command = "spar run x.yaml", .machine = "", .versions = "MPICH 4.0.2",
        .n_names = 5, .n_kinds = 2, .n_lanes = 3, .names = names,
        .kinds = kinds, .lanes = lanes, .ranks = 2, .hosts = hosts,
        .slots = simulated ? NULL : slots, .job = simulated ? NULL : &job,
        .clocks = clocks, .n_entries = 2, .entries = entries,
        .n_spans = simulated ? 4 : 9,
        .spans = simulated ? predicted_spans : measured_spans,
    };
}

static void equal_entries(const struct trace_entry *a,
                          const struct trace_entry *b)
{
    assert_string_equal(a->strategy, b->strategy);
    assert_string_equal(a->layout, b->layout);
    assert_int_equal(a->schedule_hash, b->schedule_hash);
    assert_int_equal(a->ranks, b->ranks);
    assert_int_equal(a->repeats, b->repeats);
    assert_int_equal(a->spans_ns, b->spans_ns);
    assert_memory_equal(a->repeat_ns, b->repeat_ns, 8 * (size_t)b->repeats);
    assert_memory_equal(a->peak_bytes, b->peak_bytes, 8 * (size_t)b->ranks);
    assert_memory_equal(a->n_ops, b->n_ops, 8 * (size_t)b->ranks);
    for (int32_t r = 0; r < b->ranks; r++)
        assert_memory_equal(a->ops[r], b->ops[r], (size_t)b->n_ops[r] *
                                                      sizeof **b->ops);
}

static void trace_round_trip(void **state)
{
    struct error e = { 0 };
    struct trace t = make_trace(0);

    (void)state;
    assert_int_equal(trace_write(in_folder("a.h5"), &t, &e), 0);
    assert_int_equal(count_files(), 1);
    struct trace *u = trace_read(in_folder("a.h5"), &e);
    if (!u)
        fail_msg("%s", e.text);
    assert_int_equal(u->simulated, 0);
    assert_string_equal(u->scenario_json, t.scenario_json);
    assert_string_equal(u->command, t.command);
    assert_string_equal(u->machine, "");
    assert_string_equal(u->versions, t.versions);
    assert_int_equal(u->n_names, 5);
    assert_string_equal(u->names[4], "µ");
    assert_int_equal(u->n_kinds, 2);
    assert_string_equal(u->kinds[1], "send");
    assert_int_equal(u->n_lanes, 3);
    assert_string_equal(u->lanes[2], "kv.send");
    assert_int_equal(u->ranks, 2);
    assert_string_equal(u->hosts[1], "node1");
    assert_string_equal(u->slots[1], slots[1]);
    assert_string_equal(u->job->nodes, job.nodes);
    assert_string_equal(u->job->topology, job.topology);
    assert_string_equal(u->job->places[1], places[1]);
    assert_memory_equal(u->clocks, clocks, sizeof clocks);
    assert_int_equal(u->n_spans, 9);
    assert_memory_equal(u->spans, measured_spans, sizeof measured_spans);
    assert_int_equal(u->n_entries, 2);
    for (int i = 0; i < 2; i++)
        equal_entries(&u->entries[i], &t.entries[i]);
    trace_destroy(u);
}

/* Long texts, many ranks, no spans, no lanes. */
static void trace_extremes(void **state)
{
    enum { RANKS = 10000, LONG = 200000 };
    struct error e = { 0 };
    char *text = malloc(LONG + 1);
    const char **many = malloc(RANKS * sizeof *many);
    struct trace_clock *zero = calloc(RANKS, sizeof *zero);
    struct trace t = make_trace(1);

    (void)state;
    memset(text, 'x', LONG);
    text[LONG] = '\0';
    for (int i = 0; i < RANKS; i++)
        many[i] = "node";
    t.scenario_json = t.machine = text;
    t.ranks = RANKS;
    t.hosts = many;
    t.clocks = zero;
    t.n_spans = t.n_lanes = 0;
    assert_int_equal(trace_write(in_folder("a.h5"), &t, &e), 0);
    struct trace *u = trace_read(in_folder("a.h5"), &e);
    if (!u)
        fail_msg("%s", e.text);
    assert_string_equal(u->scenario_json, text);
    assert_int_equal(u->ranks, RANKS);
    assert_string_equal(u->hosts[RANKS - 1], "node");
    assert_int_equal(u->n_spans, 0);
    assert_int_equal(u->n_lanes, 0);
    equal_entries(&u->entries[1], &t.entries[1]);
    trace_destroy(u);
    free(text);
    free(many);
    free(zero);
}

static void trace_bad_spans(void **state)
{
    const struct span bad[] = {
        SPAN(0, 1, 0, 0, 2, 0, 0), SPAN(0, 1, 0, 0, 1, 1, 0),
        SPAN(0, 1, 0, 0, -1, 0, 0), SPAN(2, 1, 0, 0, 0, 0, 0),
    };
    struct error e = { 0 };
    struct trace t = make_trace(0);

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        t.spans = &bad[i];
        t.n_spans = 1;
        assert_int_equal(trace_write(in_folder("a.h5"), &t, &e), -1);
        assert_text(e.text, "a.h5: not written: span 0");
        assert_int_equal(count_files(), 0);
    }
}

/* A failed write leaves the older file, and nothing else. */
static void trace_full_disk(void **state)
{
    struct error e = { 0 };
    struct trace t = make_trace(0);
    const char *path = in_folder("a.h5");

    (void)state;
    for (int older = 0; older < 2; older++) {
        if (older)
            make_bytes(path, "older", 5);
        for (rlim_t limit = 1; limit < 20000; limit *= 100) {
            limit_files(limit);
            int rc = trace_write(path, &t, &e);
            limit_files(0);
            assert_int_equal(rc, -1);
            assert_text(e.text, path);
            assert_text(e.text, "File too large");
            assert_int_equal(count_files(), older);
        }
    }
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 5);
}

static void trace_bad_path(void **state)
{
    struct error e = { 0 };
    struct trace t = make_trace(0);

    (void)state;
    assert_int_equal(trace_write(in_folder("no/a.h5"), &t, &e), -1);
    assert_text(e.text, "no/a.h5");
    assert_text(e.text, "No such file");
    assert_int_equal(trace_write(folder, &t, &e), -1);
    assert_text(e.text, "not a regular file");
    assert_int_equal(trace_write("/dev/null", &t, &e), -1);
    assert_text(e.text, "/dev/null: not a regular file");
    assert_int_equal(count_files(), 0);
}

static void refuse(const char *path, const char *part)
{
    struct error e = { 0 };

    assert_null(trace_read(path, &e));
    assert_int_equal(e.status, SPAR_FAILED);
    assert_text(e.text, path);
    assert_text(e.text, part);
}

static void trace_bad_file(void **state)
{
    struct error e = { 0 };
    struct trace t = make_trace(0);
    const char *path = in_folder("a.h5");
    struct stat st;

    (void)state;
    refuse(path, "No such file");
    refuse(folder, "Is a directory");
    make_bytes(path, "", 0);
    refuse(path, "empty");
    make_bytes(path, "job: {}\n", 8);
    refuse(path, "not an HDF5 file");

    assert_int_equal(trace_write(path, &t, &e), 0);
    assert_int_equal(stat(path, &st), 0);
    for (off_t size = st.st_size - 1; size > 100; size = size * 3 / 4) {
        assert_int_equal(truncate(path, size), 0);
        refuse(path, "cut short or damaged");
    }
}

/* Change one number attribute of `object`. */
static void set_number(const char *path, const char *object, const char *name,
                       int value)
{
    hid_t f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t o = H5Oopen(f, object, H5P_DEFAULT);
    hid_t a = H5Aopen(o, name, H5P_DEFAULT);

    assert_true(H5Awrite(a, H5T_NATIVE_INT, &value) >= 0);
    H5Aclose(a);
    H5Oclose(o);
    H5Fclose(f);
}

static void set_column(const char *path, const char *name, int value)
{
    hid_t f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    hid_t d = H5Dopen2(f, name, H5P_DEFAULT);
    int x[16];

    for (int i = 0; i < 16; i++)
        x[i] = value;
    assert_true(H5Dwrite(d, H5T_NATIVE_INT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                         x) >= 0);
    H5Dclose(d);
    H5Fclose(f);
}

static void remove_name(const char *path, const char *name, int attribute)
{
    hid_t f = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);

    assert_true((attribute ? H5Adelete(f, name)
                           : H5Ldelete(f, name, H5P_DEFAULT)) >= 0);
    H5Fclose(f);
}

static const char *fresh(void)
{
    struct error e = { 0 };
    struct trace t = make_trace(0);
    const char *path = in_folder("a.h5");

    assert_int_equal(trace_write(path, &t, &e), 0);
    return path;
}

static void trace_damaged(void **state)
{
    const char *path = fresh();

    (void)state;
    set_number(path, "/", "complete", 0);
    refuse(path, "not complete");
    remove_name(fresh(), "complete", 1);
    refuse(path, "not complete");
    set_number(fresh(), "/", "schema_version", 99);
    refuse(path, "schema version 99");
    remove_name(fresh(), "schema_version", 1);
    refuse(path, "not a trace of spar");
    remove_name(fresh(), "events", 0);
    refuse(path, "not a trace of spar");
    remove_name(fresh(), "events/t_start", 0);
    refuse(path, "no dataset events/t_start");
    remove_name(fresh(), "entries/1/repeat_ns", 0);
    refuse(path, "no dataset entries/1/repeat_ns");
    remove_name(fresh(), "entries/0/ops", 0);
    refuse(path, "damaged trace");
    set_number(fresh(), "entries/0", "ranks", 3);
    refuse(path, "damaged trace");
    set_column(fresh(), "entries/0/n_ops", 1 << 30);
    refuse(path, "damaged trace");
    set_column(fresh(), "entries/0/n_ops", -1);
    refuse(path, "damaged trace");

    const char *columns[] = { "rank", "op", "entry", "name", "kind" };
    for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++) {
        char name[32];
        snprintf(name, sizeof name, "events/%s", columns[i]);
        set_column(fresh(), name, 77);
        refuse(path, "damaged trace");
    }
    set_column(fresh(), "events/dur", -5);
    refuse(path, "damaged trace");
}

/* ---- Reports ------------------------------------------------------------- */

static char *compare_text(const struct trace *m, const struct trace *s,
                          int json)
{
    struct error e = { 0 };
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    assert_int_equal(trace_compare(m, s, json, out, &e), 0);
    fclose(out);
    return text;
}

/* Medians, by hand: rank 0 op 0: 100, 100 -> 100 us; op 1: 30, 40 -> 35; op 2:
 * 100; rank 1 op 0: 300 and 100 + 200 -> 300.  Predicted 100, 70, 150, 290. */
static void compare_numbers(void **state)
{
    struct trace m = make_trace(0), s = m;
    struct trace_entry predicted[2];
    struct trace p = make_trace(1);

    (void)state;
    memcpy(predicted, entries, sizeof predicted);
    p.entries = predicted;
    s = p;
    m = make_trace(0);
    char *text = compare_text(&m, &s, 0);
    assert_text(text, "entry 0: ring, zigzag, 2 ranks, schedule "
                      "00000abcdef12345\n");
    assert_text(text, "measured 310 us, predicted 290 us, ratio 0.94");
    assert_text(text, "traced repeat 350 us, +12.9 % of the median of 3");
    assert_text(text, "attend                  3       500 us       540 us"
                      "    1.08");
    assert_text(text, "send                    1        35 us        70 us"
                      "    2.00");
    /* busy, wait, delay, tail; rank 0 measured: gap 0-10 is delay, 110-150 is
     * wait until 140; repeats end at 300 and 350. */
    assert_text(text, "    0      200 us      250 us       30 us       10 us"
                      "       20 us         0 s       75 us       30 us  node0");
    assert_text(text, "    1      300 us      290 us         0 s         0 s"
                      "       25 us         0 s         0 s         0 s  node1");
    assert_text(text, "    0       2       100 us       150 us        50 us"
                      "  forward.step1\n"
                      "      0       1        35 us        70 us        35 us"
                      "  forward.kv.send\n"
                      "      1       0       300 us       290 us       -10 us"
                      "  µ\n"
                      "      0       0       100 us       100 us          0 s"
                      "  forward.own\n");
    assert_text(text, "entry 1: ulysses");
    assert_text(text, "no op has a span in both traces");
    free(text);

    text = compare_text(&m, &s, 1);
    assert_text(text, "\"measured_s\": 0.00031,");
    assert_text(text, "\"predicted_s\": 0.00029,");
    assert_text(text, "\"ratio\": 0.93548387");
    assert_text(text, "\"kind\": \"send\",\n        \"ops\": 1,\n"
                      "        \"measured_s\": 3.5e-05,\n");
    assert_text(text, "\"wait_s\": 3e-05");
    assert_text(text, "\"difference_s\": 5e-05");
    assert_text(text, "\"schedule_hash\": \"00000abcdef12345\"");
    free(text);
}

static void compare_refuses(void **state)
{
    struct trace m = make_trace(0), s = m;
    struct trace_entry other[2];
    struct error e = { 0 };

    (void)state;
    memcpy(other, entries, sizeof other);
    s.simulated = 1;
    s.entries = other;
    other[1].schedule_hash = 0x77;
    assert_int_equal(trace_compare(&m, &s, 0, stdout, &e), -1);
    assert_int_equal(e.status, SPAR_FAILED);
    assert_text(e.text, "entry 1 (ulysses): not the same schedule: hash "
                        "00000abcdef12345 measured, 0000000000000077");
    other[1].ranks = 1;
    assert_int_equal(trace_compare(&m, &s, 0, stdout, &e), -1);
    assert_text(e.text, "2 ranks measured, 1 simulated");
    strcpy(other[0].strategy, "tree");
    assert_int_equal(trace_compare(&m, &s, 0, stdout, &e), -1);
    assert_text(e.text, "entry 0 is ring in the measured trace and tree");
    s.n_entries = 1;
    assert_int_equal(trace_compare(&m, &s, 0, stdout, &e), -1);
    assert_text(e.text, "2 entries measured, 1 simulated");
    assert_int_equal(trace_compare(&s, &m, 0, stdout, &e), -1);
    assert_int_equal(e.status, SPAR_USAGE);
    assert_text(e.text, "name the measured one first");
}

static void summary_numbers(void **state)
{
    struct error e = { 0 };
    char *text = NULL;
    size_t size;
    const char *path = fresh();

    (void)state;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(trace_summary(path, 0, out, &e), 0);
    fclose(out);
    assert_text(text, "a.h5: measured, 2 ranks, 9 spans\n"
                      "  job 12: nodes node[0-1], tasks 1(x2)\n"
                      "  rank 0 on CPUs 0-3 of node0, spine.leaf1.node0\n"
                      "  rank 1 on 0000:18:00.0 GPU-1 of node1\n");
    assert_text(text, "median 310 us of 3, traced 350 us");
    assert_text(text, "      0       4        6      200 us         30 us"
                      "       20 us       75 us  node0            "
                      "forward.step1\n");
    free(text);
    out = open_memstream(&text, &size);
    assert_int_equal(trace_summary(path, 1, out, &e), 0);
    fclose(out);
    assert_text(text, "\"last_op\": \"forward.step1\"");
    assert_text(text, "\"busy_s\": 0.0002,");
    assert_text(text, "\"slot\": \"0000:18:00.0 GPU-1\"");
    assert_text(text, "\"nodes\": \"node[0-1]\"");
    assert_text(text, "\"place\": \"spine.leaf1.node0\"");
    free(text);
    assert_int_equal(trace_summary(in_folder("none.h5"), 0, stdout, &e), -1);
    assert_text(e.text, "none.h5: No such file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(trace_round_trip), TEST(trace_extremes), TEST(trace_bad_spans),
        TEST(trace_full_disk), TEST(trace_bad_path), TEST(trace_bad_file),
        TEST(trace_damaged), TEST(compare_numbers), TEST(compare_refuses),
        TEST(summary_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
