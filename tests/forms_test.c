/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms against schedules: what a rank sends to the byte where shards
 * are even, memory nearly, seconds as the simulator has them; and what a
 * planner that relies on them misses. */
#include <config.h>

#include "models/sensitivity.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* CPU cores: messages take turns with computing, caches make small blocks
 * slow; and a device whose copies share one way out. */
static const char cores[] =
    "{name: cores, cores: 64, memory: 64 GB, memory_bandwidth: 10 GB/s,"
    " op_overhead: 2 us, repeat_overhead: 5 us, shared_core: true,"
    " link: {overhead: 1 us, host_per_byte: 1e-11, apart_per_byte: 3e-10,"
    " segments: ["
    "  {from: 0, latency: 2 us, bandwidth: 2 GB/s},"
    "  {from: 65536, latency: 9 us, bandwidth: 4 GB/s}]},"
    " surfaces: ["
    "  {op: attend, kernel: cpu, block: full, head_dim: 64, points:"
    "   [[64, 64, 8e-6], [1024, 1024, 1.1e-3]]},"
    "  {op: attend, kernel: cpu, block: causal, head_dim: 64, points:"
    "   [[64, 64, 5e-6], [1024, 1024, 6e-4]]},"
    "  {op: attend_backward, kernel: cpu, block: full, head_dim: 64, points:"
    "   [[64, 64, 2.4e-5], [1024, 1024, 3e-3]]},"
    "  {op: attend_backward, kernel: cpu, block: causal, head_dim: 64,"
    "   points: [[64, 64, 1.5e-5], [1024, 1024, 1.7e-3]]}]}";

static const struct {
    int64_t tokens, heads, kv_heads, ranks;
    struct mask mask;
    enum pass pass;
    enum dtype dtype, wire;
} jobs[] = {
    { 4096, 8, 8, 4, { MASK_CAUSAL, -1, 0 }, PASS_FORWARD_BACKWARD,
      DTYPE_FP32, DTYPE_FP32 },
    { 8192, 8, 4, 8, { MASK_CAUSAL, -1, 0 }, PASS_FORWARD_BACKWARD,
      DTYPE_FP32, DTYPE_FP32 },
    { 8192, 16, 4, 8, { MASK_FULL, -1, -1 }, PASS_FORWARD, DTYPE_BF16,
      DTYPE_FP32 },
    { 4096, 8, 2, 16, { MASK_CAUSAL, -1, 0 }, PASS_FORWARD_BACKWARD,
      DTYPE_BF16, DTYPE_BF16 },
    { 7168, 14, 7, 7, { MASK_CAUSAL, -1, 0 }, PASS_FORWARD_BACKWARD,
      DTYPE_FP32, DTYPE_FP32 },
    { 5120, 8, 4, 5, { MASK_FULL, -1, -1 }, PASS_FORWARD, DTYPE_BF16,
      DTYPE_FP32 },
    { 6656, 13, 13, 13, { MASK_CAUSAL, -1, 0 }, PASS_FORWARD_BACKWARD,
      DTYPE_BF16, DTYPE_FP32 },
    { 16384, 4, 4, 4, { MASK_WINDOW, 2048, 0 }, PASS_FORWARD, DTYPE_FP32,
      DTYPE_FP32 },
};

static struct job make_job(int n)
{
    struct job job = {
        .transformer = { .heads = jobs[n].heads, .kv_heads = jobs[n].kv_heads,
                         .head_dim = 64 },
        .mask = jobs[n].mask, .pass = jobs[n].pass, .dtype = jobs[n].dtype,
        .wire_grad = jobs[n].wire, .wire_partial = jobs[n].dtype
    };
    struct error e = { 0 };

    if (job_finish(&job, &jobs[n].tokens, 1, &e))
        fail_msg("%s", e.text);
    return job;
}

static struct machine *make_machine(void)
{
    struct error e = { 0 };
    struct machine *m = machine_parse("cores", cores, strlen(cores), &e);

    if (!m)
        fail_msg("%s", e.text);
    return m;
}

static struct question make_question(const struct job *job, int n,
                                     const struct machine *m)
{
    return (struct question){ .job = job, .ranks = jobs[n].ranks,
                              .machine = m, .kernel = "auto",
                              .network = network_find("loggp") };
}

/* Everything simulated: no candidate is left out. */
static struct answer ask_all(const struct question *q)
{
    struct answer a = { 0 };
    struct candidates all = { 0 };
    struct error e = { 0 };

