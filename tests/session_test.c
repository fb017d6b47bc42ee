/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode sessions by loopback: tokens come one by one, every step is verified
 * on every rank, and nothing of a token that is not there yet is read. */
#include <config.h>

#include "run/compute.h"
#include "run/verify.h"
#include "strategy/strategy.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { STEPS = 7, MOST_RANKS = 6 };

static uint64_t seed = 3;

struct trial {
    enum reduction reduce;
    int32_t ranks;
    int64_t length, queries, page;
    struct mask mask;
    enum dtype dtype;
};

struct session {
    struct job job;
    struct plan *plan;
    struct schedule *schedules[MOST_RANKS];
    struct loopback loop;
};

static void session_open(struct session *s, const struct trial *t)
{
    struct strategy_options o = { .reduce = t->reduce };
    struct error e = { 0 };

    s->job = (struct job){
        .transformer = { .heads = 4, .kv_heads = 2, .head_dim = 16,
                         .value_dim = 24 },
        .mask = t->mask, .pass = PASS_DECODE, .dtype = t->dtype,
        .queries = t->queries, .decode_steps = STEPS, .decode_page = t->page };
    if (job_finish(&s->job, &t->length, 1, &e)
        || !(s->plan = plan_create(&s->job, strategy_find("tree"), &o,
                                   t->ranks, &e)))
        fail_msg("%s", e.text);
    for (int32_t r = 0; r < t->ranks; r++)
        s->schedules[r] = plan_build(s->plan, r);
    assert_int_equal(loopback_create(
        &s->loop, (const struct schedule *const *)s->schedules, t->ranks, &e),
        0);
    for (int32_t r = 0; r < t->ranks; r++)
        memory_load_live(&s->loop.memories[r], t->length, input_seeded, &seed);
}

static void session_close(struct session *s)
{
    for (int64_t r = 0; r < s->loop.ranks; r++)
        schedule_destroy(s->schedules[r]);
    loopback_destroy(&s->loop);
    plan_destroy(s->plan);
    job_clear(&s->job);
}

/* Rank r's o and lse of `live` tokens against the oracle. */
static void verify_rank(const struct session *s, const struct verify *v,
                        int32_t r, int64_t live)
{
    size_t rows = (size_t)live * 4;
    float *o = xmalloc(rows * 24 * sizeof *o);
    float *lse = xmalloc(rows * sizeof *lse);
    const float *results[RESULTS] = { o, lse };
    struct verdict verdict;

    memset(o, 0xff, rows * 24 * sizeof *o);
    memset(lse, 0xff, rows * sizeof *lse);
    memory_gather(&s->loop.memories[r], TENSOR_O, 0, o);
    memory_gather(&s->loop.memories[r], TENSOR_LSE, 0, lse);
    verify_results(v, results, &verdict);
    if (!verdict.passed)
        fail_msg("rank %d of %d, %d tokens: o %g (%g) lse %g (%g)", r,
                 (int)s->loop.ranks, (int)live, verdict.error[0],
                 verdict.gate[0], verdict.error[1], verdict.gate[1]);
    free(o);
    free(lse);
}

static void verify_step(const struct session *s, int64_t live)
{
    struct job job = *plan_job(s->plan);
    int64_t offsets[] = { 0, live };

    job.tokens = live;
    job.lengths = &live;
    job.offsets = offsets;
    struct verify *v = verify_create(&job, 0, VERIFY_FULL, input_seeded, &seed,
                                     1);
    for (int32_t r = 0; r < s->loop.ranks; r++)
        verify_rank(s, v, r, live);
    verify_destroy(v);
}

/* Rows of K that no token has filled, on all ranks. */
static int64_t empty_rows(const struct session *s)
{
    int64_t n = 0;

    for (int64_t r = 0; r < s->loop.ranks; r++) {
        const struct schedule *x = s->schedules[r];
        for (int32_t b = 0; b < x->n_buffers; b++) {
            const struct buffer *u = &x->buffers[b];
            const char *data = memory_buffer(&s->loop.memories[r], b);
            int64_t row = (int64_t)u->heads * u->width;
            if (u->role != ROLE_INPUT || u->tensor != TENSOR_K)
                continue;
            for (int64_t i = 0; i < u->rows; i++)
                n += isnan(element_load(data, u->dtype, i * row)) != 0;
        }
    }
    return n;
}

static void run_session(const struct trial *t)
{
    struct session s;
    struct error e = { 0 };

    session_open(&s, t);
    for (int64_t i = 0; i < STEPS; i++) {
        assert_int_equal(empty_rows(&s), STEPS - i);
        for (int32_t r = 0; r < t->ranks; r++)
            memory_append(&s.loop.memories[r], input_seeded, &seed);
        if (loopback_run(&s.loop, kernel_find("auto", &e), 0, &e))
            fail_msg("%s", e.text);
        verify_step(&s, t->length + i + 1);
        for (int32_t r = 0; r < t->ranks; r++)
            assert_int_equal(s.loop.bytes_sent[r],
                             plan_bytes_expected(s.plan, r));
    }
    assert_int_equal(empty_rows(&s), 0);
    session_close(&s);
}

static void every_token_is_right(void **state)
{
    static const struct mask masks[] = { { MASK_CAUSAL, -1, 0 },
                                         { MASK_FULL, -1, -1 },
                                         { MASK_WINDOW, 20, 1 } };
    (void)state;
    for (int i = 0; i < 2 * REDUCTIONS; i++) {
        struct trial t = {
            .reduce = (enum reduction)(i % REDUCTIONS),
            .ranks = 1 + i % MOST_RANKS, .length = i == 3 ? 2 : 40 + 7 * i,
            .queries = i % 2 ? 1 : i == 8 ? 16 : 3, .page = 1 + i % 5,
            .mask = masks[i % 3], .dtype = (enum dtype)(i % DTYPES),
        };
        t.queries = min64(t.queries, t.length);
        run_session(&t);
    }
}

/* Pages keep the shards even: no rank has a page more than another. */
static void shards_stay_even(void **state)
{
    struct trial t = { REDUCE_USEROP, 4, 90, 1, 4, { MASK_CAUSAL, -1, 0 },
                       DTYPE_FP32 };
    struct session s;
    int64_t least = INT64_MAX, most = 0;

    (void)state;
    session_open(&s, &t);
    for (int32_t r = 0; r < t.ranks; r++)
        for (int32_t b = 0; b < s.schedules[r]->n_buffers; b++) {
            const struct buffer *u = &s.schedules[r]->buffers[b];
            if (u->tensor != TENSOR_K)
                continue;
            least = min64(least, u->rows);
            most = max64(most, u->rows);
        }
    assert_true(most - least <= t.page && least > 0);
    session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_token_is_right),
        cmocka_unit_test(shards_stay_even),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
