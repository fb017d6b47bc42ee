/* SPDX-License-Identifier: Apache-2.0
 *
 * The IR: interning, inferred dependencies, the memory plan, hashes; and of
 * every strategy, bytes equal to the closed form. */
#include <config.h>

#include "schedule/print.h"
#include "strategy/strategy.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct job make_job(int64_t heads, int64_t kv_heads, int64_t length,
                           enum dtype dtype, enum dtype wire)
{
    struct job job = {
        .transformer = { .heads = heads, .kv_heads = kv_heads, .head_dim = 8,
                         .value_dim = 4 },
        .mask = { .kind = MASK_CAUSAL }, .pass = PASS_FORWARD_BACKWARD,
        .dtype = dtype, .wire_grad = wire, .wire_partial = dtype,
    };
    struct error e = { 0 };

    if (job_finish(&job, &length, 1, &e))
        fail_msg("%s", e.text);
    return job;
}

static struct buffer fp32_rows(int64_t rows)
{
    return (struct buffer){ .role = ROLE_SCRATCH, .dtype = DTYPE_FP32,
                            .map = -1, .rows = rows, .heads = 1, .width = 1 };
}

static void interning(void **state)
{
    struct pool *p = pool_create();
    const struct run a = { 0, 1, 8 }, b = { 0, 1, 9 };
    int64_t n;

    (void)state;
    int32_t first = pool_rows(p, &a, 1), second = pool_rows(p, &b, 1);
    assert_int_not_equal(first, second);
    for (int64_t i = 0; i < 1000; i++) {
        struct run r = { i, 2, 3 };
        pool_rows(p, &r, 1);
    }
    assert_int_equal(pool_rows(p, &a, 1), first);
    assert_memory_equal(pool_rows_get(p, second, &n), &b, sizeof b);
    assert_int_equal(n, 1);
    assert_int_equal(pool_rows(p, NULL, 0), pool_rows(p, &a, 0));
    assert_int_equal(pool_label(p, "kv"), pool_label(p, "kv"));
    assert_string_equal(pool_label_get(p, pool_label(p, "dkv")), "dkv");
    pool_destroy(p);
}

/* recv a; sum b from a; recv a again: reads after writes, writes after reads,
 * none within a lane, none where rows do not meet. */
static void dependencies(void **state)
{
    struct job job = make_job(1, 1, 4, DTYPE_FP32, DTYPE_FP32);
    struct pool *p = pool_create();
    struct schedule *s = schedule_create(p, &job, 2, 0);
    int32_t a = schedule_buffer(s, "a", fp32_rows(8));
    int32_t b = schedule_buffer(s, "b", fp32_rows(8));
    struct tile a0 = tile_rows(s, a, 0, 4), a1 = tile_rows(s, a, 4, 4);
    struct tile b0 = tile_rows(s, b, 0, 4), all = tile_whole(s, a);

    (void)state;
    schedule_recv(s, "x", CHANNEL_KV, 1, &a0, 1);                   /* 0 */
    schedule_recv(s, "x", CHANNEL_DKV, 1, &a1, 1);                  /* 1 */
    schedule_sum(s, "x", b0, ACCESS_WRITE, &a0, 1);                 /* 2 */
    schedule_sum(s, "x", b0, ACCESS_UPDATE, &a1, 1);                /* 3 */
    schedule_recv(s, "x", CHANNEL_KV, 1, &all, 1);                  /* 4 */
    schedule_send(s, "x", CHANNEL_KV, 1, &a1, 1);                   /* 5 */
    schedule_freeze(s);
    static const struct dep expected[] = {
        { 0, DEP_READ_AFTER_WRITE },                        /* 2 */
        { 1, DEP_READ_AFTER_WRITE },                        /* 3 */
        { 1, DEP_WRITE_AFTER_WRITE },                       /* 4 */
        { 2, DEP_WRITE_AFTER_READ }, { 3, DEP_WRITE_AFTER_READ },
        { 4, DEP_READ_AFTER_WRITE },                        /* 5 */
    };
    static const int counts[] = { 0, 0, 1, 1, 3, 1 };
    assert_int_equal(s->n_ops, 6);
    for (int i = 0; i < 6; i++)
        assert_int_equal(s->ops[i].dep_count, counts[i]);
    assert_int_equal(s->n_deps, 6);
    assert_memory_equal(s->deps, expected, sizeof expected);
    assert_int_equal(sizeof(struct op), 32);
    schedule_destroy(s);
    pool_destroy(p);
    job_clear(&job);
}