    candidates_find(&all, q->job, q->ranks);
    if (planner_answer(&a, q, INT64_MAX, all.list, all.n, &e))
        fail_msg("%s", e.text);
    assert_int_equal(a.n, all.n);
    candidates_clear(&all);
    return a;
}

/* Ways of which not all blocks go all round: forms have their mean. */
static int is_partial(const struct candidate *c)
{
    return c->options.needed || c->options.reverse
        || (!strcmp(c->strategy->name, "token-ring")
            && c->options.layout == LAYOUT_ZIGZAG);
}

static int is_uneven(const struct job *job, const struct candidate *c)
{
    return job->mask.kind != MASK_FULL
        && c->options.layout == LAYOUT_CONTIGUOUS;
}

static void check_contender(const struct job *job, const struct contender *x)
{
    const struct candidate *c = &x->candidate;
    const struct estimate *y = &c->estimate;
    char text[160];

    snprintf(text, sizeof text, "%s layout %d head %lld window %lld group "
             "%lld backward %d", c->strategy->name, c->options.layout,
             (long long)c->options.head, (long long)c->options.window,
             (long long)c->options.head_group, c->options.backward);
    if (!is_partial(c) && llround(y->sent) != x->sent)
        fail_msg("%s: sends %lld, by the form %.0f", text, (long long)x->sent,
                 y->sent);
    /* Under a window who has most scores is not who sees most pairs. */
    if (!strcmp(c->strategy->name, "rsa") && job->mask.left >= 0)
        return;
    if (y->memory < 0.65 * (double)x->peak || y->memory > 1.4 * (double)x->peak)
        fail_msg("%s: needs %lld bytes, by the form %.0f", text,
                 (long long)x->peak, y->memory);
    double most = is_uneven(job, c) ? 1.5 : 1.15;
    if (!(y->seconds > 0.85 * x->seconds && y->seconds < most * x->seconds))
        fail_msg("%s: %g s, by the form %g", text, x->seconds, y->seconds);
}

static void test_forms(void **state)
{
    struct machine *m = make_machine();

    (void)state;
    for (int n = 0; n < COUNT(jobs); n++) {
        struct job job = make_job(n);
        struct question q = make_question(&job, n, m);
        struct answer a = ask_all(&q);
        assert_true(a.n > 10);
        for (int64_t i = 0; i < a.n; i++)
            check_contender(&job, &a.contenders[i]);
        answer_clear(&a);
        job_clear(&job);
    }
    machine_destroy(m);
}

/* ---- Machines with a graph ----------------------------------------------- */

/* Two hosts of four GPUs on NVLink, a network interface for each; computing
 * takes next to nothing. */
static const char pair_of_hosts[] =
    "{name: pair, surfaces: ["
    "  {op: attend, kernel: cpu, block: full, head_dim: 64,"
    "   points: [[64, 64, 1e-12]]},"
    "  {op: attend, kernel: cpu, block: causal, head_dim: 64,"
    "   points: [[64, 64, 1e-12]]}],"
    " cluster: {"
    "  links: {nvlink: {usable: 300 GB/s}, pcie: {usable: 60 GB/s},"
    "          network: {usable: 50 GB/s}},"
    "  start: {nvlink: 5 us, leaf: 10 us},"
    "  hosts: [{name: box, count: 2, sockets: 1, nvlink: switch,"
    "           switches: [{name: p0, on: socket0}],"
    "           gpus: [{on: p0, count: 4}], nics: [{on: p0, count: 4}]}],"
    "  fabric: {kind: switch}}}";

static double seconds_on_pair(const struct strategy *st,
                              const struct strategy_options *o)
{
    struct machine *m = machine_parse("pair", pair_of_hosts,
                                      strlen(pair_of_hosts), NULL);
    int64_t tokens = 8192;
    struct job job = { .transformer = { .heads = 4, .kv_heads = 4,
                                        .head_dim = 64 },
                       .mask = { MASK_FULL, -1, -1 }, .dtype = DTYPE_FP32 };

    assert_int_equal(job_finish(&job, &tokens, 1, NULL), 0);
    struct forms *f = forms_create(&job, 8);
    forms_machine(f, m, "auto");
    double seconds = forms_estimate(f, st, o).seconds;
    forms_destroy(f);
    job_clear(&job);
    machine_destroy(m);
    return seconds;
}

