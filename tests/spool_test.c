/* SPDX-License-Identifier: Apache-2.0
 *
 * Spools: what is on disk while a run is under way. */
#include <config.h>

#include "trace/trace.h"
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- Spools -------------------------------------------------------------- */

static struct span test_span(int32_t rank, int32_t i)
{
    return (struct span){ .start = 100 * i, .end = 100 * i + 60,
                          .ready = 100 * i - 10, .entry = i / 100,
                          .repeat = 1, .rank = rank, .op = i, .lane = i % 3 };
}

static void append(struct spool *s, int32_t rank, int32_t first, int32_t count)
{
    for (int32_t i = first; i < first + count; i++) {
        struct span x = test_span(rank, i);
        spool_append(s, &x, 1);
    }
}

static void check_spans(const struct span *x, int64_t n, int32_t rank)
{
    for (int32_t i = 0; i < n; i++) {
        struct span y = test_span(rank, i);
        assert_memory_equal(&x[i], &y, sizeof y);
    }
}

static void spool_round_trip(void **state)
{
    struct error e = { 0 };
    struct span *spans;
    const char *part = in_folder("a.part");

    (void)state;
    assert_int_equal(spool_make_folder(part, &e), 0);
    for (int32_t r = 1; r >= 0; r--) {
        struct spool *s = spool_open(part, r, 2, "node07", &e);
        assert_non_null(s);
        append(s, r, 0, 64 + 36 * r);
        assert_int_equal(spool_close(s, &e), 0);
    }
    assert_int_equal(spool_read(part, &spans, &e), 164);
    check_spans(spans, 64, 0);
    check_spans(spans + 64, 100, 1);
    free(spans);

    struct spool_state *states;
    assert_int_equal(spool_states(part, &states, &e), 2);
    assert_int_equal(states[1].rank, 1);
    assert_int_equal(states[1].ranks, 2);
    assert_int_equal(states[1].spans, 100);
    assert_int_equal(states[1].finished, 1);
    assert_int_equal(states[1].running, 0);
    assert_string_equal(states[1].host, "node07");
    free(states);
    spool_remove_folder(part);
    assert_int_equal(count_files(), 0);
}

/* Whatever the count, live or closed, nothing is lost or told twice. */
static void spool_counts(void **state)
{
    const int32_t counts[] = { 0, 1, 63, 64, 65, 127, 128, 129, 300 };
    const char *part = in_folder("a.part");
    struct error e = { 0 };

    (void)state;
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++) {
        struct span *spans = NULL;
        assert_int_equal(spool_make_folder(part, &e), 0);
        struct spool *s = spool_open(part, 0, 1, "h", &e);
        append(s, 0, 0, counts[k]);
        assert_int_equal(spool_read(part, &spans, &e), counts[k]);
        check_spans(spans, counts[k], 0);
        free(spans);
        assert_int_equal(spool_close(s, &e), 0);
        assert_int_equal(spool_read(part, &spans, &e), counts[k]);
        check_spans(spans, counts[k], 0);
        free(spans);
    }
}

static void spool_cut(void **state)
{
    struct error e = { 0 };
    struct span *spans;
    const char *part = in_folder("a.part");
    const char *file = in_folder("a.part/rank-0.spans");
    struct stat st;

    (void)state;
    assert_int_equal(spool_make_folder(part, &e), 0);
    struct spool *s = spool_open(part, 0, 1, "h", &e);
    append(s, 0, 0, 70);
    assert_int_equal(spool_close(s, &e), 0);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(truncate(file, st.st_size - 5), 0);
    /* The state file still holds the last records ... */
    assert_int_equal(spool_read(part, &spans, &e), 70);
    check_spans(spans, 70, 0);
    free(spans);
    /* ... and without it the cut record alone is lost. */
    assert_int_equal(unlink(in_folder("a.part/rank-0.state")), 0);
    assert_int_equal(spool_read(part, &spans, &e), 69);
    check_spans(spans, 69, 0);
    free(spans);

    assert_int_equal(truncate(file, 10), 0);
    assert_int_equal(spool_read(part, &spans, &e), 0);
    free(spans);
    make_bytes(file, "something else that is long enough for a header", 47);
    assert_int_equal(spool_read(part, &spans, &e), -1);
    assert_text(e.text, file);
    assert_text(e.text, "not a spool file");
}

/* Runs in the child: leaves 100 records and an op under way, then waits. */
static void be_killed(const char *part, int ready)
{
    struct error e = { 0 };
    struct spool *s = spool_open(part, 1, 2, "node09", &e);

    append(s, 1, 0, 100);
    spool_under_way(s, 0, 1, 41, "forward.step1.kv.recv");
    spool_under_way(s, 0, 1, 42, "backward.step2.kv.send");
    if (write(ready, "!", 1) == 1)
        pause();
    _exit(0);
}

