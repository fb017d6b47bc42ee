/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages between devices, as the pipeline has them: the first and the last
 * rank push into each other's memory, both at once, and tell by flags that they
 * did. */
#include <config.h>

#include "kernel/cuda_async.h"
#include "mpi/calibrate_internal.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { TAG = 2, LARGEST = 256 << 20, LARGEST_QUICK = 64 << 20,
       BYTES = 64 << 20 };

/* One of the pair. */
struct push {
    const struct calibration *c;        /* of the pair */
    const struct device *device;
    int peer;
    char *mine, *theirs;        /* [2 x LARGEST]: to push, to be written */
    uint32_t *flag, *their_flag;
    uint32_t count;             /* exchanges so far */
    void *from, *to;            /* events */
};

/* ---- Each other's memory ------------------------------------------------ */

static int map(struct push *x, void *own, void **other, struct error *e)
{
    struct cuda_handle mine = { { 0 } }, yours;
    int failed = cuda_export(own, &mine, e) != 0;

    MPI_Sendrecv(&mine, sizeof mine, MPI_BYTE, x->peer, TAG, &yours,
                 sizeof yours, MPI_BYTE, x->peer, TAG, x->c->comm,
                 MPI_STATUS_IGNORE);
    *other = NULL;
    failed = failed || cuda_import(&yours, other, e) != 0;
    MPI_Allreduce(MPI_IN_PLACE, &failed, 1, MPI_INT, MPI_MAX, x->c->comm);
    return failed ? -1 : 0;
}

static int push_open(struct push *x, const struct calibration *c,
                     struct error *e)
{
    void *memory, *flag = NULL;

    *x = (struct push){ .c = c, .device = c->device, .peer = 1 - c->rank };
    x->mine = bench_alloc(c->device, 2 * (size_t)LARGEST);
    x->flag = bench_alloc(c->device, sizeof *x->flag);
    c->device->fill(x->mine, 0, 2 * (size_t)LARGEST);
    c->device->fill(x->flag, 0, sizeof *x->flag);
    c->device->sync();
    x->from = cuda_event_create(1);
    x->to = cuda_event_create(1);
    int rc = map(x, x->mine, &memory, e) != 0 || map(x, x->flag, &flag, e) != 0
        ? -1 : 0;
    x->theirs = memory;
    x->their_flag = flag;
    return rc;
}

static void push_close(struct push *x)
{
    x->device->sync();
    MPI_Barrier(x->c->comm);
    cuda_unimport(x->theirs);
    cuda_unimport(x->their_flag);
    MPI_Barrier(x->c->comm);    /* nobody frees what is mapped */
    x->device->free(x->mine);
    x->device->free(x->flag);
    cuda_event_destroy(x->from);
    cuda_event_destroy(x->to);
}

/* ---- Exchanges ---------------------------------------------------------- */

/* `tiles` tiles of so many bytes, in blocks; then both know. */
struct message_shape {
    size_t bytes, block;
    int tiles;
};

static void push_tiles(const struct push *x, const struct message_shape *s)
{
    size_t step = s->block < s->bytes ? 2 * s->block : s->block;

    for (int i = 0; i < s->tiles && s->bytes; i++)
        x->device->copy_rows(x->theirs + LARGEST, step, x->mine, step,
                             s->block, s->bytes / s->block);
}

static void tell_and_wait(struct push *x, int stream)
{
    x->count++;
    cuda_flag_write(stream, x->their_flag, x->count);
    cuda_flag_wait(stream, x->flag, x->count);
}

static double seconds_between(const struct push *x)
{
    while (!cuda_event_done(x->to))
        sched_yield();
    return cuda_event_seconds(x->from, x->to);
}

/* Seconds of one of n exchanges, each after the one before. */
static double exchange_once(struct push *x, const struct message_shape *s,
                            int n)
{
    x->device->sync();
    MPI_Barrier(x->c->comm);
    x->device->stream(0);
    tell_and_wait(x, 0);
    cuda_event_record(x->from, 0);
    for (int i = 0; i < n; i++) {
        push_tiles(x, s);
        tell_and_wait(x, 0);
    }
    cuda_event_record(x->to, 0);
    return seconds_between(x) / n;
}

