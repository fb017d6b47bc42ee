/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulator against closed forms, on a machine made up for it: 1 ns a
 * visible pair, 1 GB/s, nothing else unless a case says so. */
#include <config.h>

#include "schedule/lower.h"
#include "simulate_bench.h"

/* ---- Whole strategies --------------------------------------------------- */

/* N attends of c, and N - 1 hops of x that each hides or not. */
static void ring_pipeline(void **state)
{
    static const struct { int64_t heads, length; int32_t ranks; } cases[] = {
        { 64, 512, 8 },         /* compute longer */
        { 1, 64, 8 },           /* transfer longer */
        { 1, 64, 1 }, { 2, 64, 2 }, { 4, 1024, 64 },
    };
    struct machine m = unit_machine();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t N = cases[i].ranks, n = cases[i].length / N;
        struct job job = make_job(cases[i].heads, 1, cases[i].length,
                                  MASK_FULL, PASS_FORWARD);
        double c = (double)(n * n * cases[i].heads) * PAIR;
        double x = (double)(2 * n * 8 * 4) * BYTE;
        struct simulate_result r = simulate_plan(
            &job, "ring", LAYOUT_CONTIGUOUS, (int32_t)N, &m, "ideal");
        assert_seconds(r.seconds, (double)(N - 1) * fmax(c, x) + c);
        if (N > 1)
            assert_seconds(r.overlap, fmin(c, x) / x);
        else
            assert_true(isnan(r.overlap));
        simulate_result_clear(&r);
        job_clear(&job);
    }
}

/* Contiguous causal: the last rank attends everything; zigzag: all the same. */
static void ring_causal(void **state)
{
    struct machine m = unit_machine();
    int64_t N = 4, S = 4096, n = S / N, c = n / 2;
    struct job job = make_job(16, 1, S, MASK_CAUSAL, PASS_FORWARD);
    struct simulate_result r = simulate_plan(&job, "ring", LAYOUT_ZIGZAG, 4,
                                             &m, "ideal");

    (void)state;
    assert_seconds(r.seconds,
                   (double)(16 * (2 * c * c + c + (N - 1) * 2 * c * c))
                   * PAIR);
    for (int i = 1; i < N; i++)
        assert_seconds(r.rank_seconds[i], r.rank_seconds[0]);
    simulate_result_clear(&r);
    r = simulate_plan(&job, "ring", LAYOUT_CONTIGUOUS, 4, &m, "ideal");
    assert_seconds(r.rank_seconds[3], (double)(16 * (n * (n + 1) / 2
                                                      + 3 * n * n)) * PAIR);
    assert_seconds(r.seconds, r.rank_seconds[3]);
    simulate_result_clear(&r);
    job_clear(&job);
}

static void gather_then_attend(void **state)
{
    struct machine m = unit_machine();
    int64_t N = 8, S = 256, n = S / N;
    struct job job = make_job(4, 2, S, MASK_FULL, PASS_FORWARD);
    double slice = (double)(n * 2 * 2 * 8 * 4), pairs = (double)(n * S * 4);
    struct simulate_result r = simulate_plan(&job, "allgather",
                                             LAYOUT_CONTIGUOUS, 8, &m,
                                             "ideal");

    (void)state;
    assert_seconds(r.seconds, (double)(N - 1) * slice * BYTE + pairs * PAIR);
    assert_seconds(r.overlap, 0);
    simulate_result_clear(&r);

    segments[0].latency = 1e-6;         /* (P - 1)(L + S G / P) */
    r = simulate_plan(&job, "allgather", LAYOUT_CONTIGUOUS, 8, &m, "loggp");
    assert_seconds(r.seconds, (double)(N - 1) * (1e-6 + slice * BYTE)
                   + pairs * PAIR);
    simulate_result_clear(&r);
    job_clear(&job);
}

