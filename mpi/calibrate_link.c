/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages between two ranks, sent and received as the host transport does; the
 * others wait quietly. */
#include <config.h>

#include "base/units.h"
#include "mpi/calibrate_internal.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

enum { TAG = 1, MESSAGES = 64, LARGEST = 64 << 20, LARGEST_QUICK = 8 << 20 };

static void wait_for(MPI_Request *r, int n)
{
    MPI_Status status[2 * MESSAGES];
    int done = 0;

    while (!done) {
        MPI_Testall(n, r, &done, status);
        if (!done)
            sched_yield();
    }
}

/* ---- Ping-pong ---------------------------------------------------------- */

static void ping(const struct calibration *c, void *data, int bytes, int peer)
{
    MPI_Request r;

    MPI_Isend(data, bytes, MPI_BYTE, peer, TAG, c->comm, &r);
    wait_for(&r, 1);
}

static void pong(const struct calibration *c, void *data, int bytes, int peer)
{
    MPI_Request r;

    MPI_Irecv(data, bytes, MPI_BYTE, peer, TAG, c->comm, &r);
    wait_for(&r, 1);
}

/* Seconds one way: half the shortest round trip, since both ranks must have had
 * their cores for it. */
static double ping_pong(const struct calibration *c, char *out, char *in,
                        int bytes, int peer)
{
    int n = (int)max64(20, min64(200, (64 << 20) / bytes));
    int64_t shortest = INT64_MAX;

    for (int i = -2; i < n; i++) {
        int64_t start = clock_now();
        if (c->rank == 0) {
            ping(c, out, bytes, peer);
            pong(c, in, bytes, peer);
        } else {
            pong(c, in, bytes, peer);
            ping(c, out, bytes, peer);
        }
        if (i >= 0)
            shortest = min64(shortest, clock_now() - start);
    }
    return (double)shortest * 0.5e-9;
}

void calibrate_link_fit(struct link *l, const struct link_point *p, int64_t n)
{
    link_fit(l, p, n);
    for (int64_t i = 0; i < l->n; i++) {
        struct link_segment *g = &l->segments[i];
        g->latency = digits(g->latency);
        g->bandwidth = digits(g->bandwidth);
        g->error = digits(g->error);
    }
}

/* `two`: of the pair; NULL: of none. */
static void measure_times(const struct calibration *c,
                          const struct calibration *two, int root, char *out,
                          char *in, struct link *l)
{
    struct link_point *p = NULL;
    int64_t n = 0, cap = 0;
    int64_t largest = c->request->quick ? LARGEST_QUICK : LARGEST;

    for (int64_t bytes = 8; bytes <= largest; bytes *= 2) {
        struct link_point now = { bytes, 1 };
        if (two)
            now.seconds = ping_pong(two, out, in, (int)bytes, 1 - two->rank);
        ARRAY_PUSH(p, n, cap, now);
    }
    quiet_barrier(c);
    for (int64_t i = 0; i < n; i++)
        MPI_Bcast(&p[i].seconds, 1, MPI_DOUBLE, root, c->comm);
    calibrate_link_fit(l, p, n);
    free(p);
}

/* ---- The host's part ---------------------------------------------------- */

/* Seconds that MPI's calls take for a message that need not wait. */
static double call_seconds(const struct calibration *c, char *out, char *in,
                           int peer)
{
    enum { TRIES = 15 };
    MPI_Request r[2 * MESSAGES];
    double tries[TRIES];

    for (int t = 0; t < TRIES; t++) {
        MPI_Sendrecv(out, 1, MPI_BYTE, peer, TAG, in, 1, MPI_BYTE, peer, TAG,
                     c->comm, MPI_STATUS_IGNORE);
        double start = core_seconds();
        for (int i = 0; i < MESSAGES; i++) {
            MPI_Irecv(in + 8 * i, 8, MPI_BYTE, peer, TAG, c->comm,
                      &r[MESSAGES + i]);
            MPI_Isend(out + 8 * i, 8, MPI_BYTE, peer, TAG, c->comm, &r[i]);
        }
        wait_for(r, 2 * MESSAGES);
        tries[t] = (core_seconds() - start) / (2 * MESSAGES);
    }
    return quartile(tries, TRIES);
}

