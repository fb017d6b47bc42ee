/* SPDX-License-Identifier: Apache-2.0
 *
 * Strategies of linear attention: checked, run by loopback and held against the
 * oracle; what overlaps and what is serial; what they refuse. */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define CAUSAL { MASK_CAUSAL, -1, 0 }
#define FULL   { MASK_FULL, -1, -1 }

/* ---- Against the oracle -------------------------------------------------- */

static const struct {
    const char *strategy;
    enum layout layout;
    struct mask mask;
    const char *pattern;
} kinds[] = {
    { "lasp", LAYOUT_CONTIGUOUS, CAUSAL, NULL },
    { "lasp2", LAYOUT_CONTIGUOUS, CAUSAL, NULL },
    { "lasp2", LAYOUT_ZIGZAG, CAUSAL, NULL },
    { "lasp2", LAYOUT_CONTIGUOUS, FULL, NULL },
    { "lasp2", LAYOUT_ZIGZAG, FULL, NULL },
    { "lasp2-scan", LAYOUT_CONTIGUOUS, CAUSAL, NULL },
    { "lasp2h", LAYOUT_CONTIGUOUS, CAUSAL, "LSL" },
    { "lasp2h", LAYOUT_ZIGZAG, CAUSAL, "SL" },
    { "lasp2h", LAYOUT_ZIGZAG, FULL, "LS" },
};
static const int32_t rank_axis[] = { 1, 2, 3, 4, 5, 6, 7, 12, 16 };
static const struct {
    int64_t n, list[6];
} length_axis[] = {
    { 1, { 1 } }, { 1, { 5 } }, { 1, { 37 } }, { 1, { 64 } },
    { 4, { 1, 5, 97, 33 } }, { 5, { 0, 7, 0, 30, 0 } },
    { 6, { 3, 1, 1, 0, 60, 2 } },
};
/* No decay; ALiBi's of four heads; from none to all at once. */
static const double decay_axis[][8] = {
    { 0 }, { 0.25, 0.0625, 0.015625, 0.00390625 },
    { 0, 3, 0.01, 0.5, 40, 0, 0.1, 1 },
};
static const int64_t head_axis[][2] = { { 4, 2 }, { 3, 3 }, { 8, 1 } };
static const int64_t size_axis[][2] = { { 8, 4 }, { 5, 12 }, { 16, 16 } };
static const enum dtype dtype_axis[] = { DTYPE_FP32, DTYPE_BF16, DTYPE_FP16,
                                         DTYPE_FP32 };

/* The axes that are not crossed with each other are drawn. */
static int draw(int n)
{
    static uint64_t drawn = 1;

    drawn = hash_u64(drawn, 3);
    return (int)((drawn >> 8) % (uint64_t)n);
}

static void draw_rest(struct trial *t)
{
    int h = draw(COUNT(head_axis)), z = draw(COUNT(size_axis));
    int decay = draw(COUNT(decay_axis));

    t->heads = head_axis[h][0];
    t->kv_heads = head_axis[h][1];
    t->head_dim = size_axis[z][0];
    t->value_dim = size_axis[z][1];
    t->dtype = dtype_axis[draw(COUNT(dtype_axis))];
    t->feature = (enum feature)draw(FEATURES);
    t->pass = draw(4) ? PASS_FORWARD_BACKWARD : PASS_FORWARD;
    if (decay && t->mask.kind == MASK_CAUSAL)
        t->slopes = decay_axis[decay];
}

static struct trial kind_trial(int kind)
{
    return (struct trial){
        .strategy = kinds[kind].strategy, .mask = kinds[kind].mask,
        .options.layout = kinds[kind].layout, .pattern = kinds[kind].pattern,
        .attention = kinds[kind].pattern ? ATTENTION_SOFTMAX
                                         : ATTENTION_LINEAR,
    };
}

/* Every kind with every rank count and list of lengths: every other one, all
 * under SPAR_TEST_FULL. */
