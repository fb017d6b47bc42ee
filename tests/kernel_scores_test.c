/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention with materialised scores against attend and attend_backward of the
 * reference backend; rescale and normalize against its merge. */
#include <config.h>

#include "tests/kernel_tensor.h"

enum { MOST_BLOCKS = 3, PARTS = 4 };

/* Blocks of keys, with their scores; and what attention gives. */
struct problem {
    int64_t group, blocks, d, e;
    struct tensor q, d_o, o, lse, delta, dq;
    struct tensor k[MOST_BLOCKS], v[MOST_BLOCKS];
    struct tensor dk[MOST_BLOCKS], dv[MOST_BLOCKS];
    struct segment segments[MOST_BLOCKS][PARTS];
    int64_t n_segments[MOST_BLOCKS];
};

/* Two halves of the rows by two halves of the keys, each with a band; the
 * first row of all sees nothing. */
static int64_t random_bands(int64_t rows, int64_t keys, struct segment *out)
{
    int64_t n = 0;

    for (int i = 0; i < PARTS; i++) {
        int64_t q0 = max64(1, chunk_first(rows, 2, i % 2));
        int64_t k0 = chunk_first(keys, 2, i / 2);
        struct segment s = { q0, chunk_first(rows, 2, i % 2 + 1) - q0, k0,
                             chunk_first(keys, 2, i / 2 + 1) - k0, BAND_LOW,
                             BAND_HIGH };

        if (draw_below(2))
            s.low = draw_below(rows + keys) - keys;
        if (draw_below(3) == 0)
            s.high = draw_below(rows);
        if (draw_below(8) && s.q_count > 0 && s.k_count > 0 &&
            segment_trim(&s))
            out[n++] = s;
    }
    return n;
}

static struct attend_args attention(const struct problem *p, int64_t i)
{
    return (struct attend_args){
        .q = p->q, .k = p->k[i], .v = p->v[i], .o = p->o, .lse = p->lse,
        .d_o = p->d_o, .delta = p->delta, .dq = p->dq, .dk = p->dk[i],
        .dv = p->dv[i], .store = i == 0, .store_dq = i == 0, .store_dk = 1,
        .store_dv = 1, .group = p->group, .scale = 0.3f,
        .segments = p->segments[i], .n_segments = p->n_segments[i],
    };
}

static struct problem make_problem(enum dtype t, int64_t rows, int64_t keys)
{
    struct problem p = { .group = 1 + draw_below(3),
                         .blocks = 1 + draw_below(MOST_BLOCKS),
                         .d = 1 + draw_below(70), .e = 1 + draw_below(70) };
    int64_t hk = 1 + draw_below(2), h = hk * p.group;

    p.q = make_random(t, rows, h, p.d, 1);
    p.d_o = make_random(t, rows, h, p.e, 1);
    p.o = make(DTYPE_FP32, rows, h, p.e);
    p.lse = make(DTYPE_FP32, rows, h, 1);
    p.delta = make(DTYPE_FP32, rows, h, 1);
    p.dq = make(DTYPE_FP32, rows, h, p.d);
    p.q.head_first = p.d_o.head_first = (int32_t)(2 * p.group);
    for (int64_t i = 0; i < p.blocks; i++) {
        int64_t n = i == 1 ? 1 : keys;

        p.k[i] = make_random(t, n, hk, p.d, 1);
        p.v[i] = make_random(t, n, hk, p.e, 1);
        p.dk[i] = make(DTYPE_FP32, n, hk, p.d);
        p.dv[i] = make(DTYPE_FP32, n, hk, p.e);
        p.k[i].head_first = p.v[i].head_first = 2;
        p.n_segments[i] = random_bands(rows, n, p.segments[i]);
    }
    for (int64_t i = 0; i < p.blocks; i++) {
        struct attend_args a = attention(&p, i);
        backends[0].attend(&a);
    }
    backends[0].delta(p.o, p.d_o, p.delta);
    for (int64_t i = 0; i < p.blocks; i++) {
        struct attend_args a = attention(&p, i);
        backends[0].attend_backward(&a);
    }
    return p;
}

