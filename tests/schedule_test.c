/* SPDX-License-Identifier: Apache-2.0
 *
 * The IR: interning, inferred dependencies, the memory plan, hashes; and of
 * every strategy, bytes equal to the closed form. */
#include <config.h>

#include "rig.h"
#include "schedule/print.h"

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

/* A job for which the strategy is. */
static struct trial trial_for(const struct strategy *st)
{
    static const struct {
        const char *family;
        struct trial trial;
    } jobs[] = {
        { "softmax", { .pass = PASS_FORWARD_BACKWARD } },
        { "linear", { .pass = PASS_FORWARD_BACKWARD,
                      .attention = ATTENTION_LINEAR } },
        { "decode", { .pass = PASS_DECODE } },
        { "star", { .pass = PASS_FORWARD } },
        { "hybrid", { .pass = PASS_FORWARD_BACKWARD, .pattern = "LSL" } },
    };

    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
        if (strcmp(jobs[i].family, st->family) == 0) {
            struct trial t = jobs[i].trial;
            t.strategy = st->name;
            t.mask = (struct mask){ MASK_CAUSAL, -1, 0 };
            t.head_dim = 8;
            t.value_dim = 4;
            return t;
        }
    fail_msg("%s: no family %s", st->name, st->family);
    return (struct trial){ 0 };
}

