/* SPDX-License-Identifier: Apache-2.0
 *
 * Lowered schedules of every strategy: proved by the checker on the worst legal
 * transport, run by loopback against the oracle, bytes as the closed forms say,
 * the same bits as the logical schedule whatever the order. */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Pieces of some rows; of everything; of single rows, one buffer at a time. */
static const struct lower_options ways[] = {
    { 1500, 4 }, { 1 << 20, 4 }, { 1, 2 },
};
static const struct mask masks[] = {
    { MASK_CAUSAL, -1, 0 }, { MASK_FULL, -1, -1 }, { MASK_WINDOW, 40, 3 },
};

static struct trial deal(const struct strategy *st, int64_t i)
{
    static const double slopes[] = { 0.5, 0.1, 0.01, 0 };
    struct trial t = {
        .strategy = st->name, .options.layout = (enum layout)(i % LAYOUTS),
        .options.block = 1 + i % 2, .mask = masks[i / 3 % 3],
        .pass = i % 4 ? PASS_FORWARD_BACKWARD : PASS_FORWARD,
        .ranks = 1 + (int32_t)(i % 9), .lengths = { 60 + 17 * i },
        .heads = 4, .kv_heads = i % 2 ? 2 : 4, .head_dim = 16, .value_dim = 24,
        .dtype = i % 3 ? DTYPE_FP32 : DTYPE_BF16, .lower = &ways[i % 3] };

    if (i % 5 == 4) {
        t.sequences = 3;
        t.lengths[1] = 1;
        t.lengths[2] = 33;
    }
    if (!strcmp(st->family, "linear") || !strcmp(st->family, "hybrid")) {
        t.options.layout = (enum layout)(i % 2);
        t.mask = masks[0];
        t.attention = ATTENTION_LINEAR;
        t.slopes = i % 2 ? slopes : NULL;
    }
    if (!strcmp(st->family, "hybrid"))
        t.pattern = "LS";
    if (!strcmp(st->family, "decode") || !strcmp(st->family, "star")) {
        t.sequences = 1;
        t.pass = *st->family == 'd' ? PASS_DECODE : PASS_FORWARD;
        t.queries = 1 + i % 16;
        t.mask = masks[0];
        t.options.reduce = (enum reduction)(i % REDUCTIONS);
    }
    return t;
}

static void every_strategy(void **state)
{
    int ran = 0;

    (void)state;
    for (int s = 0; strategies[s]; s++)
        for (int64_t i = 0; i < 18; i++) {
            struct trial t = deal(strategies[s], i);
            ran += trial_run(&t, NULL);
        }
    print_message("# %d trials\n", ran);
    assert_true(ran > 100);
}

/* A rank's outputs after a loopback in the order of `seed`. */
static void run(struct rig *g, uint64_t seed, struct results *r)
{
    struct error e = { 0 };

    if (loopback_run(&g->loop, g->kernel, seed, &e))
        fail_msg("%s", e.text);
    *r = rig_results(g, 0);
}

static void same_bits(struct trial t)
{
    struct rig logical, lowered;
    struct results a, b;

    lowered.trial = t;
    t.lower = NULL;
    if (!rig_create(&logical, &t))
        return;
    struct trial other = lowered.trial;
    assert_true(rig_create(&lowered, &other));
    rig_load(&logical);
    rig_load(&lowered);
    run(&logical, 0, &a);
    for (uint64_t seed = 1; seed < 4; seed++) {
        run(&lowered, seed, &b);
        for (int i = 0; i < RESULTS; i++) {
            assert_int_equal(a.bytes[i], b.bytes[i]);
            if (a.bytes[i])
                assert_memory_equal(a.x[i], b.x[i], a.bytes[i]);
        }
        results_clear(&b);
    }
    results_clear(&a);
    rig_destroy(&logical);
    rig_destroy(&lowered);
}

static void whatever_the_order(void **state)
{
    (void)state;
    for (int s = 0; strategies[s]; s++)
        for (int64_t i = 3; i < 6; i++)
            same_bits(deal(strategies[s], i));
}

/* Every op has a parent, in order; computing is left alone; the plan of the
 * device's memory and the hash stay. */
static void what_stays(void **state)
{
    struct trial t = deal(strategy_find("ring"), 3);
    struct rig g;

    (void)state;
    t.lower = NULL;
    assert_true(rig_create(&g, &t));
    const struct schedule *s = g.schedules[1];
    struct schedule *x = schedule_lower(s, &ways[0]);
    int64_t computing = 0;
    assert_true(x->hash == s->hash);
    assert_int_equal(x->peak_bytes, s->peak_bytes);
    assert_int_equal(schedule_sent_bytes(x), schedule_sent_bytes(s));
    assert_true(x->n_ops > s->n_ops && x->role_bytes[ROLE_STAGING] > 0);
    for (int64_t i = 0; i < x->n_ops; i++) {
        assert_true(x->parents[i] >= (i ? x->parents[i - 1] : 0));
        assert_true(x->parents[i] < s->n_ops);
        computing += x->ops[i].kind == s->ops[x->parents[i]].kind
            && !x->ops[i].channel;
    }
    for (int64_t i = 0; i < s->n_ops; i++)
        computing -= !s->ops[i].channel;
    assert_int_equal(computing, 0);
    schedule_destroy(x);
    rig_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_strategy),
        cmocka_unit_test(whatever_the_order),
        cmocka_unit_test(what_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