static void matrix(void **state)
{
    int step = getenv("SPAR_TEST_FULL") ? 1 : 2;

    (void)state;
    for (int k = 0; k < COUNT(kinds); k++)
        for (int r = 0; r < COUNT(rank_axis); r++)
            for (int l = (k + r) % step; l < COUNT(length_axis); l += step) {
                struct trial t = kind_trial(k);
                t.ranks = rank_axis[r];
                t.sequences = length_axis[l].n;
                memcpy(t.lengths, length_axis[l].list,
                       sizeof length_axis[l].list);
                draw_rest(&t);
                assert_true(trial_run(&t, NULL));
            }
}

/* Tails of many blocks. */
static void long_sequences(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(kinds); k++)
        for (int r = 2; r <= 5; r += 3) {
            struct trial t = kind_trial(k);
            draw_rest(&t);
            t.ranks = r;
            t.lengths[0] = r == 2 ? 913 : 1213;
            t.heads = 2;
            t.kv_heads = 1;
            t.pass = PASS_FORWARD_BACKWARD;
            assert_true(trial_run(&t, NULL));
        }
}

/* Any order among ready ops gives the same bits. */
static void orders(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(kinds); k++) {
        struct trial t = kind_trial(k);
        struct error e = { 0 };
        struct rig g;
        draw_rest(&t);
        t.ranks = 4;
        t.lengths[0] = 37;
        assert_true(rig_create(&g, &t));
        rig_load(&g);
        assert_int_equal(loopback_run(&g.loop, g.kernel, 0, &e), 0);
        struct results first = rig_results(&g, 0);
        for (uint64_t seed = 1; seed < 4; seed++) {
            assert_int_equal(loopback_run(&g.loop, g.kernel, seed, &e), 0);
            struct results again = rig_results(&g, 0);
            for (int i = 0; i < RESULTS; i++)
                if (first.x[i])
                    assert_memory_equal(first.x[i], again.x[i],
                                        first.bytes[i]);
            results_clear(&again);
        }
        results_clear(&first);
        rig_destroy(&g);
    }
}

/* ---- What overlaps ------------------------------------------------------- */

static struct trial plain_trial(const char *strategy, enum layout layout)
{
    return (struct trial){
        .strategy = strategy, .options.layout = layout, .mask = CAUSAL,
        .attention = ATTENTION_LINEAR, .pass = PASS_FORWARD_BACKWARD,
        .ranks = 4, .lengths = { 50 }, .heads = 3, .kv_heads = 3,
        .head_dim = 5, .value_dim = 7, .slopes = decay_axis[1],
    };
}

/* Does op b wait for op a, by dependencies and the order of lanes? */
static int waits_for(const struct schedule *s, int64_t a, int64_t b)
{
    uint8_t *after = xcalloc((size_t)s->n_ops, 1), lanes[LANES] = { 0 };

    for (int64_t i = a; i <= b; i++) {
        const struct op *op = &s->ops[i];
        int lane[2];
        op_lanes(op, lane);
        after[i] = i == a || lanes[lane[0]]
            || (lane[1] >= 0 && lanes[lane[1]]);
        for (int32_t d = 0; d < op->dep_count; d++)
            after[i] |= after[s->deps[op->dep_first + d].op];
        for (int k = 0; k < 2; k++)
            if (lane[k] >= 0)
                lanes[lane[k]] |= after[i];
    }
    int answer = after[b];
    free(after);
    return answer;
}

/* The n-th op of a kind in a pass; -1: none. */
static int64_t find(const struct schedule *s, int backward, int kind, int n)
{
    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == kind && s->ops[i].backward == backward
            && n-- == 0)
            return i;
    return -1;
}

static const int intra[2] = { OP_LINEAR_INTRA, OP_LINEAR_INTRA_BACKWARD };

