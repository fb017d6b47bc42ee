/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/scenario.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char least[] =
    "job:\n"
    "  transformer: {heads: 8, kv_heads: 2, head_dim: 64}\n"
    "  sequence: 4096\n"
    "strategies:\n"
    "  - {name: ring}\n";

static struct scenario *read_with(const char *text, const char *const *sets,
                                  int n, struct error *e)
{
    memset(e, 0, sizeof *e);
    return scenario_parse("dir/s.yaml", text, strlen(text), sets, n, e);
}

static struct scenario *good_with(const char *text, const char *const *sets,
                                  int n)
{
    struct error e;
    struct scenario *s = read_with(text, sets, n, &e);

    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static struct scenario *good(const char *text)
{
    return good_with(text, NULL, 0);
}

/* `least` with one assignment. */
static struct scenario *set(const char *assignment)
{
    return good_with(least, &assignment, 1);
}

/* ---- What is read ------------------------------------------------------------------ */

static void defaults(void **state)
{
    struct scenario *s = good(least);
    const struct job *j = &s->job;

    (void)state;
    assert_true(s->ready);
    assert_int_equal(j->transformer.heads, 8);
    assert_int_equal(j->transformer.kv_heads, 2);
    assert_int_equal(j->transformer.value_dim, 64);
    assert_int_equal(j->tokens, 4096);
    assert_int_equal(j->sequences, 1);
    assert_int_equal(j->mask.kind, MASK_FULL);
    assert_int_equal(j->pass, PASS_FORWARD);
    assert_int_equal(j->dtype, DTYPE_FP32);
    assert_int_equal(j->wire_grad, DTYPE_FP32);
    assert_int_equal(j->wire_partial, DTYPE_FP32);
    assert_true(fabs(j->scale - 0.125) < 1e-15);
    assert_int_equal(s->ranks, 0);
    assert_int_equal(s->warmups, 5);
    assert_int_equal(s->repeats, 20);
    assert_int_equal(s->seed, 1);
    assert_int_equal(s->verify, VERIFY_FULL);
    assert_string_equal(s->kernel, "auto");
    assert_string_equal(s->transport, "auto");
    assert_int_equal(s->deterministic, 0);
    assert_int_equal(s->n_strategies, 1);
    assert_ptr_equal(s->strategies[0].strategy, &strategy_ring);
    assert_int_equal(s->strategies[0].options.layout, LAYOUT_CONTIGUOUS);
    assert_int_equal(s->strategies[0].options.block, 0);
    assert_null(s->machine);
    assert_null(s->input);
    scenario_destroy(s);
    scenario_destroy(NULL);
}

static void everything_given(void **state)
{
    static const char text[] =
        "job:\n"
        "  transformer: {heads: 6, kv_heads: 3, head_dim: 16, value_dim: 24,\n"
        "                layers: 4, hidden: 96, ffn: 384, vocab: 1000}\n"
        "  sequence: [5, 0, 97]\n"
        "  mask: {window: [16, -1]}\n"
        "  pass: forward_backward\n"
        "  dtype: bf16\n"
        "  wire_grad: dtype\n"
        "  wire_partial: fp32\n"
        "  scale: 0.5\n"
        "  input: null\n"
        "run: {ranks: 3, warmups: 0, repeats: 1, seed: 9, verify: sampled,\n"
        "      kernel: reference, transport: auto, deterministic: true}\n"
        "strategies:\n"
        "  - {name: ring, layout: zigzag}\n"
        "  - {name: allgather, layout: striped, block: 7}\n"
        "  - {name: ulysses}\n"
        "machine: unit\n";
    struct scenario *s = good(text);
    const struct job *j = &s->job;

    (void)state;
    assert_int_equal(j->transformer.value_dim, 24);
    assert_int_equal(j->transformer.vocab, 1000);
    assert_int_equal(j->sequences, 3);
    assert_int_equal(j->lengths[1], 0);
    assert_int_equal(j->tokens, 102);
    assert_int_equal(j->mask.kind, MASK_WINDOW);
    assert_int_equal(j->mask.left, 16);
    assert_int_equal(j->mask.right, -1);
    assert_int_equal(j->pass, PASS_FORWARD_BACKWARD);
    assert_int_equal(j->wire_grad, DTYPE_BF16);
    assert_int_equal(j->wire_partial, DTYPE_FP32);
    assert_true(j->scale == 0.5);
    assert_int_equal(s->ranks, 3);
    assert_int_equal(s->warmups, 0);
    assert_int_equal(s->repeats, 1);
    assert_int_equal(s->seed, 9);
    assert_int_equal(s->verify, VERIFY_SAMPLED);
    assert_string_equal(s->kernel, "reference");
    assert_int_equal(s->deterministic, 1);
    assert_int_equal(s->n_strategies, 3);
    assert_int_equal(s->strategies[0].options.layout, LAYOUT_ZIGZAG);
    assert_int_equal(s->strategies[1].options.block, 7);
    assert_string_equal(s->machine, "unit");
    scenario_destroy(s);
}

static void assignments_override(void **state)
{
    static const char *const sets[] = {
        "job.sequence=[38, 12]", "run.ranks=4", "strategies.0.layout=striped",
        "strategies.0.block=3", "job.mask={window: [4, 0]}"
    };
    struct scenario *s = good_with(least, sets, 5);

    (void)state;
    assert_int_equal(s->job.sequences, 2);
    assert_int_equal(s->job.tokens, 50);
    assert_int_equal(s->ranks, 4);
    assert_int_equal(s->strategies[0].options.layout, LAYOUT_STRIPED);
    assert_int_equal(s->strategies[0].options.block, 3);
    assert_int_equal(s->job.mask.left, 4);
    assert_non_null(strstr(s->json, "striped"));
    scenario_destroy(s);
}

static void presets(void **state)
{
    /* layers x hidden, from the papers named in the files. */
    static const struct {
        const char *name;
        int64_t heads, kv_heads, layers, hidden, ffn, vocab;
    } known[] = {
        { "llama2-7b", 32, 32, 32, 4096, 11008, 32000 },
        { "llama3-8b", 32, 8, 32, 4096, 14336, 128256 },
        { "llama3-70b", 64, 8, 80, 8192, 28672, 128256 },
        { "llama3-405b", 128, 8, 126, 16384, 53248, 128256 },
        { "gpt3-175b", 96, 96, 96, 12288, 49152, 50257 },
        { "qwen2.5-72b", 64, 8, 80, 8192, 29568, 152064 },
    };
    char text[64];

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        snprintf(text, sizeof text, "job.transformer=%s", known[i].name);
        struct scenario *s = set(text);
        const struct transformer *t = &s->job.transformer;
        assert_string_equal(t->name, known[i].name);
        assert_int_equal(t->heads, known[i].heads);
        assert_int_equal(t->kv_heads, known[i].kv_heads);
        assert_int_equal(t->head_dim, 128);
        assert_int_equal(t->heads * t->head_dim, known[i].hidden);
        assert_int_equal(t->layers, known[i].layers);
        assert_int_equal(t->hidden, known[i].hidden);
        assert_int_equal(t->ffn, known[i].ffn);
        assert_int_equal(t->vocab, known[i].vocab);
        scenario_destroy(s);
    }
}

