/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON writer, and what `run` and `sim` say with it. */
#include <config.h>

#include "base/json.h"
#include "cli/records.h"
#include "cli/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What `write` prints; the caller frees it. */
static char *printed(void (*write)(FILE *out))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    write(out);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void assert_prints(void (*write)(FILE *out), const char *expected)
{
    char *text = printed(write);

    assert_string_equal(text, expected);
    free(text);
}

/* ---- JSON ---------------------------------------------------------------- */

static void write_values(FILE *out)
{
    static const int64_t numbers[] = { 1, -2, INT64_MAX };
    struct json j;

    json_begin(&j, out);
    json_object(&j, NULL);
    json_text(&j, "text", "a \"b\" \\ \n");
    json_text(&j, "none", NULL);
    json_real(&j, "real", 0.1);
    json_real(&j, "nan", NAN);
    json_real(&j, "inf", INFINITY);
    json_bool(&j, "yes", 1);
    json_ints(&j, "numbers", numbers, 3);
    json_ints(&j, "empty", numbers, 0);
    json_ints(&j, "absent", NULL, 3);
    json_end(&j);
}

static void test_values(void **state)
{
    (void)state;
    assert_prints(write_values,
                  "{\n"
                  "  \"text\": \"a \\\"b\\\" \\\\ \\u000a\",\n"
                  "  \"none\": null,\n"
                  "  \"real\": 0.1,\n"
                  "  \"nan\": null,\n"
                  "  \"inf\": null,\n"
                  "  \"yes\": true,\n"
                  "  \"numbers\": [1, -2, 9223372036854775807],\n"
                  "  \"empty\": [],\n"
                  "  \"absent\": null\n"
                  "}\n");
}

static void write_nested(FILE *out)
{
    struct json j;

    json_begin(&j, out);
    json_array(&j, NULL);
    json_object(&j, NULL);
    json_array(&j, "a");
    json_int(&j, NULL, 1);
    json_int(&j, NULL, 2);
    json_end(&j);
    json_object(&j, "b");
    json_end(&j);
    json_end(&j);
    json_object(&j, NULL);
    json_end(&j);
    json_end(&j);
}

static void test_nested(void **state)
{
    (void)state;
    assert_prints(write_nested, "[\n"
                                "  {\n"
                                "    \"a\": [1, 2],\n"
                                "    \"b\": {}\n"
                                "  },\n"
                                "  {}\n"
                                "]\n");
}

static void write_exact(FILE *out)
{
    struct json j;

    json_begin(&j, out);
    json_real(&j, NULL, 1.0 / 3);
}

/* A real is read back as it was. */
static void test_exact(void **state)
{
    (void)state;
    char *text = printed(write_exact);
    assert_true(strtod(text, NULL) == 1.0 / 3);
    free(text);
}

/* ---- Results ------------------------------------------------------------- */

static const int64_t bytes[] = { 7, 8 }, pairs[] = { 30, 34 };

/* One measured, one simulated, one that does not apply. */
static void fill_rows(struct result_row rows[3])
{
    for (int i = 0; i < 3; i++)
        rows[i] = result_unknown();
    rows[0].strategy = rows[1].strategy = "ring";
    rows[0].layout = rows[1].layout = "zigzag";
    rows[0].ranks = rows[1].ranks = 2;
    rows[0].pass = rows[1].pass = PASS_FORWARD;
    rows[0].dtype = rows[1].dtype = DTYPE_BF16;
    rows[0].schedule_hash = 0xabc;
    rows[0].median = 2;
    rows[0].p95 = 3;
    rows[0].min = 1;
    rows[0].predicted = rows[1].predicted = 4;
    rows[0].flops = rows[1].flops = 8e12;
    rows[0].bytes_sent = rows[0].bytes_expected = bytes;
    rows[0].pairs = pairs;
    rows[0].error[RESULT_O] = 1e-6;
    rows[0].gate[RESULT_O] = 1e-5;
    rows[0].passed = 1;
    rows[2].strategy = "ulysses";
    rows[2].reason = "no";
}

static void write_json(FILE *out)
{
    struct result_row rows[3];

    fill_rows(rows);
    results_json(out, rows, 3);
}