static void free_problem(struct problem *p)
{
    struct tensor *t[] = { &p->q, &p->d_o, &p->o, &p->lse, &p->delta, &p->dq };

    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        free(t[i]->data);
    for (int64_t i = 0; i < p->blocks; i++) {
        free(p->k[i].data);
        free(p->v[i].data);
        free(p->dk[i].data);
        free(p->dv[i].data);
    }
}

static void polled(void *arg)
{
    ++*(int64_t *)arg;
}

static struct scores_args args(const struct problem *p, int64_t i,
                               struct tensor out, struct tensor x,
                               struct tensor y, int store, int64_t *polls)
{
    return (struct scores_args){
        .x = x, .y = y, .out = out, .store = store, .group = p->group,
        .segments = p->segments[i], .n_segments = p->n_segments[i],
        .poll = { polled, polls },
    };
}

static int64_t polls;

/* q kT of every block: what is visible is finite. */
static void make_scores(const struct kernel_backend *b,
                        const struct problem *p, struct tensor x,
                        const struct tensor *y, struct tensor *s)
{
    for (int64_t i = 0; i < p->blocks; i++) {
        s[i] = make(DTYPE_FP32, x.rows, x.heads, y[i].rows);
        struct scores_args a = args(p, i, s[i], x, y[i], 1, &polls);
        int64_t finite = 0;

        s[i].head_first = x.head_first;
        b->scores(&a);
        check_canaries(&s[i]);
        for (int64_t r = 0; r < x.rows; r++)
            for (int64_t j = 0; j < y[i].rows; j++) {
                float value = get(&s[i], r, x.heads - 1, j);

                assert_true(isfinite(value) || value == -INFINITY);
                finite += isfinite(value);
            }
        assert_int_equal(finite,
                         segments_pairs(p->segments[i], p->n_segments[i]));
    }
}

static void free_blocks(const struct problem *p, struct tensor *s)
{
    for (int64_t i = 0; i < p->blocks; i++)
        free(s[i].data);
}

/* Blocks first .. first + n into one tensor. */
static struct tensor product(void (*fn)(const struct scores_args *),
                             const struct problem *p, struct tensor like,
                             const struct tensor *x, const struct tensor *y,
                             int64_t first, int64_t n)
{
    struct tensor out = make(DTYPE_FP32, like.rows, like.heads, like.width);

    out.head_first = like.head_first;
    for (int64_t i = first; i < first + n; i++) {
        struct scores_args a = args(p, i, out, x[i], y[i], i == first,
                                    &polls);
        fn(&a);
    }
    check_canaries(&out);
    return out;
}

static void near(struct tensor a, const struct tensor *b)
{
    assert_true(difference(&a, b) < 3e-5);
    free(a.data);
}

static void forward_backward(const struct kernel_backend *b,
                             const struct problem *p)
{
    struct tensor w[MOST_BLOCKS], ds[MOST_BLOCKS], qs[MOST_BLOCKS];
    struct tensor dos[MOST_BLOCKS];
    struct tensor lse = make(DTYPE_FP32, p->q.rows, p->q.heads, 1);
    struct tensor o = p->o, dq = p->dq;

    o.head_first = dq.head_first = p->q.head_first;
    make_scores(b, p, p->q, p->k, w);
    b->softmax(w, p->blocks, lse, 0.3f);
    near(product(b->weigh, p, o, w, p->v, 0, p->blocks), &p->o);
    make_scores(b, p, p->d_o, p->v, ds);
    for (int64_t i = 0; i < p->blocks; i++) {
        qs[i] = p->q;
        dos[i] = p->d_o;
        b->softmax_backward(ds[i], w[i], p->delta, 0.3f);
        check_canaries(&ds[i]);
        check_canaries(&w[i]);
    }
    near(product(b->weigh, p, dq, ds, p->k, 0, p->blocks), &p->dq);
    for (int64_t i = 0; i < p->blocks; i++) {
        struct tensor dk = p->dk[i], dv = p->dv[i];

        dk.head_first = dv.head_first = p->k[i].head_first;
        near(product(b->weigh_transposed, p, dk, ds, qs, i, 1), &p->dk[i]);
        near(product(b->weigh_transposed, p, dv, w, dos, i, 1), &p->dv[i]);
    }
    for (int64_t h = 0; h < p->q.heads; h++)    /* row 0 sees nothing */
        assert_true(get(&lse, 0, h, 0) == -INFINITY);
    check_canaries(&lse);
    near(lse, &p->lse);
    free_blocks(p, w);
    free_blocks(p, ds);
}