/* The collective waits for states only, and nothing local waits for it. */
static void beside_collective(const struct schedule *s, int backward)
{
    int64_t c = find(s, backward, OP_COLLECTIVE, 0), i;

    assert_true(c >= 0);
    for (int n = 0; (i = find(s, backward, intra[backward], n)) >= 0; n++) {
        assert_true(c < i);
        assert_false(waits_for(s, c, i));
    }
    for (int n = 0; (i = find(s, backward, OP_LINEAR_INTER_DQ, n)) >= 0; n++)
        assert_false(waits_for(s, c, i));
    i = find(s, backward, backward ? OP_LINEAR_INTER_DKV : OP_LINEAR_INTER, 0);
    if (i >= 0)
        assert_true(waits_for(s, c, i));
}

static void collectives_overlap(void **state)
{
    static const struct {
        const char *name;
        enum layout layout;
    } cases[] = { { "lasp2", LAYOUT_CONTIGUOUS }, { "lasp2", LAYOUT_ZIGZAG },
                  { "lasp2-scan", LAYOUT_CONTIGUOUS } };

    (void)state;
    for (int i = 0; i < COUNT(cases); i++) {
        struct trial t = plain_trial(cases[i].name, cases[i].layout);
        struct rig g;
        assert_true(rig_create(&g, &t));
        for (int r = 0; r < t.ranks; r++)
            for (int backward = 0; backward < 2; backward++)
                beside_collective(g.schedules[r], backward);
        rig_destroy(&g);
    }
}

static void no_reuse_stalls(void **state)
{
    (void)state;
    for (int i = 0; i < 2 * COUNT(rank_axis); i++) {
        struct trial t = plain_trial("lasp2", (enum layout)(i % 2));
        struct rig g;
        t.ranks = rank_axis[i / 2];
        assert_true(rig_create(&g, &t));
        struct check_report r = rig_check(&g);
        assert_true(r.passed);
        assert_int_equal(r.reuse_stalls, 0);
        check_report_clear(&r);
        rig_destroy(&g);
    }
}

/* Between a state's arrival and its departure there is the recurrence only. */
static void lasp_is_serial_in_the_recurrence_only(void **state)
{
    struct trial t = plain_trial("lasp", LAYOUT_CONTIGUOUS);
    struct rig g;

    (void)state;
    assert_true(rig_create(&g, &t));
    for (int b = 0; b < 2; b++) {
        const struct schedule *s = g.schedules[2];
        int64_t recv = find(s, b, OP_RECV, 0), send = find(s, b, OP_SEND, 0);
        assert_true(recv >= 0 && recv < send && waits_for(s, recv, send));
        for (int64_t i = recv + 1; i < send; i++)
            assert_true(s->ops[i].kind == OP_STATE_SCAN
                        || !waits_for(s, recv, i) || !waits_for(s, i, send));
        assert_false(waits_for(s, recv, find(s, b, intra[b], 0)));
        assert_false(waits_for(s, recv, find(s, b, OP_STATE, 0)));
    }
    rig_destroy(&g);
}

/* ---- What is sent and saved ---------------------------------------------- */

enum { STATE = 3 * 5 * 7 * 4, RECORD = 3 * (5 * 7 + 1) * 4 };

static void bytes(void **state)
{
    static const struct {
        const char *strategy;
        enum layout layout;
        int64_t expected[4];    /* of both passes */
    } cases[] = {
        { "lasp", LAYOUT_CONTIGUOUS,
          { STATE, 2 * STATE, 2 * STATE, STATE } },
        { "lasp2", LAYOUT_CONTIGUOUS,
          { 6 * STATE, 6 * STATE, 6 * STATE, 6 * STATE } },
        /* chunks 3 and 4 of the last rank are one */
        { "lasp2", LAYOUT_ZIGZAG,
          { 12 * STATE, 12 * STATE, 12 * STATE, 6 * STATE } },
        { "lasp2-scan", LAYOUT_CONTIGUOUS,
          { RECORD, 2 * RECORD, 2 * RECORD, RECORD } },
    };

    (void)state;
    for (int i = 0; i < COUNT(cases); i++) {
        struct trial t = plain_trial(cases[i].strategy, cases[i].layout);
        struct rig g;
        assert_true(rig_create(&g, &t));
        for (int r = 0; r < 4; r++) {
            assert_int_equal(plan_bytes_expected(g.plan, r),
                             cases[i].expected[r]);
            assert_int_equal(schedule_sent_bytes(g.schedules[r]),
                             cases[i].expected[r]);
        }
        rig_destroy(&g);
    }
}