/* Two all-to-alls: q, k, v there, o back; H / N heads of all tokens between. */
static void all_to_all(void **state)
{
    struct machine m = unit_machine();
    int64_t N = 4, S = 256, n = S / N;
    struct job job = make_job(8, 4, S, MASK_FULL, PASS_FORWARD);
    double there = (double)(n * (2 + 1 + 1) * 8 * 4);
    double back = (double)(n * 2 * 8 * 4);
    struct simulate_result r = simulate_plan(&job, "ulysses",
                                             LAYOUT_CONTIGUOUS, 4, &m,
                                             "ideal");

    (void)state;
    assert_seconds(r.seconds, (double)(N - 1) * (there + back) * BYTE
                   + (double)(2 * S * S) * PAIR);
    simulate_result_clear(&r);
    job_clear(&job);
}

/* Both passes: the second gather hides the forward attend (and delta); then
 * attend backward, and the scatter with its sum. */
static void scatter_sums(void **state)
{
    struct machine m = unit_machine();
    int64_t N = 4, S = 64, n = S / N;
    struct job job = make_job(2, 1, S, MASK_FULL, PASS_FORWARD_BACKWARD);
    double slice = (double)(n * 2 * 8 * 4) * BYTE;
    double attend = (double)(n * S * 2) * PAIR;
    double rounds = (double)(N - 1) * slice;

    (void)state;
    struct simulate_result r = simulate_plan(
        &job, "allgather", LAYOUT_CONTIGUOUS, 4, &m, "loggp");
    assert_seconds(r.seconds, 2 * rounds + attend + rounds);
    simulate_result_clear(&r);
    /* Attends take as long as their bytes: q o (do dq), lse (delta), k v
     * (dk dv). */
    double head = (double)(n * 2 * 4) * BYTE, key = (double)(S * 8 * 4) * BYTE;
    double forward = 17 * head + 2 * key, delta = 17 * head;
    double backward = 34 * head + 4 * key, gather = rounds + 2 * slice;
    m.memory_bandwidth = 1e9;
    r = simulate_plan(&job, "allgather", LAYOUT_CONTIGUOUS, 4, &m, "loggp");
    assert_seconds(r.seconds, gather + fmax(gather, forward + delta) + backward
                   + rounds + (double)(N + 1) * slice);
    simulate_result_clear(&r);
    job_clear(&job);
}

/* ---- Schedules by hand -------------------------------------------------- */