static void test_equals_attention(void **unused)
{
    (void)unused;
    for (int i = 0; i < 60; i++) {
        struct problem p = make_problem((enum dtype)(i % DTYPES),
                                        1 + draw_below(150),
                                        1 + draw_below(700));

        for (int b = 0; b < n_backends; b++) {
            polls = 0;
            forward_backward(&backends[b], &p);
            assert_true(polls > 0);
        }
        free_problem(&p);
    }
}

/* A result of 16 bits is stored, fp32 ones can be added to. */
static void test_weigh_stores(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++) {
        struct problem p = make_problem(DTYPE_BF16, 9, 20);
        struct tensor w[MOST_BLOCKS], out = make(DTYPE_BF16, 9, p.q.heads,
                                                 p.e);
        struct tensor sum = make(DTYPE_FP32, 9, p.q.heads, p.e), twice;

        out.head_first = sum.head_first = p.q.head_first;
        make_scores(&backends[b], &p, p.q, p.k, w);
        backends[b].softmax(w, 1, p.lse, 1);
        struct scores_args a = args(&p, 0, out, w[0], p.v[0], 1, &polls);
        backends[b].weigh(&a);
        a.out = sum;
        backends[b].weigh(&a);
        twice = copy_of(&sum);
        assert_true(difference(&out, &sum) < 1e-2);
        a.store = 0;
        backends[b].weigh(&a);
        for (int64_t x = 0; x < p.e; x++)
            assert_true(fabsf(get(&sum, 5, 0, x) - 2 * get(&twice, 5, 0, x))
                        < 1e-5f);
        check_canaries(&out);
        free(out.data);
        free(sum.data);
        free(twice.data);
        free_blocks(&p, w);
        free_problem(&p);
    }
}

/* Scores of any size, one block or several: the sum of weights is 1, and a
 * negative scale hides no less. */
static void test_softmax_extremes(void **unused)
{
    static const float scales[] = { 1, -1, 1e-3f, 300 };

    (void)unused;
    for (int i = 0; i < 4 * n_backends; i++) {
        const struct kernel_backend *b = &backends[i / 4];
        struct tensor s[2] = { make_random(DTYPE_FP32, 7, 2, 33, 100),
                               make_random(DTYPE_FP32, 7, 2, 5, 100) };
        struct tensor lse = make(DTYPE_FP32, 7, 2, 1);

        element_store(s[0].data, DTYPE_FP32, index_of(&s[0], 3, 1, 2),
                      -INFINITY);
        b->softmax(s, 2, lse, scales[i % 4]);
        assert_true(get(&s[0], 3, 1, 2) == 0);
        for (int64_t r = 0; r < 7; r++) {
            double sum = 0;

            for (int64_t x = 0; x < 33; x++)
                sum += (double)get(&s[0], r, 1, x);
            for (int64_t x = 0; x < 5; x++)
                sum += (double)get(&s[1], r, 1, x);
            assert_true(fabs(sum - 1) < 1e-5);
            assert_true(isfinite(get(&lse, r, 1, 0)));
        }
        free(s[0].data);
        free(s[1].data);
        free(lse.data);
    }
}

