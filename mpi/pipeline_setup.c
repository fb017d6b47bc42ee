/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first repetition: schedules and memories of the peers, streams,
 * events. */
#include <config.h>

#include "mpi/pipeline_internal.h"

#include <stdlib.h>

/* ---- Who sends what whereto --------------------------------------------- */

/* The largest staging of a reduction of any rank: alike on all members. */
static uint64_t largest_records(const struct schedule *s)
{
    uint64_t most = 0;

    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind != OP_COLLECTIVE || !collective_reduces(op->collective))
            continue;
        uint64_t bytes = tile_bytes(s, op_collective(s, op).staging->tile);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* The k-th op on the receiving lane of `channel` at `s` that receives from
 * `from`. */
static int32_t nth_recv(const struct schedule *s, int channel, int32_t from,
                        int64_t k)
{
    int64_t seen = 0;

    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind == OP_RECV && op->channel == channel && op->peer == from
            && seen++ == k)
            return (int32_t)i;
    }
    die("rank %d: no message %lld from rank %d", (int)s->rank, (long long)k,
        (int)from);
}

static void match_sends(struct pipeline *p)
{
    int64_t *count = xcalloc((size_t)(CHANNELS * p->ranks), sizeof *count);

    p->match = xmalloc((size_t)p->s->n_ops * sizeof *p->match);
    for (int64_t i = 0; i < p->s->n_ops; i++) {
        const struct op *op = &p->s->ops[i];
        p->match[i] = -1;
        if (op->kind != OP_SEND)
            continue;
        int64_t *k = &count[op->channel * p->ranks + op->peer];
        p->match[i] = nth_recv(p->peers[op->peer].memory.schedule, op->channel,
                               p->rank, (*k)++);
    }
    free(count);
}

/* Lanes that are used get streams, the compute lane the first. */
static void deal_streams(struct pipeline *p)
{
    int used[LANES] = { [LANE_COMPUTE] = 1 }, next = 0, lane[2];

    for (int64_t i = 0; i < p->s->n_ops; i++) {
        op_lanes(&p->s->ops[i], lane);
        for (int k = 0; k < 2; k++)
            if (lane[k] >= 0)
                used[lane[k]] = 1;
    }
    for (int l = 0; l < LANES; l++)
        p->stream[l] = used[l] ? next++ % DEVICE_STREAMS : -1;
}

/* ---- Memory of all ranks ------------------------------------------------- */

/* The failure of the lowest rank that failed, on every rank. */
static int agree_failed(const struct pipeline *p, int failed, struct error *e)
{
    int first = failed ? p->rank : p->ranks;

    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, p->comm);
    if (first == p->ranks)
        return 0;
    MPI_Bcast(e, sizeof *e, MPI_BYTE, first, p->comm);
    return -1;
}

static int import(const struct pipeline *p, const struct cuda_handle *h,
                  int rank, void **base, struct error *e)
{
    struct error why = { 0 };

    if (!cuda_import(h, base, &why))
        return 0;
    return fail(e, "rank %d cannot map the memory of rank %d (%s): ipc is for "
                "ranks of one host that see each other's devices (Slurm: "
                "--gpu-bind=none)", p->rank, rank, why.text);
}

/* One allocation of this rank (NULL: it failed, *e says why), mapped by all. */
static int share(const struct pipeline *p, void *mine, void **all,
                 struct error *e)
{
    struct cuda_handle own = { { 0 } };
    struct cuda_handle *handles = xcalloc((size_t)p->ranks, sizeof *handles);
    int failed = !mine || cuda_export(mine, &own, e);

    all[p->rank] = mine;
    failed = agree_failed(p, failed, e);
    if (!failed) {
        MPI_Allgather(&own, sizeof own, MPI_BYTE, handles, sizeof own,
                      MPI_BYTE, p->comm);
        for (int r = 0; r < p->ranks && !failed; r++)
            if (r != p->rank)
                failed = import(p, &handles[r], r, &all[r], e);
        failed = agree_failed(p, failed, e);
    }
    free(handles);
    return failed;
}

