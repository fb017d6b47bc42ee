/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker: every softmax strategy, layout and mask passes. */
#include <config.h>

#include "schedule/check.h"
#include "strategy/strategy.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t seed = 1;

static int64_t random_below(int64_t n)
{
    seed = hash_u64(seed, 1);
    return (int64_t)(seed % (uint64_t)n);
}

/* ---- Jobs and plans ------------------------------------------------------ */

struct lengths {
    int64_t n, list[5];
};

static struct job make_job(int64_t heads, int64_t kv_heads,
                           const struct lengths *l, struct mask mask,
                           enum pass pass, enum dtype dtype)
{
    struct job job = {
        .transformer = { .heads = heads, .kv_heads = kv_heads, .head_dim = 8,
                         .value_dim = 4 },
        .mask = mask, .pass = pass, .dtype = dtype,
    };
    struct error e = { 0 };

    if (job_finish(&job, l->list, l->n, &e))
        fail_msg("%s", e.text);
    return job;
}

struct built {
    struct plan *plan;
    struct schedule **s;
    int32_t ranks;
};

/* No plan if the strategy does not apply. */
static struct built build(const struct job *job, const char *strategy,
                          struct strategy_options o, int32_t ranks)
{
    struct error e = { 0 };
    struct built b = { .ranks = ranks };

    b.plan = plan_create(job, strategy_find(strategy), &o, ranks, &e);
    if (!b.plan)
        return b;
    b.s = xcalloc((size_t)ranks, sizeof *b.s);
    for (int32_t r = 0; r < ranks; r++)
        b.s[r] = plan_build(b.plan, r);
    return b;
}

static void built_clear(struct built *b)
{
    for (int32_t r = 0; r < b->ranks; r++)
        schedule_destroy(b->s[r]);
    free(b->s);
    plan_destroy(b->plan);
}

static struct check_report check_built(const struct built *b)
{
    struct check_report report;

    check_schedules((const struct schedule *const *)b->s, b->ranks, &report);
    return report;
}

/* ---- Every strategy passes ----------------------------------------------- */

static const struct lengths lengths[] = {
    { 1, { 37 } }, { 1, { 64 } }, { 1, { 100 } }, { 1, { 3 } },
    { 4, { 1, 5, 97, 33 } }, { 5, { 0, 7, 0, 30, 0 } },
};
static const int64_t heads[][2] = { { 4, 2 }, { 5, 5 }, { 8, 1 } };
static const struct mask masks[] = {
    { MASK_FULL, -1, -1 }, { MASK_CAUSAL, -1, 0 }, { MASK_WINDOW, 16, 0 },
    { MASK_WINDOW, 7, 5 }, { MASK_WINDOW, 0, 0 }, { MASK_WINDOW, -1, 3 },
};
static const struct strategy_options layouts[] = {
    { .layout = LAYOUT_CONTIGUOUS, .block = 1 },
    { .layout = LAYOUT_ZIGZAG, .block = 1 },
    { .layout = LAYOUT_STRIPED, .block = 1 },
    { .layout = LAYOUT_STRIPED, .block = 3 },
};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static void passes(const struct job *job, const char *strategy,
                   struct strategy_options o, int32_t ranks)
{
    struct built b = build(job, strategy, o, ranks);
    int64_t pairs = 0;

    if (!b.plan)
        return;
    struct check_report r = check_built(&b);
    if (!r.passed)
        fail_msg("%s %s %d, %d ranks, %d tokens: %s", strategy,
                 layout_names[o.layout], (int)o.block, ranks,
                 (int)job->tokens, r.finding.text);
    assert_int_equal(r.deadlock, 0);
    assert_int_equal(r.coverage, 1);
    for (int32_t i = 0; i < ranks; i++) {
        assert_int_equal(r.bytes_sent[i], plan_bytes_expected(b.plan, i));
        assert_int_equal(r.peak_bytes[i], b.s[i]->peak_bytes);
        pairs += r.pairs[i];
    }
    assert_int_equal(pairs, r.expected_pairs);
    assert_int_equal(pairs, job_pairs(plan_job(b.plan))
                     * job->transformer.heads);
    check_report_clear(&r);
    built_clear(&b);
}