static double exchange(struct push *x, struct message_shape s)
{
    enum { TRIES = 5 };
    double values[TRIES];
    int n = s.bytes * (size_t)s.tiles > BYTES / 2 ? 4 : 20;

    for (int i = -1; i < TRIES; i++) {
        double seconds = exchange_once(x, &s, n);
        values[max64(i, 0)] = seconds;
    }
    return mean_over_ranks(x->c, quartile(values, TRIES));
}

/* ---- What is measured --------------------------------------------------- */

static void measure_link(struct push *x, struct machine *m)
{
    size_t largest = x->c->request->quick ? LARGEST_QUICK : LARGEST;
    struct link_point *p = NULL;
    int64_t n = 0, cap = 0;

    for (size_t bytes = 64; bytes <= largest; bytes *= 4) {
        struct message_shape s = { bytes, bytes, 1 };
        struct link_point now = { (int64_t)bytes, exchange(x, s) };
        ARRAY_PUSH(p, n, cap, now);
    }
    calibrate_link_fit(&x->c->m->link, p, n);
    free(p);
    struct message_shape one = { 1 << 20, 1 << 20, 1 }, many = one;
    many.tiles = 9;
    double pushed = (1 << 20) / m->link.segments[m->link.n - 1].bandwidth;
    m->push_overhead = digits(fmax(0, (exchange(x, many) - exchange(x, one)) / 8
                                   - pushed));
}

static void measure_blocks(struct push *x, struct machine *m)
{
    static const size_t blocks[] = { 256, 1024, 4096, 16384, BYTES };
    struct copy copy = { .path = COPY_PEER };
    int64_t cap = 0, all = m->n_copies;

    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        struct message_shape s = { BYTES, blocks[i], 1 };
        double alone = machine_message_seconds(m, 0);
        struct copy_point p = {
            (int64_t)blocks[i], digits(BYTES / (exchange(x, s) - alone))
        };
        ARRAY_PUSH(copy.points, copy.n, cap, p);
    }
    ARRAY_PUSH(m->copies, m->n_copies, all, copy);
    say(x->c, "pushes, both ways at once: %.1f GB/s, in blocks of 4 KiB %.1f "
        "GB/s", copy.points[copy.n - 1].bandwidth * 1e-9,
        copy.points[2].bandwidth * 1e-9);
}

/* Seconds of n calls, beside pushes that take longer, or alone. */
static double beside_once(struct push *x, void (*fn)(void *), void *arg, int n,
                          int pushes)
{
    const struct message_shape s = { BYTES, BYTES, 1 };

    x->device->sync();
    MPI_Barrier(x->c->comm);
    tell_and_wait(x, 0);
    cuda_flag_wait(1, x->flag, x->count);
    x->device->stream(1);
    for (int i = 0; i < pushes; i++)
        push_tiles(x, &s);
    x->device->stream(0);
    cuda_event_record(x->from, 0);
    for (int i = 0; i < n; i++)
        fn(arg);
    cuda_event_record(x->to, 0);
    double seconds = seconds_between(x);
    x->device->sync();
    return seconds;
}

static double beside(struct push *x, void (*fn)(void *), void *arg, int n)
{
    enum { TRIES = 3 };
    double alone[TRIES], with[TRIES];
    double push = machine_message_seconds(x->c->m, BYTES);

    fn(arg);
    for (int i = 0; i < TRIES; i++) {
        alone[i] = beside_once(x, fn, arg, n, 0);
        int pushes = (int)(1.5 * alone[i] / push) + 2;
        MPI_Allreduce(MPI_IN_PLACE, &pushes, 1, MPI_INT, MPI_MAX, x->c->comm);
        with[i] = beside_once(x, fn, arg, n, pushes);
    }
    return mean_over_ranks(x->c, quartile(with, TRIES)
                           / quartile(alone, TRIES));
}

struct sum_bench {
    const struct kernel_backend *kernel;
    struct tensor to, from;
};

