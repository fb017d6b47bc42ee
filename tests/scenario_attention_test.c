/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenarios: attention, pattern, decode, and the options of strategies. */
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

/* `least` with `n` assignments. */
static struct scenario *read_with(const char *const *sets, int n,
                                  struct error *e)
{
    memset(e, 0, sizeof *e);
    return scenario_parse("dir/s.yaml", least, strlen(least), sets, n, e);
}

static struct scenario *good(const char *const *sets, int n)
{
    struct error e;
    struct scenario *s = read_with(sets, n, &e);

    if (!s)
        fail_msg("%s", e.text);
    return s;
}

static struct scenario *set(const char *assignment)
{
    return good(&assignment, 1);
}

/* ---- The job ------------------------------------------------------------ */

static void defaults(void **state)
{
    struct scenario *s = good(NULL, 0);
    const struct job *j = &s->job;

    (void)state;
    assert_int_equal(j->attention, ATTENTION_SOFTMAX);
    assert_null(j->pattern);
    assert_int_equal(j->queries, 1);
    assert_int_equal(j->decode_steps, 0);
    assert_int_equal(j->decode_page, 16);
    scenario_destroy(s);
}

static void softmax_in_words(void **state)
{
    static const char *const sets[] = { "job.attention=softmax",
                                        "job.pattern=null",
                                        "job.decode={steps: 0, page: 16}" };
    struct scenario *s = good(sets, 3);

    (void)state;
    assert_int_equal(s->job.attention, ATTENTION_SOFTMAX);
    assert_null(s->job.pattern);
    scenario_destroy(s);
}

