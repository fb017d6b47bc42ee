/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/yaml.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct yaml *parse(const char *text, struct error *e)
{
    memset(e, 0, sizeof *e);
    return yaml_parse("f.yaml", text, strlen(text), e);
}

static struct yaml *good(const char *text)
{
    struct error e;
    struct yaml *y = parse(text, &e);

    if (!y)
        fail_msg("%s", e.text);
    return y;
}

/* The node of a dotted path. */
static int at(struct yaml *y, const char *path)
{
    char *copy = xstrdup(path), *rest = copy, *word;
    int node = yaml_root(y);

    while ((word = strsep(&rest, ".")) != NULL)
        node = yaml_type(y, node) == YAML_LIST
            ? yaml_item(y, node, strtoll(word, NULL, 10))
            : yaml_get(y, node, word);
    free(copy);
    return node;
}

static int64_t number_at(struct yaml *y, const char *path)
{
    int64_t value = -77;

    assert_int_equal(yaml_int(y, at(y, path), path, INT64_MIN, INT64_MAX,
                              &value, NULL), 0);
    return value;
}

/* ---- The tree -------------------------------------------------------------------- */

static void the_tree_is_walked(void **state)
{
    struct yaml *y = good("a: 1\nb: [10, 20, {c: 30}]\nd: {e: text}\nf:\n");
    const char *key;

    (void)state;
    assert_int_equal(yaml_type(y, yaml_root(y)), YAML_MAP);
    assert_int_equal(yaml_count(y, yaml_root(y)), 4);
    assert_int_equal(number_at(y, "a"), 1);
    assert_int_equal(number_at(y, "b.1"), 20);
    assert_int_equal(number_at(y, "b.2.c"), 30);
    assert_int_equal(yaml_type(y, at(y, "b")), YAML_LIST);
    assert_string_equal(yaml_text(y, at(y, "d.e")), "text");
    assert_true(yaml_is_null(y, at(y, "f")));
    assert_false(yaml_is_null(y, at(y, "a")));
    yaml_pair(y, yaml_root(y), 2, &key);
    assert_string_equal(key, "d");
    /* What is not there is node 0, and that is harmless. */
    assert_int_equal(at(y, "nothing.at.all"), 0);
    assert_int_equal(yaml_item(y, at(y, "b"), 3), 0);
    assert_int_equal(yaml_item(y, at(y, "b"), -1), 0);
    assert_int_equal(yaml_item(y, at(y, "a"), 0), 0);
    assert_int_equal(yaml_type(y, 0), YAML_NONE);
    assert_int_equal(yaml_count(y, 0), 0);
    assert_string_equal(yaml_text(y, 0), "");
    assert_true(yaml_is_null(y, 0));
    yaml_destroy(y);
    yaml_destroy(NULL);
}

static void aliases_work(void **state)
{
    struct yaml *y = good("a: &x {n: 5}\nb: *x\nc: [*x, *x]\n");

    (void)state;
    assert_int_equal(number_at(y, "b.n"), 5);
    assert_int_equal(number_at(y, "c.1.n"), 5);
    yaml_destroy(y);
}

static void quoted_null_is_text(void **state)
{
    struct yaml *y = good("a: \"null\"\nb: null\nc: ~\nd: ''\n");

    (void)state;
    assert_false(yaml_is_null(y, at(y, "a")));
    assert_true(yaml_is_null(y, at(y, "b")));
    assert_true(yaml_is_null(y, at(y, "c")));
    assert_false(yaml_is_null(y, at(y, "d")));
    yaml_destroy(y);
}

static void an_empty_file_has_no_root(void **state)
{
    static const char *const known[] = { "job", NULL };
    struct error e;
    struct yaml *y = good("# only a comment\n");

    (void)state;
    assert_int_equal(yaml_root(y), 0);
    assert_int_equal(yaml_check_keys(y, yaml_root(y), "", known, &e), -1);
    assert_non_null(strstr(e.text, "f.yaml:1:1: "));
    yaml_destroy(y);
}

