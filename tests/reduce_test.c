/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions by loopback: every kind, in groups of every shape, against their
 * definition; the operators by themselves. */
#include <config.h>

#include "tests/reduce_case.h"

#include "run/reduce.h"

struct world {
    struct job job;
    struct pool *pool;
    struct schedule *schedules[REDUCE_MOST_RANKS];
    struct loopback loop;
};

static void world_create(struct world *w, int32_t ranks)
{
    struct error e = { 0 };

    w->job = reduce_job();
    w->pool = pool_create();
    for (int32_t r = 0; r < ranks; r++)
        w->schedules[r] = reduce_schedule(w->pool, &w->job, ranks, r);
    assert_int_equal(loopback_create(
        &w->loop, (const struct schedule *const *)w->schedules, ranks, &e), 0);
    for (int32_t r = 0; r < ranks; r++)
        reduce_walk(&w->loop.memories[r], reduce_fill);
}

static void world_destroy(struct world *w)
{
    int64_t ranks = w->loop.ranks;

    loopback_destroy(&w->loop);
    for (int64_t r = 0; r < ranks; r++)
        schedule_destroy(w->schedules[r]);
    pool_destroy(w->pool);
}

static void loopback_reduces(void **state)
{
    struct error e = { 0 };

    (void)state;
    for (int32_t ranks = 1; ranks <= 7; ranks++)
        for (uint64_t order = 0; order < 3; order++) {
            struct world w;

            world_create(&w, ranks);
            if (loopback_run(&w.loop, kernel_find("none", &e), order, &e))
                fail_msg("%s", e.text);
            for (int32_t r = 0; r < ranks; r++) {
                reduce_walk(&w.loop.memories[r], reduce_compare);
                assert_int_equal(w.loop.bytes_sent[r], reduce_bytes(ranks, r));
                assert_int_equal(schedule_sent_bytes(w.schedules[r]),
                                 reduce_bytes(ranks, r));
            }
            world_destroy(&w);
        }
}

/* Members that disagree about the shape are found out. */
static void unlike_records(void **state)
{
    struct job job = reduce_job();
    struct pool *pool = pool_create();
    struct schedule *s[2];
    const int32_t both[] = { 0, 1 };
    struct loopback loop;
    struct error e = { 0 };

    (void)state;
    for (int32_t r = 0; r < 2; r++) {
        s[r] = schedule_create(pool, &job, 2, r);
        struct buffer b = { .map = -1, .role = ROLE_INPUT, .rows = 2 + r,
                            .heads = 1, .width = 3 };
        struct tile in = tile_whole(s[r], schedule_buffer(s[r], "in", b));
        struct tile out = tile_whole(s[r], schedule_buffer(s[r], "out", b));
        schedule_reduce(s[r], "sum", CHANNEL_KV, ALL_REDUCE_SUM, both, 2, &in,
                        &out, 1, 0);
        schedule_freeze(s[r]);
    }
    assert_int_equal(loopback_create(
        &loop, (const struct schedule *const *)s, 2, &e), 0);
    for (int r = 0; r < 2; r++)
        memset(loop.memories[r].base, 0, s[r]->peak_bytes);
    assert_int_equal(loopback_run(&loop, kernel_find("none", &e), 0, &e), -1);
    assert_non_null(strstr(e.text, "reduce 2 records of 3 and 3 of 3"));
    loopback_destroy(&loop);
    for (int r = 0; r < 2; r++)
        schedule_destroy(s[r]);
    pool_destroy(pool);
}

/* (a o b) o c = a o (b o c); the identity leaves records as they are. */
static void operators_associate(void **state)
{
    enum { N = 50, WIDTH = 6 };
    static const enum collective kinds[] = { ALL_REDUCE_MERGE,
                                             EXCLUSIVE_SCAN };
    (void)state;
    for (int k = 0; k < 2; k++) {
        float x[3][N * WIDTH], left[N * WIDTH], right[N * WIDTH];

        for (int i = 0; i < 3 * N * WIDTH; i++)
            x[i / (N * WIDTH)][i % (N * WIDTH)] =
                (float)(hash_u64(9, (uint64_t)i) >> 11) * 0x1p-53f;
        x[1][WIDTH - 1] = k ? 0 : -INFINITY;
        memcpy(left, x[2], sizeof left);
        memcpy(right, x[2], sizeof right);
        reduce_with[kinds[k]](x[1], right, N, WIDTH);
        reduce_with[kinds[k]](x[0], right, N, WIDTH);
        reduce_with[kinds[k]](x[0], x[1], N, WIDTH);
        reduce_with[kinds[k]](x[1], left, N, WIDTH);
        for (int i = 0; i < N * WIDTH; i++)
            assert_true(fabsf(left[i] - right[i]) < 1e-6f);
    }
}

static void empty_merges(void **state)
{
    const float nothing[] = { 0, 0, -INFINITY };
    float some[] = { 1.5f, -2, 88000 }, none[] = { 0, 0, -INFINITY };

    (void)state;
    reduce_with[ALL_REDUCE_MERGE](nothing, some, 1, 3);
    assert_true(some[0] == 1.5f && some[1] == -2 && some[2] == 88000);
    reduce_with[ALL_REDUCE_MERGE](nothing, none, 1, 3);
    assert_true(none[0] == 0 && none[2] == -INFINITY);
    reduce_with[ALL_REDUCE_MERGE](some, none, 1, 3);
    assert_true(none[0] == 1.5f && none[1] == -2 && none[2] == 88000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_reduces),
        cmocka_unit_test(unlike_records),
        cmocka_unit_test(operators_associate),
        cmocka_unit_test(empty_merges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