static void linear_attention(void **state)
{
    static const struct {
        const char *set;
        enum feature feature;
        int decays;
    } cases[] = {
        { "job.attention={linear: {}}", FEATURE_IDENTITY, 0 },
        { "job.attention={linear: null}", FEATURE_IDENTITY, 0 },
        { "job.attention={linear: {decay: none, feature: elu1}}",
          FEATURE_ELU1, 0 },
        { "job.attention={linear: {decay: alibi, feature: relu}}",
          FEATURE_RELU, 1 },
        { "job.attention={linear: {decay: [0, 0, 0, 0, 0.5, 0, 0, 1]}}",
          FEATURE_IDENTITY, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scenario *s = set(cases[i].set);
        assert_int_equal(s->job.attention, ATTENTION_LINEAR);
        assert_int_equal(s->job.linear.feature, cases[i].feature);
        assert_int_equal(s->job.linear.slopes != NULL, cases[i].decays);
        scenario_destroy(s);
    }
}

static void slopes(void **state)
{
    struct scenario *s = set("job.attention={linear: {decay: alibi}}");

    (void)state;
    for (int h = 0; h < 8; h++)         /* 8 heads: 1/2, 1/4, ... 1/256 */
        assert_true(fabs(s->job.linear.slopes[h] - exp2(-h - 1)) < 1e-15);
    scenario_destroy(s);
    s = set("job.attention={linear: {decay: [8, 7, 6, 5, 4, 3, 2.5, 0]}}");
    assert_true(s->job.linear.slopes[0] == 8);
    assert_true(s->job.linear.slopes[6] == 2.5);
    assert_true(s->job.linear.slopes[7] == 0);
    scenario_destroy(s);
}

/* With a pattern `attention` is of the L layers; without it no decay. */
static void pattern(void **state)
{
    static const char *const sets[] = {
        "job.pattern=LLS", "job.attention={linear: {decay: alibi}}"
    };
    struct scenario *s = good(sets, 1);

    (void)state;
    assert_string_equal(s->job.pattern, "LLS");
    assert_int_equal(job_layers(&s->job), 3);
    assert_null(s->job.linear.slopes);
    assert_int_equal(job_attention(&s->job, 1), ATTENTION_LINEAR);
    assert_int_equal(job_attention(&s->job, 2), ATTENTION_SOFTMAX);
    scenario_destroy(s);
    s = good(sets, 2);
    assert_non_null(s->job.linear.slopes);
    scenario_destroy(s);
}

static void decode(void **state)
{
    static const char *const sets[] = {
        "job.pass=decode", "job.queries=16",
        "job.decode={steps: 100, page: 64}"
    };
    struct scenario *s = good(sets, 3);

    (void)state;
    assert_int_equal(s->job.pass, PASS_DECODE);
    assert_int_equal(s->job.queries, 16);
    assert_int_equal(s->job.decode_steps, 100);
    assert_int_equal(s->job.decode_page, 64);
    scenario_destroy(s);
}

/* ---- Input -------------------------------------------------------------- */

static const char from_file[] =
    "job: {input: q.h5, pass: decode, attention: softmax}\n"
    "strategies: [{name: ring}]\n";

static void queries_of_the_input(void **state)
{
    struct tensor_file f = { .tokens = 100, .queries = 4, .heads = 4,
                             .kv_heads = 2, .head_dim = 8, .value_dim = 8 };
    struct error e = { 0 };
    struct scenario *s = scenario_parse("s.yaml", from_file,
                                        strlen(from_file), NULL, 0, &e);

    (void)state;
    assert_non_null(s);
    assert_int_equal(scenario_input_need(s), TENSORS_DECODE);
    assert_int_equal(scenario_apply_input(s, &f, &e), 0);
    assert_int_equal(s->job.queries, 4);
    assert_int_equal(s->job.tokens, 100);
    scenario_destroy(s);
}

static void queries_that_disagree(void **state)
{
    static const struct {
        const char *set, *says;
        int64_t queries;
    } bad[] = {
        { "job.queries=3", "job.queries: 3, but q.h5 has 4", 4 },
        { "run.ranks=2", "q has 17 tokens; a decode step has at most 16", 17 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tensor_file f = {
            .tokens = 100, .queries = bad[i].queries, .heads = 4,
            .kv_heads = 2, .head_dim = 8, .value_dim = 8
        };
        struct error e = { 0 };
        struct scenario *s = scenario_parse("s.yaml", from_file,
                                            strlen(from_file), &bad[i].set, 1,
                                            &e);
        assert_non_null(s);
        assert_int_equal(scenario_apply_input(s, &f, &e), -1);
        assert_int_equal(e.status, SPAR_FAILED);
        assert_non_null(strstr(e.text, bad[i].says));
        scenario_destroy(s);
    }
}

/* ---- Options ------------------------------------------------------------ */

static void options(void **state)
{
    static const char *const strategies_set =
        "strategies=[{name: ring, backward: q, direction: -1, hops: needed},"
        "{name: allgather, head_group: 2},"
        "{name: ring, backward: kv, direction: 1, hops: all},"
        "{name: tree, reduce: two-level, window: 4},"
        "{name: star, block: 32, anchor: 16}, {name: star},"
        "{name: 2d, head: 2, window: 3, placement: context-first,"
        " interleaved: true}]";
    struct scenario *s = set(strategies_set);
    const struct scenario_strategy *x = s->strategies;

    (void)state;
    assert_int_equal(x[0].options.backward, CIRCULATE_Q);
    assert_int_equal(x[0].options.reverse, 1);
    assert_int_equal(x[0].options.needed, 1);
    assert_int_equal(x[1].options.head_group, 2);
    assert_int_equal(x[2].options.backward, CIRCULATE_KV);
    assert_int_equal(x[2].options.reverse, 0);
    assert_int_equal(x[2].options.needed, 0);
    assert_int_equal(x[3].options.reduce, REDUCE_TWO_LEVEL);
    assert_int_equal(x[3].options.window, 4);
    assert_int_equal(x[4].options.block, 32);
    assert_int_equal(x[4].options.anchor, 16);
    assert_int_equal(x[5].options.block, 0);
    assert_int_equal(x[5].options.anchor, 0);
    assert_int_equal(x[6].options.head, 2);
    assert_int_equal(x[6].options.window, 3);
    assert_int_equal(x[6].options.placement, CONTEXT_FIRST);
    assert_int_equal(x[6].options.interleaved, 1);
    scenario_destroy(s);
}

/* ---- Errors ------------------------------------------------------------- */

static void wrong_values(void **state)
{
    static const struct {
        const char *set, *key, *word;
    } bad[] = {
        { "job.attention=linear", "job.attention", "linear: {decay" },
        { "job.attention={}", "job.attention", "empty" },
        { "job.attention={linaer: {}}", "job.attention.linaer", "linear" },
        { "job.attention={linear: {deacy: none}}",
          "job.attention.linear.deacy", "decay" },
        { "job.attention={linear: {decay: 0.5}}",
          "job.attention.linear.decay", "0.5" },
        { "job.attention={linear: {decay: [1]}}",
          "job.attention.linear.decay", "1 slopes, but there are 8" },
        { "job.attention={linear: {decay: [1, x]}}",
          "job.attention.linear.decay", "x" },
        { "job.attention={linear: {decay: {}}}",
          "job.attention.linear.decay", "{...}" },
        { "job.attention={linear: {feature: gelu}}",
          "job.attention.linear.feature", "gelu" },
        { "job.pattern=LSX", "job.pattern", "LSX" },
        { "job.pattern=[L, S]", "job.pattern", "[...]" },
        { "job.pattern=''", "job.pattern", "letters" },
        { "job.queries=0", "job.queries", "0" },
        { "job.queries=4097", "job.queries", "4097 is not between" },
        { "job.decode=3", "job.decode", "steps, page" },
        { "job.decode={stepps: 3}", "job.decode.stepps", "steps" },
        { "job.decode={steps: 3}", "job.decode.steps", "pass: decode" },
        { "job.decode={page: 0}", "job.decode.page", "0" },
        { "job={input: x.h5, pass: decode, decode: {steps: 2}}", "job.input",
          "decode.steps" },
        { "strategies.0.backward=both", "strategies.0.backward", "kv, q" },
        { "strategies.0.direction=0", "strategies.0.direction", "1, -1" },
        { "strategies.0.hops=most", "strategies.0.hops", "all, needed" },
        { "strategies.0={name: allgather, head_group: -1}",
          "strategies.0.head_group", "-1" },
        { "strategies.0={name: tree, reduce: ring}", "strategies.0.reduce",
          "allreduce3, packed, userop, gather, two-level" },
        { "strategies.0={name: tree, window: 2}", "strategies.0.window",
          "two-level" },
        { "strategies.0={name: star, block: 0}", "strategies.0.block", "0" },
        { "strategies.0={name: star, anchor: 0}", "strategies.0.anchor",
          "0" },
        { "strategies.0={name: star, anchors: 3}", "strategies.0.anchors",
          "anchor" },
    };
    int failures = 0;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e;
        char start[160];
        struct scenario *s = read_with(&bad[i].set, 1, &e);
        snprintf(start, sizeof start, "--set %s: %s: ", bad[i].set,
                 bad[i].key);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(softmax_in_words),
        cmocka_unit_test(linear_attention),
        cmocka_unit_test(slopes),
        cmocka_unit_test(pattern),
        cmocka_unit_test(decode),
        cmocka_unit_test(queries_of_the_input),
        cmocka_unit_test(queries_that_disagree),
        cmocka_unit_test(options),
        cmocka_unit_test(wrong_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
