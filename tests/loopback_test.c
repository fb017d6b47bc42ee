/* SPDX-License-Identifier: Apache-2.0
 *
 * Every strategy by loopback against the fp64 oracle: a sample of the matrix
 * strategy x layout x mask x pass x ranks x lengths x heads x head size (all
 * of it under SPAR_TEST_FULL=1: hours), hard inputs, random orders. */
#include <config.h>

#include "rig.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static int skipped, ran;

static void run_trial(const struct trial *t)
{
    if (trial_run(t, NULL))
        ran++;
    else
        skipped++;
}

/* ---- The matrix --------------------------------------------------------- */

static int64_t n_strategies(void)
{
    int64_t n = 0;

    while (strategies[n])
        n++;
    return n;
}

/* Strategies in turn. */
static const char *strategy_at(int64_t i)
{
    return strategies[i % n_strategies()]->name;
}

static const struct {
    enum layout layout;
    int64_t block;
} layout_axis[] = {
    { LAYOUT_CONTIGUOUS, 1 }, { LAYOUT_ZIGZAG, 1 }, { LAYOUT_STRIPED, 1 },
    { LAYOUT_STRIPED, 5 },
};
static const struct mask mask_axis[] = {
    { MASK_FULL, -1, -1 }, { MASK_CAUSAL, -1, 0 }, { MASK_WINDOW, 9, 0 },
    { MASK_WINDOW, 30, 4 }, { MASK_WINDOW, -1, 2 },
};
static const enum pass pass_axis[] = { PASS_FORWARD, PASS_FORWARD_BACKWARD };
static const int32_t rank_axis[] = { 1, 2, 3, 4, 5, 6, 7, 8, 16 };
static const int64_t length_axis[][8] = {       /* 0 ends */
    { 3816 }, { 2047 }, { 913 }, { 256 }, { 97 }, { 33 }, { 5 }, { 1 },
    { 1, 5, 97, 33 }, { 38, 12 }, { 3, 1, 1, 64, 2 },
};
static const int64_t head_axis[][2] = {
    { 5, 5 }, { 32, 4 }, { 12, 2 }, { 7, 7 }, { 8, 1 },
};
static const int64_t size_axis[][2] = {
    { 8, 8 }, { 64, 64 }, { 80, 80 }, { 128, 128 }, { 24, 40 },
};
static const enum dtype dtype_axis[] = { DTYPE_FP32, DTYPE_BF16, DTYPE_FP16 };

#define COUNT(axis) (int64_t)(sizeof(axis) / sizeof *(axis))

/* Trial number i of the matrix. Dtypes are not crossed but dealt. */
static struct trial matrix(int64_t i)
{
    struct trial t = { .verify = VERIFY_FULL };
    uint64_t deal = hash_u64(5, (uint64_t)i);
#define NEXT(axis) (axis)[i % COUNT(axis)]; i /= COUNT(axis)
    t.strategy = strategy_at(i);
    i /= n_strategies();
    t.options.layout = layout_axis[i % COUNT(layout_axis)].layout;
    t.options.block = layout_axis[i % COUNT(layout_axis)].block;
    i /= COUNT(layout_axis);
    t.mask = NEXT(mask_axis);
    t.pass = NEXT(pass_axis);
    t.ranks = NEXT(rank_axis);
    const int64_t *lengths = NEXT(length_axis);
    for (; t.sequences < 8 && lengths[t.sequences]; t.sequences++)
        t.lengths[t.sequences] = lengths[t.sequences];
    t.heads = head_axis[i % COUNT(head_axis)][0];
    t.kv_heads = head_axis[i % COUNT(head_axis)][1];
    i /= COUNT(head_axis);
    t.head_dim = size_axis[i % COUNT(size_axis)][0];
    t.value_dim = size_axis[i % COUNT(size_axis)][1];
    i /= COUNT(size_axis);
    t.dtype = dtype_axis[deal % COUNT(dtype_axis)];
    /* In half precision every hop rounds the travelling sum: few hops. */
    t.wire_grad = deal / 8 % 2 && t.ranks <= 3 ? t.dtype : DTYPE_FP32;
    t.wire_partial = t.dtype;
#undef NEXT
    return t;
}