static void check_seconds(const struct strategy *st, struct strategy_options o,
                          double expected)
{
    double seconds = seconds_on_pair(st, &o);

    if (!(fabs(seconds / expected - 1) < 1e-3))
        fail_msg("%s: %.9g s, expected %.9g", st->name, seconds, expected);
}

static void test_routes(void **state)
{
    const double kv = 1024.0 * 4 * 128 * 4;     /* B of K, V of a rank */
    const double q = kv / 2, nvlink = 300e9, nic = 50e9;
    struct strategy_options o = { 0 };

    (void)state;
    /* The hop between hosts is the slowest. */
    check_seconds(&strategy_ring, o, 7 * (10e-6 + kv / nic));
    /* Of each round somebody's message goes to the other host. */
    check_seconds(&strategy_allgather, o, 7 * (10e-6 + kv / nic));
    /* Rings of four on a host while a block goes to the other, once. */
    o.window = 4;
    check_seconds(&strategy_double_ring, o, 10e-6 + kv / nic
                  + 3 * (5e-6 + kv / nvlink));
    o = (struct strategy_options){ .head = 4 };
    o.placement = CONTEXT_FIRST;        /* heads on 0, 2, 4, 6: two hosts */
    check_seconds(&strategy_usp, o, 2 * 3 * 10e-6
                  + 3 * (2 * q + kv) / 4 / nic + 5e-6 + kv / nvlink);
}

/* Of two candidates whose simulations with shared links differ by 5 %, forms
 * call the same one faster, nearly always; and what they call fastest is. */
static void test_order(void **state)
{
    struct machine *m = machine_parse("pair", pair_of_hosts,
                                      strlen(pair_of_hosts), NULL);
    int64_t pairs = 0, same = 0;

    (void)state;
    knob_scale(knob_find("compute"), m, 2e-3);
    for (int n = 1; n <= 2; n++) {
        struct job job = make_job(n);
        job.pass = PASS_FORWARD;
        struct question q = make_question(&job, n, m);
        q.network = network_find("flow");
        struct answer a = ask_all(&q);
        double best = INFINITY, chosen = NAN;
        for (int64_t i = 0; i < a.n; i++) {
            const struct contender *x = &a.contenders[i];
            if (x->candidate.estimate.seconds < best) {
                best = x->candidate.estimate.seconds;
                chosen = x->seconds;
            }
            for (int64_t k = 0; k < i; k++) {
                const struct contender *y = &a.contenders[k];
                if (x->seconds < 1.05 * y->seconds)
                    continue;
                pairs++;
                same += x->candidate.estimate.seconds
                    > y->candidate.estimate.seconds;
            }
        }
        if (!(chosen < 1.05 * a.contenders[0].seconds))
            fail_msg("job %d: %g s by forms' choice, %g at best", n, chosen,
                     a.contenders[0].seconds);
        answer_clear(&a);
        job_clear(&job);
    }
    if (!(pairs > 1000 && (double)same > 0.9 * (double)pairs))
        fail_msg("%lld of %lld pairs in order", (long long)same,
                 (long long)pairs);
    machine_destroy(m);
}

/* What is chosen among a few costs no more than what is best of all. */
static void test_regret(void **state)
{
    struct machine *m = make_machine();

    (void)state;
    for (int n = 0; n < COUNT(jobs); n++) {
        struct job job = make_job(n);
        struct question q = make_question(&job, n, m);
        struct answer all = ask_all(&q), few = { 0 };
        assert_int_equal(planner_answer(&few, &q, 12, NULL, 0, NULL), 0);
        assert_true(few.n < all.n);
        double regret = few.contenders[0].seconds / all.contenders[0].seconds;
        if (!(regret < 1.02))
            fail_msg("job %d: %s costs %.3f of %s", n,
                     few.contenders[0].candidate.strategy->name, regret,
                     all.contenders[0].candidate.strategy->name);
        answer_clear(&few);
        answer_clear(&all);
        job_clear(&job);
    }
    machine_destroy(m);
}

