/* SPDX-License-Identifier: Apache-2.0
 *
 * merge, sum, delta against the reference backend; exp and the conversions of
 * 16 bits against arithmetic. */
#include <config.h>

#include "tests/kernel_tensor.h"

static struct tensor make_lse(int64_t rows, int64_t heads)
{
    struct tensor t = make_random(DTYPE_FP32, rows, heads, 1, 200);

    for (int64_t r = 0; r < rows; r++)
        if (draw_below(4) == 0 || r == 3)
            element_store(t.data, DTYPE_FP32, index_of(&t, r, 0, 0),
                          -INFINITY);
    return t;
}

/* (0, -inf) where lse says so, if `valid`; else poison there. */
static void empty_rows(struct tensor *o, const struct tensor *lse)
{
    for (int64_t r = 0; r < o->rows; r++)
        for (int64_t h = 0; h < o->heads; h++)
            for (int64_t x = 0; x < o->width; x++)
                if (get(lse, r, h, 0) == -INFINITY)
                    element_store(o->data, o->dtype, index_of(o, r, h, x), NAN);
}

static void merge_case(const struct kernel_backend *b, enum dtype type,
                       int64_t n, int store)
{
    struct tensor po[8], plse[8], o, lse, o2, lse2;

    for (int64_t i = 0; i < n; i++) {
        po[i] = make_random(type, 13, 3, 37, 1);
        plse[i] = make_lse(13, 3);
        empty_rows(&po[i], &plse[i]);
    }
    o = store ? make(type, 13, 3, 37) : make_random(type, 13, 3, 37, 1);
    lse = store ? make(DTYPE_FP32, 13, 3, 1) : make_lse(13, 3);
    o2 = copy_of(&o);
    lse2 = copy_of(&lse);
    b->merge(o, lse, store, po, plse, n);
    backends[0].merge(o2, lse2, store, po, plse, n);
    assert_true(difference(&o, &o2) < (type == DTYPE_FP32 ? 1e-6 : 1e-2));
    assert_true(difference(&lse, &lse2) < 1e-4);
    check_canaries(&o);
    check_canaries(&lse);
    assert_true(get(&o, 3, 0, 5) == 0 && get(&lse, 3, 0, 0) == -INFINITY);
    for (int64_t i = 0; i < n; i++) {
        free(po[i].data);
        free(plse[i].data);
    }
    free(o.data);
    free(lse.data);
    free(o2.data);
    free(lse2.data);
}

static void test_merge(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int t = 0; t < DTYPES; t++)
            for (int64_t n = 1; n <= 8; n++)
                for (int store = 0; store < 2; store++)
                    merge_case(&backends[b], (enum dtype)t, n, store);
}

/* Two partials of equal weight: the mean, and lse + log 2. */
static void test_merge_equal(void **unused)
{
    float o[2][2] = { { 1, 3 }, { 5, -1 } }, lse[2] = { 700, 700 };
    struct tensor to[2], tlse[2];

    (void)unused;
    for (int i = 0; i < 2; i++) {
        to[i] = (struct tensor){ o[i], DTYPE_FP32, 1, 2, 1, 2, 0 };
        tlse[i] = (struct tensor){ &lse[i], DTYPE_FP32, 1, 1, 1, 1, 0 };
    }
    for (int b = 0; b < n_backends; b++) {
        o[0][0] = 1;
        o[0][1] = 3;
        lse[0] = 700;
        backends[b].merge(to[0], tlse[0], 0, &to[1], &tlse[1], 1);
        assert_true(fabsf(o[0][0] - 3) < 1e-6f);
        assert_true(fabsf(o[0][1] - 1) < 1e-6f);
        assert_true(fabsf(lse[0] - 700.6931472f) < 1e-4f);
    }
}

static void sum_case(const struct kernel_backend *b, enum dtype to,
                     enum dtype from, int64_t n, int store)
{
    struct tensor src[8], dst = make_random(to, 5, 3, 211, 1);
    struct tensor other = copy_of(&dst);

    for (int64_t i = 0; i < n; i++)
        src[i] = make_random(from, 5, 3, 211, 1);
    b->sum(dst, store, src, n);
    backends[0].sum(other, store, src, n);
    assert_true(difference(&dst, &other) < (to == DTYPE_FP32 ? 1e-6 : 1e-2));
    check_canaries(&dst);
    for (int64_t i = 0; i < n; i++)
        free(src[i].data);
    free(dst.data);
    free(other.data);
}

static void test_sum(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int i = 0; i < DTYPES * DTYPES; i++)
            for (int64_t n = 1; n <= 8; n += 3)
                for (int store = 0; store < 2; store++)
                    sum_case(&backends[b], (enum dtype)(i % DTYPES),
                             (enum dtype)(i / DTYPES), n, store);
}

static void exp_range(const struct cpu_isa *isa, float first, float step)
{
    enum { N = 1 << 14 };
    static float x[N], y[N];
    double worst = 0;

    for (int i = 0; i < N; i++)
        x[i] = first + (float)i * step;
    isa->exp(y, x, N - 3);
    for (int i = 0; i < N - 3; i++)
        if (x[i] >= -87.3365f)
            worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1) /
                                (1.1e-7 + 1.4e-8 * fabs((double)x[i])));
        else
            assert_true(y[i] < 0x1.01p-126f);
    if (worst > 1)
        fail_msg("%s: exp from %g: %g times the bound", isa->kernels.name,
                 (double)first, worst);
}