static void sum_call(void *arg)
{
    struct sum_bench *b = arg;

    b->kernel->sum(b->to, 1, &b->from, 1);
}

static void measure_beside(struct push *x, struct machine *m)
{
    const struct calibrate_request *r = x->c->request;
    struct bench_shape shape = { r->n_dtypes ? r->dtypes[0] : DTYPE_BF16,
                                 r->n_head_dims ? r->head_dims[0] : 128, 1,
                                 16 };
    struct block_bench *b = block_bench_create(x->c, &shape, 4096, 4096);
    struct tensor t = { NULL, DTYPE_FP32, 65536, 1024, 8, 128, 0 };
    struct sum_bench sum = { x->c->kernel, t, t };

    x->device->stream(0);
    block_bench_shape(b, BLOCK_FULL, 0, 4096, 4096);
    m->attend_beside = beside(x, block_bench_call, b, 8);
    block_bench_destroy(b);
    sum.to.data = bench_alloc(x->device, LARGEST);
    sum.from.data = bench_alloc(x->device, LARGEST);
    x->device->fill(sum.from.data, 0, LARGEST);
    m->bytes_beside = beside(x, sum_call, &sum, 8);
    x->device->free(sum.to.data);
    x->device->free(sum.from.data);
    say(x->c, "beside messages an attend takes %.3f, and what moves memory "
        "%.3f of its time alone", m->attend_beside, m->bytes_beside);
}

/* ---- All ---------------------------------------------------------------- */

/* What the pair found, to all. */
static void share(const struct calibration *c)
{
    struct machine *m = c->m;
    struct copy *peer = &m->copies[m->n_copies - 1];
    int64_t cap, n[2] = { m->link.n, 0 };
    double values[] = { m->push_overhead, m->attend_beside, m->bytes_beside };

    if (c->rank == 0)
        n[1] = peer->n;
    MPI_Bcast(n, 2, MPI_INT64_T, 0, c->comm);
    if (n[0] == 0)
        return;
    MPI_Bcast(values, 3, MPI_DOUBLE, 0, c->comm);
    m->push_overhead = values[0];
    m->attend_beside = values[1];
    m->bytes_beside = values[2];
    if (m->link.n == 0) {       /* not of the pair */
        struct copy none = { .path = COPY_PEER, .n = n[1] };
        none.points = xcalloc((size_t)n[1], sizeof *none.points);
        cap = m->n_copies;
        ARRAY_PUSH(m->copies, m->n_copies, cap, none);
        m->link.n = n[0];
        m->link.segments = xcalloc((size_t)n[0], sizeof *m->link.segments);
    }
    peer = &m->copies[m->n_copies - 1];
    MPI_Bcast(peer->points, (int)(n[1] * (int64_t)sizeof *peer->points),
              MPI_BYTE, 0, c->comm);
    MPI_Bcast(m->link.segments,
              (int)(n[0] * (int64_t)sizeof *m->link.segments), MPI_BYTE, 0,
              c->comm);
}

static void measure_pair(const struct calibration *c)
{
    struct error e = { 0 };
    struct push x;

    if (push_open(&x, c, &e) != 0) {
        say(c, "messages not measured: %s", *e.text ? e.text
            : "the other rank cannot map this one's memory");
    } else {
        measure_link(&x, c->m);
        measure_blocks(&x, c->m);
        measure_beside(&x, c->m);
    }
    push_close(&x);
}

void calibrate_push(const struct calibration *c)
{
    int in_pair = c->rank == 0 || c->rank == c->ranks - 1;
    MPI_Comm pair;

    if (c->ranks < 2) {
        say(c, "one rank: messages not measured");
        return;
    }
    MPI_Comm_split(c->comm, !in_pair, c->rank, &pair);
    if (in_pair) {
        struct calibration two = *c;
        two.comm = pair;
        two.ranks = 2;
        MPI_Comm_rank(pair, &two.rank);
        measure_pair(&two);
    }
    MPI_Comm_free(&pair);
    quiet_barrier(c);
    share(c);
    if (c->m->link.n)
        calibrate_link_report(c, "", &c->m->link);
}
