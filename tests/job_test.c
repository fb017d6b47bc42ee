/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from a job: slopes, layers, visible pairs by counting. */
#include <config.h>

#include "job/job.h"

#include <setjmp.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof *(a)))

/* Printed by get_slopes() of the ALiBi paper's repository. */
static void slopes_as_published(void **state)
{
    static const double eight[] = { 0.5, 0.25, 0.125, 0.0625, 0.03125,
                                    0.015625, 0.0078125, 0.00390625 };
    static const double twelve[] = {
        0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625,
        0.7071067811865476, 0.35355339059327384, 0.17677669529663692,
        0.08838834764831849 };
    double x[12];

    (void)state;
    alibi_slopes(8, x);
    for (int h = 0; h < 8; h++)
        assert_true(fabs(x[h] - eight[h]) < 1e-15);
    alibi_slopes(12, x);
    for (int h = 0; h < 12; h++)
        assert_true(fabs(x[h] - twelve[h]) < 1e-15);
    alibi_slopes(1, x);
    assert_true(x[0] == 0x1p-8);
}

static struct job job_of(int64_t tokens, struct job job)
{
    struct error e = { 0 };

    job.transformer.heads = 2;
    job.transformer.head_dim = 4;
    if (job_finish(&job, &tokens, 1, &e))
        fail_msg("%s", e.text);
    return job;
}

static void star_case(int64_t tokens, int64_t queries, int64_t block,
                      int64_t anchor)
{
    struct job job = job_of(tokens, (struct job){
        .mask = { .kind = MASK_CAUSAL }, .queries = queries });
    int64_t context = tokens - queries, pairs = 0;

    job.mask.kind = MASK_STAR;
    job.star = (struct star){ block, anchor, context };
    for (int64_t i = 0; i < tokens; i++)
        for (int64_t j = 0; j <= i; j++)
            pairs += i >= context || j < anchor || i / block == j / block;
    if (job_pairs(&job) != pairs)
        fail_msg("star of %lld + %lld tokens, block %lld, anchor %lld: %lld "
                 "pairs, not %lld", (long long)context, (long long)queries,
                 (long long)block, (long long)anchor,
                 (long long)job_pairs(&job), (long long)pairs);
    job_clear(&job);
}

static void star_pairs_are_counted(void **state)
{
    static const int64_t blocks[] = { 1, 2, 7, 10, 16, 40 };
    static const int64_t anchors[] = { 0, 1, 7, 8, 16, 25, 60 };

    (void)state;
    for (int64_t tokens = 2; tokens < 50; tokens += 3)
        for (int i = 0; i < COUNT(blocks); i++)
            for (int j = 0; j < COUNT(anchors); j++)
                for (int64_t q = 1; q < tokens; q += 5)
                    star_case(tokens, q, blocks[i], anchors[j]);
}

static void decode_pairs_are_counted(void **state)
{
    struct job causal = job_of(100, (struct job){
        .mask = { .kind = MASK_CAUSAL }, .pass = PASS_DECODE, .queries = 3 });
    struct job full = job_of(100, (struct job){ .pass = PASS_DECODE,
                                                .queries = 3 });

    (void)state;
    assert_int_equal(job_first_query(&causal), 97);
    assert_int_equal(job_pairs(&causal), 98 + 99 + 100);
    assert_int_equal(job_pairs(&full), 300);
    job_clear(&causal);
    job_clear(&full);
}

static void layers_follow_the_pattern(void **state)
{
    struct job job = job_of(10, (struct job){ .pattern = NULL });

    (void)state;
    assert_int_equal(job_layers(&job), 1);
    assert_int_equal(job_attention(&job, 0), ATTENTION_SOFTMAX);
    job.pattern = malloc(4);
    memcpy(job.pattern, "LLS", 4);
    assert_int_equal(job_layers(&job), 3);
    assert_int_equal(job_attention(&job, 1), ATTENTION_LINEAR);
    assert_int_equal(job_attention(&job, 2), ATTENTION_SOFTMAX);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_as_published),
        cmocka_unit_test(star_pairs_are_counted),
        cmocka_unit_test(decode_pairs_are_counted),
        cmocka_unit_test(layers_follow_the_pattern),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