/* Whatever the length; nothing if no sequence is cut. */
static void bytes_of_packed(void **state)
{
    struct trial t = plain_trial("lasp2", LAYOUT_CONTIGUOUS);
    struct rig g;

    (void)state;
    t.ranks = 2;
    t.sequences = 2;
    t.lengths[0] = t.lengths[1] = 10;
    assert_true(rig_create(&g, &t));
    assert_int_equal(plan_bytes_expected(g.plan, 0), 0);
    assert_int_equal(find(g.schedules[0], 0, OP_COLLECTIVE, 0), -1);
    assert_int_equal(find(g.schedules[0], 0, OP_STATE, 0), -1);
    rig_destroy(&g);
    t.lengths[0] = 1000;
    assert_true(rig_create(&g, &t));
    assert_int_equal(plan_bytes_expected(g.plan, 0), 2 * STATE);
    rig_destroy(&g);
}

/* Between the passes there is P, one a chunk that has tokens before it. */
static void saved(void **state)
{
    static const char *const names[] = { "lasp", "lasp2", "lasp2-scan" };
    const size_t one = (STATE + 63) / 64 * 64;

    (void)state;
    for (int i = 0; i < COUNT(names); i++) {
        struct trial t = plain_trial(names[i], LAYOUT_CONTIGUOUS);
        struct rig g;
        assert_true(rig_create(&g, &t));
        for (int r = 0; r < 4; r++)
            assert_int_equal(g.schedules[r]->role_bytes[ROLE_SAVED],
                             r ? one : 0);
        rig_destroy(&g);
    }
}

/* ---- What the checker must notice ---------------------------------------- */

/* A rank's schedule once more, without op `drop`, or with another list of
 * numbers at op `change`; -1: neither. */
static struct schedule *rebuild(const struct rig *g, int rank, int64_t drop,
                                int64_t change, int32_t numbers)
{
    const struct schedule *from = g->schedules[rank];
    struct schedule *s = schedule_create(from->pool, from->job, from->ranks,
                                         rank);

    for (int64_t i = 0; i < from->n_buffers; i++)
        schedule_buffer(s, pool_label_get(s->pool, from->buffers[i].label),
                        from->buffers[i]);
    for (int64_t i = 0; i < from->n_ops; i++) {
        struct op op = from->ops[i];
        int64_t n;
        const struct operand *o = pool_operands_get(s->pool, op.operands, &n);
        struct operand *own = xmalloc((size_t)n * sizeof *own);
        memcpy(own, o, (size_t)n * sizeof *own);    /* o moves with the pool */
        if (i == change)
            op.segments = numbers;
        if (i != drop)
            schedule_op(s, op, own, n);
        free(own);
    }
    schedule_freeze(s);
    return s;
}

static void must_notice(const struct rig *g, int rank, int64_t drop,
                        int64_t change, int32_t numbers)
{
    struct schedule *broken = rebuild(g, rank, drop, change, numbers);
    const struct schedule *all[4];
    struct check_report report;
    char name[96];

    for (int r = 0; r < 4; r++)
        all[r] = r == rank ? broken : g->schedules[r];
    check_schedules(all, 4, &report);
    op_name(broken, &g->schedules[rank]->ops[drop + change + 1], name,
            sizeof name);
    if (report.passed)
        fail_msg("%s: rank %d %s %s: not noticed", g->trial.strategy, rank,
                 drop < 0 ? "wrong span of" : "without", name);
    check_report_clear(&report);
    schedule_destroy(broken);
}