/* Messages both ways, one after the other, moved on by a kernel's polls. */
struct exchange {
    const struct calibration *c;
    int peer, bytes, left[2];   /* to send, to receive */
    char *data[2];              /* LARGEST bytes each, of which messages take
                                   one part after the other: like those of a
                                   run, what moves is in no cache */
    int64_t at[2];
    MPI_Request r[2];
    int64_t moved;              /* bytes, both ways */
};

static void exchange_next(struct exchange *x, int way)
{
    char *data = x->data[way] + x->at[way];

    x->r[way] = MPI_REQUEST_NULL;
    if (x->left[way]-- <= 0)
        return;
    if (way == 0)
        MPI_Isend(data, x->bytes, MPI_BYTE, x->peer, TAG, x->c->comm,
                  &x->r[0]);
    else
        MPI_Irecv(data, x->bytes, MPI_BYTE, x->peer, TAG, x->c->comm,
                  &x->r[1]);
    x->at[way] = (x->at[way] + x->bytes) % LARGEST;
}

static void exchange_poll(void *arg)
{
    struct exchange *x = arg;
    MPI_Status status[2];
    int n, which[2];

    MPI_Testsome(2, x->r, &n, which, status);
    for (int i = 0; i < n; i++) {
        x->moved += x->bytes;
        exchange_next(x, which[i]);
    }
}

static void exchange_start(struct exchange *x, int messages)
{
    x->left[0] = x->left[1] = messages;
    exchange_next(x, 1);
    exchange_next(x, 0);
    x->moved = 0;
}

/* Seconds of `calls` blocks while `messages` go each way. */
static double exchange_compute(struct exchange *x, struct block_bench *b,
                               int calls, int messages)
{
    exchange_start(x, messages);
    double start = core_seconds();
    for (int i = 0; i < calls; i++)
        block_bench_call(b);
    double seconds = core_seconds() - start;
    int64_t moved = x->moved;
    while (x->r[0] != MPI_REQUEST_NULL || x->r[1] != MPI_REQUEST_NULL)
        exchange_poll(x);
    x->moved = moved;
    return seconds;
}

/* How much longer a computing rank takes, by byte moved meanwhile. */
static double host_per_byte(const struct calibration *c, const struct link *l,
                            char *out, char *in, int peer)
{
    enum { TRIES = 7, BYTES = 1 << 20, COUNT = 16 };
    struct exchange x = { .c = c, .peer = peer, .bytes = BYTES,
                          .data = { out, in } };
    const struct bench_shape shape = { DTYPE_FP32, 64, 1, 0 };
    struct block_bench *b = block_bench_create(c, &shape, 1024, 1024);
    double tries[TRIES], block;

    block_bench_shape(b, BLOCK_FULL, 0, 1024, 1024);
    block = time_call(c, block_bench_call, b);
    block_bench_poll(b, (struct poll){ exchange_poll, &x });
    /* Long enough for all messages to move meanwhile. */
    double message = link_seconds(l, BYTES);
    int calls = 2 + (int)(4 * COUNT * message / block);
    MPI_Bcast(&calls, 1, MPI_INT, 0, c->comm);
    for (int t = 0; t < TRIES; t++) {
        MPI_Sendrecv(out, 1, MPI_BYTE, peer, TAG, in, 1, MPI_BYTE, peer, TAG,
                     c->comm, MPI_STATUS_IGNORE);
        double quiet = exchange_compute(&x, b, calls, 0);
        double busy = exchange_compute(&x, b, calls, COUNT);
        tries[t] = x.moved ? (busy - quiet) / (double)x.moved : 0;
    }
    block_bench_destroy(b);
    return fmax(0, quartile(tries, TRIES));
}