/* Place and a word of the message; files that are no tree at all. */
static void broken_files(void **state)
{
    static const struct {
        const char *text, *place, *word;
    } bad[] = {
        { "a: [1, 2\nb: 3\n", "f.yaml:2:", "not YAML" },
        { "a: 1\n\tb: 2\n", "f.yaml:2:1: ", "not YAML" },
        { "a: 1\n  b: 2\n", "f.yaml:2:4: ", "not YAML" },
        { "a: \"open\n", "f.yaml:2:1: ", "not YAML" },
        { "a: *nobody\n", "f.yaml:1:4: ", "not YAML" },
        { "a: 1\nb: \x01\n", "f.yaml:2:4: ", "not YAML" },
        { "a: 1\nb: \xff\xfe\n", "f.yaml:2:4: ", "not YAML" },
        { "a: 1\n---\nb: 2\n", "f.yaml:2:1: ", "second document" },
        { "a: &x [1, *x]\n", "f.yaml:1:4: ", "alias" },
        { "a: &x {b: {c: *x}}\n", "f.yaml:1:4: ", "alias" },
        { "[1, 2]: 3\n", "f.yaml:1:1: ", "a key is a word" },
    };
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct yaml *y = parse(bad[i].text, &e);
        if (y)
            fail_msg("accepted: %s", bad[i].text);
        assert_int_equal(e.status, SPAR_USAGE);
        if (strncmp(e.text, bad[i].place, strlen(bad[i].place)) != 0
            || !strstr(e.text, bad[i].word))
            fail_msg("case %zu says \"%s\"", i, e.text);
    }
}

static void deep_nesting_is_refused(void **state)
{
    enum { DEEP = 5000 };
    char text[2 * DEEP + 1];
    struct error e;

    (void)state;
    memset(text, '[', DEEP);
    memset(text + DEEP, ']', DEEP);
    text[2 * DEEP] = '\0';
    assert_null(parse(text, &e));
    assert_int_equal(e.status, SPAR_USAGE);
}

/* Aliases of aliases: 2^40 leaves if walked as a tree. */
static void many_aliases_take_no_time(void **state)
{
    char text[2000] = "a0: &a0 [1, 1]\n";
    struct error e;

    (void)state;
    for (int i = 1; i < 40; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "a%d: &a%d [*a%d, *a%d]\n", i, i, i - 1, i - 1);
    yaml_destroy(parse(text, &e));      /* it ends */
}

/* ---- Keys -------------------------------------------------------------------------- */

static void unknown_and_double_keys(void **state)
{
    static const char *const known[] = { "sequence", "mask", NULL };
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "mask: 1\nsequense: 2\n", "f.yaml:2:1: job.sequense: unknown key, "
          "did you mean \"sequence\"?" },
        { "qqqqqqqqqq: 2\n", "f.yaml:1:1: job.qqqqqqqqqq: unknown key, known "
          "are sequence, mask" },
        { "mask: 1\nmask: 2\n", "f.yaml:2:1: job.mask: given twice" },
        { "[mask]\n", "f.yaml:1:1: job: not a mapping of sequence, mask" },
        { "mask\n", "f.yaml:1:1: job: not a mapping of sequence, mask" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct yaml *y = good(bad[i].text);
        struct error e;
        assert_int_equal(yaml_check_keys(y, yaml_root(y), "job", known, &e),
                         -1);
        assert_string_equal(e.text, bad[i].says);
        yaml_destroy(y);
    }
    struct yaml *y = good("mask: 1\nsequence: 3\n");
    assert_int_equal(yaml_check_keys(y, yaml_root(y), "job", known, NULL), 0);
    yaml_destroy(y);
}

/* ---- Scalars ------------------------------------------------------------------------ */

static void integers(void **state)
{
    static const char *const bad[] = { "-1", "101", "12k", "1.5", "1e2",
                                       "\"12\"", "null", "[1]", "{a: 1}",
                                       "0x10", "99999999999999999999", "a",
                                       "'7'", "1 2" };
    char text[64];
    int64_t value = 5;
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "k: %s\n", bad[i]);
        struct yaml *y = good(text);
        if (yaml_int(y, at(y, "k"), "k", 0, 100, &value, &e) != -1)
            fail_msg("accepted: %s", text);
        assert_non_null(strstr(e.text, "f.yaml:1:4: k: "));
        assert_non_null(strstr(e.text, "a whole number from 0 to 100"));
        assert_int_equal(value, 5);     /* left alone */
        yaml_destroy(y);
    }
    struct yaml *y = good("k: 100\nneg: -7\n");
    assert_int_equal(yaml_int(y, at(y, "k"), "k", 0, 100, &value, NULL), 0);
    assert_int_equal(value, 100);
    assert_int_equal(yaml_int(y, at(y, "neg"), "neg", -7, -7, &value, NULL),
                     0);
    assert_int_equal(value, -7);
    assert_int_equal(yaml_int(y, 0, "absent", 0, 1, &value, NULL), 0);
    assert_int_equal(value, -7);
    yaml_destroy(y);
}

