/* SPDX-License-Identifier: Apache-2.0
 *
 * A device: which one, how long a call takes of it, and what it takes around
 * an op. */
#include <config.h>

#include "kernel/cuda_async.h"
#include "kernel/cuda_versions.h"
#include "mpi/calibrate_internal.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* ---- The device --------------------------------------------------------- */

/* As in a run, ranks of a node take its devices in turn.  Devices are quieter
 * than cores that others use, too. */
int device_open(struct calibration *c, struct error *e)
{
    MPI_Comm node;
    int rank, ranks, n = c->device->count();

    MPI_Comm_split_type(c->comm, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL,
                        &node);
    MPI_Comm_rank(node, &rank);
    MPI_Comm_size(node, &ranks);
    MPI_Comm_free(&node);
    c->least_seconds = c->request->quick ? 0.002 : 0.008;
    c->batches = c->request->quick ? 2 : 3;
    if (ranks > n)
        return fail(e, "calibrate: %d ranks for %d %s device%s of this host: "
                    "start one rank for each", ranks, n, c->device->name,
                    n == 1 ? "" : "s");
    return c->device->open(rank, e);
}

void device_describe(const struct calibration *c)
{
    struct machine *m = c->m;
    char text[128];
    size_t available, total;

    cuda_device_name(m->processor, sizeof m->processor);
    cuda_versions(text, sizeof text);
    char *all = xasprintf("%s, %s", text, m->versions);
    free(m->versions);
    m->versions = all;
    m->devices = c->ranks;
    m->shared_core = 0;
    m->memory_bytes = c->device->memory(&available, &total)
        ? 0 : (int64_t)total;
}

/* ---- Timing ------------------------------------------------------------- */

enum { COVER = 256 << 20, MOST_COVERS = 256, MOST_CALLS = 64 };

/* What keeps the device busy while the host gives it calls. */
static struct {
    void *memory, *from, *to;
    double cover;               /* s that it takes to fill the memory */
} timer;

static void wait_for(void *event)
{
    while (!cuda_event_done(event))
        sched_yield();
}

static void timer_open(const struct calibration *c)
{
    if (timer.memory)
        return;
    timer.memory = bench_alloc(c->device, COVER);
    timer.from = cuda_event_create(1);
    timer.to = cuda_event_create(1);
    for (int i = 0; i < 2; i++) {       /* the second time, awake */
        cuda_event_record(timer.from, 0);
        c->device->fill(timer.memory, 0, COVER);
        cuda_event_record(timer.to, 0);
        wait_for(timer.to);
    }
    timer.cover = cuda_event_seconds(timer.from, timer.to);
}

/* What is timed. */
struct task {
    void (*fn)(void *);
    void *arg;
    int cold;                   /* the cover goes over the cache before a call */
    double host;                /* s of the host for a call, about */
};

static void give(const struct calibration *c, const struct task *t, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        if (t->cold)
            c->device->fill(timer.memory, 0, COVER);
        t->fn(t->arg);
    }
}

/* Seconds of n calls.  If the device had to wait for the host, what was known
 * of the host was too little. */
static double batch(const struct calibration *c, struct task *t, int64_t n)
{
    for (int tries = 0;; tries++) {
        double covers = 1 + 1.5 * t->host * (double)n / timer.cover;
        for (int i = 0; i < (int)fmin(covers, MOST_COVERS); i++)
            c->device->fill(timer.memory, 0, COVER);
        cuda_event_record(timer.from, 0);
        int64_t start = clock_now();
        give(c, t, n);
        double taken = (double)(clock_now() - start) * 1e-9 / (double)n;
        int late = cuda_event_done(timer.from);
        cuda_event_record(timer.to, 0);
        wait_for(timer.to);
        t->host = late ? fmax(taken, 2 * t->host) : taken;
        if (!late || tries == 4)
            return cuda_event_seconds(timer.from, timer.to)
                - (t->cold ? timer.cover * (double)n : 0);
    }
}

/* Power limits a device after a tenth of a second of hard work, which a run is,
 * too: on an H100 calls of a backward pass then take 12 % longer. */
static void heat(const struct calibration *c, const struct task *t,
                 double first)
{
    static const double SECONDS = 0.15;

    give(c, t, (int64_t)fmin(MOST_CALLS, SECONDS / first));
    c->device->sync();
}

/* A call counts after as many as a run may repeat. */
static int64_t calls_of_batch(const struct calibration *c, double first)
{
    int64_t least = c->request->quick ? 4 : 16;
    double most = (c->request->quick ? 0.1 : 0.3) / first;
    int64_t calls = (int64_t)fmin(MOST_CALLS, 1 + c->least_seconds / first);

    return max64(1, (int64_t)fmin(most, (double)max64(least, calls)));
}

