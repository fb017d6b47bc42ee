/* SPDX-License-Identifier: Apache-2.0
 *
 * Traps of steps, messages, linear attention, and of tests that test
 * nothing. */
#include <config.h>

#include "traps.h"

#include <stdlib.h>

/* ---- Steps and messages ------------------------------------------------- */

/* On one rank the tail has nothing to merge. */
static void trap_04_one_rank_merges_twice(void **state)
{
    (void)state;
    FOR_FAMILY(st, "softmax")
        must_run(STEP(.strategy = st->name, .ranks = 1));
}

/* KV heads travel as they are, not repeated for the query heads. */
static void trap_16_repeated_heads_travel(void **state)
{
    struct rig g;

    (void)state;
    assert_true(rig_create(&g, STEP(.pass = PASS_FORWARD, .lengths = { 64 },
                                    .heads = 8, .kv_heads = 1)));
    assert_int_equal(schedule_sent_bytes(g.schedules[0]),
                     3 * 16 * 1 * (8 + 8) * 4);
    rig_destroy(&g);
}

static int64_t collectives_of(const struct schedule *s, int32_t group)
{
    int64_t n = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        n += s->ops[i].kind == OP_COLLECTIVE && s->ops[i].peer == group;
    return n;
}

/* A rank with fewer rows still takes part. */
static void trap_17_unequal_numbers_of_collectives(void **state)
{
    (void)state;
    for (int i = 0; strategies[i]; i++) {
        struct rig g;
        int linear = !strcmp(strategies[i]->family, "linear");
        if (!rig_create(&g, STEP(.strategy = strategies[i]->name, .ranks = 5,
                                 .lengths = { 1, 5, 97, 33 }, .sequences = 4,
                                 .attention = linear ? ATTENTION_LINEAR
                                                     : ATTENTION_SOFTMAX)))
            continue;
        for (int32_t r = 0; r < 5; r++)
            for (int64_t k = 0; k < g.schedules[r]->n_ops; k++) {
                const struct op *op = &g.schedules[r]->ops[k];
                int64_t n;
                if (op->kind != OP_COLLECTIVE)
                    continue;
                const int32_t *group = pool_group_get(plan_pool(g.plan),
                                                      op->peer, &n);
                for (int64_t m = 0; m < n; m++)
                    assert_int_equal(
                        collectives_of(g.schedules[group[m]], op->peer),
                        collectives_of(g.schedules[r], op->peer));
            }
        rig_destroy(&g);
    }
}

/* Neighbours in a ring of a mesh are ranks of the job. */
static void trap_18_ranks_of_the_group(void **state)
{
    struct rig g;

    (void)state;
    assert_true(rig_create(&g, STEP(.strategy = "usp", .ranks = 6,
                                    .options.head = 2)));
    for (int32_t r = 0; r < 6; r++)
        for (int64_t k = 0; k < g.schedules[r]->n_ops; k++) {
            const struct op *op = &g.schedules[r]->ops[k];
            if (op->kind == OP_SEND || op->kind == OP_RECV)
                assert_int_equal(op->peer % 2, r % 2);
        }
    rig_destroy(&g);
    must_run(STEP(.strategy = "usp", .ranks = 6, .options.head = 2));
}

/* K, V and their gradients are under way at once between the same ranks. */
static void trap_19_equal_tags(void **state)
{
    struct rig g;
    struct error e = { 0 };

    (void)state;
    assert_true(rig_create(&g, STEP(.ranks = 4)));
    for (int64_t k = 0; k < g.schedules[1]->n_ops; k++) {
        const struct op *op = &g.schedules[1]->ops[k];
        const char *label = pool_label_get(g.schedules[1]->pool, op->label);
        if (op->kind == OP_SEND || op->kind == OP_RECV)
            assert_int_equal(op->channel, strcmp(label, "dkv") == 0
                             ? CHANNEL_DKV : CHANNEL_KV);
    }
    rig_load(&g);
    for (uint64_t order = 0; order < 8; order++) {
        struct verdict v;
        assert_int_equal(loopback_run(&g.loop, g.kernel, order, &e), 0);
        rig_judge(&g, &v);
        assert_true(v.passed);
    }
    rig_destroy(&g);
}

