/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulator on devices against closed forms: ports, flags, streams, a
 * device that ranks share. */
#include <config.h>

#include "simulate_bench.h"

/* Two of the unit machine, nothing but bytes between them. */
static struct machine device_machine(int devices)
{
    struct machine m = unit_machine();

    m.devices = devices;
    return m;
}

/* What leaves a device at once shares its way out: 100 us each alone. */
static void port_shared(void **state)
{
    struct machine m = device_machine(2);
    struct bench t;

    (void)state;
    for (int both = 0; both < 2; both++) {
        bench_open(&t, 2);
        move(&t, 0, t.a[0], 1, t.a[1]);
        schedule_send(t.s[both ? 0 : 1], "y", CHANNEL_Q, both ? 1 : 0,
                      &t.b[both ? 0 : 1], 1);
        schedule_recv(t.s[both ? 1 : 0], "y", CHANNEL_Q, both ? 0 : 1,
                      &t.b[both ? 1 : 0], 1);
        struct simulate_result r = bench_run(&t, &m, "loggp");
        assert_seconds(r.seconds, both ? 200e-6 : 100e-6);
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

/* A short message that starts when half of a long one is through: at half the
 * rate until it is over. */
static void port_late(void **state)
{
    struct machine m = device_machine(2);
    struct bench t;

    (void)state;
    bench_open(&t, 2);
    move(&t, 0, t.a[0], 1, t.a[1]);
    attend_keys(&t, 0, 50);
    struct tile o[] = { tile_rows(t.s[0], t.o[0].buffer, 0, 625) };
    struct tile b[] = { tile_rows(t.s[1], t.q[1].buffer, 0, 625) };
    schedule_send(t.s[0], "y", CHANNEL_Q, 1, o, 1);     /* 20 us */
    schedule_recv(t.s[1], "y", CHANNEL_Q, 0, b, 1);
    struct simulate_result r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 120e-6);
    int64_t end = 0;
    for (int64_t i = 0; i < r.n_spans; i++)
        if (r.spans[i].lane == LANE_SEND(CHANNEL_Q))
            end = r.spans[i].end;
    assert_int_equal(end, 90000);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* Latency comes on top; so do the tiles of a message after the first, and the
 * receiver's flag if it came later than the sender. */
static void latencies(void **state)
{
    struct machine m = device_machine(2);
    struct bench t;

    (void)state;
    segments[0].latency = 7e-6;
    m.push_overhead = 2e-6;
    bench_open(&t, 2);
    struct tile out[] = { t.a[0], t.b[0] }, in[] = { t.a[1], t.b[1] };
    schedule_send(t.s[0], "x", CHANNEL_KV, 1, out, 2);
    schedule_recv(t.s[1], "x", CHANNEL_KV, 0, in, 2);
    struct simulate_result r = bench_run(&t, &m, "loggp");
    /* Both were ready at once: 7 us until the sender knows. */
    assert_seconds(r.seconds, 7e-6 + 7e-6 + 2e-6 + 200e-6);
    simulate_result_clear(&r);
    bench_close(&t);
    bench_open(&t, 2);
    attend_keys(&t, 0, 30);
    schedule_send(t.s[0], "x", CHANNEL_KV, 1, &t.o[0], 1);      /* 32 us */
    schedule_recv(t.s[1], "x", CHANNEL_KV, 0, &t.o[1], 1);
    r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 30e-6 + 7e-6 + 32e-6);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* The bytes that lie together decide. */
static void blocks(void **state)
{
    struct copy_point points[] = { { 100, 0.25e9 }, { 400, 1e9 } };
    struct copy copies = { COPY_PEER, 2, points };
    struct machine m = device_machine(2);
    struct bench t;

    (void)state;
    m.n_copies = 1;
    m.copies = &copies;
    assert_seconds(machine_copy_bandwidth(&m, COPY_PEER, 50), 0.125e9);
    assert_seconds(machine_copy_bandwidth(&m, COPY_PEER, 200), 0.5e9);
    assert_seconds(machine_copy_bandwidth(&m, COPY_PEER, 4000), 1e9);
    assert_seconds(machine_copy_bandwidth(&m, COPY_DEVICE, 4000), 0);
    bench_open(&t, 2);          /* every second row of 100 B */
    struct run every = { 0, 2, 500 };
    struct tile some = { t.a[0].buffer, pool_rows(t.pool, &every, 1), 0, 1 };
    schedule_send(t.s[0], "x", CHANNEL_KV, 1, &some, 1);
    struct tile into = tile_rows(t.s[1], t.a[1].buffer, 0, 500);
    schedule_recv(t.s[1], "x", CHANNEL_KV, 0, &into, 1);
    struct simulate_result r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 50e3 / 0.25e9);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* Ranks of one device take turns, and copy within it. */
static void shared_device(void **state)
{
    struct copy_point within = { 1, 10e9 };
    struct copy copies = { COPY_DEVICE, 1, &within };
    struct bench t;

    (void)state;
    for (int devices = 1; devices <= 2; devices++) {
        struct machine m = device_machine(devices);
        m.n_copies = 1;
        m.copies = &copies;
        bench_open(&t, 2);
        attend_keys(&t, 0, 60);
        attend_keys(&t, 1, 40);
        move(&t, 0, t.a[0], 1, t.a[1]);
        struct simulate_result r = bench_run(&t, &m, "loggp");
        /* Ten times as fast within, but 60 + 40 us one after the other. */
        assert_seconds(r.rank_seconds[0], devices == 1 ? 60e-6 : 100e-6);
        assert_seconds(r.rank_seconds[1], 100e-6);
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

/* Ranks of one device need no link. */
static void ready_within(void **state)
{
    struct copy_point within = { 1, 10e9 };
    struct copy copies = { COPY_DEVICE, 1, &within };
    struct machine m = device_machine(1);
    struct error e = { 0 };
    struct bench t;

    (void)state;
    m.link.n = 0;
    bench_open(&t, 2);
    attend_keys(&t, 0, 10);
    move(&t, 0, t.a[0], 1, t.a[1]);
    const struct schedule *const *s = (const struct schedule *const *)t.s;
    assert_int_equal(simulate_ready(s, 2, &m, "auto", &e), -1);
    m.n_copies = 1;
    m.copies = &copies;
    assert_int_equal(simulate_ready(s, 2, &m, "auto", &e), 0);
    m.devices = 2;
    assert_int_equal(simulate_ready(s, 2, &m, "auto", &e), -1);
    assert_non_null(strstr(e.text, "no link"));
    m.devices = 1;
    struct simulate_result r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 10e-6);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* The host gives a device one op in 20 us; another stream goes on 5 us after an
 * op; both ops take 1 us more than their pairs. */
static void streams(void **state)
{
    struct machine m = device_machine(1);
    struct bench t;

    (void)state;
    m.enqueue = 20e-6;
    m.event_latency = 5e-6;
    m.op_overhead = 1e-6;
    m.memory_bandwidth = 2e9;
    bench_open(&t, 1);
    attend_keys(&t, 0, 100);                            /* 20 .. 121 */
    attend_keys(&t, 0, 100);                            /* 121 .. 222 */
    schedule_copy(t.s[0], "x", t.q[0], t.o[0]);         /* 227 .. 260 */
    struct simulate_result r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 227e-6 + 1e-6 + 32e-6);
    simulate_result_clear(&r);
    m.attend_beside = 2;        /* nothing goes on beside these */
    r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 260e-6);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* An attend beside a message of 100 us takes longer, until that is over. */
static void beside_messages(void **state)
{
    static const struct { int64_t keys; double seconds; } cases[] = {
        { 40, 60e-6 }, { 80, 100e-6 + 80e-6 - 100e-6 / 1.5 },
    };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct machine m = device_machine(2);
        struct bench t;
        m.attend_beside = 1.5;
        bench_open(&t, 2);
        move(&t, 0, t.a[0], 1, t.a[1]);
        attend_keys(&t, 0, cases[i].keys);
        struct simulate_result r = bench_run(&t, &m, "loggp");
        assert_seconds(r.seconds, fmax(100e-6, cases[i].seconds));
        for (int64_t k = 0; k < r.n_spans; k++)
            if (r.spans[k].lane == LANE_COMPUTE)
                assert_int_equal(r.spans[k].end,
                                 llround(cases[i].seconds * 1e9));
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

/* All heads at once: results in fp32 and added ones take more by element, ops
 * of bytes go at their own rate. */
static void results_and_rates(void **state)
{
    struct surface_point p = { 1, 1, 1e-9 };
    struct surface s = { "attend", "cuda", DTYPE_BF16, BLOCK_FULL, 8, 8, 1, 1,
                         &p, 1, 1e-10, 3e-10, 1, 1, 0 };
    struct rate_point rp[] = { { 1000, 2e9 }, { 4000, 4e9 } };
    struct rate rate = { "sum", "cuda", DTYPE_FP32, 8, 8, 2, rp, 2 };
    struct machine m = { .devices = 1, .n_surfaces = 1, .surfaces = &s,
                         .n_rates = 1, .rates = &rate,
                         .memory_bandwidth = 1e9 };
    struct segment half = { 0, 500, 0, 1000, BAND_LOW, BAND_HIGH };
    struct bench t;

    (void)state;
    bench_open(&t, 1);
    schedule_attend(t.s[0], "", t.q[0], t.k[0], t.v[0], t.o[0], t.lse[0],
                    ACCESS_UPDATE, &half, 1);
    schedule_sum(t.s[0], "", t.a[0], ACCESS_WRITE, &t.b[0], 1);
    schedule_freeze(t.s[0]);
    /* 500 rows of 8 elements are added to, and as many lse. */
    assert_seconds(op_seconds(&m, "cuda", t.s[0], &t.s[0]->ops[0]),
                   500e-6 + 500 * 9 * 3e-10);
    /* 1000 rows of one head: as 500 of two, the least that was measured. */
    assert_seconds(op_seconds(&m, "cuda", t.s[0], &t.s[0]->ops[1]),
                   200e3 / 4 / 2e9);
    bench_close(&t);
}

/* Corners: the seconds of a pair are interpolated. */
static void corners(void **state)
{
    /* 10 and 20 ns a pair. */
    struct surface_point c[] = { { 100, 100, 5050 * 10e-9 },
                                 { 100, 400, 35050 * 20e-9 } };
    struct surface_point f = { 1, 1, 1e-9 };
    struct surface s[] = {
        { "attend", "cpu", DTYPE_FP32, BLOCK_FULL, 8, 8, 1, 1, &f, 0, 0, 0, 1,
          1, 0 },
        { "attend", "cpu", DTYPE_FP32, BLOCK_CORNER, 8, 8, 1, 2, c, 0, 0, 0, 1,
          1, 0 },
    };
    struct machine m = { .n_surfaces = 2, .surfaces = s };
    const struct attend_seconds cases[] = {
        { { 0, 100, 0, 400, -300, BAND_HIGH }, 35050 * 20e-9 },
        { { 0, 100, 0, 200, -100, BAND_HIGH }, 15050 * 10e-9 * 1.4142135624 },
        { { 0, 100, 0, 400, BAND_LOW, BAND_HIGH }, 40e-6 },
    };

    (void)state;
    assert_attends(&m, cases, sizeof cases / sizeof *cases);
}

/* Two all-to-alls on two devices: flags there and back, slices to the other, my
 * own within the device. */
static void exchange(void **state)
{
    struct copy_point fast = { 1, 4e9 };
    struct copy copies = { COPY_DEVICE, 1, &fast };
    struct machine m = device_machine(2);
    int64_t S = 256, n = S / 2;
    struct job job = make_job(8, 4, S, MASK_FULL, PASS_FORWARD);
    double there = (double)(n * (4 + 2 + 2) * 8 * 4);
    double back = (double)(n * 4 * 8 * 4);

    (void)state;
    segments[0].latency = 5e-6;
    m.n_copies = 1;
    m.copies = &copies;
    m.push_overhead = 1e-6;
    struct simulate_result r = simulate_plan(&job, "ulysses",
                                             LAYOUT_CONTIGUOUS, 2, &m,
                                             "loggp");
    assert_seconds(r.seconds, (there + back) * (BYTE + 1 / 4e9) + 4 * 5e-6
                   + 2e-6 + (double)(4 * S * S) * PAIR);
    simulate_result_clear(&r);
    job_clear(&job);
}

/* Members whose tiles lie in other buffers than mine: star's queries. */
static void other_buffers(void **state)
{
    struct machine m = device_machine(2);
    struct job job = make_job(4, 2, 512, MASK_CAUSAL, PASS_FORWARD);
    struct strategy_options options = { .block = 64, .anchor = 16 };

    (void)state;
    job.queries = 8;
    struct simulate_result r = simulate_with(&job, "star", &options, 4, &m,
                                             "loggp");
    assert_true(r.seconds > 0 && r.seconds < 1);
    simulate_result_clear(&r);
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(port_shared), cmocka_unit_test(port_late),
        cmocka_unit_test(latencies), cmocka_unit_test(blocks),
        cmocka_unit_test(shared_device), cmocka_unit_test(ready_within),
        cmocka_unit_test(streams),
        cmocka_unit_test(beside_messages), cmocka_unit_test(results_and_rates),
        cmocka_unit_test(corners), cmocka_unit_test(exchange),
        cmocka_unit_test(other_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