/* ---- Input -------------------------------------------------------------------------- */

static const char from_file[] =
    "job: {input: data/q.h5}\n"
    "strategies: [{name: ring}]\n";

static int64_t two_lengths[] = { 60, 40 };

static void input_gives_what_is_left_out(void **state)
{
    static const struct tensor_file f = {
        .tokens = 100, .queries = 100, .heads = 6, .kv_heads = 3,
        .head_dim = 16, .value_dim = 8, .n_lengths = 2, .lengths = two_lengths
    };
    struct scenario *s = good(from_file);

    (void)state;
    assert_string_equal(s->input, "dir/data/q.h5");
    assert_false(s->ready);
    assert_int_equal(scenario_apply_input(s, &f, NULL), 0);
    assert_true(s->ready);
    assert_int_equal(s->job.transformer.heads, 6);
    assert_int_equal(s->job.transformer.value_dim, 8);
    assert_int_equal(s->job.sequences, 2);
    assert_int_equal(s->job.offsets[1], 60);
    scenario_destroy(s);
}

/* A number keeps the file's lengths, a list replaces them; no lengths at all:
 * one sequence. */
static void lengths_of_the_input(void **state)
{
    static const struct {
        const char *set;
        int64_t n_file, sequences;
    } cases[] = {
        { "job.sequence=100", 2, 2 }, { "job.sequence=[50, 25, 25]", 2, 3 },
        { "job.sequence=[100]", 2, 1 }, { "job.sequence=100", 0, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scenario *s = good_with(from_file, &cases[i].set, 1);
        struct tensor_file f = {
            .tokens = 100, .queries = 100, .heads = 4, .kv_heads = 4,
            .head_dim = 8, .value_dim = 8, .n_lengths = cases[i].n_file,
            .lengths = two_lengths
        };
        assert_int_equal(scenario_apply_input(s, &f, NULL), 0);
        assert_int_equal(s->job.sequences, cases[i].sequences);
        assert_int_equal(s->job.tokens, 100);
        scenario_destroy(s);
    }
}

static void input_that_disagrees(void **state)
{
    static const struct {
        const char *set, *key;
    } bad[] = {
        { "job.sequence=99", "job.sequence" },
        { "job.sequence=[50, 51]", "job.sequence" },
        { "job.transformer={heads: 8, kv_heads: 2, head_dim: 16}",
          "job.transformer.heads" },
        { "job.transformer={heads: 4, kv_heads: 4, head_dim: 16}",
          "job.transformer.kv_heads" },
        { "job.transformer={heads: 4, kv_heads: 2, head_dim: 8}",
          "job.transformer.head_dim" },
        /* value_dim defaults to head_dim, kv_heads to heads */
        { "job.transformer={heads: 4, kv_heads: 2, head_dim: 16}",
          "job.transformer.value_dim" },
        { "job.transformer={heads: 4, head_dim: 16, value_dim: 8}",
          "job.transformer.kv_heads" },
    };
    static const struct tensor_file f = {
        .tokens = 100, .queries = 100, .heads = 4, .kv_heads = 2,
        .head_dim = 16, .value_dim = 8
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e = { 0 };
        struct scenario *s = good_with(from_file, &bad[i].set, 1);
        assert_int_equal(scenario_apply_input(s, &f, &e), -1);
        if (!strstr(e.text, bad[i].key) || !strstr(e.text, "data/q.h5")
            || strncmp(e.text, "--set ", 6) != 0)
            fail_msg("%s: says \"%s\"", bad[i].set, e.text);
        scenario_destroy(s);
    }
}

/* ---- Errors ------------------------------------------------------------------------- */

/* Every error starts with the place: the assignment, then the key. */
static void wrong_values(void **state)
{
    static const struct {
        const char *set, *key, *word;
    } bad[] = {
        { "jobb=1", "jobb", "job" },
        { "job.sequense=1", "job.sequense", "sequence" },
        { "job=7", "job", "mapping" },
        { "job.sequence=0", "job.sequence", "0" },
        { "job.sequence=-5", "job.sequence", "-5" },
        { "job.sequence=12k", "job.sequence", "12k" },
        { "job.sequence=1e3", "job.sequence", "1e3" },
        { "job.sequence=2199023255552", "job.sequence", "2199023255552" },
        { "job.sequence=[]", "job.sequence", "" },
        { "job.sequence=[0, 0]", "job.sequence", "0" },
        { "job.sequence=[1, x]", "job.sequence", "x" },
        { "job.transformer=nobody-9b", "job.transformer", "nobody-9b" },
        { "job.transformer=[8]", "job.transformer", "" },
        { "job.transformer={heads: 8}", "job.transformer.head_dim", "" },
        { "job.transformer.heads=0", "job.transformer.heads", "0" },
        { "job.transformer.heads=7", "job.transformer.heads", "7" },
        { "job.transformer.kv_heads=3", "job.transformer.", "3" },
        { "job.transformer.head_dim=2000000", "job.transformer.head_dim",
          "2000000" },
        { "job.mask=diagonal", "job.mask", "diagonal" },
        { "job.mask={window: [1]}", "job.mask", "left, right" },
        { "job.mask={window: [-2, 0]}", "job.mask", "-2" },
        { "job.mask={windoww: [2, 0]}", "job.mask", "window" },
        { "job.mask=[1, 2]", "job.mask", "window" },
        { "job.pass=backward", "job.pass", "backward" },
        { "job.dtype=fp8", "job.dtype", "fp8" },
        { "job.wire_grad=bf16", "job.wire_grad", "bf16" },
        { "job.wire_partial=1", "job.wire_partial", "1" },
        { "job.scale=0", "job.scale", "0" },
        { "job.scale=-1", "job.scale", "-1" },
        { "job.scale=x", "job.scale", "x" },
        { "job.input=[a]", "job.input", "" },
        { "run=3", "run", "mapping" },
        { "run.rank=2", "run.rank", "ranks" },
        { "run.ranks=0", "run.ranks", "0" },
        { "run.ranks=-1", "run.ranks", "-1" },
        { "run.ranks=1000000000", "run.ranks", "1000000000" },
        { "run.warmups=-1", "run.warmups", "-1" },
        { "run.repeats=0", "run.repeats", "0" },
        { "run.seed=-1", "run.seed", "-1" },
        { "run.verify=yes", "run.verify", "yes" },
        { "run.kernel=gpuu", "run.kernel", "gpuu" },
        { "run.deterministic=2", "run.deterministic", "2" },
        { "strategies=[]", "strategies", "" },
        { "strategies=ring", "strategies", "" },
        { "strategies=[ring]", "strategies.0", "name" },
        { "strategies.0.name=rnig", "strategies.0.name", "ring" },
        { "strategies.0.layuot=zigzag", "strategies.0.layuot", "layout" },
        { "strategies.0.layout=snake", "strategies.0.layout", "snake" },
        { "strategies.0={name: ring, layout: striped, block: 0}",
          "strategies.0.block", "0" },
        { "strategies.0.head_group=0", "strategies.0.head_group", "" },
        { "strategies={}", "strategies", "" },
        { "machine=[x]", "machine", "" },
    };

    int failures = 0;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e;
        char start[160];
        struct scenario *s = read_with(least, &bad[i].set, 1, &e);
        snprintf(start, sizeof start, "--set %s: %s", bad[i].set, bad[i].key);
        if (s || e.status != SPAR_USAGE
            || strncmp(e.text, start, strlen(start)) != 0
            || !strstr(e.text + strlen(start), bad[i].word)) {
            print_error("%s: %s\n", bad[i].set, s ? "accepted" : e.text);
            failures++;
        }
        scenario_destroy(s);
    }
    assert_int_equal(failures, 0);
}