/* One more token between the states. */
static void shift_spans(const struct rig *g, int rank, int64_t op)
{
    struct pool *pool = plan_pool(g->plan);
    int64_t n, spans[8];
    const int64_t *list = pool_numbers_get(
        pool, g->schedules[rank]->ops[op].segments, &n);

    assert_true(n > 0 && n <= 8);
    for (int64_t i = 0; i < n; i++) {
        memcpy(spans, list, (size_t)n * sizeof *spans);
        spans[i]++;
        must_notice(g, rank, -1, op, pool_numbers(pool, spans, n));
        list = pool_numbers_get(pool, g->schedules[rank]->ops[op].segments,
                                &n);
    }
}

/* Does it decay states?  In a scan, those that go through the rank. */
static int has_spans(const struct op *op, int rank)
{
    return op->kind == OP_STATE_SCAN
        || (op->collective == EXCLUSIVE_SCAN && rank > 0 && rank < 3);
}

/* No op can be missing, no state be decayed by another number of tokens. */
static void mutations(void **state)
{
    (void)state;
    for (int k = 0; k < COUNT(kinds); k++) {
        struct trial t = plain_trial(kinds[k].strategy, kinds[k].layout);
        struct rig g;
        if (kinds[k].mask.kind == MASK_FULL || kinds[k].pattern)
            continue;
        t.dtype = DTYPE_BF16;
        assert_true(rig_create(&g, &t));
        for (int r = 0; r < 4; r++)
            for (int64_t i = 0; i < g.schedules[r]->n_ops; i++) {
                must_notice(&g, r, i, -1, -1);
                if (has_spans(&g.schedules[r]->ops[i], r))
                    shift_spans(&g, r, i);
            }
        rig_destroy(&g);
    }
}

/* ---- What is refused ----------------------------------------------------- */

static void refuses(void **state)
{
    static const struct {
        const char *strategy;
        enum layout layout;
        struct mask mask;
        int decay;
        const char *why;
    } cases[] = {
        { "lasp", LAYOUT_STRIPED, CAUSAL, 0, "stripes" },
        { "lasp2", LAYOUT_STRIPED, CAUSAL, 1, "stripes" },
        { "lasp2", LAYOUT_ZIGZAG, { MASK_WINDOW, 8, 0 }, 0, "window" },
        { "lasp2-scan", LAYOUT_CONTIGUOUS, { MASK_WINDOW, -1, 3 }, 0,
          "window" },
        { "lasp2", LAYOUT_CONTIGUOUS, FULL, 1, "decay" },
        { "lasp", LAYOUT_CONTIGUOUS, FULL, 0, "full" },
        { "lasp2-scan", LAYOUT_CONTIGUOUS, FULL, 0, "full" },
        { "lasp", LAYOUT_ZIGZAG, CAUSAL, 0, "contiguous" },
        { "lasp2-scan", LAYOUT_ZIGZAG, CAUSAL, 1, "contiguous" },
    };

    (void)state;
    for (int i = 0; i < COUNT(cases); i++) {
        struct trial t = plain_trial(cases[i].strategy, cases[i].layout);
        struct rig g;
        t.mask = cases[i].mask;
        t.slopes = cases[i].decay ? decay_axis[1] : NULL;
        assert_false(rig_create(&g, &t));
        if (!strstr(g.why.text, cases[i].why))
            fail_msg("%s: %s", cases[i].strategy, g.why.text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix),
        cmocka_unit_test(long_sequences),
        cmocka_unit_test(orders),
        cmocka_unit_test(collectives_overlap),
        cmocka_unit_test(no_reuse_stalls),
        cmocka_unit_test(lasp_is_serial_in_the_recurrence_only),
        cmocka_unit_test(bytes),
        cmocka_unit_test(bytes_of_packed),
        cmocka_unit_test(saved),
        cmocka_unit_test(mutations),
        cmocka_unit_test(refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
