/* SPDX-License-Identifier: Apache-2.0
 *
 * Schedules by hand, for tests of the simulator. */
#ifndef SPAR_SIMULATE_BENCH_H
#define SPAR_SIMULATE_BENCH_H

#include "simulate_machine.h"

struct bench {
    struct pool *pool;
    struct job job;
    struct schedule *s[3];
    struct tile q[3], k[3], v[3], o[3], lse[3], a[3], b[3];
    int32_t ranks;
};

static struct tile rows_of(struct schedule *s, const char *label, int64_t rows,
                           int32_t width)
{
    struct buffer b = { .role = ROLE_SCRATCH, .dtype = DTYPE_FP32, .map = -1,
                        .rows = rows, .heads = 1, .width = width };

    return tile_whole(s, schedule_buffer(s, label, b));
}

/* Two message buffers a, b of 1000 x 25 words: 100 us at 1 GB/s. */
static void bench_open(struct bench *t, int32_t ranks)
{
    *t = (struct bench){ .pool = pool_create(), .ranks = ranks };
    t->job = make_job(1, 1, 1000, MASK_FULL, PASS_FORWARD);
    for (int i = 0; i < ranks; i++) {
        struct schedule *s = t->s[i] = schedule_create(t->pool, &t->job,
                                                       ranks, i);
        t->q[i] = rows_of(s, "q", 1000, 8);
        t->k[i] = rows_of(s, "k", 1000, 8);
        t->v[i] = rows_of(s, "v", 1000, 8);
        t->o[i] = rows_of(s, "o", 1000, 8);
        t->lse[i] = rows_of(s, "lse", 1000, 1);
        t->a[i] = rows_of(s, "a", 1000, 25);
        t->b[i] = rows_of(s, "b", 1000, 25);
    }
}

static void bench_close(struct bench *t)
{
    for (int i = 0; i < t->ranks; i++)
        schedule_destroy(t->s[i]);
    job_clear(&t->job);
    pool_destroy(t->pool);
}

/* An attend of 1000 x keys pairs: `keys` us. */
static void attend_keys(struct bench *t, int rank, int64_t keys)
{
    struct segment g = { 0, 1000, 0, keys, BAND_LOW, BAND_HIGH };

    schedule_attend(t->s[rank], "", t->q[rank], t->k[rank], t->v[rank],
                    t->o[rank], t->lse[rank], ACCESS_WRITE, &g, 1);
}

/* An attend with one segment, and what it must take. */
struct attend_seconds {
    struct segment segment;
    double seconds;
};

static inline void assert_attends(const struct machine *m,
                                  const struct attend_seconds *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct bench t;
        bench_open(&t, 1);
        schedule_attend(t.s[0], "", t.q[0], t.k[0], t.v[0], t.o[0], t.lse[0],
                        ACCESS_WRITE, &cases[i].segment, 1);
        schedule_freeze(t.s[0]);
        assert_seconds(op_seconds(m, NULL, t.s[0], &t.s[0]->ops[0]),
                       cases[i].seconds);
        bench_close(&t);
    }
}

static inline void move(struct bench *t, int from, struct tile out, int to,
                        struct tile in)
{
    schedule_send(t->s[from], "x", CHANNEL_KV, to, &out, 1);
    schedule_recv(t->s[to], "x", CHANNEL_KV, from, &in, 1);
}

static struct simulate_result bench_run(struct bench *t,
                                        const struct machine *m,
                                        const char *network)
{
    struct simulate_options o = { .network = network_find(network),
                                  .entry = 7, .record = 1,
                                  .links = with_links,
                                  .slots = with_slots, .jitter = with_jitter };
    struct simulate_result r;

    for (int i = 0; i < t->ranks; i++)
        if (t->s[i]->builder)           /* not in an earlier run */
            schedule_freeze(t->s[i]);
    simulate((const struct schedule *const *)t->s, t->ranks, m, &o, &r);
    return r;
}

#endif
