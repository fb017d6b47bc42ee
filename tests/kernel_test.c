/* SPDX-License-Identifier: Apache-2.0
 *
 * Every backend, and every instruction set of the cpu backend that this
 * processor has, against the fp64 oracle. */
#include <config.h>

#include "tests/kernel_problem.h"

static void count_poll(void *arg)
{
    ++*(int64_t *)arg;
}

static void check_results(const struct problem *p, const char *name,
                          struct tensor *out)
{
    static const char *const names[] = { "o", "lse", "dq", "dk", "dv" };

    for (int i = 0; i < RESULTS; i++) {
        double e = error_of(p, i, &out[i]);

        check_canaries(&out[i]);
        if (!(e <= p->gate[i]))
            fail_msg("%s: H %lld/%lld D %lld E %lld S %lld mask %lld,%lld "
                     "dtype %s: %s: error %g, gate %g", name,
                     (long long)p->s.heads, (long long)p->s.kv_heads,
                     (long long)p->s.head_dim, (long long)p->s.value_dim,
                     (long long)p->tokens, (long long)p->s.left,
                     (long long)p->s.right, dtype_name(p->s.dtype), names[i],
                     e, p->gate[i]);
    }
}

/* Arguments for queries [q0, q1), keys [k0, k1); out: by result, whole. */
static struct attend_args args_for(const struct problem *p, struct tensor *out,
                                   struct tensor *delta, int64_t q0, int64_t q1,
                                   int64_t k0, int64_t k1,
                                   struct segment *segments)
{
    return (struct attend_args){
        .q = part(&p->q, q0, q1 - q0), .k = part(&p->k, k0, k1 - k0),
        .v = part(&p->v, k0, k1 - k0), .o = part(&out[O], q0, q1 - q0),
        .lse = part(&out[LSE], q0, q1 - q0),
        .d_o = part(&p->d_o, q0, q1 - q0), .delta = part(delta, q0, q1 - q0),
        .dq = part(&out[DQ], q0, q1 - q0), .dk = part(&out[DK], k0, k1 - k0),
        .dv = part(&out[DV], k0, k1 - k0),
        .group = p->s.heads / p->s.kv_heads, .scale = p->scale,
        .segments = segments,
        .n_segments = segments_of(p, q0, q1, k0, k1, segments),
    };
}

static void make_outputs(const struct problem *p, enum dtype type,
                         struct tensor *out)
{
    for (int i = 0; i < RESULTS; i++)
        out[i] = make(i == LSE ? DTYPE_FP32 : type, p->tokens,
                      heads_of(&p->s, i), width_of(&p->s, i));
}

static void free_outputs(struct tensor *out)
{
    for (int i = 0; i < RESULTS; i++)
        free(out[i].data);
}

/* One call for everything, stored in the problem's dtype. */
static void run_whole(const struct problem *p, const struct kernel_backend *b,
                      struct tensor *out)
{
    struct tensor delta = make(DTYPE_FP32, p->tokens, p->s.heads, 1);
    struct segment segments[MAX_SEGMENTS];
    int64_t polls = 0;

    make_outputs(p, p->s.dtype, out);
    struct attend_args a = args_for(p, out, &delta, 0, p->tokens, 0, p->tokens,
                                    segments);

    a.store = a.store_dq = a.store_dk = a.store_dv = 1;
    a.poll = (struct poll){ count_poll, &polls };
    b->attend(&a);
    assert_true(polls > 0 || !a.n_segments);
    polls = 0;
    b->delta(a.o, a.d_o, a.delta);
    b->attend_backward(&a);
    assert_true(polls > 0 || !a.n_segments);
    check_canaries(&delta);
    free(delta.data);
}

/* Queries in blocks of `block`, keys in others, fp32 accumulators: the first
 * call of a row stores, later ones accumulate. */
static void run_blocks(const struct problem *p, const struct kernel_backend *b,
                       int64_t block, struct tensor *out)
{
    struct tensor delta = make(DTYPE_FP32, p->tokens, p->s.heads, 1);
    struct segment segments[MAX_SEGMENTS];
    int64_t n = p->tokens, other = block + block / 3 + 1;

    make_outputs(p, DTYPE_FP32, out);
    for (int backward = 0; backward < 2; backward++) {
        for (int64_t q = 0; q < n; q += block)
            for (int64_t k = 0; k < n; k += other) {
                struct attend_args a = args_for(
                    p, out, &delta, q, min64(n, q + block), k,
                    min64(n, k + other), segments);

                a.store = a.store_dq = k == 0;
                a.store_dk = a.store_dv = q == 0;
                (backward ? b->attend_backward : b->attend)(&a);
            }
        if (!backward)
            b->delta(out[O], p->d_o, delta);
    }
    free(delta.data);
}

