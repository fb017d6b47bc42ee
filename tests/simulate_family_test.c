/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulator against closed forms: linear attention and decode. */
#include <config.h>

#include "simulate_machine.h"

static struct rate_point points[] = { { 16, 1e9 }, { 64, 4e9 } };
static struct rate rates[] = {
    { "state", "cpu", DTYPE_FP32, 8, 8, 2, points, 0 },
    { "linear_intra", "cpu", DTYPE_FP32, 8, 8, 1, points, 0 },
    { "linear_inter", "cpu", DTYPE_FP32, 8, 8, 1, points + 1, 0 },
};

/* LASP: state and intra at all ranks at once, the first message meanwhile, then
 * the other states one after the other. */
static void lasp_pipeline(void **state)
{
    struct machine m = unit_machine();
    int64_t N = 4, S = 4 * 64, n = S / N;
    struct job job = make_job(2, 2, S, MASK_CAUSAL, PASS_FORWARD);
    double rows = (double)(n * 2 * 8 * 8 * 2);
    double block = (double)(n * (n + 1) / 2 * 2 * 2 * 16);
    double message = 2 * 8 * 8 * 4 * BYTE;

    (void)state;
    job.attention = ATTENTION_LINEAR;
    m.rates = rates;
    m.n_rates = 3;
    struct simulate_result r = simulate_plan(&job, "lasp", LAYOUT_CONTIGUOUS,
                                             4, &m, "ideal");
    assert_seconds(r.seconds, rows / 4e9 + block / 1e9
                   + (double)(N - 2) * message + rows / 4e9);
    simulate_result_clear(&r);
    m.n_rates = 0;              /* as fast as an attend: 32 flop a ns */
    r = simulate_plan(&job, "lasp", LAYOUT_CONTIGUOUS, 4, &m, "ideal");
    assert_seconds(r.seconds, (2 * rows + block) / 32e9
                   + (double)(N - 2) * message);
    simulate_result_clear(&r);
    job_clear(&job);
}

/* Decode: bytes of K and V, then log2 N rounds out and back, latency each, and
 * what is done to the records. */
static void tree_reduction(void **state)
{
    struct machine m = unit_machine();
    int64_t N = 8, S = 1024, n = S / N;
    struct job job = make_job(2, 1, S, MASK_FULL, PASS_DECODE);
    struct strategy_options o = { .reduce = REDUCE_USEROP };
    double message = 1e-6, record = 2 * 9 * 4 * BYTE;

    (void)state;
    segments[0].latency = message;
    m.memory_bandwidth = 1e9;
    struct simulate_result r = simulate_with(&job, "tree", &o, 8, &m, "loggp");
    double bytes = (double)(2 * n * 8 * 4 + 2 * 8 * 4 + 2 * 9 * 4) * BYTE;
    assert_seconds(r.seconds, bytes + 2 * 3 * message
                   + 2 * record * (1 - 1.0 / (double)N) + 7 * record);
    simulate_result_clear(&r);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lasp_pipeline), cmocka_unit_test(tree_reduction),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
