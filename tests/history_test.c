/* SPDX-License-Identifier: Apache-2.0
 *
 * What a simulation says besides times: memory, links, the critical path. */
#include <config.h>

#include "models/history.h"
#include "simulate_bench.h"

/* 0 attends for 40 us and sends 32 us to 1, where they are overwritten that
 * another attend reads for `busy` us; then 1 attends for 10 us. */
static void relay(void **state)
{
    static const struct { int64_t busy, attend; } cases[] = {
        { 0, 50 }, { 20, 50 }, { 39, 50 }, { 41, 51 }, { 70, 80 },
    };
    struct machine m = unit_machine();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bench t;
        bench_open(&t, 2);
        attend_keys(&t, 0, 40);
        schedule_send(t.s[0], "x", CHANNEL_KV, 1, &t.o[0], 1);
        if (cases[i].busy)
            attend_keys(&t, 1, cases[i].busy);
        schedule_recv(t.s[1], "x", CHANNEL_KV, 0, &t.q[1], 1);
        attend_keys(&t, 1, 10);
        struct simulate_result r = bench_run(&t, &m, "ideal");
        struct critical_path p = history_path(
            (const struct schedule *const *)t.s, 2, r.spans, r.n_spans);
        assert_int_equal(p.total, (cases[i].attend + 32) * 1000);
        assert_int_equal(p.kinds[OP_ATTEND], cases[i].attend * 1000);
        assert_int_equal(p.kinds[OP_SEND] + p.kinds[OP_RECV], 32 * 1000);
        assert_int_equal(p.ops, 3);
        assert_int_equal(p.gaps, 0);
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

/* A late rank: nothing accounts for the time before it begins. */
static void gap(void **state)
{
    struct jitter_rank late = { 0, 5e-6, 1 };
    struct jitter j = { 1, 0, &late, NULL };
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    bench_open(&t, 2);
    move(&t, 0, t.a[0], 1, t.a[1]);
    with_jitter = &j;
    struct simulate_result r = bench_run(&t, &m, "ideal");
    with_jitter = NULL;
    struct critical_path p = history_path((const struct schedule *const *)t.s,
                                          2, r.spans, r.n_spans);
    assert_int_equal(p.total, 105 * 1000);
    assert_int_equal(p.gaps, 5 * 1000);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* ---- Strategies ---------------------------------------------------------- */

struct built {
    struct plan *plan;
    struct schedule *s[RANKS];
    int32_t ranks;
};

static void check_path(const struct built *b, const struct simulate_result *r)
{
    struct critical_path p = history_path(
        (const struct schedule *const *)b->s, b->ranks, r->spans, r->n_spans);
    int64_t sum = p.gaps;

    for (int k = 0; k < OP_KINDS; k++)
        sum += p.kinds[k];
    assert_int_equal(sum, p.total);
    assert_int_equal(p.total, llround(r->seconds * 1e9));
    /* Each lane has its own engine, or rounding. */
    assert_true(p.gaps <= p.ops);
}

/* As much as the plan at most, and no less than what lives all along. */
static void check_memory(const struct schedule *s, const struct span *spans,
                         int64_t n)
{
    struct trace_memory *points = NULL;
    int64_t n_points = 0, cap = 0, most = 0, always = 0;

    for (int32_t i = 0; i < s->n_buffers; i++)
        if (s->buffers[i].role != ROLE_SCRATCH
            && s->buffers[i].role != ROLE_STAGING)
            always += (int64_t)buffer_bytes(s, i);
    history_memory(s, spans, n, &points, &n_points, &cap);
    assert_true(n_points > 0);
    assert_int_equal(points[0].time, 0);
    for (int64_t i = 0; i < n_points; i++) {
        assert_true(points[i].bytes >= always);
        assert_true(!i || points[i].time > points[i - 1].time);
        most = max64(most, points[i].bytes);
    }
    assert_int_equal(points[n_points - 1].bytes, always);
    if (most > (int64_t)s->peak_bytes)
        fail_msg("%lld bytes at a time, %lld planned", (long long)most,
                 (long long)s->peak_bytes);
    free(points);
}

static void check_strategy(const char *name, enum layout layout,
                           enum mask_kind mask, int32_t ranks)
{
    struct strategy_options o = { .layout = layout, .block = 1 };
    struct job job = make_job(8, 8, 96 * ranks, mask, PASS_FORWARD_BACKWARD);
    struct simulate_options so = { .network = network_find("ideal"),
                                   .kernel = "cpu", .record = 1 };
    struct machine m = unit_machine();
    struct built b = { .ranks = ranks };
    struct simulate_result r;
    struct error e = { 0 };
    int64_t at = 0, to = 0;

    b.plan = plan_create(&job, strategy_find(name), &o, ranks, &e);
    if (!b.plan)
        fail_msg("%s: %s", name, e.text);
    for (int32_t i = 0; i < ranks; i++)
        b.s[i] = plan_build(b.plan, i);
    simulate((const struct schedule *const *)b.s, ranks, &m, &so, &r);
    check_path(&b, &r);
    for (int32_t i = 0; i < ranks; i++, at = to) {
        while (to < r.n_spans && r.spans[to].rank == i)
            to++;
        check_memory(b.s[i], r.spans + at, to - at);
        schedule_destroy(b.s[i]);
    }
    simulate_result_clear(&r);
    plan_destroy(b.plan);
    job_clear(&job);
}

static void strategies_whole(void **state)
{
    static const struct { const char *name; enum layout layout; } rows[] = {
        { "ring", LAYOUT_ZIGZAG }, { "allgather", LAYOUT_ZIGZAG },
        { "ulysses", LAYOUT_CONTIGUOUS }, { "double-ring", LAYOUT_ZIGZAG },
        { "usp", LAYOUT_CONTIGUOUS }, { "2d", LAYOUT_STRIPED },
        { "token-ring", LAYOUT_ZIGZAG }, { "rsa", LAYOUT_CONTIGUOUS },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int32_t ranks = 1; ranks <= 8; ranks += ranks < 4 ? 1 : 4) {
            check_strategy(rows[i].name, rows[i].layout, MASK_FULL, ranks);
            check_strategy(rows[i].name, rows[i].layout, MASK_CAUSAL, ranks);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relay), cmocka_unit_test(gap),
        cmocka_unit_test(strategies_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