static void numbers(void **state)
{
    static const char *const bad[] = { "-1", "2", "x", "nan", "inf", ".inf",
                                       "1e999", "null", "\"0.5\"", "[]" };
    char text[64];
    double value = 9;
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(text, sizeof text, "k: %s\n", bad[i]);
        struct yaml *y = good(text);
        if (yaml_number(y, at(y, "k"), "k", 0, 1, &value, &e) != -1)
            fail_msg("accepted: %s", text);
        assert_non_null(strstr(e.text, "f.yaml:1:4: k: "));
        yaml_destroy(y);
    }
    struct yaml *y = good("k: 1.25e-1\n");
    assert_int_equal(yaml_number(y, at(y, "k"), "k", 0, 1, &value, NULL), 0);
    assert_true(value == 0.125);
    yaml_destroy(y);
}

static void words_and_flags(void **state)
{
    static const char *const types[] = { "fp32", "bf16", NULL };
    struct yaml *y = good("w: bf16\nx: fp8\nt: true\nf: false\ng: maybe\n"
                          "q: \"true\"\nl: [fp32]\n");
    int value = -5;
    struct error e;

    (void)state;
    assert_int_equal(yaml_word(y, at(y, "w"), "w", types, &value, NULL), 0);
    assert_int_equal(value, 1);
    assert_int_equal(yaml_word(y, at(y, "x"), "x", types, &value, &e), -1);
    assert_string_equal(e.text, "f.yaml:2:4: x: \"fp8\" is not one of fp32, "
                        "bf16");
    assert_int_equal(yaml_word(y, at(y, "l"), "l", types, &value, &e), -1);
    assert_int_equal(yaml_word(y, 0, "none", types, &value, NULL), 0);
    assert_int_equal(value, 1);
    assert_int_equal(yaml_bool(y, at(y, "t"), "t", &value, NULL), 0);
    assert_int_equal(value, 1);
    assert_int_equal(yaml_bool(y, at(y, "f"), "f", &value, NULL), 0);
    assert_int_equal(value, 0);
    assert_int_equal(yaml_bool(y, at(y, "g"), "g", &value, &e), -1);
    assert_string_equal(e.text, "f.yaml:5:4: g: \"maybe\" is not true or "
                        "false");
    assert_int_equal(yaml_bool(y, at(y, "q"), "q", &value, &e), -1);
    yaml_destroy(y);
}

static void strings_replace_the_default(void **state)
{
    struct yaml *y = good("s: text\nn: null\nl: [a]\n");
    char *value = xstrdup("default");
    struct error e;

    (void)state;
    assert_int_equal(yaml_string(y, 0, "none", &value, NULL), 0);
    assert_string_equal(value, "default");
    assert_int_equal(yaml_string(y, at(y, "s"), "s", &value, NULL), 0);
    assert_string_equal(value, "text");
    assert_int_equal(yaml_string(y, at(y, "n"), "n", &value, &e), -1);
    assert_string_equal(e.text, "f.yaml:2:4: n: null is not text");
    assert_int_equal(yaml_string(y, at(y, "l"), "l", &value, &e), -1);
    assert_string_equal(e.text, "f.yaml:3:4: l: a list is not text");
    free(value);
    yaml_destroy(y);
}

/* ---- Assignments -------------------------------------------------------------------- */

static void set(struct yaml *y, const char *assignment)
{
    struct error e;

    if (yaml_set(y, assignment, &e))
        fail_msg("%s", e.text);
}