static int64_t matrix_size(void)
{
    return n_strategies() * COUNT(layout_axis) * COUNT(mask_axis)
           * COUNT(pass_axis) * COUNT(rank_axis) * COUNT(length_axis)
           * COUNT(head_axis) * COUNT(size_axis);
}

/* Multiply-adds of one dense reference. */
static double trial_work(const struct trial *t)
{
    struct job job = trial_job(t);
    double work = (double)job_pairs(&job) * (double)t->heads
                  * (double)(t->head_dim + t->value_dim)
                  * (t->pass == PASS_FORWARD ? 1 : 3.5);

    job_clear(&job);
    return work;
}

/* The same trials every time; small ones, so that a sanitized run of all ends
 * in about two minutes. */
static void sampled_matrix(void **state)
{
    int full = getenv("SPAR_TEST_FULL") != NULL;
    int64_t n = matrix_size(), wanted = full ? n : 500;

    (void)state;
    ran = skipped = 0;
    for (int64_t k = 0; ran + skipped < wanted && k < 100 * wanted; k++) {
        int64_t i = full ? k : (int64_t)(hash_u64(11, (uint64_t)k)
                                         % (uint64_t)n);
        struct trial t = matrix(i);
        if (k >= n || (!full && trial_work(&t) > 2e7))
            continue;
        if (trial_work(&t) > 2e8)
            t.verify = VERIFY_SAMPLED;
        run_trial(&t);
    }
    print_message("# %d trials, %d do not apply\n", ran, skipped);
    assert_true(ran > 100);
}

/* Long and odd lengths, each strategy, sampled rows. */
static void odd_lengths(void **state)
{
    static const int64_t lengths[] = { 3816, 2047, 913 };

    (void)state;
    for (int64_t i = 0; i < 3 * n_strategies(); i++)
        run_trial(&(struct trial){
            .strategy = strategy_at(i / 3),
            .options.layout = (enum layout)(i % 3),
            .mask = { MASK_CAUSAL, -1, 0 },
            .pass = PASS_FORWARD_BACKWARD, .ranks = 3 + (int32_t)i % 2,
            .lengths = { lengths[(i + i / 3) % 3] }, .sequences = 1,
            .heads = 2, .kv_heads = 1, .head_dim = 8, .value_dim = 8,
            .verify = VERIFY_SAMPLED });
}

static void reference_kernel(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 2 * n_strategies(); i++)
        run_trial(&(struct trial){
            .strategy = strategy_at(i), .kernel = "reference",
            .options.layout = LAYOUT_ZIGZAG,
            .mask = mask_axis[i % COUNT(mask_axis)],
            .pass = PASS_FORWARD_BACKWARD, .ranks = 2 + (int32_t)i % 3,
            .lengths = { 61 }, .sequences = 1, .heads = 6, .kv_heads = 2,
            .head_dim = 8, .value_dim = 8, .dtype = dtype_axis[i % 3],
            .wire_partial = dtype_axis[i % 3] });
}

/* ---- Hard inputs -------------------------------------------------------- */

static void scaled(enum tensor_name t, float by, int64_t token, int64_t head,
                   int64_t width, float *out)
{
    input_seeded(&rig_seed, t, token, head, width, out);
    for (int64_t x = 0; t == TENSOR_Q && x < width; x++)
        out[x] *= by;
}

static void scores_30(void *arg, enum tensor_name t, int64_t token,
                      int64_t head, int64_t width, float *out)
{
    (void)arg;
    scaled(t, 30, token, head, width, out);
}

static void scores_100(void *arg, enum tensor_name t, int64_t token,
                       int64_t head, int64_t width, float *out)
{
    (void)arg;
    scaled(t, 100, token, head, width, out);
}

