/* SPDX-License-Identifier: Apache-2.0
 *
 * Transports between ranks on GPUs: every strategy through each of them, as by
 * loopback on the same device; every reduction; bytes counted equal the closed
 * form.  Ranks take the devices in turn. Skipped where there is none; a
 * transport that these ranks cannot have is named and left out; one must do.
 *
 * SPAR_TRANSPORTS="ipc staged": these and no others, and they must do.
 * ipc+staged: as if on hosts of two ranks, unless SPAR_HOST_RANKS says else. */
#include <config.h>

#include "mpi/execute.h"
#include "run/compute.h"
#include "strategy/strategy.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/reduce_case.h"

static int rank, ranks;
static uint64_t seed = 5;
static const struct kernel_backend *kernel;

/* ---- Jobs ---------------------------------------------------------------- */

static const struct mask masks[] = {
    { MASK_CAUSAL, -1, 0 }, { MASK_FULL, -1, -1 }, { MASK_WINDOW, 40, 3 },
};

/* What is tried; strategies of other families get what they are for. */
struct trial {
    struct job job;
    struct strategy_options options;
};

static void suit(struct trial *t, const char *family, int i)
{
    int linear = !strcmp(family, "linear") || !strcmp(family, "hybrid");

    if (linear) {
        t->options.layout = (enum layout)(i % 2);
        t->job.mask = masks[0];
        t->job.attention = ATTENTION_LINEAR;
        t->job.linear.slopes = xcalloc(8, sizeof(double));
        alibi_slopes(8, t->job.linear.slopes);
    }
    if (!strcmp(family, "hybrid"))
        t->job.pattern = xstrdup("LS");
    if (!strcmp(family, "decode") || !strcmp(family, "star")) {
        t->job.pass = *family == 'd' ? PASS_DECODE : PASS_FORWARD;
        t->job.queries = 1 + i % 4;
        t->job.mask = masks[0];
        t->options.reduce = (enum reduction)(i % REDUCTIONS);
        t->options.block = 40;
        t->options.anchor = 7;
    }
}

static struct trial make_trial(const struct strategy *st, int i)
{
    static const enum dtype dtypes[] = { DTYPE_BF16, DTYPE_FP32, DTYPE_FP16 };
    const int64_t lengths[] = { 700 + 37 * i, 130, 1 };
    int one = !strcmp(st->family, "decode") || !strcmp(st->family, "star");
    struct trial t = {
        .job = { .transformer = { .heads = 8, .kv_heads = i % 2 ? 8 : 4,
                                  .head_dim = 64, .value_dim = 64 },
                 .mask = masks[i % 3], .dtype = dtypes[i % 3],
                 .pass = PASS_FORWARD_BACKWARD, .wire_grad = DTYPE_FP32,
                 .wire_partial = DTYPE_FP32 },
        .options = { .layout = (enum layout)(i % LAYOUTS), .block = 1 } };
    struct error e = { 0 };

    suit(&t, st->family, i);
    if (job_finish(&t.job, lengths, i % 2 && !one ? 3 : 1, &e))
        fail_msg("%s", e.text);
    return t;
}

/* ---- One strategy, one transport ----------------------------------------- */

struct rig {
    struct plan *plan;
    struct schedule **schedules;
    struct loopback loop;
    struct memory memory;
    struct transport *transport;
};

static void rig_close(struct rig *g)
{
    transport_destroy(g->transport);
    loopback_destroy(&g->loop);
    memory_destroy(&g->memory);
    for (int32_t r = 0; r < ranks; r++)
        schedule_destroy(g->schedules[r]);
    free(g->schedules);
    plan_destroy(g->plan);
}

/* 1: prepared; 0: the strategy does not apply; -1: the transport is not to be
 * had. */
static int rig_open(struct rig *g, const char *name, const struct trial *t,
                    const struct strategy *st, struct error *e)
{
    struct error why = { 0 };

    *g = (struct rig){ 0 };
    g->plan = plan_create(&t->job, st, &t->options, ranks, &why);
    if (!g->plan)
        return 0;
    g->schedules = xcalloc((size_t)ranks, sizeof *g->schedules);
    for (int32_t r = 0; r < ranks; r++)
        g->schedules[r] = plan_build(g->plan, r);
    if (memory_create(&g->memory, g->schedules[rank], kernel->device, 0, e)
        || loopback_create_on(&g->loop,
                              (const struct schedule *const *)g->schedules,
                              ranks, kernel->device, e))
        fail_msg("%s", e->text);
    g->transport = transport_create(name, kernel->device, MPI_COMM_WORLD, e);
    if (!g->transport
        || transport_prepare(g->transport, g->plan, g->schedules[rank],
                             &g->memory, e)) {
        rig_close(g);
        return -1;
    }
    memory_load(&g->memory, input_seeded, &seed);
    for (int32_t r = 0; r < ranks; r++)
        memory_load(&g->loop.memories[r], input_seeded, &seed);
    if (loopback_run(&g->loop, kernel, 0, e))
        fail_msg("%s", e->text);
    return 1;
}

static double distance(const struct rig *g, int32_t b, const char *x,
                       const char *y)
{
    const struct buffer *u = &g->schedules[rank]->buffers[b];
    int64_t n = u->rows * u->heads * u->width;
    double most = 1, far = 0;

    for (int64_t i = 0; i < n; i++) {
        double p = (double)element_load(x, u->dtype, i);
        double q = (double)element_load(y, u->dtype, i);
        if (isnan(p) || isnan(q))
            return NAN;
        if (isfinite(q))        /* -inf: the lse of nothing */
            most = fmax(most, fabs(q));
        far = fmax(far, p == q ? 0 : fabs(p - q));
    }
    return far / most;
}