static void assignments_replace_and_add(void **state)
{
    struct yaml *y = good("job: {sequence: 8}\nlist: [{n: 1}, {n: 2}]\nz:\n");

    (void)state;
    set(y, "job.sequence=[38, 12]");
    assert_int_equal(number_at(y, "job.sequence.1"), 12);
    set(y, "job.sequence=16");
    set(y, "job.sequence=32");                  /* the last one counts */
    assert_int_equal(number_at(y, "job.sequence"), 32);
    set(y, "list.1.n=7");
    assert_int_equal(number_at(y, "list.1.n"), 7);
    assert_int_equal(number_at(y, "list.0.n"), 1);
    set(y, "list.0={m: 3}");
    assert_int_equal(number_at(y, "list.0.m"), 3);
    set(y, "run.ranks=4");                      /* makes run */
    assert_int_equal(number_at(y, "run.ranks"), 4);
    set(y, "run.deep.er=5");
    assert_int_equal(number_at(y, "run.deep.er"), 5);
    set(y, "z.new=6");                          /* null becomes a mapping */
    assert_int_equal(number_at(y, "z.new"), 6);
    set(y, "job.mask={window: [4, 0]}");
    assert_int_equal(number_at(y, "job.mask.window.0"), 4);
    set(y, "job.equals=a=b");
    assert_string_equal(yaml_text(y, at(y, "job.equals")), "a=b");
    set(y, "job.scale=");
    assert_true(yaml_is_null(y, at(y, "job.scale")));
    yaml_destroy(y);
}

/* Enough of them to move libyaml's arrays. */
static void many_assignments(void **state)
{
    struct yaml *y = good("a: 1\n");
    char text[64];

    (void)state;
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "m.k%d.x=[%d, {y: %d}]", i, i, i);
        set(y, text);
    }
    for (int i = 0; i < 500; i++) {
        snprintf(text, sizeof text, "m.k%d.x.1.y", i);
        assert_int_equal(number_at(y, text), i);
    }
    yaml_destroy(y);
}

static void errors_name_the_assignment(void **state)
{
    static const char *const known[] = { "a", NULL };
    struct yaml *y = good("a: 1\n");
    int64_t value;
    struct error e;

    (void)state;
    set(y, "a=x");
    assert_int_equal(yaml_int(y, at(y, "a"), "a", 0, 9, &value, &e), -1);
    assert_string_equal(e.text, "--set a=x: a: \"x\" is not a whole number "
                        "from 0 to 9");
    set(y, "aa=2");
    assert_int_equal(yaml_check_keys(y, yaml_root(y), "", known, &e), -1);
    assert_string_equal(e.text, "--set aa=2: aa: unknown key, did you mean "
                        "\"a\"?");
    /* What the file says is still blamed on the file. */
    yaml_destroy(y);
    y = good("a: 1\nb: -1\n");
    set(y, "a=2");
    assert_int_equal(yaml_int(y, at(y, "b"), "b", 0, 9, &value, &e), -1);
    assert_int_equal(strncmp(e.text, "f.yaml:2:4: ", 12), 0);
    yaml_destroy(y);
}

static void wrong_assignments(void **state)
{
    static const char *const bad[] = {
        "a", "=1", "", "a.b=1", "list.2=1", "list.-1=1", "list.x=1",
        "list.0x=1", "a=[1", "a={b: 1", "a=\"", "a=*x", "a=&x [*x]",
        "a..b=1", "a=1\n---\n2",
    };
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct yaml *y = good("a: 1\nlist: [1, 2]\n");
        memset(&e, 0, sizeof e);
        if (yaml_set(y, bad[i], &e) != -1)
            fail_msg("accepted: %s", bad[i]);
        assert_int_equal(e.status, SPAR_USAGE);
        assert_int_equal(strncmp(e.text, "--set ", 6), 0);
        assert_non_null(strstr(e.text, bad[i]));
        yaml_destroy(y);
    }
}

static void the_tree_as_json(void **state)
{
    struct yaml *y = good("a: 1\nb: [x, \"2\", 0.5, true]\nc: {d: null}\n");

    (void)state;
    set(y, "a=7");
    char *text = yaml_json(y);
    assert_string_equal(text,
        "{\n  \"a\": 7,\n  \"b\": [\"x\", \"2\", 0.5, true],\n"
        "  \"c\": {\n    \"d\": null\n  }\n}\n");
    free(text);
    yaml_destroy(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tree_is_walked),
        cmocka_unit_test(aliases_work),
        cmocka_unit_test(quoted_null_is_text),
        cmocka_unit_test(an_empty_file_has_no_root),
        cmocka_unit_test(broken_files),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(many_aliases_take_no_time),
        cmocka_unit_test(unknown_and_double_keys),
        cmocka_unit_test(integers),
        cmocka_unit_test(numbers),
        cmocka_unit_test(words_and_flags),
        cmocka_unit_test(strings_replace_the_default),
        cmocka_unit_test(assignments_replace_and_add),
        cmocka_unit_test(many_assignments),
        cmocka_unit_test(errors_name_the_assignment),
        cmocka_unit_test(wrong_assignments),
        cmocka_unit_test(the_tree_as_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
