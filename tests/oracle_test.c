/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle, softmax and linear, under every mask: against attention written
 * down anew, its gradients against differences, its samples against all. */
#include <config.h>

#include "kernel/kernel.h"
#include "tests/brute.h"

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof *(a)))

enum { O, LSE, DQ, DK, DV, TENSORS };

static const double slopes[] = { 0.02, 0.4, 0, 1.5 };

/* Short ones are differentiated too. */
static const struct brute cases[] = {
    { 4, 2, 5, 3, { 4, 9 }, .left = -1, .right = -1 },
    { 4, 2, 5, 3, { 4, 9 }, .left = -1, .right = 0 },
    { 4, 2, 5, 3, { 4, 9 }, .left = 5, .right = 1 },
    { 4, 2, 8, 8, { 22 }, .left = -1, .right = 0, .block = 5,
      .anchor = 3, .context = 17 },
    { 4, 2, 8, 8, { 22 }, .left = -1, .right = 0, .block = 4,
      .anchor = 7, .context = 20 },
    { 4, 2, 5, 3, { 4, 9 }, .left = -1, .right = 0, .linear = 1 },
    { 4, 2, 5, 3, { 4, 9 }, .left = -1, .right = -1, .linear = 1,
      .feature = "elu1" },
    { 4, 2, 5, 3, { 4, 9 }, .left = -1, .right = 0, .linear = 1,
      .feature = "elu1", .slopes = slopes },
    { 4, 1, 8, 16, { 1, 12 }, .left = -1, .right = 0, .linear = 1,
      .feature = "relu", .slopes = slopes },
    { 4, 4, 3, 9, { 11 }, .left = -1, .right = -1, .linear = 1,
      .feature = "relu", .slopes = slopes },
    { 4, 2, 5, 3, { 13 }, .left = 2, .right = 4, .linear = 1,
      .slopes = slopes },
    { 4, 2, 6, 10, { 1, 290, 40 }, .left = -1, .right = -1 },
    { 4, 2, 6, 10, { 1, 290, 40 }, .left = -1, .right = 0 },
    { 4, 2, 6, 10, { 1, 290, 40 }, .left = 11, .right = 4 },
    { 4, 2, 6, 10, { 331 }, .left = -1, .right = 0, .block = 32,
      .anchor = 16, .context = 315 },
    { 4, 2, 6, 10, { 1, 290, 40 }, .left = -1, .right = 0, .linear = 1,
      .feature = "elu1", .slopes = slopes },
    { 4, 2, 6, 10, { 1, 290, 40 }, .left = -1, .right = -1, .linear = 1,
      .slopes = slopes },
};

struct truth {
    int64_t offsets[5];
    int64_t rows[TENSORS], width[TENSORS];
    struct oracle_problem p;
    struct oracle_result r;
    double *x[TENSORS];
};

static int feature_number(const struct brute *b)
{
    return b->feature ? (strcmp(b->feature, "elu1") == 0 ? 1 : 2) : 0;
}

static void truth_make(struct truth *t, const struct brute *b)
{
    int64_t q = brute_tokens(b) * b->heads, k = brute_tokens(b) * b->kv_heads;
    const int64_t rows[] = { q, q, q, k, k };
    const int64_t width[] = { b->E, 1, b->D, b->D, b->E };

    *t = (struct truth){ .p = {
        .heads = b->heads, .kv_heads = b->kv_heads, .head_dim = b->D,
        .value_dim = b->E, .offsets = t->offsets,
        .mask = { b->left, b->right, b->block, b->anchor, b->context },
        .scale = 1 / sqrt((double)b->D), .linear = b->linear,
        .feature = feature_number(b), .slopes = b->slopes,
        .q = b->q, .k = b->k, .v = b->v, .d_o = b->d_o } };
    for (; t->p.sequences < 4 && b->lengths[t->p.sequences]; t->p.sequences++)
        t->offsets[t->p.sequences + 1] = t->offsets[t->p.sequences]
                                         + b->lengths[t->p.sequences];
    for (int i = 0; i < TENSORS; i++) {
        t->rows[i] = rows[i];
        t->width[i] = width[i];
        t->x[i] = brute_numbers(rows[i] * width[i], 5);     /* garbage */
    }
    t->r = (struct oracle_result){ .o = t->x[O], .dq = t->x[DQ],
                                   .dk = t->x[DK], .dv = t->x[DV],
                                   .lse = b->linear ? NULL : t->x[LSE] };
    oracle_dense(&t->p, &t->r);
}

static void truth_free(struct truth *t)
{
    for (int i = 0; i < TENSORS; i++)
        free(t->x[i]);
}

static void assert_close(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance * (1 + fabs(b))))
        fail_msg("%.17g is not %.17g", a, b);
}

static void assert_rows_close(const double *a, const double *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        assert_close(a[i], b[i], 1e-11);
}

static void forward_case(const struct brute *b)
{
    double *o = xcalloc((size_t)b->E, sizeof *o), lse;
    struct truth t;

    truth_make(&t, b);
    for (int64_t i = 0; i < brute_tokens(b); i++)
        for (int64_t h = 0; h < b->heads; h++) {
            int64_t at = i * b->heads + h;
            brute_row(b, i, h, o, &lse);
            assert_rows_close(t.x[O] + at * b->E, o, b->E);
            if (!b->linear)
                assert_close(t.x[LSE][at], lse, 1e-12);
        }
    truth_free(&t);
    free(o);
}

