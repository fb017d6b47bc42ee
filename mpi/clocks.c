/* SPDX-License-Identifier: Apache-2.0
 *
 * Clocks of ranks: offsets to rank 0's by the exchange with the least round
 * trip, before and after the run.  Stored in the trace; on rank 0's own node
 * all read one clock, and the offset is not applied. */
#include <config.h>

#include "mpi/run_internal.h"

#include <math.h>

enum { ROUNDS = 20 };

/* Rank 0: the other's clock minus mine, ns; *residual: half the round trip. */
static int64_t offset_of(int other, MPI_Comm comm, int64_t *residual)
{
    int64_t best = INT64_MAX, offset = 0;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t before = clock_now(), there;
        MPI_Send(&before, 1, MPI_INT64_T, other, 0, comm);
        MPI_Recv(&there, 1, MPI_INT64_T, other, 0, comm, MPI_STATUS_IGNORE);
        int64_t trip = clock_now() - before;
        if (trip < best) {
            best = trip;
            offset = there - (before + trip / 2);
        }
    }
    *residual = best / 2;
    return offset;
}

static void answer(MPI_Comm comm)
{
    for (int i = 0; i < ROUNDS; i++) {
        int64_t now;
        MPI_Recv(&now, 1, MPI_INT64_T, 0, 0, comm, MPI_STATUS_IGNORE);
        now = clock_now();
        MPI_Send(&now, 1, MPI_INT64_T, 0, 0, comm);
    }
}

/* fn(rank, offset, residual) for every rank but 0, on rank 0. */
static void exchange(struct session *s,
                     void (*fn)(struct session *, int, int64_t, int64_t))
{
    MPI_Barrier(s->comm);
    for (int r = 1; r < s->ranks; r++) {
        int64_t residual, offset;
        if (s->rank == r)
            answer(s->comm);
        if (s->rank)
            continue;
        offset = offset_of(r, s->comm, &residual);
        fn(s, r, offset, residual);
    }
}

static void take_offset(struct session *s, int r, int64_t offset,
                        int64_t residual)
{
    s->clocks[r].offset_ns = (double)offset;
    s->clocks[r].residual_ns = (double)residual;
}

/* A change below the residual is none. */
static void take_drift(struct session *s, int r, int64_t offset,
                       int64_t residual)
{
    struct trace_clock *c = &s->clocks[r];
    double change = (double)offset - c->offset_ns;

    if (fabs(change) > c->residual_ns + (double)residual)
        c->drift_ppm = change / (double)(clock_now() - s->clock_start) * 1e6;
    c->residual_ns = fmax(c->residual_ns, (double)residual);
}

void clocks_start(struct session *s)
{
    s->clocks = xcalloc((size_t)s->ranks, sizeof *s->clocks);
    exchange(s, take_offset);
    s->clock_start = clock_now();
    for (int r = 1; r < s->ranks; r++) {        /* each learns its own */
        double mine = s->clocks[r].offset_ns;
        if (s->rank == 0)
            MPI_Send(&mine, 1, MPI_DOUBLE, r, 0, s->comm);
        if (s->rank == r)
            MPI_Recv(&s->clocks[r].offset_ns, 1, MPI_DOUBLE, 0, 0, s->comm,
                     MPI_STATUS_IGNORE);
    }
}

void clocks_end(struct session *s)
{
    exchange(s, take_drift);
}

int64_t clocks_zero(const struct session *s)
{
    int64_t zero = clock_now();

    MPI_Bcast(&zero, 1, MPI_INT64_T, 0, s->comm);
    return s->near_zero ? zero
                        : zero + (int64_t)s->clocks[s->rank].offset_ns;
}
