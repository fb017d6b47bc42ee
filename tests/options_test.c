/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/options.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct filled {
    int dot, format;
    const char *output;
    int64_t rank;
    struct string_list sets;
    struct int_list dims, types;
};

static const char *const formats[] = { "text", "json", NULL };
static const char *const types[] = { "fp32", "bf16", NULL };

#define AT(member) offsetof(struct filled, member)
static const struct option_row rows[] = {
    { "dot", 0, OPTION_FLAG, AT(dot), NULL, 0, 0, NULL, "Graphviz" },
    { "format", 0, OPTION_WORD, AT(format), "FORMAT", 0, 0, formats,
      "text or json" },
    { "output", 'o', OPTION_STRING, AT(output), "FILE", 0, 0, NULL, "file" },
    { "rank", 'r', OPTION_INT, AT(rank), "R", 0, 1023, NULL, "one rank" },
    { "set", 0, OPTION_STRINGS, AT(sets), "KEY=VALUE", 0, 0, NULL, "a key" },
    { "head-dims", 0, OPTION_INTS, AT(dims), "N,...", 1, 512, NULL, "sizes" },
    { "dtypes", 0, OPTION_WORDS, AT(types), "T,...", 0, 0, types, "types" },
    { .name = NULL }
};

/* Parse words, separated by one blank each; returns what options_parse did. */
static int parse(const char *line, struct filled *f, struct error *e,
                 char ***argv, int *argc, int *first)
{
    static char text[512], *words[32];
    char *rest = text;

    memset(f, 0, sizeof *f);
    memset(e, 0, sizeof *e);
    snprintf(text, sizeof text, "spar %s", line);
    for (*argc = 0; rest; (*argc)++)
        words[*argc] = strsep(&rest, " ");
    words[*argc] = NULL;
    *argv = words;
    return options_parse(rows, *argc, words, f, first, e);
}

static void filled_free(struct filled *f)
{
    free(f->sets.items);
    free(f->dims.items);
    free(f->types.items);
}

static void every_type(void **state)
{
    struct filled f;
    struct error e;
    char **argv;
    int argc, first;

    (void)state;
    assert_int_equal(parse("a.yaml --set job.x=1 -o t.h5 --dot --format=json "
                           "--set y=[1,2] -r7 --head-dims 64,128 "
                           "--dtypes bf16,fp32 b", &f, &e, &argv, &argc,
                           &first), 0);
    assert_int_equal(f.dot, 1);
    assert_int_equal(f.format, 1);
    assert_string_equal(f.output, "t.h5");
    assert_int_equal(f.rank, 7);
    assert_int_equal(f.sets.n, 2);
    assert_string_equal(f.sets.items[0], "job.x=1");
    assert_string_equal(f.sets.items[1], "y=[1,2]");
    assert_int_equal(f.dims.n, 2);
    assert_int_equal(f.dims.items[1], 128);
    assert_int_equal(f.types.n, 2);
    assert_int_equal(f.types.items[0], 1);
    /* Operands end up behind, in order. */
    assert_int_equal(argc - first, 2);
    assert_string_equal(argv[first], "a.yaml");
    assert_string_equal(argv[first + 1], "b");
    filled_free(&f);
}

static void parsing_starts_afresh(void **state)
{
    struct filled f;
    struct error e;
    char **argv;
    int argc, first;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(parse("--dot x", &f, &e, &argv, &argc, &first), 0);
        assert_int_equal(f.dot, 1);
        assert_int_equal(first, 2);
    }
    assert_int_equal(parse("-- --dot", &f, &e, &argv, &argc, &first), 0);
    assert_int_equal(f.dot, 0);
    assert_string_equal(argv[first], "--dot");
}

static void wrong_lines(void **state)
{
    static const struct {
        const char *line, *says;
    } bad[] = {
        { "--fromat json", "unknown option --fromat, did you mean --format?" },
        { "--fromat=json", "unknown option --fromat, did you mean --format?" },
        { "--zzzzzzzz", "unknown option --zzzzzzzz: see --help" },
        { "-z", "unknown option -z: see --help" },
        { "--dot -z", "unknown option -z: see --help" },
        { "--dot=1", "--dot takes no value" },
        { "--output", "--output needs a value: see --help" },
        { "-o", "-o needs a value: see --help" },
        { "--format xml", "--format: \"xml\" is not one of text, json" },
        { "--rank 1024",
          "--rank: \"1024\" is not a whole number between 0 and 1023" },
        { "--rank -1",
          "--rank: \"-1\" is not a whole number between 0 and 1023" },
        { "--rank 1x",
          "--rank: \"1x\" is not a whole number between 0 and 1023" },
        { "--rank 99999999999999999999", "is not a whole number" },
        { "--head-dims 64,", "--head-dims: \"\" is not a whole number" },
        { "--head-dims 0,64", "--head-dims: \"0\" is not a whole number" },
        { "--dtypes fp32,fp8", "--dtypes: \"fp8\" is not one of fp32, bf16" },
    };
    struct filled f;
    struct error e;
    char **argv;
    int argc, first;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(parse(bad[i].line, &f, &e, &argv, &argc, &first), -1);
        assert_int_equal(e.status, SPAR_USAGE);
        if (!strstr(e.text, bad[i].says))
            fail_msg("%s: says \"%s\"", bad[i].line, e.text);
        filled_free(&f);
    }
}

static void help_lists_every_row(void **state)
{
    struct filled f;
    struct error e;
    char **argv, *text = NULL;
    size_t size = 0;
    int argc, first;

    (void)state;
    assert_int_equal(parse("x --help", &f, &e, &argv, &argc, &first), 1);
    assert_int_equal(parse("-h", &f, &e, &argv, &argc, &first), 1);
    FILE *out = open_memstream(&text, &size);
    options_help(out, rows);
    fclose(out);
    for (int i = 0; rows[i].name; i++) {
        assert_non_null(strstr(text, rows[i].name));
        assert_non_null(strstr(text, rows[i].help));
    }
    assert_non_null(strstr(text, "-o, --output FILE"));
    assert_non_null(strstr(text, "--help"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type),
        cmocka_unit_test(parsing_starts_afresh),
        cmocka_unit_test(wrong_lines),
        cmocka_unit_test(help_lists_every_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
