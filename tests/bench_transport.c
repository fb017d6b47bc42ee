/* SPDX-License-Identifier: Apache-2.0
 *
 * Transports between two ranks on devices: schedules of nothing but messages.
 *
 *   one way     independent messages from rank 0 to rank 1
 *   back        from rank 1 to rank 0
 *   both ways   the same in both directions at once
 *   steps       each message depends on the one that came: a step is one way
 *   ring steps  the same in both directions at once, as in a ring
 *   empty ops   ops that compute nothing, given to the device: host time of one
 *   host        what bounds `staged`: copies from and to pinned memory, MPI
 *               messages of a piece between host memories
 *
 * mpiexec -n 2 bench_transport [transport ...]; medians of the slower rank. */
#include <config.h>

#include "mpi/execute.h"
#include "schedule/lower.h"
#include "strategy/strategy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS = 9, EMPTY = 2000, WIDTH = 512, ROW = 2 * WIDTH };
enum pattern { ONE_WAY, BACK, BOTH_WAYS, STEPS, RING, PATTERNS };
static const char *const pattern_names[] = { "one way", "back", "both ways",
                                             "steps", "ring steps" };

static int rank, ranks;
static const struct device *device;

/* ---- Schedules ----------------------------------------------------------- */

/* What the strategy below builds. */
static struct {
    enum pattern pattern;
    int64_t bytes, count;
    int empty;
} asked;

static struct tile buffer(struct schedule *s, const char *label)
{
    struct buffer b = { .map = -1, .role = ROLE_SCRATCH, .dtype = DTYPE_BF16,
                        .heads = 1, .width = WIDTH,
                        .rows = asked.empty ? 1 : asked.bytes / ROW };

    return tile_whole(s, schedule_buffer(s, label, b));
}

static void forward(struct schedule *s, struct view *v)
{
    struct tile out = buffer(s, "out"), in[] = { buffer(s, "a"),
                                                 buffer(s, "b") };
    int32_t peer = 1 - v->me;

    for (int64_t i = 0; i < asked.count; i++) {
        const int senders[PATTERNS] = { 0, 1, -1, (int)(i % 2), -1 };
        int sender = senders[asked.pattern];        /* -1: both */
        /* Dependent steps pass on what came last. */
        int last = asked.pattern == RING ? (int)((i + 1) % 2) : 0;
        int passes = asked.pattern >= STEPS && i > 0;
        int next = asked.pattern == STEPS ? 0 : (int)(i % 2);
        if (asked.empty) {
            schedule_sum(s, "", out, ACCESS_WRITE, &in[0], 1);
            continue;
        }
        if (sender != peer)
            schedule_send(s, "", CHANNEL_KV, peer, passes ? &in[last] : &out,
                          1);
        if (sender != v->me)
            schedule_recv(s, "", CHANNEL_KV, peer, &in[next], 1);
    }
}

static const struct strategy strategy = { .name = "bench", .family = "softmax",
                                          .forward = forward };

/* ---- Measuring ----------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

/* Median over repetitions of the slower rank's seconds; < 0: the transport is
 * not to be had. */
static double measure(const char *transport, struct error *e)
{
    static const int64_t tokens = 64;
    struct job job = { .transformer = { .heads = 1, .kv_heads = 1,
                                        .head_dim = 8, .value_dim = 8 },
                       .mask = { MASK_FULL, -1, -1 } };
    struct strategy_options options = { 0 };
    double seconds[REPEATS];

    if (job_finish(&job, &tokens, 1, e))
        die("%s", e->text);
    struct plan *plan = plan_create(&job, &strategy, &options, ranks, e);
    struct schedule *s = plan_build(plan, rank);
    struct memory m;
    if (memory_create(&m, s, device, 0, e))
        die("%s", e->text);
    memory_poison(&m);
    struct transport *t = transport_create(transport, device, MPI_COMM_WORLD,
                                           e);
    int rc = !t || transport_prepare(t, plan, s, &m, e);
    struct execute_options o = { .kernel = kernel_find("none", e),
                                 .stall_seconds = 30 };
    for (int i = -2; i < REPEATS && !rc; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        int64_t start = clock_now();
        execute(s, &m, t, &o);
        double taken = (double)(clock_now() - start) * 1e-9;
        MPI_Allreduce(MPI_IN_PLACE, &taken, 1, MPI_DOUBLE, MPI_MAX,
                      MPI_COMM_WORLD);
        if (i >= 0)
            seconds[i] = taken;
    }
    transport_destroy(t);
    memory_destroy(&m);
    schedule_destroy(s);
    plan_destroy(plan);
    job_clear(&job);
    qsort(seconds, REPEATS, sizeof *seconds, by_value);
    return rc ? -1 : seconds[REPEATS / 2];
}