static int map_peers(struct pipeline *p, struct error *e)
{
    size_t n = (size_t)p->ranks, words = CHANNELS * n * sizeof(struct flags);
    void *flags = p->device->alloc(words, e), *records = NULL;
    void **bases = xcalloc(3 * n, sizeof *bases);

    if (flags) {
        p->device->fill(flags, 0, words);
        p->device->sync();
        records = p->device->alloc(n * p->records + 1, e);
    }
    int failed = share(p, p->m->base, bases, e)
        || share(p, flags, bases + n, e)
        || share(p, records, bases + 2 * n, e);
    for (size_t r = 0; r < n; r++) {
        p->peers[r].memory.base = bases[r];
        p->peers[r].memory.device = p->device;
        p->peers[r].flags = bases[n + r];
        p->peers[r].records = bases[2 * n + r];
    }
    p->peers[p->rank].flags = flags;
    p->peers[p->rank].records = records;
    free(bases);
    return failed;
}

/* ---- All together ------------------------------------------------------- */

struct pipeline *pipeline_create(struct plan *plan, const struct schedule *own,
                                 struct memory *m, MPI_Comm comm,
                                 struct error *e)
{
    struct pipeline *p = xcalloc(1, sizeof *p);

    p->device = m->device;
    p->s = own;
    p->m = m;
    p->comm = comm;
    MPI_Comm_size(comm, &p->ranks);
    MPI_Comm_rank(comm, &p->rank);
    p->peers = xcalloc((size_t)p->ranks, sizeof *p->peers);
    for (int r = 0; r < p->ranks; r++) {
        struct peer *x = &p->peers[r];
        x->schedule = r == p->rank ? NULL : plan_build(plan, r);
        memory_layout(&x->memory, x->schedule ? x->schedule : own);
    }
    p->records = largest_records(own);
    MPI_Allreduce(MPI_IN_PLACE, &p->records, 1, MPI_UINT64_T, MPI_MAX, comm);
    match_sends(p);
    deal_streams(p);
    p->start = xcalloc((size_t)own->n_ops, sizeof *p->start);
    p->end = xcalloc((size_t)own->n_ops, sizeof *p->end);
    for (int64_t i = 0; i < own->n_ops; i++) {
        p->start[i] = cuda_event_create(1);
        p->end[i] = cuda_event_create(1);
    }
    p->zero = cuda_event_create(1);
    p->sent = xcalloc((size_t)(CHANNELS * p->ranks), sizeof *p->sent);
    p->received = xcalloc((size_t)(CHANNELS * p->ranks), sizeof *p->received);
    if (map_peers(p, e)) {
        pipeline_destroy(p);
        return NULL;
    }
    return p;
}

static void unmap(struct pipeline *p, int r)
{
    struct peer *x = &p->peers[r];

    if (r == p->rank) {
        p->device->free(x->flags);
        p->device->free(x->records);
    } else {
        cuda_unimport(x->memory.base);  /* NULL: never mapped */
        cuda_unimport(x->flags);
        cuda_unimport(x->records);
    }
    schedule_destroy(x->schedule);
    free(x->memory.offsets);
}

void pipeline_destroy(struct pipeline *p)
{
    if (!p)
        return;
    p->device->sync();
    MPI_Barrier(p->comm);
    for (int r = 0; r < p->ranks; r++)
        if (r != p->rank)
            unmap(p, r);
    MPI_Barrier(p->comm);       /* nobody frees what is mapped */
    unmap(p, p->rank);
    for (int64_t i = 0; i < p->s->n_ops; i++) {
        cuda_event_destroy(p->start[i]);
        cuda_event_destroy(p->end[i]);
    }
    cuda_event_destroy(p->zero);
    free(p->start);
    free(p->end);
    free(p->match);
    free(p->sent);
    free(p->received);
    free(p->peers);
    free(p);
}
