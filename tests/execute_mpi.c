/* SPDX-License-Identifier: Apache-2.0
 *
 * Execute on MPI ranks: the same bits as loopback, whatever the timing; bytes
 * counted equal the closed form; spans in order. */
#include <config.h>

#include "mpi/execute.h"
#include "mpi/run_internal.h"
#include "run/compute.h"
#include "schedule/lower.h"
#include "strategy/strategy.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/reduce_case.h"

static int rank, ranks;
static uint64_t seed = 5;

/* One strategy of one job, by loopback on every rank for itself and by MPI. */
struct rig {
    struct job job;
    struct plan *plan;
    struct schedule **schedules, *run;  /* run: mine, executed */
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

/* NULL: schedules are executed as they are. */
static const struct lower_options *lower;
static struct reach *near;      /* of those that are lowered */

static int rig_open(struct rig *g, const char *strategy,
                    struct strategy_options o, const struct job *job)
{
    struct error e = { 0 };

    g->job = *job;
    g->plan = plan_create(&g->job, strategy_find(strategy), &o, ranks, &e);
    if (!g->plan)
        return 0;
    g->schedules = calloc((size_t)ranks, sizeof *g->schedules);
    for (int32_t r = 0; r < ranks; r++)
        g->schedules[r] = plan_build(g->plan, r);
    g->kernel = kernel_find("auto", &e);
    g->transport = transport_create("auto", &device_host,
                                           MPI_COMM_WORLD, &e);
    assert_non_null(g->transport);
    g->run = lower ? schedule_lower(g->schedules[rank], lower, near)
                   : g->schedules[rank];
    transport_prepare(g->transport, NULL, g->run, NULL, &e);
    assert_int_equal(memory_create(&g->memory, g->run, &device_host, 0, &e),
                     0);
    memory_poison(&g->memory);
    memory_load(&g->memory, input_seeded, &seed);
    assert_int_equal(loopback_create(
        &g->loop, (const struct schedule *const *)g->schedules, ranks, &e), 0);
    for (int32_t r = 0; r < ranks; r++)
        memory_load(&g->loop.memories[r], input_seeded, &seed);
    assert_int_equal(loopback_run(&g->loop, g->kernel, 0, &e), 0);
    return 1;
}

static int rig_create(struct rig *g, const char *strategy, enum layout layout,
                      const struct job *job)
{
    return rig_open(g, strategy, (struct strategy_options){ .layout = layout,
                                                            .block = 1 }, job);
}

static void rig_destroy(struct rig *g)
{
    transport_destroy(g->transport);
    loopback_destroy(&g->loop);
    memory_destroy(&g->memory);
    if (lower)
        schedule_destroy(g->run);
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
                int64_t sent = execute(g.run, &g.memory, g.transport, &o);
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

/* ---- Other kinds of jobs ------------------------------------------------- */

static float greatest(const void *x, enum dtype t, int64_t n)
{
    float most = 1;

    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(element_load(x, t, i)));
    return most;
}

static void near_buffer(const struct rig *g, int32_t b)
{
    const struct schedule *s = g->schedules[rank];
    const struct buffer *u = &s->buffers[b];
    const void *x = memory_buffer(&g->memory, b);
    const void *y = memory_buffer(&g->loop.memories[rank], b);
    int64_t n = u->rows * u->heads * u->width;
    float gate = 1e-5f * greatest(y, u->dtype, n);

    for (int64_t i = 0; i < n; i++) {
        float p = element_load(x, u->dtype, i);
        float q = element_load(y, u->dtype, i);
        if (!(fabsf(p - q) <= gate))
            fail_msg("rank %d: %s is %g by MPI, %g by loopback", rank,
                     pool_label_get(s->pool, u->label), (double)p, (double)q);
    }
}

/* What is reduced by MPI is so in MPI's order: not the same bits. */
static void near_outputs(const struct rig *g)
{
    const struct schedule *s = g->schedules[rank];

    for (int32_t b = 0; b < s->n_buffers; b++)
        if (s->buffers[b].role == ROLE_OUTPUT)
            near_buffer(g, b);
}

enum kind { KIND_DECODE, KIND_STAR, KIND_LINEAR, KIND_HYBRID };

static struct job make_kind(enum kind kind)
{
    int linear = kind == KIND_LINEAR || kind == KIND_HYBRID;
    int64_t lengths[] = { 130, 40 };
    struct job job = {
        .transformer = { .heads = 4, .kv_heads = 2, .head_dim = 16,
                         .value_dim = 24 },
        .mask = { MASK_CAUSAL, -1, 0 }, .queries = 3,
        .pass = linear ? PASS_FORWARD_BACKWARD
            : kind == KIND_DECODE ? PASS_DECODE : PASS_FORWARD,
        .attention = linear ? ATTENTION_LINEAR : ATTENTION_SOFTMAX,
    };
    struct error e = { 0 };