/* A sample of the matrix, all of it under SPAR_TEST_FULL. */
static void matrix(void **state)
{
    int all = getenv("SPAR_TEST_FULL") != NULL;
    static const int32_t ranks[] = { 1, 2, 3, 4, 5, 6, 7, 8, 16 };

    (void)state;
    for (int l = 0; l < COUNT(lengths); l++)
        for (int h = 0; h < COUNT(heads); h++)
            for (int m = 0; m < COUNT(masks); m++) {
                struct job job = make_job(
                    heads[h][0], heads[h][1], &lengths[l], masks[m],
                    (l + h + m) % 4 ? PASS_FORWARD_BACKWARD : PASS_FORWARD,
                    (l + m) % 2 ? DTYPE_BF16 : DTYPE_FP32);
                for (int s = 0; strategies[s]; s++)
                    for (int y = 0; y < COUNT(layouts); y++)
                        for (int n = 0; n < COUNT(ranks); n++)
                            if (all || random_below(8) == 0)
                                passes(&job, strategies[s]->name, layouts[y],
                                       ranks[n]);
                job_clear(&job);
            }
}

/* Meshes that do not look alike in both directions, either placement; 16
 * context ranks in interleaved windows of 4, where masks made from step numbers
 * would be wrong. */
static void meshes(void **state)
{
    static const struct {
        const char *strategy;
        int32_t ranks;
        int64_t head, window;
        int interleaved;
    } list[] = {
        { "usp", 6, 2, 0, 0 }, { "usp", 6, 3, 0, 0 }, { "usp", 16, 4, 0, 0 },
        { "usp", 7, 1, 0, 0 }, { "usp", 12, 12, 0, 0 }, { "2d", 6, 1, 3, 0 },
        { "2d", 12, 2, 3, 0 }, { "2d", 16, 4, 2, 0 }, { "2d", 16, 1, 4, 1 },
        { "2d", 16, 2, 4, 1 }, { "double-ring", 12, 0, 3, 0 },
        { "double-ring", 12, 0, 12, 0 }, { "double-ring", 7, 0, 1, 0 },
    };

    (void)state;
    for (int i = 0; i < COUNT(list); i++)
        for (int y = 0; y < COUNT(layouts); y++) {
            struct strategy_options o = layouts[y];
            struct job job = make_job(4, 2, &lengths[i % COUNT(lengths)],
                                      masks[1 + i % 2], PASS_FORWARD_BACKWARD,
                                      DTYPE_FP32);
            struct error e = { 0 };
            o.head = list[i].head;
            o.window = list[i].window;
            o.interleaved = list[i].interleaved;
            o.placement = i % 2 ? CONTEXT_FIRST : HEAD_FIRST;
            struct plan *p = plan_create(&job, strategy_find(list[i].strategy),
                                         &o, list[i].ranks, &e);
            if (!p)
                fail_msg("%s", e.text);
            plan_destroy(p);
            passes(&job, list[i].strategy, o, list[i].ranks);
            job_clear(&job);
        }
}

static void degrees_that_do_not_divide(void **state)
{
    static const struct {
        const char *strategy;
        int32_t ranks;
        struct strategy_options o;
    } list[] = {
        { "usp", 4, { .head = 3 } }, { "2d", 8, { .head = 2, .window = 3 } },
        { "2d", 8, { .head = 1, .interleaved = 1 } },
        { "double-ring", 7, { .window = 2 } },
    };
    struct job job = make_job(4, 2, &lengths[0], masks[1], PASS_FORWARD,
                              DTYPE_FP32);

    (void)state;
    for (int i = 0; i < COUNT(list); i++) {
        struct error e = { 0 };
        assert_null(plan_create(&job, strategy_find(list[i].strategy),
                                &list[i].o, list[i].ranks, &e));
        assert_true(strlen(e.text) > 0);
    }
    job_clear(&job);
}

/* The overlap is the point of a ring: two buffers are enough. */
static void rings_do_not_stall(void **state)
{
    static const char *const rings[] = { "ring", "double-ring",
                                         "token-ring" };

    (void)state;
    for (int32_t i = 0; i < 2 * 3 * COUNT(layouts) * 16; i++) {
        int32_t ranks = 1 + i % 16;
        const char *ring = rings[i / 16 % 3];
        struct job job = make_job(4, 2, &(struct lengths){ 1, { 32 * ranks } },
                                  masks[i / 48 % 2], PASS_FORWARD_BACKWARD,
                                  DTYPE_BF16);
        struct built b = build(&job, ring, layouts[i / 96], ranks);
        struct check_report r = check_built(&b);
        if (r.reuse_stalls)
            fail_msg("%s, %d ranks: %d stalls", ring, ranks,
                     (int)r.reuse_stalls);
        check_report_clear(&r);
        built_clear(&b);
        job_clear(&job);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix),
        cmocka_unit_test(meshes),
        cmocka_unit_test(degrees_that_do_not_divide),
        cmocka_unit_test(rings_do_not_stall),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