static void trap_21_groups_of_square_sizes_only(void **state)
{
    static const int64_t cases[][2] = { { 8, 2 }, { 8, 4 }, { 6, 2 }, { 6, 3 },
                                        { 12, 4 }, { 7, 7 }, { 7, 1 } };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        must_run(STEP(.strategy = "double-ring", .ranks = (int32_t)cases[i][0],
                      .options = { .layout = LAYOUT_ZIGZAG,
                                   .window = cases[i][1] }));
}

static void trap_25_messages_over_2_gib(void **state)
{
    struct rig g;
    int64_t bytes = 0;

    (void)state;
    assert_true(rig_create(&g, STEP(.ranks = 2, .pass = PASS_FORWARD,
                                    .lengths = { 262144 }, .heads = 32,
                                    .kv_heads = 32, .head_dim = 128,
                                    .value_dim = 128, .dtype = DTYPE_BF16)));
    for (int64_t k = 0; k < g.schedules[0]->n_ops; k++)
        if (g.schedules[0]->ops[k].kind == OP_SEND)
            bytes = op_work(g.schedules[0], &g.schedules[0]->ops[k]).sent_bytes;
    assert_int_equal(bytes, (int64_t)1 << 31);
    assert_int_equal(plan_bytes_expected(g.plan, 0), (int64_t)1 << 31);
    rig_destroy(&g);
}

/* ---- Linear attention --------------------------------------------------- */

static void trap_09_no_mask_is_an_exclusive_prefix(void **state)
{
    (void)state;
    for (int32_t ranks = 1; ranks <= 5; ranks++)
        must_run(STEP(.strategy = "lasp2", .mask = ALL, .ranks = ranks,
                      .attention = ATTENTION_LINEAR));
}

static void trap_10_tail_blocks_are_dropped(void **state)
{
    static const int64_t lengths[] = { 200, 129, 127, 65, 63 };
    static const double slopes[] = { 0.5, 0.1, 0.02, 0 };

    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        FOR_FAMILY(st, "linear")
            must_run(STEP(.strategy = st->name, .ranks = 1 + (int32_t)i % 2,
                          .lengths = { lengths[i] }, .slopes = slopes,
                          .attention = ATTENTION_LINEAR));
}

/* Local work must not wait for the state of the ranks before. */
static void trap_11_receives_before_local_work(void **state)
{
    struct rig g;

    (void)state;
    assert_true(rig_create(&g, STEP(.strategy = "lasp",
                                    .attention = ATTENTION_LINEAR)));
    const struct schedule *s = g.schedules[2];
    int64_t last = 0;
    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == OP_LINEAR_INTRA)
            last = i;
    assert_true(last > 0);
    for (int64_t i = 0; i <= last; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind == OP_SEND || op->kind == OP_RECV)
            continue;
        for (int32_t d = 0; d < op->dep_count; d++)
            assert_int_not_equal(s->ops[s->deps[op->dep_first + d].op].kind,
                                 OP_RECV);
    }
    rig_destroy(&g);
}

/* ---- Tests that test nothing -------------------------------------------- */

static void trap_20_comparing_nothing(void **state)
{
    struct rig g;
    struct error e = { 0 };
    struct verdict v;

    (void)state;
    assert_true(rig_create(&g, STEP(.ranks = 2)));
    rig_load(&g);
    rig_judge(&g, &v);                  /* never ran: NaN */
    assert_false(v.passed);
    assert_int_equal(loopback_run(&g.loop, g.kernel, 0, &e), 0);
    rig_judge(&g, &v);
    assert_true(v.passed && v.compared > 0);
    for (int32_t r = 0; r < 2; r++)     /* all zeros */
        memset(g.loop.memories[r].base, 0, g.schedules[r]->peak_bytes);
    rig_judge(&g, &v);
    assert_false(v.passed);
    rig_destroy(&g);
}