/* No two candidates are the same schedule under other names, all apply. */
static void test_candidates(void **state)
{
    struct job job = make_job(1);
    struct candidates c = { 0 };

    (void)state;
    candidates_find(&c, &job, 24);
    assert_true(c.n > 50);
    for (int64_t i = 0; i < c.n; i++) {
        struct error e = { 0 };
        if (plan_applies(&job, c.list[i].strategy, &c.list[i].options, 24, &e))
            fail_msg("%s", e.text);
        for (int64_t k = 0; k < i; k++)
            assert_true(c.list[i].strategy != c.list[k].strategy
                        || memcmp(&c.list[i].options, &c.list[k].options,
                                  sizeof c.list[i].options));
    }
    /* Those of other jobs say why. */
    for (int64_t i = 0; i < c.n_refusals; i++)
        assert_true(*c.refusals[i].reason.text);
    candidates_clear(&c);
    candidates_find(&c, &job, 1);       /* a rank alone: one of each */
    assert_true(c.n >= 7);
    candidates_clear(&c);
    job_clear(&job);
}

/* What does not fit is not chosen, and what has least room is named. */
static void test_memory(void **state)
{
    struct machine *m = make_machine();
    struct job job = make_job(1);
    struct question q = make_question(&job, 1, m);
    struct answer a = ask_all(&q);
    struct error e = { 0 };
    int64_t least = INT64_MAX;

    (void)state;
    assert_true(question_memory(m, 8) == 1e9);
    for (int64_t i = 0; i < a.n; i++)
        least = min64(least, a.contenders[i].peak);
    assert_true(least < a.contenders[0].peak);
    answer_clear(&a);
    q.memory = (double)least;
    if (planner_answer(&a, &q, 12, NULL, 0, &e))
        fail_msg("%s", e.text);
    assert_true(a.contenders[0].fits && a.contenders[0].peak == least);
    assert_true(a.fit < a.all.n);
    answer_clear(&a);
    q.memory = 1000;
    assert_int_equal(planner_answer(&a, &q, 12, NULL, 0, &e), -1);
    assert_non_null(strstr(e.text, "nothing fits in 1 kB a rank"));
    answer_clear(&a);
    job_clear(&job);
    machine_destroy(m);
}

/* ---- Sensitivity --------------------------------------------------------- */

static double simulated(const struct question *q, const struct candidate *c)
{
    struct answer a = { 0 };
    double seconds = NAN;

    assert_int_equal(planner_answer(&a, q, 1, c, 1, NULL), 0);
    for (int64_t i = 0; i < a.n; i++)
        if (a.contenders[i].asked)
            seconds = a.contenders[i].seconds;
    answer_clear(&a);
    return seconds;
}

/* Beyond the turn the other candidate is better, when both are simulated; as
 * far on this side it is not: as far as forms can tell, far away from where they
 * were put right by simulations. */
static void check_turn(struct question *q, struct machine *m,
                       const struct swing *x, const struct turn *t,
                       const struct candidate *choice)
{
    double factor = t->value / x->value, beyond = factor > 1 ? 1.5 : 1 / 1.5;

    for (int side = 0; side < 2; side++) {
        double by = side ? factor * beyond : factor / beyond;
        knob_scale(x->knob, m, by);
        double gain = simulated(q, choice) / simulated(q, &t->choice);
        knob_scale(x->knob, m, 1 / by);
        if (side ? !(gain > 0.98) : !(gain < 1.15))
            fail_msg("%s at %g, turn at %g: %s gains %g over %s",
                     x->knob->name, x->value * by, t->value,
                     t->choice.strategy->name, gain, choice->strategy->name);
    }
}

static void test_sensitivity(void **state)
{
    struct machine *m = make_machine(), *same = make_machine();
    struct job job = make_job(1);
    struct question q = make_question(&job, 1, m);
    struct answer a = { 0 };
    struct sensitivity s;
    int turns = 0;

    (void)state;
    assert_int_equal(planner_answer(&a, &q, 12, NULL, 0, NULL), 0);
    sensitivity_find(&s, &a, &q, m);
    assert_true(s.n > 4);
    assert_string_equal(s.list[0].knob->name, "compute");
    for (int i = 0; i < s.n; i++) {
        const struct swing *x = &s.list[i];
        assert_true(fabs(knob_value(x->knob, m) - knob_value(x->knob, same))
                    <= 1e-9 * x->value);
        assert_true(fabs(x->elasticity) < 1.01);
        for (int k = 0; k < 2 && strcmp(x->knob->name, "memory"); k++) {
            const struct turn *t = k ? &x->above : &x->below;
            if (isnan(t->value))
                continue;
            turns++;
            check_turn(&q, m, x, t, &a.contenders[0].candidate);
        }
    }
    assert_true(turns > 0);
    answer_clear(&a);
    job_clear(&job);
    machine_destroy(same);
    machine_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_regret),
        cmocka_unit_test(test_candidates),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_sensitivity),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