static void backward_case(const struct brute *b)
{
    double *const inputs[] = { b->q, b->k, b->v };
    struct truth t;

    truth_make(&t, b);
    for (int i = 0; i < 3; i++)
        for (int64_t x = 0; x < t.rows[DQ + i] * t.width[DQ + i]; x += 3)
            assert_close(t.x[DQ + i][x], brute_slope(b, inputs[i] + x), 1e-5);
    truth_free(&t);
}

/* Listed tokens, of an inner head; they come in no order and more than once. */
static void sample_case(const struct brute *b)
{
    int64_t list[] = { 12, 0, 1, 2, 290, 5, 17, 291, 330, 3, 100, 12, 289, 7 };
    int64_t n = COUNT(list), head = b->heads - 2, g = b->kv_heads - 1;
    double *rows[TENSORS];
    struct truth t;

    truth_make(&t, b);
    for (int64_t i = 0; i < n; i++)
        list[i] %= brute_tokens(b);
    for (int i = 0; i < TENSORS; i++)
        rows[i] = brute_numbers(n * t.width[i], 6);
    oracle_rows(&t.p, head, list, n, rows[O], b->linear ? NULL : rows[LSE],
                rows[DQ]);
    oracle_keys(&t.p, g, list, n, rows[DK], rows[DV]);
    for (int x = 0; x < TENSORS; x++)
        for (int64_t i = 0; (x != LSE || !b->linear) && i < n; i++) {
            int64_t at = x < DK ? list[i] * b->heads + head
                                : list[i] * b->kv_heads + g;
            assert_rows_close(rows[x] + i * t.width[x],
                              t.x[x] + at * t.width[x], t.width[x]);
        }
    for (int i = 0; i < TENSORS; i++)
        free(rows[i]);
    truth_free(&t);
}

static void on_cases(void (*check)(const struct brute *b), int64_t longest)
{
    for (int64_t i = 0; i < COUNT(cases); i++) {
        struct brute b = cases[i];
        if (brute_tokens(&b) > longest)
            continue;
        brute_fill(&b);
        check(&b);
        brute_free(&b);
    }
}

static void results_follow_the_definition(void **state)
{
    (void)state;
    on_cases(forward_case, 1000);
}

static void gradients_are_slopes(void **state)
{
    (void)state;
    on_cases(backward_case, 25);
}

static void samples_are_of_the_whole(void **state)
{
    (void)state;
    on_cases(sample_case, 1000);
}

/* A decode step is the last rows of causal attention, whatever came before. */
static void decode_is_the_last_rows(void **state)
{
    struct brute b = { .heads = 4, .kv_heads = 2, .D = 8, .E = 6,
                       .lengths = { 70 }, .left = -1 };
    const int64_t queries[] = { 66, 67, 68, 69 };
    double o[4 * 6], lse[4];
    struct truth t;

    (void)state;
    brute_fill(&b);
    truth_make(&t, &b);
    memset(b.q, 0, (size_t)(66 * 4 * 8) * sizeof *b.q);
    for (int64_t h = 0; h < 4; h++) {
        oracle_rows(&t.p, h, queries, 4, o, lse, NULL);
        for (int64_t i = 0; i < 4; i++) {
            assert_close(lse[i], t.x[LSE][queries[i] * 4 + h], 1e-12);
            assert_rows_close(o + i * 6, t.x[O] + (queries[i] * 4 + h) * 6, 6);
        }
    }
    truth_free(&t);
    brute_free(&b);
}

/* The divisor where a tensor cancels: opposite values, one sum of terms. */
static void sizes_are_sums_of_terms(void **state)
{
    double q[] = { 3, 3 }, k[] = { 2, 2 }, v[] = { 5, -5 }, d_o[] = { 1, 1 };
    double o[2], dq[2], dk[2], dv[2];
    const int64_t offsets[] = { 0, 2 };
    struct oracle_problem p = {
        .heads = 1, .kv_heads = 1, .head_dim = 1, .value_dim = 1,
        .sequences = 1, .offsets = offsets, .mask = { -1, -1, 0, 0, 0 },
        .linear = 1, .q = q, .k = k, .v = v, .d_o = d_o };
    struct oracle_result r = { .o = o, .dq = dq, .dk = dk, .dv = dv };

    (void)state;
    oracle_dense(&p, &r);
    assert_true(o[0] == 0 && o[1] == 0 && dq[0] == 0 && dq[1] == 0);
    assert_true(dk[0] == 30 && dk[1] == -30 && dv[0] == 12 && dv[1] == 12);
    assert_true(r.abs_o == 60 && r.abs_dq == 20 && r.abs_dk == 30);
    assert_true(r.abs_dv == 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_follow_the_definition),
        cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(samples_are_of_the_whole),
        cmocka_unit_test(decode_is_the_last_rows),
        cmocka_unit_test(sizes_are_sums_of_terms),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
