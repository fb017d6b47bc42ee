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

/* ---- Who reaches whom ---------------------------------------------------- */

enum { HOSTS_OF_2, HOSTS_OF_3, TWO_HOSTS, DEALT_IN_TURN, NEIGHBOURS, CHANCE,
       EVERYBODY, REACHES };

/* Hosts of two and of three ranks, the last one smaller; two of about half;
 * ranks dealt to two in turn; no hosts: a chain; as it comes. */
static int reaches(int kind, int32_t ranks, int32_t a, int32_t b)
{
    switch (kind) {
    case HOSTS_OF_2:
        return a / 2 == b / 2;
    case HOSTS_OF_3:
        return a / 3 == b / 3;
    case TWO_HOSTS:
        return a * 2 / ranks == b * 2 / ranks;
    case DEALT_IN_TURN:
        return a % 2 == b % 2;
    case NEIGHBOURS:
        return a - b == 1;
    case CHANCE:
        return hash_u64((uint64_t)a, (uint64_t)(b + 31 * ranks)) % 3 == 0;
    default:
        return 1;
    }
}

static struct reach *make_reach(int kind, int32_t ranks)
{
    struct reach *r = reach_create(ranks);

    for (int32_t a = 0; a < ranks; a++)
        for (int32_t b = 0; b < a; b++)
            if (reaches(kind, ranks, a, b))
                reach_add(r, a, b);
    return r;
}

/* ---- Tests --------------------------------------------------------------- */

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

/* Nothing goes by the host between ranks in reach, but reductions of groups
 * that are not all in reach; nothing past it between the others. */
static void must_go(const struct schedule *s, const struct reach *near)
{
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        int64_t n;
        int in_reach;
        if (op->kind == OP_SEND || op->kind == OP_RECV) {
            in_reach = reach_has(near, s->rank, op->peer);
        } else if (op->kind == OP_COLLECTIVE) {
            const int32_t *ranks = pool_group_get(s->pool, op->peer, &n);
            in_reach = reach_all(near, ranks, n);
            assert_true(in_reach || collective_reduces(op->collective));
        } else {
            continue;
        }
        assert_int_equal(op_is_host(s, op), !in_reach);
    }
}

static void go_as_they_reach(const struct trial *t)
{
    struct rig g;

    if (!rig_create(&g, t))
        return;
    for (int32_t r = 0; r < t->ranks; r++)
        must_go(g.schedules[r], t->near);
    rig_destroy(&g);
}

/* Some ranks reach each other, in every way. */
static void some_in_reach(void **state)
{
    int ran = 0;

    (void)state;
    for (int s = 0; strategies[s]; s++)
        for (int64_t i = 0; i < 18; i++) {
            struct trial t = deal(strategies[s], i);
            struct reach *near = make_reach((int)((i + s) % REACHES), t.ranks);
            t.near = near;
            go_as_they_reach(&t);
            ran += trial_run(&t, NULL);
            reach_destroy(near);
        }
    print_message("# %d trials\n", ran);
    assert_true(ran > 100);
}

/* 11 and 12 ranks, which go into hosts evenly and not. */
static void more_ranks(void **state)
{
    static const char *const names[] = { "ring", "ulysses", "allgather", "usp",
                                         "token-ring", "double-ring" };
    int ran = 0;

    (void)state;
    for (int64_t i = 0; i < (int64_t)(sizeof names / sizeof *names); i++)
        for (int kind = 0; kind < EVERYBODY; kind++) {
            struct trial t = deal(strategy_find(names[i]), 1 + 2 * kind);
            t.ranks = kind % 2 ? 11 : 12;
            t.heads = 12;
            t.kv_heads = 6;
            struct reach *near = make_reach(kind, t.ranks);
            t.near = near;
            go_as_they_reach(&t);
            ran += trial_run(&t, NULL);
            reach_destroy(near);
        }
    print_message("# %d trials\n", ran);
    assert_true(ran > 25);
}

/* Who is in reach of everybody does as the logical schedule says. */
static void all_in_reach(void **state)
{
    (void)state;
    for (int s = 0; strategies[s]; s++) {
        struct trial t = deal(strategies[s], 4);
        struct rig a, b;
        struct reach *near = make_reach(EVERYBODY, t.ranks);
        t.near = near;
        if (rig_create(&a, &t)) {
            t.lower = NULL;
            assert_true(rig_create(&b, &t));
            for (int32_t r = 0; r < t.ranks; r++) {
                const struct schedule *x = a.schedules[r], *y = b.schedules[r];
                assert_int_equal(x->n_ops, y->n_ops);
                assert_int_equal(x->role_bytes[ROLE_STAGING], 0);
                for (int64_t i = 0; i < x->n_ops; i++)
                    assert_int_equal(x->ops[i].operands, y->ops[i].operands);
            }
            rig_destroy(&a);
            rig_destroy(&b);
        }
        reach_destroy(near);
    }
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
    for (int s = 0; strategies[s]; s++)
        for (int64_t i = 3; i < 9; i++) {
            struct trial t = deal(strategies[s], i);
            struct reach *near = make_reach((int)((i + s) % CHANCE), t.ranks);
            t.near = near;
            same_bits(t);
            reach_destroy(near);
        }
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
    struct schedule *x = schedule_lower(s, &ways[0], NULL);
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
        cmocka_unit_test(some_in_reach),
        cmocka_unit_test(more_ranks),
        cmocka_unit_test(all_in_reach),
        cmocka_unit_test(whatever_the_order),
        cmocka_unit_test(what_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