    if (linear) {
        job.linear.slopes = xcalloc(4, sizeof(double));
        alibi_slopes(4, job.linear.slopes);
    }
    if (kind == KIND_HYBRID)
        job.pattern = xstrdup("LS");
    if (job_finish(&job, lengths, linear ? 2 : 1, &e))
        fail_msg("%s", e.text);
    return job;
}

static const struct {
    enum kind kind;
    const char *strategy;
    struct strategy_options options;
} others[] = {
    { KIND_DECODE, "tree", { .reduce = REDUCE_ALLREDUCE3 } },
    { KIND_DECODE, "tree", { .reduce = REDUCE_PACKED } },
    { KIND_DECODE, "tree", { .reduce = REDUCE_USEROP } },
    { KIND_DECODE, "tree", { .reduce = REDUCE_GATHER } },
    { KIND_DECODE, "tree", { .reduce = REDUCE_TWO_LEVEL } },
    { KIND_DECODE, "ring", { 0 } },
    { KIND_STAR, "star", { .block = 20, .anchor = 7 } },
    { KIND_LINEAR, "lasp", { 0 } },
    { KIND_LINEAR, "lasp2", { .layout = LAYOUT_ZIGZAG } },
    { KIND_LINEAR, "lasp2-scan", { 0 } },
    { KIND_HYBRID, "lasp2h", { 0 } },
};

static void other_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct job job = make_kind(others[i].kind);
        struct rig g = { 0 };

        assert_true(rig_open(&g, others[i].strategy, others[i].options, &job));
        for (uint64_t jitter = 0; jitter < 2; jitter++) {
            struct execute_options o = { .kernel = g.kernel,
                                         .jitter_seed = jitter,
                                         .stall_seconds = 60 };
            memory_poison(&g.memory);
            assert_int_equal(execute(g.run, &g.memory, g.transport, &o),
                             plan_bytes_expected(g.plan, rank));
            near_outputs(&g);
        }
        rig_destroy(&g);
        job_clear(&job);
    }
}

/* As if on hosts of two ranks, and one of the rest. */
static struct reach *make_hosts(void)
{
    struct reach *r = reach_create(ranks);

    for (int a = 1; a < ranks; a += 2)
        reach_add(r, a - 1, a);
    return r;
}

/* The same, staged: pieces and messages of what each lane stages; then only
 * between hosts. */
static void lowered(void **state)
{
    static const struct lower_options some = { 900, 4 };

    lower = &some;
    execute_equals_loopback(state);
    other_kinds(state);
    near = make_hosts();
    execute_equals_loopback(state);
    other_kinds(state);
    reach_destroy(near);
    near = NULL;
    lower = NULL;
}

/* A replica that differs from the others shows up at rank 0, whoever has it; so
 * does one that was never written. */