/* The same ops without those that communicate. */
static struct schedule *silent(const struct schedule *old)
{
    struct schedule *s = schedule_create(old->pool, old->job, old->ranks,
                                         old->rank);

    for (int64_t b = 0; b < old->n_buffers; b++)
        schedule_buffer(s, pool_label_get(old->pool, old->buffers[b].label),
                        old->buffers[b]);
    for (int64_t i = 0; i < old->n_ops; i++) {
        const struct op *op = &old->ops[i];
        int64_t n;
        const struct operand *o = pool_operands_get(old->pool, op->operands,
                                                    &n);
        struct operand *mine = xmalloc((size_t)n * sizeof *mine);
        memcpy(mine, o, (size_t)n * sizeof *mine);
        if (op->kind != OP_SEND && op->kind != OP_RECV
            && op->kind != OP_COLLECTIVE)
            schedule_op(s, *op, mine, n);
        free(mine);
    }
    schedule_freeze(s);
    return s;
}

static void trap_22_communication_silently_off(void **state)
{
    (void)state;
    for (int i = 0; strategies[i]; i++) {
        struct rig g;
        int linear = !strcmp(strategies[i]->family, "linear");
        int decode = !strcmp(strategies[i]->family, "decode");
        int star = !strcmp(strategies[i]->family, "star");
        int hybrid = !strcmp(strategies[i]->family, "hybrid");
        if (!rig_create(&g, STEP(
                .strategy = strategies[i]->name,
                .pass = decode ? PASS_DECODE
                    : star ? PASS_FORWARD : PASS_FORWARD_BACKWARD,
                .pattern = hybrid ? "LS" : NULL,
                .attention = linear ? ATTENTION_LINEAR : ATTENTION_SOFTMAX)))
            fail_msg("%s: %s", strategies[i]->name, g.why.text);
        for (int32_t r = 0; r < 4; r++) {
            assert_true(schedule_sent_bytes(g.schedules[r]) > 0 || linear);
            struct schedule *quiet = silent(g.schedules[r]);
            schedule_destroy(g.schedules[r]);
            g.schedules[r] = quiet;
        }
        struct check_report c = rig_check(&g);
        if (c.passed)
            fail_msg("%s passes without a message", strategies[i]->name);
        check_report_clear(&c);
        rig_destroy(&g);
    }
}

/* Tokens that several ranks hold count once. */
static void trap_23_replicated_tokens_count_n_times(void **state)
{
    (void)state;
    for (int32_t ranks = 1; ranks <= 6; ranks++) {
        must_run(STEP(.strategy = "star", .pass = PASS_FORWARD, .queries = 3,
                      .ranks = ranks, .options = { .block = 8,
                                                   .anchor = 12 }));
        must_run(STEP(.strategy = "tree", .pass = PASS_DECODE, .queries = 3,
                      .ranks = ranks));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trap_04_one_rank_merges_twice),
        cmocka_unit_test(trap_09_no_mask_is_an_exclusive_prefix),
        cmocka_unit_test(trap_10_tail_blocks_are_dropped),
        cmocka_unit_test(trap_11_receives_before_local_work),
        cmocka_unit_test(trap_16_repeated_heads_travel),
        cmocka_unit_test(trap_17_unequal_numbers_of_collectives),
        cmocka_unit_test(trap_18_ranks_of_the_group),
        cmocka_unit_test(trap_19_equal_tags),
        cmocka_unit_test(trap_20_comparing_nothing),
        cmocka_unit_test(trap_21_groups_of_square_sizes_only),
        cmocka_unit_test(trap_22_communication_silently_off),
        cmocka_unit_test(trap_23_replicated_tokens_count_n_times),
        cmocka_unit_test(trap_25_messages_over_2_gib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