static void test_results_json(void **state)
{
    static const char *const lines[] = {
        "\"schedule_hash\": \"0000000000000abc\"", "\"median\": 2,",
        "\"predicted_s\": 4,", "\"tflops\": 4,", "\"bytes_sent\": [7, 8],",
        "\"o\": 1e-06,", "\"lse\": null,", "\"passed\": true",
        /* the simulated one */
        "\"time_s\": null,", "\"tflops\": 2,", "\"pairs\": null,",
        "\"passed\": false", "\"applies\": false,\n    \"reason\": \"no\"\n",
        NULL
    };
    (void)state;
    char *text = printed(write_json);
    const char *at = text;

    /* In this order. */
    for (int i = 0; lines[i]; i++) {
        at = strstr(at, lines[i]);
        if (!at)
            fail_msg("no %s in %s", lines[i], text);
    }
    free(text);
}

static void write_linear(FILE *out)
{
    struct result_row rows[3];

    fill_rows(rows);
    rows[0].has_lse = 0;
    results_json(out, rows, 1);
}

/* Linear attention has no lse, not one that is unknown. */
static void test_results_linear(void **state)
{
    struct job job = { .attention = ATTENTION_LINEAR };
    char *text = printed(write_linear), pattern[] = "LL";

    (void)state;
    assert_non_null(strstr(text, "\"o\": 1e-06,"));
    assert_null(strstr(text, "lse"));
    free(text);
    assert_false(job_has_lse(&job));
    job.pattern = pattern;
    assert_false(job_has_lse(&job));
    pattern[1] = 'S';
    assert_true(job_has_lse(&job));
    assert_true(job_has_lse(&(struct job){ 0 }));
}

static void write_table(FILE *out)
{
    struct result_row rows[3];

    fill_rows(rows);
    rows[0].error[RESULT_LSE] = NAN;    /* compared, and not a number */
    rows[0].gate[RESULT_LSE] = 1e-5;
    rows[0].passed = 0;
    results_text(out, rows, 3);
}

static void test_results_text(void **state)
{
    (void)state;
    char *text = printed(write_table);
    assert_non_null(strstr(text, "lse nan"));
    assert_non_null(strstr(text, "FAILED"));
    assert_non_null(strstr(text, " 2.000 ")); /* predicted / measured */
    assert_non_null(strstr(text, "ulysses     does not apply: no\n"));
    free(text);
}

/* ---- Records ------------------------------------------------------------- */

static struct job small_job(void)
{
    struct job job = { .transformer = { .heads = 1, .head_dim = 4 } };
    struct error e;

    assert_int_equal(job_finish(&job, &(int64_t){ 8 }, 1, &e), 0);
    return job;
}

/* Two ranks; rank 0 sends `sends` messages, of as many labels. */
static struct schedule *sender(struct pool *pool, const struct job *job,
                               int sends)
{
    struct schedule *s = schedule_create(pool, job, 2, 0);
    struct buffer b = { .role = ROLE_INPUT, .map = -1, .rows = 4, .heads = 1,
                        .width = 4 };
    struct tile t = tile_whole(s, schedule_buffer(s, "k", b));

    for (int i = 0; i < sends; i++) {
        char label[16];
        snprintf(label, sizeof label, "m%d", i);
        schedule_send(s, label, CHANNEL_KV, 1, &t, 1);
    }
    schedule_freeze(s);
    return s;
}

/* Many names, each once, found again in another schedule. */
static void test_records(void **state)
{
    enum { SENDS = 300 };
    struct job job = small_job();
    struct pool *pool = pool_create();
    struct schedule *s = sender(pool, &job, SENDS);
    struct records r;
    char name[96];

    (void)state;
    records_init(&r);
    struct op_record *first = records_of(&r, s), *again = records_of(&r, s);
    assert_int_equal(s->n_ops, SENDS);
    assert_int_equal(r.n, SENDS);
    for (int i = 0; i < SENDS; i++) {
        op_name(s, &s->ops[i], name, sizeof name);
        assert_string_equal(r.names[first[i].name], name);
        assert_int_equal(first[i].name, again[i].name);
        assert_int_equal(first[i].kind, OP_SEND);
        assert_int_equal(first[i].peer, 1);
        assert_int_equal(first[i].bytes, 4 * 4 * 4);
    }
    free(first);
    free(again);
    records_clear(&r);
    schedule_destroy(s);
    pool_destroy(pool);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),      cmocka_unit_test(test_nested),
        cmocka_unit_test(test_exact),       cmocka_unit_test(test_results_json),
        cmocka_unit_test(test_results_linear),
        cmocka_unit_test(test_results_text), cmocka_unit_test(test_records),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