static void one_huge_key(void *arg, enum tensor_name t, int64_t token,
                         int64_t head, int64_t width, float *out)
{
    input_seeded(arg, t, token, head, width, out);
    for (int64_t x = 0; t == TENSOR_K && token == 11 && x < width; x++)
        out[x] *= 1000;
}

static void equal_keys(void *arg, enum tensor_name t, int64_t token,
                       int64_t head, int64_t width, float *out)
{
    input_seeded(arg, t, t == TENSOR_K ? 0 : token, head, width, out);
}

static void hard_inputs(void **state)
{
    static const row_fn inputs[] = { scores_30, scores_100, one_huge_key,
                                     equal_keys };
    static const int64_t packed[] = { 1, 5, 97, 33 };

    (void)state;
    for (int64_t i = 0; i < 4 * 3 * n_strategies(); i++) {
        struct trial t = {
            .strategy = strategy_at(i / 12), .row = inputs[i % 4],
            .options.layout = (enum layout)(i / 4 % 3),
            .mask = mask_axis[1 + i / 4 % 2], .pass = PASS_FORWARD_BACKWARD,
            .ranks = 2 + (int32_t)(i + i / 4) % 4, .lengths = { 136 },
            .sequences = 1,
            .heads = 6, .kv_heads = 2, .head_dim = 64, .value_dim = 64 };
        run_trial(&t);
        memcpy(t.lengths, packed, sizeof packed);
        t.sequences = 4;
        run_trial(&t);
        t.dtype = t.wire_grad = t.wire_partial = dtype_axis[i % 3];
        run_trial(&t);
    }
}

/* One token: dq and dk cancel to zero. */
static void one_token(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 3 * n_strategies(); i++)
        run_trial(&(struct trial){
            .strategy = strategy_at(i / 3), .options.layout = LAYOUT_CONTIGUOUS,
            .mask = { MASK_FULL, -1, -1 },
            .pass = PASS_FORWARD_BACKWARD, .ranks = 1 + (int32_t)i % 9,
            .lengths = { 1 },
            .sequences = 1, .heads = 8, .kv_heads = 4, .head_dim = 16,
            .value_dim = 16, .dtype = dtype_axis[i % 3],
            .wire_partial = dtype_axis[i % 3] });
}

/* ---- Orders ------------------------------------------------------------- */

static void any_order_same_bits(void **state)
{
    (void)state;
    for (int64_t i = 0; i < 4 * n_strategies(); i++) {
        struct trial t = {
            .strategy = strategy_at(i),
            .options.layout = (enum layout)(i % 2),
            .mask = mask_axis[i % COUNT(mask_axis)],
            .pass = PASS_FORWARD_BACKWARD, .ranks = 2 + (int32_t)i % 5,
            .lengths = { 77 }, .sequences = 1, .heads = 6, .kv_heads = 3,
            .head_dim = 8, .value_dim = 8, .dtype = dtype_axis[i % 3],
            .wire_partial = dtype_axis[i % 3] };
        struct rig g;
        struct error e = { 0 };
        if (!rig_create(&g, &t))
            continue;
        rig_load(&g);
        assert_int_equal(loopback_run(&g.loop, g.kernel, 0, &e), 0);
        struct results first = rig_results(&g, 0);
        for (uint64_t order = 1; order < 8; order++) {
            assert_int_equal(loopback_run(&g.loop, g.kernel, order, &e), 0);
            struct results again = rig_results(&g, 0);
            for (int r = 0; r < RESULTS; r++)
                assert_memory_equal(first.x[r], again.x[r], first.bytes[r]);
            results_clear(&again);
        }
        results_clear(&first);
        rig_destroy(&g);
    }
}

/* ---- Verification itself, memory ---------------------------------------- */