static void bench_messages(const char *transport)
{
    for (int p = 0; p < PATTERNS; p++)
        for (int64_t bytes = 64 << 10; bytes <= 256 << 20; bytes *= 4) {
            struct error e = { 0 };
            int64_t n = max64(4, min64(100, (512 << 20) / bytes));
            asked.pattern = (enum pattern)p;
            asked.bytes = bytes;
            asked.count = n + n % 2;
            asked.empty = 0;
            double each = measure(transport, &e) / (double)asked.count;
            if (each < 0 && rank == 0)
                printf("%-7s not here: %s\n", transport, e.text);
            if (each < 0)
                return;
            if (rank == 0)
                printf("%-7s %-10s %9lld KiB %10.1f us %8.1f GB/s\n",
                       transport, pattern_names[p], (long long)bytes >> 10,
                       1e6 * each, 1e-9 * (double)bytes / each);
        }
}

static void bench_empty(const char *transport)
{
    struct error e = { 0 };

    asked.empty = 1;
    asked.count = EMPTY;
    double each = measure(transport, &e) / EMPTY;
    if (rank == 0 && each >= 0)
        printf("%-7s empty ops %27.2f us\n", transport, 1e6 * each);
}

/* ---- The host ------------------------------------------------------------ */

static void print_host(const char *what, double seconds, size_t bytes)
{
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX,
                  MPI_COMM_WORLD);
    if (rank == 0)
        printf("%-7s %-28s %10.1f us %8.1f GB/s\n", "host", what,
               1e6 * seconds, 1e-9 * (double)bytes / seconds);
}

/* As many at once as have staging buffers. */
static void send_pieces(char *data, size_t piece, int pieces, int both)
{
    enum { AT_ONCE = 4 };
    MPI_Request r[2 * AT_ONCE];

    for (int k = 0; k < 2 * AT_ONCE; k++)
        r[k] = MPI_REQUEST_NULL;
    for (int i = 0; i < pieces; i++) {
        int k = i % AT_ONCE;
        MPI_Waitall(2, &r[2 * k], MPI_STATUSES_IGNORE);
        if (rank == 0 || both)
            MPI_Isend(data + (size_t)k * piece, (int)piece, MPI_BYTE, 1 - rank,
                      0, MPI_COMM_WORLD, &r[2 * k]);
        if (rank == 1 || both)
            MPI_Irecv(data + (size_t)(AT_ONCE + k) * piece, (int)piece,
                      MPI_BYTE, 1 - rank, 0, MPI_COMM_WORLD, &r[2 * k + 1]);
    }
    MPI_Waitall(2 * AT_ONCE, r, MPI_STATUSES_IGNORE);
}

static void bench_host(void)
{
    struct error e = { 0 };
    size_t piece = lower_default.chunk, all = 64 * piece;
    char *host = device->alloc_host(2 * all, &e), *gpu = device->alloc(all, &e);

    if (!host || !gpu)
        die("%s", e.text);
    memset(host, 1, 2 * all);
    for (int k = 0; k < 4; k++) {
        static const char *const what[] = {
            "from the device", "to the device", "messages one way",
            "messages both ways" };
        int64_t start = 0;
        for (int i = 0; i < 3; i++) {   /* the last of three counts */
            MPI_Barrier(MPI_COMM_WORLD);
            start = clock_now();
            if (k < 2)
                device->copy_rows(k ? gpu : host, all, k ? host : gpu, all,
                                  all, 1);
            else
                send_pieces(host, piece, 64, k == 3);
            device->sync();
        }
        print_host(what[k], (double)(clock_now() - start) * 1e-9, all);
    }
    device->free(gpu);
    device->free_host(host);
}

/* ---- All ----------------------------------------------------------------- */

static int open_device(void)
{
    struct error e = { 0 };
    const struct kernel_backend *k = kernel_find("cuda", &e);
    int found = ranks == 2 && k && k->device && !k->available(&e)
        && !k->device->open(rank % k->device->count(), &e);

    device = found ? k->device : NULL;
    MPI_Allreduce(MPI_IN_PLACE, &found, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return found;
}

int main(int argc, char **argv)
{
    static const char *const all[] = { "ipc", "nccl", "staged" };
    int n = argc > 1 ? argc - 1 : 3;

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (!open_device()) {
        if (rank == 0)
            printf("no two ranks with devices: nothing is measured\n");
        MPI_Finalize();
        return 0;
    }
    bench_host();
    for (int i = 0; i < n; i++) {
        const char *name = argc > 1 ? argv[i + 1] : all[i];
        bench_messages(name);
        bench_empty(name);
    }
    MPI_Finalize();
    return 0;
}