/* ---- Rows apart --------------------------------------------------------- */

/* Seconds of a message each way, of `type` at both ends. */
static double swap_seconds(const struct calibration *c, char *out, char *in,
                           int peer, MPI_Datatype type)
{
    MPI_Request r[2];
    int64_t start = clock_now();

    MPI_Irecv(in, 1, type, peer, TAG, c->comm, &r[1]);
    MPI_Isend(out, 1, type, peer, TAG, c->comm, &r[0]);
    wait_for(r, 2);
    return 1e-9 * (double)(clock_now() - start);
}

/* What each byte takes more that is packed or unpacked: every second one of
 * rows of a head of 64 in fp32, against as many that lie together. */
static double apart_per_byte(const struct calibration *c, char *out, char *in,
                             int peer)
{
    enum { TRIES = 40, ROWS = 4096, ROW = 256 };
    MPI_Datatype type[2];       /* together, apart */
    double least[2] = { INFINITY, INFINITY };

    MPI_Type_contiguous(ROWS * ROW, MPI_BYTE, &type[0]);
    MPI_Type_vector(ROWS, ROW, 2 * ROW, MPI_BYTE, &type[1]);
    for (int k = 0; k < 2; k++)
        MPI_Type_commit(&type[k]);
    /* Others only add; like in a run, what moves is in no cache. */
    for (int t = 0; t < 2 * TRIES; t++) {
        int64_t at = (int64_t)t * 2 * ROWS * ROW % LARGEST;
        least[t % 2] = fmin(least[t % 2], swap_seconds(c, out + at, in + at,
                                                       peer, type[t % 2]));
    }
    for (int k = 0; k < 2; k++)
        MPI_Type_free(&type[k]);
    return fmax(0, (least[1] - least[0]) / (2 * ROWS * ROW));
}

/* ---- All ---------------------------------------------------------------- */

void calibrate_link_report(const struct calibration *c, const char *between,
                           const struct link *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        const struct link_segment *g = &l->segments[i];
        char from[32], rate[32];
        say(c, "messages %sfrom %s: %.2f us + size / %s, fit error %.1f %%",
            between, quantity_print((double)g->from, "B", from, sizeof from),
            g->latency * 1e6,
            quantity_print(g->bandwidth, "B/s", rate, sizeof rate),
            100 * g->error);
    }
    if (on_host(c))
        say(c, "a message takes %.2f us of a core, and %.1f us a MB that it "
            "moves, %.1f more if its rows lie apart", l->overhead * 1e6,
            l->host_per_byte * 1e12, l->apart_per_byte * 1e12);
}

void calibrate_link(const struct calibration *c, int a, int b, struct link *l)
{
    int mine = c->rank == a || c->rank == b;
    char *out = xalign(LARGEST), *in = xalign(LARGEST);
    double host[3] = { 0 };
    struct calibration two = *c;

    memset(out, 1, LARGEST);
    memset(in, 1, LARGEST);
    MPI_Comm_split(c->comm, !mine, c->rank, &two.comm);
    MPI_Comm_rank(two.comm, &two.rank);
    two.ranks = 2;
    measure_times(c, mine ? &two : NULL, a, out, in, l);
    if (mine) {
        int peer = 1 - two.rank;
        host[0] = mean_over_ranks(&two, call_seconds(&two, out, in, peer));
        host[1] = mean_over_ranks(&two, host_per_byte(&two, l, out, in, peer));
        host[2] = mean_over_ranks(&two, apart_per_byte(&two, out, in, peer));
    }
    MPI_Comm_free(&two.comm);
    quiet_barrier(c);
    MPI_Bcast(host, 3, MPI_DOUBLE, a, c->comm);
    l->overhead = digits(host[0] + c->m->op_overhead);
    l->host_per_byte = host[1];
    l->apart_per_byte = host[2];
    free(out);
    free(in);
}