static void verify_is_strict(void **state)
{
    const struct trial t = {
        .strategy = "ring", .options.layout = LAYOUT_CONTIGUOUS,
        .mask = { MASK_CAUSAL, -1, 0 }, .pass = PASS_FORWARD, .ranks = 2,
        .lengths = { 20 }, .sequences = 1, .heads = 2, .kv_heads = 1,
        .head_dim = 8, .value_dim = 8 };
    struct rig g;
    struct error e = { 0 };
    struct verdict v;

    (void)state;
    assert_true(rig_create(&g, &t));
    rig_load(&g);
    assert_int_equal(loopback_run(&g.loop, g.kernel, 0, &e), 0);
    struct results r = rig_results(&g, 0);
    struct verify *full = verify_create(&g.job, 0, VERIFY_FULL,
                                        input_seeded, &rig_seed, 3);
    struct verify *none = verify_create(&g.job, 0, VERIFY_NONE,
                                        input_seeded, &rig_seed, 3);
    verify_results(full, (const float *const *)r.x, &v);
    assert_true(v.passed);
    assert_true(isnan(v.error[RESULT_DQ]));
    verify_results(none, (const float *const *)r.x, &v);
    assert_false(v.passed);
    float keep = r.x[RESULT_O][3];
    r.x[RESULT_O][3] = NAN;
    verify_results(full, (const float *const *)r.x, &v);
    assert_false(v.passed);
    r.x[RESULT_O][3] = keep + 1e-3f;
    verify_results(full, (const float *const *)r.x, &v);
    assert_false(v.passed);
    verify_results(full, (const float *const[RESULTS]){ NULL }, &v);
    assert_false(v.passed);
    verify_destroy(full);
    verify_destroy(none);
    results_clear(&r);
    rig_destroy(&g);
}

static void memory_says_what_it_needs(void **state)
{
    const struct trial t = {
        .strategy = "ring", .options.layout = LAYOUT_CONTIGUOUS,
        .mask = { MASK_FULL, -1, -1 }, .ranks = 2, .lengths = { 20 },
        .sequences = 1, .heads = 2, .kv_heads = 1, .head_dim = 8,
        .value_dim = 8 };
    struct rig g;
    struct error e = { 0 };
    struct memory m;

    (void)state;
    assert_true(rig_create(&g, &t));
    assert_int_equal(memory_create(&m, g.schedules[1], &device_host, 1,
                                   &e), -1);
    assert_non_null(strstr(e.text, "rank 1 needs"));
    assert_int_equal(memory_create(&m, g.schedules[1], &device_host,
                                   g.schedules[1]->peak_bytes, &e), 0);
    memory_destroy(&m);
    rig_load(&g);
    rig_destroy(&g);
}

static void seeded_is_normal(void **state)
{
    enum { N = 200000 };
    float *x = malloc(N * sizeof *x), head[8];
    double sum = 0, square = 0, fourth = 0;
    uint64_t other = 8;

    (void)state;
    for (int i = 0; i < N / 100; i++)
        input_seeded(&rig_seed, TENSOR_Q, i, 0, 100, x + 100 * i);
    for (int i = 0; i < N; i++) {
        sum += x[i];
        square += (double)x[i] * x[i];
        fourth += pow(x[i], 4);
    }
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(square / N - 1) < 0.02);
    assert_true(fabs(fourth / N - 3) < 0.1);
    input_seeded(&rig_seed, TENSOR_Q, 3, 0, 8, head);   /* width does not matter */
    assert_memory_equal(head, x + 300, sizeof head);
    input_seeded(&other, TENSOR_Q, 3, 0, 8, head);
    assert_memory_not_equal(head, x + 300, sizeof head);
    input_seeded(&rig_seed, TENSOR_K, 3, 0, 8, head);
    assert_memory_not_equal(head, x + 300, sizeof head);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeded_is_normal),
        cmocka_unit_test(memory_says_what_it_needs),
        cmocka_unit_test(verify_is_strict),
        cmocka_unit_test(any_order_same_bits),
        cmocka_unit_test(reference_kernel),
        cmocka_unit_test(one_token),
        cmocka_unit_test(hard_inputs),
        cmocka_unit_test(odd_lengths),
        cmocka_unit_test(sampled_matrix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