static void loggp_message(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    segments[0] = (struct link_segment){ 0, 65536, 1e-6, 4e9, 0 };
    segments[1] = (struct link_segment){ 65536, INT64_MAX, 3e-6, 2e9, 0 };
    m.link.n = 2;
    bench_open(&t, 2);
    move(&t, 0, tile_rows(t.s[0], t.a[0].buffer, 0, 500), 1,
         tile_rows(t.s[1], t.a[1].buffer, 0, 500));     /* 50 kB */
    move(&t, 0, t.b[0], 1, t.b[1]);                     /* 100 kB */
    struct simulate_result r = bench_run(&t, &m, "loggp");
    assert_false(r.deadlock);
    assert_seconds(r.seconds, 1e-6 + 50e3 / 4e9 + 3e-6 + 100e3 / 2e9);
    assert_int_equal(r.n_spans, 4);
    assert_int_equal(r.spans[1].start, 13500);
    assert_int_equal(r.spans[1].end, 66500);
    assert_int_equal(r.spans[1].entry, 7);
    assert_int_equal(r.spans[1].lane, LANE_SEND(CHANNEL_KV));
    simulate_result_clear(&r);
    r = bench_run(&t, &m, "ideal");     /* the last segment's bandwidth */
    assert_seconds(r.seconds, 150e3 / 2e9);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* Rank 1 comes 60 us late: the message is 100 us from then on; rank 0 computes
 * 110 us meanwhile, so 50 of its 100 us are hidden, all of rank 1's shown. */
static void overlap_known(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    bench_open(&t, 2);
    attend_keys(&t, 0, 110);
    schedule_send(t.s[0], "x", CHANNEL_KV, 1, &t.a[0], 1);
    schedule_sum(t.s[1], "zero", t.a[1], ACCESS_WRITE, NULL, 0);
    m.memory_bandwidth = 1e5 / 60e-6;
    schedule_recv(t.s[1], "x", CHANNEL_KV, 0, &t.a[1], 1);
    struct simulate_result r = bench_run(&t, &m, "ideal");
    assert_seconds(r.rank_seconds[0], 160e-6);
    assert_seconds(r.overlap, 0.25);
    assert_int_equal(r.spans[1].ready, 0);
    assert_int_equal(r.spans[1].start, 60000);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* One core: 5 us a message and 0.2 ns a byte come on top of the attend. The
 * receive is over at 100 us and seen at the next look, 120 us. */
static void shared_core(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    m.shared_core = 1;
    m.poll_interval = 40e-6;
    m.link.overhead = 5e-6;
    m.link.host_per_byte = 0.2e-9;
    bench_open(&t, 2);
    move(&t, 0, t.a[0], 1, t.a[1]);
    attend_keys(&t, 0, 200);
    struct simulate_result r = bench_run(&t, &m, "loggp");
    assert_seconds(r.rank_seconds[0], 225e-6);
    assert_int_equal(r.spans[0].op, 0);
    assert_int_equal(r.spans[0].end, 120000);
    assert_seconds(r.rank_seconds[1], 100e-6);
    simulate_result_clear(&r);
    r = bench_run(&t, &m, "ideal");
    assert_seconds(r.seconds, 200e-6);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* Half of the rows, every second one: both ends take 0.3 ns a byte more, the
 * idle receiver, too; rows that lie together do not. */
static void rows_apart(void **state)
{
    const struct run every_second = { 0, 2, 500 };
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    m.shared_core = 1;
    m.link.apart_per_byte = 0.3e-9;
    for (int apart = 0; apart <= 2; apart++) {
        bench_open(&t, 2);
        struct tile out = tile_rows(t.s[0], t.a[0].buffer, 0, 500);
        struct tile in = tile_rows(t.s[1], t.a[1].buffer, 0, 500);
        if (apart)              /* at one end, or both */
            out.rows = pool_rows(t.pool, &every_second, 1);
        if (apart == 2)
            in.rows = out.rows;
        move(&t, 0, out, 1, in);
        attend_keys(&t, 0, 200);
        struct simulate_result r = bench_run(&t, &m, "loggp");
        assert_seconds(r.rank_seconds[0], apart ? 215e-6 : 200e-6);
        assert_seconds(r.rank_seconds[1], 50e-6);
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

/* Copy and compute: at once on two engines, in turn on one. */
static void copy_lane(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    m.memory_bandwidth = 2e9;
    bench_open(&t, 1);
    attend_keys(&t, 0, 70);
    schedule_copy(t.s[0], "x", t.b[0], t.a[0]);         /* 100 us */
    struct simulate_result r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 100e-6);
    simulate_result_clear(&r);
    m.shared_core = 1;
    m.op_overhead = 1e-6;
    m.repeat_overhead = 3e-6;
    r = bench_run(&t, &m, "loggp");
    assert_seconds(r.seconds, 175e-6);
    assert_seconds(r.rank_seconds[0], 172e-6);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* Everybody passes on what has yet to arrive. */
/* A message of 100 kB in pieces of 10 rows, 1 kB: copies to and from the host
 * at 2 GB/s, 0.5 us each, hide under the messages but for the first and the
 * last; with one buffer a side all three take turns. */
static void staged(void **state)
{
    static struct copy_point at = { 1, 2e9 };
    static struct copy copies[] = { { COPY_TO_HOST, 1, &at },
                                    { COPY_FROM_HOST, 1, &at } };
    struct machine m = unit_machine();
    struct simulate_options o = { .network = network_find("loggp"),
                                  .record = 1 };

    (void)state;
    m.copies = copies;
    m.n_copies = 2;
    for (int32_t slots = 1; slots <= 4; slots += 3) {
        struct lower_options how = { 1000, slots };
        struct simulate_result r;
        struct schedule *low[2];
        struct bench t;
        bench_open(&t, 2);
        move(&t, 0, t.a[0], 1, t.a[1]);
        for (int i = 0; i < 2; i++) {
            schedule_freeze(t.s[i]);
            low[i] = schedule_lower(t.s[i], &how, NULL);
        }
        simulate((const struct schedule *const *)low, 2, &m, &o, &r);
        assert_false(r.deadlock);
        assert_seconds(r.seconds, slots == 1 ? 100 * 2e-6 - 0.5e-6 * 99
                       : 0.5e-6 + 100 * 1e-6 + 0.5e-6);
        assert_int_equal(r.n_spans, 2);         /* of the logical ops */
        assert_int_equal(r.spans[1].lane, LANE_RECV(CHANNEL_KV));
        assert_int_equal(r.spans[0].end, r.spans[1].end - 500);
        simulate_result_clear(&r);
        for (int i = 0; i < 2; i++)
            schedule_destroy(low[i]);
        bench_close(&t);
    }
}

/* Rank 0 reaches rank 1: that message takes its 100 us; on its way to rank 2 it
 * is staged, in pieces. */
static void staged_between_some(void **state)
{
    static struct copy_point at = { 1, 2e9 };
    static struct copy copies[] = { { COPY_TO_HOST, 1, &at },
                                    { COPY_FROM_HOST, 1, &at } };
    static const struct lower_options how = { 1000, 4 };
    struct machine m = unit_machine();
    struct simulate_options o = { .network = network_find("loggp"),
                                  .record = 1 };
    struct reach *near = reach_create(3);
    struct simulate_result r;
    struct schedule *low[3];
    struct bench t;

    (void)state;
    m.copies = copies;
    m.n_copies = 2;
    reach_add(near, 0, 1);
    bench_open(&t, 3);
    move(&t, 0, t.a[0], 1, t.a[1]);
    move(&t, 1, t.a[1], 2, t.a[2]);
    for (int i = 0; i < 3; i++) {
        schedule_freeze(t.s[i]);
        low[i] = schedule_lower(t.s[i], &how, near);
    }
    simulate((const struct schedule *const *)low, 3, &m, &o, &r);
    assert_false(r.deadlock);
    assert_int_equal(low[0]->n_ops, 1);
    assert_int_equal(low[2]->n_ops, 200);
    assert_int_equal(r.spans[0].end, 100000);
    assert_seconds(r.seconds, 100e-6 + 0.5e-6 + 100 * 1e-6 + 0.5e-6);
    simulate_result_clear(&r);
    for (int i = 0; i < 3; i++)
        schedule_destroy(low[i]);
    bench_close(&t);
    reach_destroy(near);
}

static void deadlock(void **state)
{
    struct machine m = unit_machine();
    struct bench t;

    (void)state;
    bench_open(&t, 3);
    for (int i = 0; i < 3; i++) {
        schedule_step(t.s[i], 4);
        schedule_recv(t.s[i], "kv", CHANNEL_KV, (i + 2) % 3, &t.a[i], 1);
        schedule_send(t.s[i], "kv", CHANNEL_KV, (i + 1) % 3, &t.a[i], 1);
        schedule_copy(t.s[i], "x", t.b[i], t.a[i]);
    }
    attend_keys(&t, 0, 10);
    struct simulate_result r = bench_run(&t, &m, "ideal");
    assert_true(r.deadlock);
    assert_true(isnan(r.seconds));
    assert_non_null(strstr(r.stuck.text, "9 of 10 ops never ran"));
    assert_non_null(strstr(r.stuck.text, "rank 0 op 1 forward.step4.kv.send"));
    assert_non_null(strstr(r.stuck.text, "rank 2 op 0 forward.step4.kv.recv"));
    assert_int_equal(r.n_spans, 1);
    simulate_result_clear(&r);
    bench_close(&t);
}

/* A send without its receive; a collective that one member never enters. */
static void unmatched(void **state)
{
    struct machine m = unit_machine();
    struct bench t;
    const int32_t group[] = { 0, 1 };

    (void)state;
    bench_open(&t, 2);
    schedule_send(t.s[0], "kv", CHANNEL_KV, 1, &t.a[0], 1);
    const struct tile tiles[] = { t.a[1], t.b[1], t.b[1] };
    schedule_collective(t.s[1], "kv", CHANNEL_Q, ALL_GATHER, group, 2, 1,
                        tiles, 3);
    struct simulate_result r = bench_run(&t, &m, "ideal");
    assert_true(r.deadlock);
    assert_non_null(strstr(r.stuck.text, "2 of 2"));
    assert_non_null(strstr(r.stuck.text, "all_gather"));
    simulate_result_clear(&r);
    bench_close(&t);
}

/* Sends in one order, receives in the other, on one channel: stuck; on two
 * channels: fine. */
static void lanes_in_order(void **state)
{
    struct machine m = unit_machine();

    (void)state;
    for (int channels = 1; channels <= 2; channels++) {
        enum channel other = channels == 1 ? CHANNEL_KV : CHANNEL_Q;
        struct bench t;
        bench_open(&t, 3);
        schedule_send(t.s[0], "x", CHANNEL_KV, 1, &t.a[0], 1);
        schedule_send(t.s[0], "y", other, 2, &t.a[0], 1);
        schedule_recv(t.s[2], "y", other, 0, &t.a[2], 1);
        schedule_send(t.s[2], "z", CHANNEL_KV, 1, &t.a[2], 1);
        schedule_recv(t.s[1], "z", CHANNEL_KV, 2, &t.a[1], 1);
        schedule_recv(t.s[1], "x", CHANNEL_KV, 0, &t.b[1], 1);
        struct simulate_result r = bench_run(&t, &m, "ideal");
        assert_int_equal(r.deadlock, channels == 1);
        if (channels == 2)
            assert_seconds(r.seconds, 300e-6);
        simulate_result_clear(&r);
        bench_close(&t);
    }
}

/* What a band costs between a full block and a causal square. */
static void bands(void **state)
{
    struct surface_point full[] = { { 100, 1, 1e-6 }, { 100, 100, 100e-6 } };
    struct surface_point square = { 100, 100, 80e-6 };  /* 29.5 us of edge */
    struct surface two[] = {
        { "attend", "cpu", DTYPE_FP32, BLOCK_FULL, 8, 8, 1, 2, full, 0, 0, 0,
          1, 1, 0 },
        { "attend", "cpu", DTYPE_FP32, BLOCK_CAUSAL, 8, 8, 1, 1, &square, 0, 0,
          0, 1, 1, 0 },
    };
    struct machine m = { .n_surfaces = 2, .surfaces = two };
    const struct attend_seconds cases[] = {
        { { 0, 100, 0, 50, BAND_LOW, BAND_HIGH }, 50e-6 },
        { { 0, 100, 0, 100, 0, BAND_HIGH }, 80e-6 },
        { { 0, 100, 0, 100, BAND_LOW, 0 }, 80e-6 },
        /* 100 rows that see 1 key more each from 101 on: all on the edge. */
        { { 0, 100, 0, 200, -100, BAND_HIGH }, 15050e-8 + 29.5e-6 },
    };

    (void)state;
    assert_attends(&m, cases, sizeof cases / sizeof *cases);
}

static void not_ready(void **state)
{
    struct machine m = unit_machine();
    struct error e = { 0 };
    struct bench t;

    (void)state;
    bench_open(&t, 2);
    move(&t, 0, t.a[0], 1, t.a[1]);
    attend_keys(&t, 0, 10);
    const struct schedule *const *s = (const struct schedule *const *)t.s;
    assert_int_equal(simulate_ready(s, 2, &m, "cuda", &e), -1);
    assert_non_null(strstr(e.text, "attend for kernel cuda"));
    m.link.n = 0;
    assert_int_equal(simulate_ready(s, 2, &m, "auto", &e), -1);
    assert_non_null(strstr(e.text, "no link"));
    bench_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_pipeline), cmocka_unit_test(ring_causal),
        cmocka_unit_test(gather_then_attend), cmocka_unit_test(all_to_all),
        cmocka_unit_test(scatter_sums), cmocka_unit_test(loggp_message),
        cmocka_unit_test(overlap_known), cmocka_unit_test(shared_core),
        cmocka_unit_test(rows_apart),
        cmocka_unit_test(copy_lane), cmocka_unit_test(staged),
        cmocka_unit_test(staged_between_some),
        cmocka_unit_test(deadlock),
        cmocka_unit_test(unmatched), cmocka_unit_test(lanes_in_order),
        cmocka_unit_test(bands), cmocka_unit_test(not_ready),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