/* ---- A merge by reductions ----------------------------------------------- */

static void reduce_max(struct tensor m, const struct tensor *x, int64_t n)
{
    for (int64_t r = 0; r < m.rows; r++)
        for (int64_t h = 0; h < m.heads; h++) {
            float most = -INFINITY;

            for (int64_t i = 0; i < n; i++)
                most = fmaxf(most, get(&x[i], r, h, 0));
            element_store(m.data, m.dtype, index_of(&m, r, h, 0), most);
        }
}

enum { RANKS = 5 };

static void by_reductions(const struct kernel_backend *b, enum dtype t)
{
    struct tensor o[RANKS], lse[RANKS], num[RANKS], den[RANKS];
    struct tensor m = make(DTYPE_FP32, 11, 2, 1);
    struct tensor out = make(t, 11, 2, 37), sum = copy_of(&m);
    struct tensor good = make(DTYPE_FP32, 11, 2, 37), good_lse = copy_of(&m);

    for (int i = 0; i < RANKS; i++) {
        o[i] = make_random(DTYPE_FP32, 11, 2, 37, 1);
        lse[i] = make_random(DTYPE_FP32, 11, 2, 1, 3000);
        num[i] = make(DTYPE_FP32, 11, 2, 37);
        den[i] = make(DTYPE_FP32, 11, 2, 1);
        for (int64_t r = 0; r < 11; r += i % 2 ? 1 : 4)
            element_store(lse[i].data, DTYPE_FP32, index_of(&lse[i], r, 1, 0),
                          -INFINITY);
    }
    backends[0].merge(good, good_lse, 1, o, lse, RANKS);
    reduce_max(m, lse, RANKS);
    for (int i = 0; i < RANKS; i++) {
        b->rescale(o[i], lse[i], m, num[i], den[i]);
        check_canaries(&num[i]);
        check_canaries(&den[i]);
    }
    backends[0].sum(num[0], 0, num + 1, RANKS - 1);
    backends[0].sum(den[0], 0, den + 1, RANKS - 1);
    b->normalize(num[0], den[0], m, out, sum);
    assert_true(get(&sum, 0, 1, 0) == -INFINITY && get(&out, 0, 1, 3) == 0);
    assert_true(difference(&out, &good) < (t == DTYPE_FP32 ? 1e-6 : 1e-2));
    assert_true(difference(&sum, &good_lse) < 1e-6);
    check_canaries(&out);
    check_canaries(&sum);
    for (int i = 0; i < RANKS; i++) {
        free(o[i].data);
        free(lse[i].data);
        free(num[i].data);
        free(den[i].data);
    }
    free(m.data);
    free(out.data);
    free(sum.data);
    free(good.data);
    free(good_lse.data);
}

static void test_merge_by_reductions(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int t = 0; t < DTYPES; t++)
            by_reductions(&backends[b], (enum dtype)t);
}

/* No rows, no keys: nothing is touched. */
static void test_empty(void **unused)
{
    struct tensor none = { .heads = 2, .width = 3, .row_stride = 6 };
    struct tensor lse = { .heads = 2, .width = 1, .row_stride = 2 };
    struct scores_args a = { .x = none, .y = none, .out = none, .store = 1,
                             .group = 1 };

    (void)unused;
    for (int b = 0; b < n_backends; b++) {
        backends[b].scores(&a);
        backends[b].weigh(&a);
        backends[b].weigh_transposed(&a);
        backends[b].softmax(&none, 1, lse, 1);
        backends[b].softmax_backward(none, none, lse, 1);
        backends[b].rescale(none, lse, lse, none, lse);
        backends[b].normalize(none, lse, lse, none, lse);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equals_attention),
        cmocka_unit_test(test_weigh_stores),
        cmocka_unit_test(test_softmax_extremes),
        cmocka_unit_test(test_merge_by_reductions),
        cmocka_unit_test(test_empty),
    };

    collect_backends();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