/* The kernels are the same; reductions and gradients by atomics add in another
 * order. */
static void near_outputs(const struct rig *g, const char *what)
{
    static const double gates[] = { [DTYPE_FP32] = 2e-5, [DTYPE_BF16] = 2e-2,
                                    [DTYPE_FP16] = 3e-3 };
    const struct schedule *s = g->schedules[rank];

    for (int32_t b = 0; b < s->n_buffers; b++) {
        const struct buffer *u = &s->buffers[b];
        if (u->role != ROLE_OUTPUT || !buffer_bytes(s, b))
            continue;
        char *x = memory_host(&g->memory, b);
        char *y = memory_host(&g->loop.memories[rank], b);
        double far = distance(g, b, x, y);
        if (!(far <= gates[u->dtype]))
            fail_msg("%s: rank %d of %d: %s is off by %.2g of its largest",
                     what, rank, ranks, pool_label_get(s->pool, u->label),
                     far);
        memory_host_done(&g->memory, b, x, 0);
        memory_host_done(&g->loop.memories[rank], b, y, 0);
    }
}

/* 1: it ran; -1: not to be had. */
static int run_trial(const char *name, const struct strategy *st, int i,
                     struct error *e)
{
    struct trial t = make_trial(st, i);
    struct rig g;
    char what[96];
    int rc = rig_open(&g, name, &t, st, e);

    for (int repeat = 0; repeat < 2 && rc > 0; repeat++) {
        struct execute_options o = { .kernel = kernel, .stall_seconds = 60 };
        memory_poison(&g.memory);
        MPI_Barrier(MPI_COMM_WORLD);
        int64_t sent = execute(g.schedules[rank], &g.memory, g.transport, &o);
        snprintf(what, sizeof what, "%s by %s, job %d", st->name, name, i);
        if (sent != plan_bytes_expected(g.plan, rank))
            fail_msg("%s: rank %d sent %lld bytes, not %lld", what, rank,
                     (long long)sent,
                     (long long)plan_bytes_expected(g.plan, rank));
        near_outputs(&g, what);
    }
    if (rc > 0)
        rig_close(&g);
    job_clear(&t.job);
    return rc;
}

/* ---- Reductions ---------------------------------------------------------- */

/* Every reduction in every group, some at once. */
static void run_reductions(const char *name)
{
    struct job job = reduce_job();
    struct pool *pool = pool_create();
    struct schedule *s = reduce_schedule(pool, &job, ranks, rank);
    struct error e = { 0 };
    struct memory host, m;
    struct transport *t = transport_create(name, kernel->device,
                                           MPI_COMM_WORLD, &e);

    assert_int_equal(memory_create(&host, s, &device_host, 0, &e), 0);
    assert_int_equal(memory_create(&m, s, kernel->device, 0, &e), 0);
    assert_int_equal(transport_prepare(t, NULL, s, &m, &e), 0);
    for (int repeat = 0; repeat < 3; repeat++) {
        struct execute_options o = { .kernel = kernel, .stall_seconds = 60 };
        memory_poison(&host);
        reduce_walk(&host, reduce_fill);
        kernel->device->put(m.base, host.base, s->peak_bytes);
        kernel->device->sync();
        MPI_Barrier(MPI_COMM_WORLD);
        assert_int_equal(execute(s, &m, t, &o), reduce_bytes(ranks, rank));
        kernel->device->get(host.base, m.base, s->peak_bytes);
        reduce_walk(&host, reduce_compare);
    }
    transport_destroy(t);
    memory_destroy(&m);
    memory_destroy(&host);
    schedule_destroy(s);
    pool_destroy(pool);
}

/* ---- All ----------------------------------------------------------------- */

static int run_transport(const char *name)
{
    struct error e = { 0 };
    int64_t start = clock_now();
    int ran = 0, must = getenv("SPAR_TRANSPORTS") != NULL;
    int apart = !getenv("SPAR_HOST_RANKS") && !strcmp(name, "ipc+staged");

    if (apart)
        setenv("SPAR_HOST_RANKS", "2", 1);
    for (int s = 0; strategies[s]; s++)
        for (int i = s % 2; i < 6; i += 2) {
            int rc = run_trial(name, strategies[s], i, &e);
            if (rc < 0 && (must || ran))
                fail_msg("%s: %s", name, e.text);
            if (rc < 0) {
                if (apart)
                    unsetenv("SPAR_HOST_RANKS");
                if (rank == 0)
                    print_message("# %s: left out: %s\n", name, e.text);
                return 0;
            }
            ran += rc;
        }
    assert_true(ran >= 20);
    run_reductions(name);
    if (apart)
        unsetenv("SPAR_HOST_RANKS");
    if (rank == 0)
        print_message("# %s: %d trials on %d ranks, %.1f s\n", name, ran,
                      ranks, (double)(clock_now() - start) * 1e-9);
    return 1;
}

static void every_transport(void **state)
{
    const char *names = getenv("SPAR_TRANSPORTS");
    char list[64], *name;
    int did = 0;

    (void)state;
    snprintf(list, sizeof list, "%s",
             names ? names : "ipc ipc+staged staged nccl");
    for (name = strtok(list, " "); name; name = strtok(NULL, " "))
        did += run_transport(name);
    assert_true(did > 0);
}

/* The kernels of this project, on a device of this rank. */
static int open_device(void)
{
    struct error e = { 0 };
    int found = 1;

    kernel = kernel_find("cuda", &e);
    if (!kernel || !kernel->device || kernel->available(&e)
        || kernel->device->open(rank % kernel->device->count(), &e))
        found = 0;
    MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return found;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_transport) };
    int failed = 77;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    setenv("CMOCKA_TEST_ABORT", "1", 1);        /* else the others wait */
    if (open_device())
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
