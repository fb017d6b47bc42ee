/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle: its gradients against differences, its samples against all. */
#include <config.h>

#include "tests/kernel_problem.h"

/* L = sum of do * o; its derivative by central differences. */
static double loss(struct problem *p)
{
    int64_t n = p->tokens * p->s.heads * p->s.value_dim;
    double *o = xcalloc((size_t)n, sizeof *o), sum = 0;
    struct oracle_result r = { .o = o };

    oracle_dense(&p->oracle, &r);
    for (int64_t i = 0; i < n; i++)
        sum += o[i] * p->inputs[3][i];
    free(o);
    return sum;
}

static void test_oracle_gradients(void **unused)
{
    static const struct shape s = { 4, 2, 5, 3, { 4, 9 }, 5, 1, DTYPE_FP32,
                                    0 };
    struct problem *p = problem_start(&s);

    (void)unused;
    problem_solve(p);
    for (int which = 0; which < 3; which++) {
        int64_t n = p->tokens * (which ? s.kv_heads : s.heads) *
                    (which == 2 ? s.value_dim : s.head_dim);

        for (int64_t i = 0; i < n; i += 7) {
            double *x = p->inputs[which] + i, old = *x, slope;

            *x = old + 1e-5;
            slope = loss(p);
            *x = old - 1e-5;
            slope = (slope - loss(p)) / 2e-5;
            *x = old;
            assert_true(fabs(slope - p->truth[DQ + which][i]) < 1e-8);
        }
    }
    problem_free(p);
}

static void compare_rows(const struct problem *p, const int64_t *rows,
                         int64_t n)
{
    int64_t d = p->s.head_dim, e = p->s.value_dim, head = 1;
    double *o = xcalloc((size_t)(n * e), 8), *dq = xcalloc((size_t)(n * d), 8);
    double *lse = xcalloc((size_t)n, 8);

    oracle_rows(&p->oracle, head, rows, n, o, lse, dq);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = rows[i] * p->s.heads + head;

        assert_true(fabs(lse[i] - p->truth[LSE][at]) < 1e-12);
        for (int64_t x = 0; x < e; x++)
            assert_true(fabs(o[i * e + x] - p->truth[O][at * e + x]) < 1e-12);
        for (int64_t x = 0; x < d; x++)
            assert_true(fabs(dq[i * d + x] - p->truth[DQ][at * d + x]) <
                        1e-12);
    }
    free(o);
    free(dq);
    free(lse);
}

static void compare_keys(const struct problem *p, const int64_t *keys,
                         int64_t n)
{
    int64_t d = p->s.head_dim, e = p->s.value_dim, head = 1;
    double *dk = xcalloc((size_t)(n * d), 8), *dv = xcalloc((size_t)(n * e), 8);

    oracle_keys(&p->oracle, head, keys, n, dk, dv);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = keys[i] * p->s.kv_heads + head;

        for (int64_t x = 0; x < d; x++)
            assert_true(fabs(dk[i * d + x] - p->truth[DK][at * d + x]) <
                        1e-12);
        for (int64_t x = 0; x < e; x++)
            assert_true(fabs(dv[i * e + x] - p->truth[DV][at * e + x]) <
                        1e-12);
    }
    free(dk);
    free(dv);
}

static void test_oracle_samples(void **unused)
{
    static const struct shape s[] = {
        { 4, 2, 6, 10, { 1, 290, 40 }, -1, 0, DTYPE_FP32, 0 },
        { 4, 2, 6, 10, { 1, 290, 40 }, 11, 4, DTYPE_FP32, 0 },
        { 4, 2, 6, 10, { 1, 290, 40 }, -1, -1, DTYPE_FP32, 0 },
    };
    static const int64_t rows[] = { 0, 1, 2, 290, 5, 17, 291, 330, 3, 100 };

    (void)unused;
    for (size_t i = 0; i < sizeof s / sizeof s[0]; i++) {
        struct problem *p = problem_start(&s[i]);

        problem_solve(p);
        compare_rows(p, rows, sizeof rows / sizeof rows[0]);
        compare_keys(p, rows, sizeof rows / sizeof rows[0]);
        problem_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oracle_gradients),
        cmocka_unit_test(test_oracle_samples),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