static double time_task(const struct calibration *c, struct task *t)
{
    double values[16], first;
    int n = c->batches;

    c->device->stream(0);
    timer_open(c);
    t->fn(t->arg);              /* plans, work space, code */
    c->device->sync();
    t->host = 50e-6;
    first = fmax(1e-7, batch(c, t, 1));
    int64_t calls = calls_of_batch(c, first);
    heat(c, t, first);
    if (batch(c, t, calls) > 4 * c->least_seconds)
        n = 1;                  /* long enough to be steady */
    for (int i = 0; i < n; i++)
        values[i] = fmax(1e-9, batch(c, t, calls) / (double)calls);
    return quartile(values, n);
}

double device_time_call(const struct calibration *c, void (*fn)(void *),
                        void *arg)
{
    struct task t = { fn, arg, 0, 0 };

    return time_task(c, &t);
}

double device_time_cold(const struct calibration *c, void (*fn)(void *),
                        void *arg)
{
    struct task t = { fn, arg, 1, 0 };

    return time_task(c, &t);
}

/* Of the host, for a call. */
static double host_seconds(const struct calibration *c, void (*fn)(void *),
                           void *arg)
{
    struct task t = { fn, arg, 0, 0 };

    time_task(c, &t);
    return t.host;
}

/* ---- Around an op ------------------------------------------------------- */

/* The least that a kernel does, alone, with an event after it, or two in two
 * streams in turn. */
struct tiny {
    const struct calibration *c;
    struct tensor to, from;
    void *events[4];
    int streams, next;
};

static void tiny_call(void *arg)
{
    struct tiny *t = arg;

    t->c->kernel->sum(t->to, 1, &t->from, 1);
}

static void tiny_event_call(void *arg)
{
    struct tiny *t = arg;

    tiny_call(t);
    cuda_event_record(t->events[0], 0);
}

/* There and back: two ops, each after one of the other stream. */
static void tiny_hop_call(void *arg)
{
    struct tiny *t = arg;

    for (int s = 0; s < 2; s++) {
        t->c->device->stream(s);
        tiny_call(t);
        cuda_event_record(t->events[s], s);
        cuda_event_wait(t->events[s], 1 - s);
    }
    t->c->device->stream(0);
}

/* Seconds from a barrier until one kernel, given to an idle device, is seen to
 * be over. */
static double repeat_seconds(const struct tiny *t)
{
    enum { TRIES = 31 };
    double values[TRIES];

    for (int i = 0; i < TRIES; i++) {
        MPI_Barrier(t->c->comm);
        int64_t start = clock_now();
        tiny_call((void *)t);
        cuda_event_record(t->events[2], 0);
        wait_for(t->events[2]);
        values[i] = (double)(clock_now() - start) * 1e-9;
    }
    return quartile(values, TRIES);
}

/* Of the host, for an attend. */
static double attend_host_seconds(const struct calibration *c)
{
    struct bench_shape shape = { DTYPE_BF16, 128, 1, 8 };
    struct block_bench *b = block_bench_create(c, &shape, 2048, 2048);

    block_bench_shape(b, BLOCK_FULL, 0, 2048, 2048);
    double host = host_seconds(c, block_bench_call, b);
    block_bench_destroy(b);
    return host;
}

static void calibrate_overheads(const struct calibration *c)
{
    enum { WIDTH = 128 };
    struct tiny t = { .c = c };
    struct machine *m = c->m;

    t.to = t.from = (struct tensor){ NULL, DTYPE_FP32, 1, WIDTH, 1, WIDTH, 0 };
    t.to.data = bench_alloc(c->device, 2 * WIDTH * sizeof(float));
    t.from.data = (float *)t.to.data + WIDTH;
    bench_fill(c->device, t.to.data, DTYPE_FP32, 2 * WIDTH, 1);
    for (int i = 0; i < 4; i++)
        t.events[i] = cuda_event_create(0);
    double alone = mean_over_ranks(c, time_call(c, tiny_call, &t));
    double event = mean_over_ranks(c, time_call(c, tiny_event_call, &t));
    double host = host_seconds(c, tiny_event_call, &t);
    m->enqueue = mean_over_ranks(c, (host + attend_host_seconds(c)) / 2);
    double hops = mean_over_ranks(c, time_call(c, tiny_hop_call, &t));
    m->op_overhead = digits(fmax(0, event - alone));
    m->event_latency = digits(fmax(0, hops / 2 - event));
    m->repeat_overhead = mean_over_ranks(c, repeat_seconds(&t));
    for (int i = 0; i < 4; i++)
        cuda_event_destroy(t.events[i]);
    c->device->free(t.to.data);
    say(c, "an op takes %.2f us besides its kernel, at least %.2f us; another "
        "stream goes on after %.2f us; the host gives one in %.2f us; a repeat "
        "takes %.1f us besides", m->op_overhead * 1e6, alone * 1e6,
        m->event_latency * 1e6, m->enqueue * 1e6, m->repeat_overhead * 1e6);
}

/* ---- All ---------------------------------------------------------------- */

void calibrate_device(const struct calibration *c)
{
    calibrate_overheads(c);
    calibrate_copies(c);
    calibrate_push(c);
    c->device->free(timer.memory);
    cuda_event_destroy(timer.from);
    cuda_event_destroy(timer.to);
    memset(&timer, 0, sizeof timer);
}