/* What is not there is missing from a line of the file. */
static void missing_keys(void **state)
{
    static const struct {
        const char *text, *says;
    } bad[] = {
        { "", "dir/s.yaml:1:1: " },
        { "# nothing\n", "dir/s.yaml:1:1: " },
        { "- a\n", "dir/s.yaml:1:1: " },
        { "strategies: [{name: ring}]\n", "dir/s.yaml:1:1: job: missing" },
        { "job:\n", "dir/s.yaml:1:5: job: " },
        { "job: {sequence: 8}\nstrategies: [{name: ring}]\n",
          "dir/s.yaml:1:6: job.transformer: missing" },
        { "job: {transformer: llama3-8b}\nstrategies: [{name: ring}]\n",
          "dir/s.yaml:1:6: job.sequence: missing" },
        { "job: {transformer: llama3-8b, sequence: 8}\n",
          "dir/s.yaml:1:1: strategies: missing" },
        { "job: {transformer: llama3-8b, sequence: 8}\nstrategies:\n"
          "  - {layout: zigzag}\n", "dir/s.yaml:3:5: strategies.0.name: " },
        { "job: {transformer: {heads: 7, kv_heads: 2, head_dim: 8},\n"
          "      sequence: 8}\nstrategies: [{name: ring}]\n",
          "dir/s.yaml:1:" },
        { "job: {transformer: {heads: 8, heads: 8, head_dim: 8}}\n",
          "dir/s.yaml:1:31: job.transformer.heads: given twice" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e;
        struct scenario *s = read_with(bad[i].text, NULL, 0, &e);
        if (s)
            fail_msg("accepted: %s", bad[i].text);
        assert_int_equal(e.status, SPAR_USAGE);
        if (strncmp(e.text, bad[i].says, strlen(bad[i].says)) != 0)
            fail_msg("case %zu says \"%s\"", i, e.text);
    }
}

static void failing_at_a_key(void **state)
{
    static const char *const sets[] = { "run.ranks=3" };
    struct scenario *s = good(least);
    struct error e;

    (void)state;
    assert_int_equal(scenario_fail(s, "job.sequence", &e, "%d", 7), -1);
    assert_string_equal(e.text, "dir/s.yaml:3:13: job.sequence: 7");
    /* strategies.0 is found by its index */
    assert_int_equal(scenario_fail(s, "strategies.0.name", &e, "x"), -1);
    assert_string_equal(e.text, "dir/s.yaml:5:12: strategies.0.name: x");
    assert_int_equal(scenario_need_ranks(s, &e), -1);
    assert_int_equal(e.status, SPAR_USAGE);
    assert_non_null(strstr(e.text, "run.ranks"));
    scenario_destroy(s);
    s = good_with(least, sets, 1);
    assert_int_equal(scenario_need_ranks(s, &e), 0);
    assert_int_equal(scenario_fail(s, "run.ranks", &e, "no"), -1);
    assert_string_equal(e.text, "--set run.ranks=3: run.ranks: no");
    scenario_destroy(s);
}

static void names_of_outputs(void **state)
{
    static const char *const names[][2] = {
        { "x/quick.yaml", "x/quick.run.h5" }, { "a.yml", "a.run.h5" },
        { "noend", "noend.run.h5" }, { ".yaml", ".yaml.run.h5" }
    };

    (void)state;
    for (int i = 0; i < 4; i++) {
        char *name = scenario_output(names[i][0], ".run.h5");
        assert_string_equal(name, names[i][1]);
        free(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(everything_given),
        cmocka_unit_test(assignments_override),
        cmocka_unit_test(presets),
        cmocka_unit_test(input_gives_what_is_left_out),
        cmocka_unit_test(lengths_of_the_input),
        cmocka_unit_test(input_that_disagrees),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(missing_keys),
        cmocka_unit_test(failing_at_a_key),
        cmocka_unit_test(names_of_outputs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
