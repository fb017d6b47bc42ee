/* SPDX-License-Identifier: Apache-2.0
 *
 * Execute on MPI ranks: the same bits as loopback, whatever the timing; bytes
 * counted equal the closed form; spans in order. */
#include <config.h>

#include "mpi/execute.h"
#include "run/compute.h"
#include "strategy/strategy.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static int rank, ranks;
static uint64_t seed = 5;

/* One strategy of one job, by loopback on every rank for itself and by MPI. */
struct rig {
    struct job job;
    struct plan *plan;
    struct schedule **schedules;
    struct loopback loop;
    struct memory memory;
    struct transport *transport;
    const struct kernel_backend *kernel;
};

static struct job make_job(int i)
{
    static const struct mask masks[] = {
        { MASK_CAUSAL, -1, 0 }, { MASK_FULL, -1, -1 }, { MASK_WINDOW, 30, 2 },
    };
    static const int64_t lengths[][3] = { { 130, 57, 1 }, { 301, 0, 0 },
                                          { 3, 0, 0 } };
    struct job job = {
        .transformer = { .heads = 6, .kv_heads = i % 2 ? 2 : 3,
                         .head_dim = 16, .value_dim = 24 },
        .mask = masks[i % 3], .pass = PASS_FORWARD_BACKWARD,
        .dtype = i % 3, .wire_grad = DTYPE_FP32, .wire_partial = i % 3,
    };
    struct error e = { 0 };
    int n = i / 3 % 3;

    if (job_finish(&job, lengths[n], n ? 1 : 3, &e))
        fail_msg("%s", e.text);
    return job;
}

static int rig_create(struct rig *g, const char *strategy, enum layout layout,
                      const struct job *job)
{
    struct strategy_options o = { .layout = layout, .block = 1 };
    struct error e = { 0 };

    g->job = *job;
    g->plan = plan_create(&g->job, strategy_find(strategy), &o, ranks, &e);
    if (!g->plan)
        return 0;
    g->schedules = calloc((size_t)ranks, sizeof *g->schedules);
    for (int32_t r = 0; r < ranks; r++)
        g->schedules[r] = plan_build(g->plan, r);
    g->kernel = kernel_find("auto", &e);
    g->transport = transport_create("auto", MPI_COMM_WORLD, &e);
    assert_non_null(g->transport);
    assert_int_equal(memory_create(&g->memory, g->schedules[rank], 0, &e), 0);
    memory_poison(&g->memory);
    memory_load(&g->memory, input_seeded, &seed);
    assert_int_equal(loopback_create(
        &g->loop, (const struct schedule *const *)g->schedules, ranks, &e), 0);
    for (int32_t r = 0; r < ranks; r++)
        memory_load(&g->loop.memories[r], input_seeded, &seed);
    assert_int_equal(loopback_run(&g->loop, g->kernel, 0, &e), 0);
    return 1;
}

static void rig_destroy(struct rig *g)
{
    transport_destroy(g->transport);
    loopback_destroy(&g->loop);
    memory_destroy(&g->memory);
    for (int32_t r = 0; r < ranks; r++)
        schedule_destroy(g->schedules[r]);
    free(g->schedules);
    plan_destroy(g->plan);
}

static void same_outputs(const struct rig *g)
{
    const struct schedule *s = g->schedules[rank];

    for (int32_t b = 0; b < s->n_buffers; b++) {
        const struct buffer *u = &s->buffers[b];
        size_t bytes = (size_t)(u->rows * u->heads * u->width)
                       * dtype_size(u->dtype);
        if (u->role == ROLE_OUTPUT && bytes)
            assert_memory_equal(memory_buffer(&g->memory, b),
                                memory_buffer(&g->loop.memories[rank], b),
                                bytes);
    }
}