/* Relative error 1.1e-7, and 1.4e-8 |x| for log2(e) in fp32. */
static void test_exp(void **unused)
{
    static const float in[] = { 0, -0.0f, -INFINITY, NAN, -88, -3e38f, 1 };
    float out[7];
    const struct cpu_isa *isa;

    (void)unused;
    for (int i = 0; (isa = cpu_isa_get(i)); i++) {
        exp_range(isa, -90, 0x1.234p-8f);
        exp_range(isa, -1.0f, 0x1p-14f);
        exp_range(isa, -2e-3f, 0x1p-22f);
        exp_range(isa, -20.03f, 0x1.234p-10f);
        isa->exp(out, in, 7);
        assert_true(out[0] == 1 && out[1] == 1 && out[2] == 0 && isnan(out[3]));
        assert_true(out[4] == 0 && out[5] == 0);
        assert_true(fabsf(out[6] - 2.718281828f) < 5e-7f);
    }
}

static uint16_t to_half(const struct cpu_isa *isa, enum dtype t, float x)
{
    uint16_t h;

    if (isa)
        isa->convert(&h, t, &x, DTYPE_FP32, 1);
    else
        element_store(&h, t, 0, x);
    return h;
}

/* The value halfway to the next larger magnitude goes to the even one, the
 * neighbours of the middle to the nearer one. */
static void check_rounding(const struct cpu_isa *isa, enum dtype t, uint16_t h,
                           uint16_t limit)
{
    uint16_t next = (uint16_t)(h + 1), even = h & 1 ? next : h;
    double a = (double)element_load(&h, t, 0);
    double b = (h & 0x7fff) + 1 == limit            /* infinity: as if finite */
        ? a + a - (double)element_load(&(uint16_t){ (uint16_t)(h - 1) }, t, 0)
        : (double)element_load(&next, t, 0);
    float middle = (float)(a / 2 + b / 2);

    assert_int_equal(to_half(isa, t, (float)a), h);
    assert_int_equal(to_half(isa, t, middle), even);
    assert_int_equal(to_half(isa, t, nextafterf(middle, (float)a)), h);
    assert_int_equal(to_half(isa, t, nextafterf(middle, a > 0 || h == 0
                                                ? INFINITY : -INFINITY)), next);
}

static void check_halves(const struct cpu_isa *isa, enum dtype t)
{
    uint16_t limit = t == DTYPE_BF16 ? 0x7f80 : 0x7c00;

    for (uint32_t i = 0; i < 0x10000; i++) {
        uint16_t h = (uint16_t)i, rest = h & 0x7fff;

        if (rest < limit) {
            check_rounding(isa, t, h, limit);
        } else if (rest == limit) {
            assert_int_equal(to_half(isa, t, element_load(&h, t, 0)), h);
            assert_true(isinf(element_load(&h, t, 0)));
        } else {
            uint16_t back = to_half(isa, t, element_load(&h, t, 0));

            assert_true(isnan(element_load(&h, t, 0)));
            assert_true(isnan(element_load(&back, t, 0)));
        }
    }
    assert_int_equal(to_half(isa, t, 3.4e38f), t == DTYPE_BF16 ? 0x7f80
                                                               : limit);
}

static void test_half_rounding(void **unused)
{
    const struct cpu_isa *isa = NULL;

    (void)unused;
    for (int i = 0; i == 0 || (isa = cpu_isa_get(i - 1)); i++) {
        check_halves(isa, DTYPE_BF16);
        check_halves(isa, DTYPE_FP16);
    }
}

/* Vectors of all 16-bit values to fp32, and of random fp32 to 16 bits, bit by
 * bit as one element at a time; NaN as NaN. */
static void test_half_vectors(void **unused)
{
    enum { N = 0x10000 };
    static uint16_t h[N], g[N];
    static float x[N];
    const struct cpu_isa *isa;

    (void)unused;
    for (int n = 0; (isa = cpu_isa_get(n)); n++)
        for (int t = DTYPE_BF16; t < DTYPES; t++) {
            for (int i = 0; i < N; i++)
                h[i] = (uint16_t)i;
            isa->convert(x, DTYPE_FP32, h, (enum dtype)t, N);
            for (int i = 0; i < N; i++) {
                float one = element_load(h, (enum dtype)t, i);

                assert_true(isnan(one) ? isnan(x[i])
                                       : !memcmp(&one, &x[i], sizeof one));
            }
            for (int i = 0; i < N; i++) {
                uint32_t bits = (uint32_t)draw();

                memcpy(&x[i], &bits, sizeof bits);
            }
            isa->convert(g, (enum dtype)t, x, DTYPE_FP32, N);
            for (int i = 0; i < N; i++) {
                element_store(h, (enum dtype)t, i, x[i]);
                assert_true(h[i] == g[i] || isnan(x[i]));
            }
        }
}

static void test_convert(void **unused)
{
    enum { N = 1111 };
    float x[N], y[N];
    uint16_t a[N], b[N];

    (void)unused;
    for (int i = 0; i < N; i++)
        x[i] = draw_normal();
    convert(y, DTYPE_FP32, x, DTYPE_FP32, N);
    assert_memory_equal(x, y, sizeof x);
    convert(a, DTYPE_BF16, x, DTYPE_FP32, N);
    convert(b, DTYPE_FP16, a, DTYPE_BF16, N);
    convert(y, DTYPE_FP32, b, DTYPE_FP16, N);
    for (int i = 0; i < N; i++)
        assert_true(fabsf(x[i] - y[i]) <= 0x1p-8f * fabsf(x[i]) + 1e-6f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_equal),
        cmocka_unit_test(test_sum),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_half_rounding),
        cmocka_unit_test(test_half_vectors),
        cmocka_unit_test(test_convert),
    };

    collect_backends();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