/* 0: it does not apply. */
static int bytes_of(const struct trial *t)
{
    struct rig g;
    int64_t pairs = 0;

    if (!rig_create(&g, t))
        return 0;
    for (int32_t r = 0; r < t->ranks; r++) {
        struct schedule *s = g.schedules[r], *again = plan_build(g.plan, r);
        assert_int_equal(schedule_sent_bytes(s),
                         plan_bytes_expected(g.plan, r));
        assert_true(s->hash == again->hash);
        assert_null(s->builder);
        pairs += schedule_pairs(s);
        schedule_destroy(again);
    }
    assert_int_equal(pairs, job_pairs(plan_job(g.plan)) * t->heads
                     * job_layers(&g.job));
    rig_destroy(&g);
    return 1;
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
                for (int32_t ranks = 1; ranks < 18; ranks += 1 + ranks / 5)
                    for (int y = 0; y < LAYOUTS; y++) {
                        struct trial t = trial_for(strategies[i]);
                        t.heads = heads[h][0];
                        t.kv_heads = heads[h][1];
                        t.lengths[0] = lengths[l];
                        t.dtype = t.wire_partial = types[l % 3][0];
                        t.wire_grad = types[l % 3][1];
                        t.options.layout = (enum layout)y;
                        t.options.block = 1 + y;
                        t.ranks = ranks;
                        if (!bytes_of(&t))
                            assert_int_not_equal(y, LAYOUT_CONTIGUOUS);
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
        /* 2 windows of 2: of dkv, 1 + 2 hops intra, 0 + 1 inter */
        { "double-ring", 3 * 4096 + 3 * 4096 + 4 * 4096 },
    };
    const int64_t length = 64;
    struct job job = {
        .transformer = { .heads = 8, .kv_heads = 2, .head_dim = 16 },
        .mask = { .kind = MASK_CAUSAL }, .pass = PASS_FORWARD_BACKWARD,
    };
    struct error e = { 0 };

    (void)state;
    assert_int_equal(job_finish(&job, &length, 1, &e), 0);
    for (int i = 0; i < 4; i++) {
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
    struct error e = { 0 };

    (void)state;
    for (int i = 0; strategies[i]; i++) {
        struct trial t = trial_for(strategies[i]);
        struct rig up;
        uint64_t hashes[3];
        t.heads = 4;
        t.kv_heads = 2;
        t.lengths[0] = 37;
        t.ranks = 3;
        assert_int_equal(rig_create(&up, &t), 1);
        struct plan *down = plan_create(&up.job, strategies[i], &t.options, 3,
                                        &e);
        for (int r = 0; r < 3; r++)
            hashes[r] = up.schedules[r]->hash;
        for (int r = 2; r >= 0; r--) {
            struct schedule *s = plan_build(down, r);
            assert_true(s->hash == hashes[r]);
            schedule_destroy(s);
        }
        assert_true(hashes[0] != hashes[1]);
        plan_destroy(down);
        rig_destroy(&up);
    }
}

static void assert_same(const struct schedule *a, const struct schedule *b)
{
    assert_true(a->hash == b->hash);
    assert_int_equal(a->n_ops, b->n_ops);
    assert_int_equal(a->n_deps, b->n_deps);
    for (int64_t i = 0; i < a->n_ops; i++) {
        assert_int_equal(a->ops[i].dep_first, b->ops[i].dep_first);
        assert_int_equal(a->ops[i].dep_count, b->ops[i].dep_count);
    }
    assert_memory_equal(a->deps, b->deps,
                        (size_t)a->n_deps * sizeof *a->deps);
    assert_int_equal(a->n_buffers, b->n_buffers);
    for (int64_t i = 0; i < a->n_buffers; i++)
        assert_int_equal(a->buffers[i].offset, b->buffers[i].offset);
    assert_memory_equal(a->role_bytes, b->role_bytes, sizeof a->role_bytes);
    assert_int_equal(a->peak_bytes, b->peak_bytes);
}

/* A chain of sums through three buffers, as long as may be; where `other`, the
 * last goes from another buffer. */
static struct schedule *chain(const struct schedule *pattern, struct pool *p,
                              const struct job *job, int ops, int other)
{
    struct schedule *s = pattern ? schedule_create_like(pattern, 1)
        : schedule_create(p, job, 2, 1);
    struct tile t[3];

    for (int i = 0; i < 3; i++)
        t[i] = tile_whole(s, schedule_buffer(s, "t", fp32_rows(64)));
    for (int i = 0; i < ops; i++) {
        int from = other && i == ops - 1 ? (i + 1) % 3 : i % 3;
        if (i % 4 == 3)
            schedule_copy(s, "", t[(i + 1) % 3], t[from]);
        else
            schedule_sum(s, "", t[(i + 1) % 3], ACCESS_UPDATE, &t[from], 1);
    }
    return s;
}

/* Until the last op, or past the last, or not to it: then not alike, but what
 * it is without the pattern. */
static void patterns(void **state)
{
    static const struct { int ops, other, alike; } cases[] = {
        { 12, 0, 1 }, { 12, 1, 0 }, { 11, 0, 0 }, { 13, 0, 0 }, { 0, 0, 0 },
    };
    struct job job = make_job(1, 1, 4, DTYPE_FP32, DTYPE_FP32);
    struct pool *p = pool_create();
    struct schedule *pattern = chain(NULL, p, &job, 12, 0);

    (void)state;
    assert_int_equal(schedule_freeze(pattern), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int ops = cases[i].ops, other = cases[i].other;
        struct schedule *like = chain(pattern, p, &job, ops, other);
        struct schedule *alone = chain(NULL, p, &job, ops, other);
        assert_int_equal(schedule_freeze(like), cases[i].alike);
        schedule_freeze(alone);
        assert_same(like, alone);
        schedule_destroy(like);
        schedule_destroy(alone);
    }
    schedule_destroy(pattern);
    pool_destroy(p);
    job_clear(&job);
}

/* Ranks built after the pattern of others are what they are built alone. */
static void built_alike(void **state)
{
    static const struct { int64_t tokens; enum dtype dtype; } cases[] = {
        { 40, DTYPE_FP32 }, { 38, DTYPE_FP32 }, { 40, DTYPE_BF16 },
    };

    (void)state;
    for (int i = 0; strategies[i]; i++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            struct trial t = trial_for(strategies[i]);
            struct error e = { 0 };
            struct rig g;
            t.ranks = 4;
            t.lengths[0] = cases[k].tokens;
            t.heads = 8;
            t.kv_heads = 4;
            t.dtype = t.wire_partial = cases[k].dtype;
            t.options.turns = 2;        /* none are tried out before */
            assert_int_equal(rig_create(&g, &t), 1);
            for (int r = 0; r < t.ranks; r++) {
                struct plan *p = plan_create(&g.job, strategies[i],
                                             &t.options, t.ranks, &e);
                struct schedule *alone = plan_build(p, r);
                assert_same(g.schedules[r], alone);
                schedule_destroy(alone);
                plan_destroy(p);
            }
            rig_destroy(&g);
        }
}

/* ---- GOAL ---------------------------------------------------------------- */

/* Bytes of all messages of one way. */
static int64_t goal_bytes(const char *text, const char *way)
{
    int64_t bytes = 0;

    for (const char *at = text; (at = strstr(at, way)); at += strlen(way))
        bytes += strtoll(at + strlen(way), NULL, 10);
    return bytes;
}

/* All that is sent is received; but for what rounding does to the slices of an
 * all-reduce, it is what the schedules say. */
static void goal_moves_all_bytes(void **state)
{
    (void)state;
    for (int i = 0; strategies[i]; i++)
        for (int reduce = 0; reduce < REDUCTIONS; reduce++) {
            struct trial t = trial_for(strategies[i]);
            struct rig g;
            char *text = NULL;
            size_t size;
            int64_t bytes = 0;
            t.heads = t.kv_heads = 3;
            t.lengths[0] = 37;
            t.ranks = 5;
            t.options.reduce = (enum reduction)reduce;
            assert_int_equal(rig_create(&g, &t), 1);
            FILE *out = open_memstream(&text, &size);
            print_goal(out, (const struct schedule *const *)g.schedules, 5,
                       NULL);
            fclose(out);
            for (int r = 0; r < 5; r++)
                bytes += schedule_sent_bytes(g.schedules[r]);
            int64_t sent = goal_bytes(text, ": send ");
            assert_int_equal(sent, goal_bytes(text, ": recv "));
            assert_in_range(sent, bytes, bytes + 5 * 3);
            free(text);
            rig_destroy(&g);
            if (strcmp(strategies[i]->family, "decode"))
                break;
        }
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
        cmocka_unit_test(patterns),
        cmocka_unit_test(built_alike),
        cmocka_unit_test(goal_moves_all_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