static void execute_equals_loopback(void **state)
{
    int ran = 0;

    (void)state;
    for (int i = 0; strategies[i / 9]; i++) {
        struct job job = make_job(i % 9);
        struct rig g = { 0 };
        if (rig_create(&g, strategies[i / 9]->name, (enum layout)(i % 3),
                       &job)) {
            for (uint64_t jitter = 0; jitter < 3; jitter++) {
                struct execute_options o = { .kernel = g.kernel,
                                             .jitter_seed = jitter,
                                             .stall_seconds = 60 };
                memory_poison(&g.memory);
                int64_t sent = execute(g.schedules[rank], &g.memory,
                                       g.transport, &o);
                assert_int_equal(sent, plan_bytes_expected(g.plan, rank));
                same_outputs(&g);
            }
            rig_destroy(&g);
            ran++;
        }
        job_clear(&job);
    }
    assert_true(ran >= 9);
}

/* A folder that all ranks know. */
static char *make_folder(void)
{
    static char path[64];

    if (rank == 0) {
        struct error e = { 0 };
        snprintf(path, sizeof path, "execute-%d.part", (int)getpid());
        if (spool_make_folder(path, &e))
            fail_msg("%s", e.text);
    }
    MPI_Bcast(path, sizeof path, MPI_CHAR, 0, MPI_COMM_WORLD);
    return path;
}

/* Every op of every rank has a span; lanes are in order; none starts before
 * what it depends on has ended. */
static void check_spans(const struct span *spans, int64_t n,
                        const struct schedule *s)
{
    int64_t mine = 0, *end = calloc((size_t)s->n_ops, sizeof *end);

    for (int64_t i = 0; i < n; i++)
        if (spans[i].rank == s->rank) {
            end[spans[i].op] = spans[i].end;
            mine++;
        }
    assert_int_equal(mine, s->n_ops);
    for (int64_t i = 0; i < n; i++) {
        if (spans[i].rank != s->rank)
            continue;
        const struct op *op = &s->ops[spans[i].op];
        assert_true(spans[i].ready <= spans[i].start);
        assert_true(spans[i].start <= spans[i].end);
        for (int32_t d = 0; d < op->dep_count; d++)
            assert_true(end[s->deps[op->dep_first + d].op] <= spans[i].start);
    }
    free(end);
}

static void spans_are_recorded(void **state)
{
    struct job job = make_job(0);
    struct rig g = { 0 };
    struct error e = { 0 };
    char *folder = make_folder();

    (void)state;
    assert_true(rig_create(&g, "ring", LAYOUT_ZIGZAG, &job));
    struct spool *spool = spool_open(folder, rank, ranks, "here", &e);
    assert_non_null(spool);
    struct execute_options o = { .kernel = g.kernel, .spool = spool,
                                 .record = 1, .entry = 0, .repeat = 0,
                                 .t_zero = clock_now() };
    execute(g.schedules[rank], &g.memory, g.transport, &o);
    same_outputs(&g);
    assert_int_equal(spool_close(spool, &e), 0);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 0) {
        struct span *spans = NULL;
        int64_t n = spool_read(folder, &spans, &e);
        for (int32_t r = 0; r < ranks; r++)
            check_spans(spans, n, g.schedules[r]);
        free(spans);
        spool_remove_folder(folder);
    }
    rig_destroy(&g);
    job_clear(&job);
}

static void unknown_transport(void **state)
{
    struct error e = { 0 };

    (void)state;
    assert_null(transport_create("hots", MPI_COMM_WORLD, &e));
    assert_int_equal(e.status, SPAR_USAGE);
    assert_non_null(strstr(e.text, "'host'"));
}

/* The same number of sends on a channel per repetition, whatever the transport
 * does: null counts without moving. */
static void null_transport_counts(void **state)
{
    struct job job = make_job(3);
    struct rig g = { 0 };
    struct error e = { 0 };

    (void)state;
    assert_true(rig_create(&g, "allgather", LAYOUT_CONTIGUOUS, &job));
    transport_destroy(g.transport);
    g.transport = transport_create("none", MPI_COMM_WORLD, &e);
    struct execute_options o = { .kernel = g.kernel };
    assert_int_equal(execute(g.schedules[rank], &g.memory, g.transport, &o),
                     plan_bytes_expected(g.plan, rank));
    rig_destroy(&g);
    job_clear(&job);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(execute_equals_loopback),
        cmocka_unit_test(spans_are_recorded),
        cmocka_unit_test(unknown_transport),
        cmocka_unit_test(null_transport_counts),
    };

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    setenv("CMOCKA_TEST_ABORT", "1", 1);        /* else the others wait */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