static void replicas_are_collected(void **state)
{
    struct job job = make_kind(KIND_DECODE);
    struct rig g = { 0 };
    size_t n = (size_t)(job.tokens * 4 * 24);
    struct collected c = { xmalloc(n * 4), xmalloc(n * 4) };
    int64_t first = (job.tokens - 3) * 4 * 24;

    (void)state;
    assert_true(rig_open(&g, "tree", others[2].options, &job));
    struct execute_options o = { .kernel = g.kernel, .stall_seconds = 60 };
    execute(g.schedules[rank], &g.memory, g.transport, &o);
    for (int32_t b = 0; b < g.schedules[rank]->n_buffers; b++)
        if (g.schedules[rank]->buffers[b].tensor == TENSOR_O) {
            float *x = memory_buffer(&g.memory, b);
            x[5] = (float)rank - 1;
            if (rank == ranks / 2)
                x[6] = NAN;
        }
    collect_tensor(&g.memory, TENSOR_O, 0, &c, MPI_COMM_WORLD);
    if (rank == 0) {
        assert_true(c.low[first + 5] == -1);
        assert_true(c.high[first + 5] == (float)ranks - 2);
        assert_true(isnan(c.low[first + 6]) && isnan(c.high[first + 6]));
        assert_true(fabsf(c.low[first] - c.high[first]) < 1e-6f);
        assert_true(isfinite(c.low[first + 3 * 4 * 24 - 1]));
    }
    free(c.low);
    free(c.high);
    rig_destroy(&g);
    job_clear(&job);
}

/* ---- Spans --------------------------------------------------------------- */

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
    assert_null(transport_create("hots", &device_host, MPI_COMM_WORLD,
                                 &e));
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
    g.transport = transport_create("none", &device_host,
                                           MPI_COMM_WORLD, &e);
    struct execute_options o = { .kernel = g.kernel };
    assert_int_equal(execute(g.schedules[rank], &g.memory, g.transport, &o),
                     plan_bytes_expected(g.plan, rank));
    rig_destroy(&g);
    job_clear(&job);
}

/* Every reduction in every group, three times over; the communicators stay, and
 * records reach the operators whole. */
static void reductions(void **state)
{
    struct job job = reduce_job();
    struct pool *pool = pool_create();
    struct schedule *s = reduce_schedule(pool, &job, ranks, rank);
    struct error e = { 0 };
    struct transport *t = transport_create("auto", &device_host,
                                           MPI_COMM_WORLD, &e);
    struct memory m;

    (void)state;
    assert_int_equal(memory_create(&m, s, &device_host, 0, &e), 0);
    for (uint64_t jitter = 0; jitter < 3; jitter++) {
        struct execute_options o = { .kernel = kernel_find("none", &e),
                                     .jitter_seed = jitter,
                                     .stall_seconds = 60 };
        memory_poison(&m);
        reduce_walk(&m, reduce_fill);
        transport_prepare(t, NULL, s, NULL, &e);
        assert_int_equal(execute(s, &m, t, &o), reduce_bytes(ranks, rank));
        reduce_walk(&m, reduce_compare);
    }
    transport_destroy(t);
    memory_destroy(&m);
    schedule_destroy(s);
    pool_destroy(pool);
}

/* The null transport counts reductions, too. */
static void null_transport_reduces(void **state)
{
    struct job job = reduce_job();
    struct pool *pool = pool_create();
    struct schedule *s = reduce_schedule(pool, &job, ranks, rank);
    struct error e = { 0 };
    struct transport *t = transport_create("none", &device_host,
                                           MPI_COMM_WORLD, &e);
    struct execute_options o = { .kernel = kernel_find("none", &e) };
    struct memory m;

    (void)state;
    assert_int_equal(memory_create(&m, s, &device_host, 0, &e), 0);
    reduce_walk(&m, reduce_fill);
    assert_int_equal(execute(s, &m, t, &o), reduce_bytes(ranks, rank));
    transport_destroy(t);
    memory_destroy(&m);
    schedule_destroy(s);
    pool_destroy(pool);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(execute_equals_loopback),
        cmocka_unit_test(other_kinds),
        cmocka_unit_test(lowered),
        cmocka_unit_test(replicas_are_collected),
        cmocka_unit_test(spans_are_recorded),
        cmocka_unit_test(unknown_transport),
        cmocka_unit_test(null_transport_counts),
        cmocka_unit_test(reductions),
        cmocka_unit_test(null_transport_reduces),
    };

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    setenv("CMOCKA_TEST_ABORT", "1", 1);        /* else the others wait */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