/* a -> b -> c in one lane: c may lie where a was, b may not. */
static void arena_shares(void **state)
{
    struct job job = make_job(1, 1, 4, DTYPE_FP32, DTYPE_FP32);
    struct pool *p = pool_create();
    struct schedule *s = schedule_create(p, &job, 1, 0);
    struct tile t[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        t[i] = tile_whole(s, schedule_buffer(s, "t", fp32_rows(64)));
    schedule_sum(s, "", t[0], ACCESS_WRITE, NULL, 0);
    schedule_sum(s, "", t[1], ACCESS_WRITE, &t[0], 1);
    schedule_sum(s, "", t[2], ACCESS_WRITE, &t[1], 1);
    schedule_copy(s, "", t[3], t[2]);           /* another lane */
    schedule_freeze(s);
    assert_int_equal(s->buffers[0].offset, 0);
    assert_int_equal(s->buffers[1].offset, 256);
    assert_int_equal(s->buffers[2].offset, 0);
    assert_int_equal(s->buffers[3].offset, 256);
    assert_int_equal(s->role_bytes[ROLE_SCRATCH], 512);
    assert_int_equal(s->peak_bytes, 512);
    schedule_destroy(s);
    pool_destroy(p);
    job_clear(&job);
}

static void bytes_of(const struct job *job, const struct strategy *st,
                     struct strategy_options o, int32_t ranks)
{
    struct error e = { 0 };
    struct plan *p = plan_create(job, st, &o, ranks, &e);
    int64_t pairs = 0;

    assert_non_null(p);
    for (int32_t r = 0; r < ranks; r++) {
        struct schedule *s = plan_build(p, r), *again = plan_build(p, r);
        assert_int_equal(schedule_sent_bytes(s), plan_bytes_expected(p, r));
        assert_true(s->hash == again->hash);
        assert_null(s->builder);
        pairs += schedule_pairs(s);
        schedule_destroy(s);
        schedule_destroy(again);
    }
    assert_int_equal(pairs, job_pairs(job) * job->transformer.heads);
    plan_destroy(p);
}

static void bytes_equal_closed_form(void **state)
{
    static const int64_t heads[][2] = { { 5, 5 }, { 4, 2 }, { 8, 1 },
                                        { 12, 2 } };
    static const int64_t lengths[] = { 1, 3, 37, 64 };
    static const enum dtype types[][2] = { { DTYPE_FP32, DTYPE_FP32 },
                                           { DTYPE_BF16, DTYPE_FP32 },
                                           { DTYPE_FP16, DTYPE_FP16 } };

    (void)state;
    for (int i = 0; strategies[i]; i++)
        for (int h = 0; h < 4; h++)
            for (int l = 0; l < 4; l++)
                for (int32_t ranks = 1; ranks < 18; ranks += 1 + ranks / 5) {
                    struct job job = make_job(heads[h][0], heads[h][1],
                                              lengths[l], types[l % 3][0],
                                              types[l % 3][1]);
                    for (int y = 0; y < LAYOUTS; y++)
                        bytes_of(&job, strategies[i],
                                 (struct strategy_options){
                                     .layout = (enum layout)y,
                                     .block = 1 + y }, ranks);
                    job_clear(&job);
                }
}

/* The cost sheet where everything divides, by hand: H = 8,
 * Hk = 2, D = E = 16, S = 64, N = 4, n = 16: fp32 |Q| = 8192, |KV| = 4096. */
static void cost_sheet(void **state)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } sheet[] = {
        { "ring", 3 * 4096 + 3 * (4096 + 4096) },
        { "allgather", 3 * 4096 + 3 * 4096 + 3 * 4096 },
        /* N > Hk: KV twice, 3/4 of 2 |Q| + 2 |KV| each way */
        { "ulysses", 2 * 3 * (2 * 8192 + 2 * 4096) / 4 },
    };
    const int64_t length = 64;
    struct job job = {
        .transformer = { .heads = 8, .kv_heads = 2, .head_dim = 16 },
        .mask = { .kind = MASK_CAUSAL }, .pass = PASS_FORWARD_BACKWARD,
    };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(job_finish(&job, &length, 1, &e), 0);
    for (int i = 0; i < 3; i++) {
        struct strategy_options o = { .layout = LAYOUT_ZIGZAG, .block = 1 };
        struct plan *p = plan_create(&job, strategy_find(sheet[i].name), &o, 4,
                                     &e);
        for (int r = 0; r < 4; r++)
            assert_int_equal(plan_bytes_expected(p, r), sheet[i].bytes);
        plan_destroy(p);
    }
    job_clear(&job);
}

/* The hash sees what is meant, not how it was interned. */
static void hash_is_content(void **state)
{
    struct job job = make_job(4, 2, 37, DTYPE_FP32, DTYPE_FP32);
    struct strategy_options o = { .layout = LAYOUT_ZIGZAG, .block = 1 };
    struct error e = { 0 };

    (void)state;
    for (int i = 0; strategies[i]; i++) {
        struct plan *up = plan_create(&job, strategies[i], &o, 3, &e);
        struct plan *down = plan_create(&job, strategies[i], &o, 3, &e);
        uint64_t hashes[3];
        for (int r = 0; r < 3; r++) {
            struct schedule *s = plan_build(up, r);
            hashes[r] = s->hash;
            schedule_destroy(s);
        }
        for (int r = 2; r >= 0; r--) {
            struct schedule *s = plan_build(down, r);
            assert_true(s->hash == hashes[r]);
            schedule_destroy(s);
        }
        assert_true(hashes[0] != hashes[1]);
        plan_destroy(up);
        plan_destroy(down);
    }
    job_clear(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interning),
        cmocka_unit_test(dependencies),
        cmocka_unit_test(arena_shares),
        cmocka_unit_test(bytes_equal_closed_form),
        cmocka_unit_test(cost_sheet),
        cmocka_unit_test(hash_is_content),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