static void spool_killed(void **state)
{
    struct error e = { 0 };
    const char *part = in_folder("a.part");
    int ready[2];
    char byte;

    (void)state;
    assert_int_equal(spool_make_folder(part, &e), 0);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        be_killed(part, ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);

    struct spool_state *states;
    assert_int_equal(spool_states(part, &states, &e), 1);
    assert_int_equal(states[0].running, 1);
    free(states);
    assert_int_equal(spool_make_folder(part, &e), -1);
    assert_text(e.text, "in use by rank 1 of a run that goes on");

    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_int_equal(spool_states(part, &states, &e), 1);
    assert_int_equal(states[0].running, 0);
    assert_int_equal(states[0].finished, 0);
    assert_int_equal(states[0].rank, 1);
    assert_int_equal(states[0].ranks, 2);
    assert_int_equal(states[0].op, 42);
    assert_int_equal(states[0].repeat, 1);
    assert_int_equal(states[0].spans, 100);
    assert_string_equal(states[0].name, "backward.step2.kv.send");
    assert_string_equal(states[0].host, "node09");
    free(states);

    struct span *spans;
    assert_int_equal(spool_read(part, &spans, &e), 100);
    check_spans(spans, 100, 1);
    free(spans);

    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(trace_summary(part, 0, out, &e), 0);
    fclose(out);
    assert_text(text, "what 1 of 2 ranks spooled: 0 finished, 0 running, 1 "
                      "killed");
    assert_text(text, "rank 1 on node09 was killed in op 42, "
                      "backward.step2.kv.send (entry 0, repeat 1)");
    free(text);
    out = open_memstream(&text, &size);
    assert_int_equal(trace_summary(part, 1, out, &e), 0);
    fclose(out);
    assert_text(text, "\"state\": \"killed\"");
    assert_text(text, "\"name\": \"backward.step2.kv.send\"");
    free(text);
    /* The folder of a killed run makes room for the next. */
    assert_int_equal(spool_make_folder(part, &e), 0);
    assert_int_equal(spool_read(part, &spans, &e), -1);
    assert_text(e.text, "not the spool of a run");
}

static void spool_folder(void **state)
{
    struct error e = { 0 };
    struct spool_state *states;
    const char *part = in_folder("a.part");

    (void)state;
    assert_int_equal(spool_states(part, &states, &e), -1);
    assert_text(e.text, "No such file");
    assert_null(spool_open(part, 0, 1, "h", &e));
    assert_text(e.text, "a.part/rank-0.spans: No such file");
    assert_int_equal(spool_make_folder(in_folder("no/a.part"), &e), -1);
    assert_text(e.text, "no/a.part");

    /* What is not ours stays. */
    assert_int_equal(spool_make_folder(part, &e), 0);
    make_bytes(in_folder("a.part/rank-1.spans.bak"), "x", 1);
    assert_int_equal(spool_make_folder(part, &e), -1);
    assert_text(e.text, "holds rank-1.spans.bak");
    spool_remove_folder(part);
    assert_int_equal(access(in_folder("a.part/rank-1.spans.bak"), F_OK), 0);
    make_bytes(in_folder("file"), "x", 1);
    assert_int_equal(spool_make_folder(in_folder("file"), &e), -1);
    assert_text(e.text, "Not a directory");
}

static void spool_full_disk(void **state)
{
    struct error e = { 0 };
    struct span *spans;
    const char *part = in_folder("a.part");

    (void)state;
    assert_int_equal(spool_make_folder(part, &e), 0);
    struct spool *s = spool_open(part, 0, 1, "h", &e);
    limit_files(1000);          /* the header and 20 records */
    append(s, 0, 0, 500);
    int rc = spool_close(s, &e);
    limit_files(0);
    assert_int_equal(rc, -1);
    assert_text(e.text, "rank-0.spans: cannot write: File too large");
    assert_int_equal(spool_read(part, &spans, &e), 64);
    check_spans(spans, 64, 0);
    free(spans);

    assert_int_equal(spool_make_folder(part, &e), 0);
    limit_files(100);
    s = spool_open(part, 0, 1, "h", &e);
    limit_files(0);
    assert_null(s);
    assert_text(e.text, "rank-0.state: File too large");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(spool_round_trip), TEST(spool_counts), TEST(spool_cut),
        TEST(spool_killed), TEST(spool_folder), TEST(spool_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
