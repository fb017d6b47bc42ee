/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments beyond what masks give, rows that see nothing, no rows at all: every
 * instruction set of the cpu backend against the reference backend. */
#include <config.h>

#include "tests/kernel_tensor.h"

/* Cells of a grid over (rows, keys), each empty or banded at random. */
static int64_t random_segments(int64_t rows, int64_t keys, struct segment *out)
{
    int64_t nq = 1 + draw_below(3), nk = 1 + draw_below(4), n = 0;

    for (int64_t i = 0; i < nq * nk; i++) {
        int64_t q0 = chunk_first(rows, nq, i % nq);
        int64_t k0 = chunk_first(keys, nk, i / nq);
        struct segment s = {
            q0, chunk_first(rows, nq, i % nq + 1) - q0,
            k0, chunk_first(keys, nk, i / nq + 1) - k0,
            BAND_LOW, BAND_HIGH,
        };

        if (draw_below(3))
            s.low = draw_below(rows + keys) - keys;
        if (draw_below(3))
            s.high = (s.low > BAND_LOW ? s.low : -keys / 2) +
                     draw_below(rows + keys);
        if (draw_below(6) && s.q_count && s.k_count && segment_trim(&s))
            out[n++] = s;
    }
    return n;
}

struct call {
    struct attend_args a;
    struct segment segments[MAX_SEGMENTS];
};

static struct tensor *call_tensor(struct attend_args *a, int i)
{
    struct tensor *all[] = { &a->q, &a->k, &a->v, &a->d_o, &a->o, &a->lse,
                             &a->delta, &a->dq, &a->dk, &a->dv };

    return all[i];
}
enum { CALL_TENSORS = 10, CALL_FIRST_OUTPUT = 4 };

/* Random tensors for `heads` query heads from head_first on, of KV heads
 * around them. */
static struct call *random_call(int64_t rows, int64_t keys)
{
    struct call *c = xcalloc(1, sizeof *c);
    struct attend_args *a = &c->a;
    int64_t d = 1 + draw_below(70), e = 1 + draw_below(70), hk, h;

    a->group = 1 + draw_below(4);
    a->q.head_first = (int32_t)draw_below(9);
    h = 1 + draw_below(6);
    a->k.head_first = (int32_t)(a->q.head_first / a->group);
    hk = (a->q.head_first + h - 1) / a->group - a->k.head_first + 1 +
         draw_below(2);
    int32_t q_first = a->q.head_first, k_first = a->k.head_first;

    a->q = make_random(DTYPE_FP32, rows, h, d, 1);
    a->k = make_random(DTYPE_FP32, keys, hk, d, 1);
    a->v = make_random(DTYPE_FP32, keys, hk, e, 1);
    a->d_o = make_random(DTYPE_FP32, rows, h, e, 1);
    a->o = make_random(DTYPE_FP32, rows, h, e, 1);
    a->lse = make_random(DTYPE_FP32, rows, h, 1, 1);
    a->delta = make_random(DTYPE_FP32, rows, h, 1, 1);
    a->dq = make_random(DTYPE_FP32, rows, h, d, 1);
    a->dk = make_random(DTYPE_FP32, keys, hk, d, 1);
    a->dv = make_random(DTYPE_FP32, keys, hk, e, 1);
    a->q.head_first = q_first;
    a->k.head_first = k_first;
    a->scale = 0.3f;
    a->n_segments = random_segments(rows, keys, c->segments);
    a->segments = c->segments;
    a->store = (int)draw_below(2);
    a->store_dq = (int)draw_below(2);
    a->store_dk = (int)draw_below(2);
    a->store_dv = (int)draw_below(2);
    return c;
}

static void call_free(struct call *c)
{
    for (int i = 0; i < CALL_TENSORS; i++)
        free(call_tensor(&c->a, i)->data);
    free(c);
}

static void call_run(const struct kernel_backend *b, struct attend_args *a)
{
    b->attend(a);
    b->delta(a->o, a->d_o, a->delta);
    b->attend_backward(a);
}

static void compare_call(struct call *c, const struct kernel_backend *b)
{
    struct attend_args mine = c->a, theirs = c->a;

    for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++) {
        *call_tensor(&mine, i) = copy_of(call_tensor(&c->a, i));
        *call_tensor(&theirs, i) = copy_of(call_tensor(&c->a, i));
    }
    call_run(b, &mine);
    call_run(&backends[0], &theirs);
    for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++) {
        double e = difference(call_tensor(&mine, i), call_tensor(&theirs, i));

        if (!(e < 2e-5))
            fail_msg("%s: tensor %d differs by %g", b->name, i, e);
        check_canaries(call_tensor(&mine, i));
        free(call_tensor(&mine, i)->data);
        free(call_tensor(&theirs, i)->data);
    }
}