static const struct shape shapes[] = {
    { 1, 1, 8, 8, { 1 }, -1, -1, DTYPE_FP32, 0 },
    { 2, 1, 1, 1, { 19 }, -1, 0, DTYPE_FP32, 0 },
    { 5, 5, 8, 8, { 33 }, -1, 0, DTYPE_FP32, 0 },
    { 8, 1, 64, 64, { 97 }, -1, 0, DTYPE_FP32, 0 },
    { 12, 2, 16, 16, { 70 }, -1, -1, DTYPE_FP32, 0 },
    { 7, 7, 80, 80, { 61 }, -1, 0, DTYPE_FP32, 0 },
    { 4, 2, 128, 128, { 150 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 2, 192, 128, { 67 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 1, 24, 40, { 83 }, -1, -1, DTYPE_FP32, 0 },
    { 1, 1, 256, 256, { 70 }, -1, 0, DTYPE_FP32, 0 },
    { 1, 1, 320, 264, { 133 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 2, 64, 64, { 200 }, 13, 0, DTYPE_FP32, 0 },
    { 2, 1, 32, 32, { 130 }, 7, 5, DTYPE_FP32, 0 },
    { 2, 1, 32, 32, { 130 }, -1, 9, DTYPE_FP32, 0 },
    { 2, 1, 32, 32, { 130 }, 0, -1, DTYPE_FP32, 0 },
    { 2, 1, 64, 64, { 1, 5, 97, 33 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 1, 64, 64, { 1, 5, 97, 33 }, -1, -1, DTYPE_FP32, 0 },
    { 4, 1, 16, 16, { 3, 64, 1, 1, 90, 17 }, 20, 0, DTYPE_FP32, 0 },
    { 4, 2, 64, 64, { 130 }, -1, 0, DTYPE_BF16, 0 },
    { 4, 2, 64, 64, { 130 }, -1, 0, DTYPE_FP16, 0 },
    { 3, 1, 80, 80, { 1, 5, 97, 33 }, 30, 3, DTYPE_BF16, 0 },
    { 2, 2, 72, 65, { 71 }, -1, -1, DTYPE_FP16, 0 },
    { 2, 2, 64, 64, { 150 }, -1, 0, DTYPE_FP32, 30 },
    { 2, 2, 64, 64, { 150 }, -1, 0, DTYPE_FP32, 100 },
    { 2, 2, 64, 64, { 150 }, -1, -1, DTYPE_BF16, 100 },
};

/* Longer than every tile; reference left out. */
static const struct shape long_shapes[] = {
    { 1, 1, 8, 8, { 2500 }, -1, 0, DTYPE_FP32, 0 },
    { 4, 1, 128, 128, { 613 }, -1, 0, DTYPE_FP32, 0 },
    { 1, 1, 64, 128, { 700, 613 }, -1, 0, DTYPE_BF16, 0 },
    { 4, 2, 16, 16, { 1500 }, 600, 50, DTYPE_FP32, 0 },
};

static void check_backends(struct problem *p, int first)
{
    struct tensor out[RESULTS], again[RESULTS];

    for (int b = first; b < n_backends; b++) {
        run_whole(p, &backends[b], out);
        check_results(p, backends[b].name, out);
        run_whole(p, &backends[b], again);
        for (int i = 0; i < RESULTS; i++)
            assert_true(same_bits(&out[i], &again[i]));
        free_outputs(out);
        free_outputs(again);
        run_blocks(p, &backends[b], 1 + p->tokens / 3, out);
        check_results(p, backends[b].name, out);
        free_outputs(out);
    }
}

static void test_shapes(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct problem *p = problem_start(&shapes[i]);

        problem_solve(p);
        check_backends(p, 0);
        problem_free(p);
    }
}

static void test_long(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof long_shapes / sizeof long_shapes[0]; i++) {
        struct problem *p = problem_start(&long_shapes[i]);

        problem_solve(p);
        check_backends(p, 1);
        problem_free(p);
    }
}

/* One key far larger than the others; all keys equal. */
static void test_odd_keys(void **unused)
{
    static const struct shape s = { 2, 1, 64, 64, { 140 }, -1, 0, DTYPE_FP32,
                                    0 };

    (void)unused;
    for (int equal = 0; equal < 2; equal++) {
        struct problem *p = problem_start(&s);
        float *k = p->k.data;

        for (int64_t r = 0; r < p->tokens; r++)
            for (int64_t x = 0; x < s.head_dim; x++)
                if (equal)
                    k[index_of(&p->k, r, 0, x)] = k[x];
                else if (r == 57)
                    k[index_of(&p->k, r, 0, x)] *= 1000;
        problem_solve(p);
        check_backends(p, 0);
        problem_free(p);
    }
}

static void test_find(void **unused)
{
    struct error e = { 0 };

    (void)unused;
    assert_ptr_equal(kernel_find("auto", &e), &kernel_cpu);
    assert_ptr_equal(kernel_find("reference", &e), &kernel_reference);
    assert_ptr_equal(kernel_find("none", &e), &kernel_null);
    assert_null(kernel_find("gpu", &e));
    assert_int_equal(e.status, SPAR_USAGE);
    assert_non_null(strstr(e.text, "gpu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_odd_keys),
        cmocka_unit_test(test_find),
    };

    collect_backends();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