static void test_random_segments(void **unused)
{
    (void)unused;
    for (int i = 0; i < 60; i++) {
        struct call *c = random_call(1 + draw_below(150), 1 + draw_below(150));

        for (int b = 1; b < n_backends; b++)
            compare_call(c, &backends[b]);
        call_free(c);
    }
}

/* Nothing visible: store defines every row, accumulate changes no bit. */
static void test_nothing_visible(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int store = 0; store < 2; store++) {
            struct call *c = random_call(21, 30);
            struct attend_args a = c->a;

            a.n_segments = 0;
            a.store = a.store_dq = a.store_dk = a.store_dv = store;
            for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++)
                *call_tensor(&a, i) = copy_of(call_tensor(&c->a, i));
            backends[b].attend(&a);
            backends[b].attend_backward(&a);
            for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++) {
                struct tensor *t = call_tensor(&a, i);

                if (!store || t->data == a.delta.data)
                    assert_true(same_bits(t, call_tensor(&c->a, i)));
                else
                    assert_true(get(t, 20, 0, 0) ==
                                (t->data == a.lse.data ? -INFINITY : 0));
                free(t->data);
            }
            call_free(c);
        }
}

/* Rows that an accumulating call does not see keep their bits although others
 * change; rows of lse -inf have no gradient. */
static void test_hidden_rows(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++) {
        struct call *c = random_call(40, 33);
        struct attend_args *a = &c->a;
        struct tensor before = copy_of(&a->o);

        c->segments[0] = (struct segment){ 10, 7, 3, 30, BAND_LOW, BAND_HIGH };
        a->n_segments = 1;
        a->store = 0;
        a->store_dq = a->store_dk = a->store_dv = 1;
        backends[b].attend(a);
        for (int64_t r = 0; r < 40; r++)
            assert_true((get(&a->o, r, 0, 0) == get(&before, r, 0, 0)) ==
                        (r < 10 || r >= 17));
        for (int64_t r = 0; r < 40; r++)
            for (int64_t h = 0; h < a->lse.heads; h++)
                element_store(a->lse.data, DTYPE_FP32,
                              index_of(&a->lse, r, h, 0), -INFINITY);
        backends[b].attend_backward(a);
        assert_true(get(&a->dq, 12, 0, 0) == 0);
        assert_true(get(&a->dk, 9, 0, 0) == 0);
        assert_true(get(&a->dv, 9, 0, 0) == 0);
        free(before.data);
        call_free(c);
    }
}

static void test_empty(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int rows = 0; rows < 2; rows++) {
            struct call *c = random_call(5 * rows, 5 * !rows);
            int64_t keys = c->a.k.rows;

            c->a.n_segments = 0;
            c->a.store = c->a.store_dk = c->a.store_dv = c->a.store_dq = 1;
            call_run(&backends[b], &c->a);
            for (int64_t r = 0; r < keys; r++)
                assert_true(get(&c->a.dv, r, 0, 0) == 0);
            for (int64_t r = 0; r < c->a.q.rows; r++)
                assert_true(get(&c->a.lse, r, 0, 0) == -INFINITY);
            for (int i = 0; i < CALL_TENSORS; i++) {
                call_tensor(&c->a, i)->heads = 0;
                free(call_tensor(&c->a, i)->data);
                call_tensor(&c->a, i)->data = NULL;
            }
            call_run(&backends[b], &c->a);
            call_free(c);
        }
}

/* NaN in a visible key must not vanish. */
static void test_nan(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++) {
        struct call *c = random_call(30, 30);
        struct attend_args *a = &c->a;

        c->segments[0] = (struct segment){ 0, 30, 0, 30, 0, BAND_HIGH };
        a->n_segments = a->store = 1;
        ((float *)a->k.data)[index_of(&a->k, 17, 0, 0)] = NAN;
        backends[b].attend(a);
        assert_false(isnan(get(&a->o, 16, 0, 0)));
        assert_true(isnan(get(&a->o, 17, 0, 0)));
        assert_true(isnan(get(&a->o, 29, 0, 0)));
        call_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_segments),
        cmocka_unit_test(test_nothing_visible),
        cmocka_unit_test(test_hidden_rows),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_nan),
    };

    collect_backends();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
