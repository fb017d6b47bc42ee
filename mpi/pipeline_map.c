/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first repetition of the mover that writes into its peers' memory:
 * schedules and memories of all ranks. */
#include <config.h>

#include "mpi/pipeline_ipc.h"

#include <stdlib.h>

/* ---- Who sends what whereto --------------------------------------------- */

/* Bytes of the largest reduction of each channel. */
static void largest_records(const struct schedule *s, uint64_t *most)
{
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind != OP_COLLECTIVE || !collective_reduces(op->collective))
            continue;
        uint64_t bytes = tile_bytes(s, op_collective(s, op).staging->tile);
        if (bytes > most[op->channel])
            most[op->channel] = bytes;
    }
}

size_t pipeline_needs(const struct schedule *own, int ranks)
{
    uint64_t most[CHANNELS] = { 0 }, each = CHANNELS * sizeof(struct flags);

    largest_records(own, most);
    for (int c = 0; c < CHANNELS; c++)
        each += most[c];
    return (size_t)(each * (uint64_t)ranks);
}

/* Room for the records of all members, by channel: reductions of two channels
 * may be under way at once. Returns its bytes. */
static size_t place_records(const struct pipeline *p, struct ipc *x)
{
    size_t at = 0;

    largest_records(p->s, x->most);
    MPI_Allreduce(MPI_IN_PLACE, x->most, CHANNELS, MPI_UINT64_T, MPI_MAX,
                  p->comm);
    for (int c = 0; c < CHANNELS; c++) {
        x->first[c] = at;
        at += x->most[c] * (size_t)p->ranks;
    }
    return at;
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

static void match_sends(const struct pipeline *p, struct ipc *x)
{
    int64_t *count = xcalloc((size_t)(CHANNELS * p->ranks), sizeof *count);

    x->match = xmalloc((size_t)p->s->n_ops * sizeof *x->match);
    for (int64_t i = 0; i < p->s->n_ops; i++) {
        const struct op *op = &p->s->ops[i];
        x->match[i] = -1;
        if (op->kind != OP_SEND)
            continue;
        int64_t *k = &count[op->channel * p->ranks + op->peer];
        x->match[i] = nth_recv(x->peers[op->peer].memory.schedule, op->channel,
                               p->rank, (*k)++);
    }
    free(count);
}

/* ---- Memory of all ranks ------------------------------------------------- */

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
    failed = pipeline_agree(p, failed, e);
    if (!failed) {
        MPI_Allgather(&own, sizeof own, MPI_BYTE, handles, sizeof own,
                      MPI_BYTE, p->comm);
        for (int r = 0; r < p->ranks && !failed; r++)
            if (r != p->rank)
                failed = import(p, &handles[r], r, &all[r], e);
        failed = pipeline_agree(p, failed, e);
    }
    free(handles);
    return failed;
}

static int map_peers(struct pipeline *p, size_t room, struct error *e)
{
    struct ipc *x = p->state;
    size_t n = (size_t)p->ranks, words = CHANNELS * n * sizeof(struct flags);
    void *flags = p->device->alloc(words, e), *records = NULL;
    void **bases = xcalloc(3 * n, sizeof *bases);

    if (flags) {
        p->device->fill(flags, 0, words);
        p->device->sync();
        records = p->device->alloc(room, e);
    }
    int failed = share(p, p->m->base, bases, e)
        || share(p, flags, bases + n, e)
        || share(p, records, bases + 2 * n, e);
    for (size_t r = 0; r < n; r++) {
        x->peers[r].memory.base = bases[r];
        x->peers[r].memory.device = p->device;
        x->peers[r].flags = bases[n + r];
        x->peers[r].records = bases[2 * n + r];
    }
    x->peers[p->rank].flags = flags;
    x->peers[p->rank].records = records;
    free(bases);
    return failed;
}

/* ---- All together ------------------------------------------------------- */

int ipc_open(struct pipeline *p, struct plan *plan, struct error *e)
{
    struct ipc *x = p->state = xcalloc(1, sizeof *x);
    size_t counters = (size_t)(CHANNELS * p->ranks);

    x->peers = xcalloc((size_t)p->ranks, sizeof *x->peers);
    for (int r = 0; r < p->ranks; r++) {
        struct peer *y = &x->peers[r];
        y->schedule = r == p->rank || !plan ? NULL : plan_build(plan, r);
        memory_layout(&y->memory, y->schedule ? y->schedule : p->s);
    }
    size_t room = place_records(p, x);
    match_sends(p, x);
    x->sent = xcalloc(counters, sizeof *x->sent);
    x->received = xcalloc(counters, sizeof *x->received);
    return map_peers(p, room, e);
}

static void unmap(struct pipeline *p, int r)
{
    struct ipc *x = p->state;
    struct peer *y = &x->peers[r];

    if (r == p->rank) {
        p->device->free(y->flags);
        p->device->free(y->records);
    } else {
        cuda_unimport(y->memory.base);  /* NULL: never mapped */
        cuda_unimport(y->flags);
        cuda_unimport(y->records);
    }
    schedule_destroy(y->schedule);
    free(y->memory.offsets);
}

void ipc_close(struct pipeline *p)
{
    struct ipc *x = p->state;

    if (!x)
        return;
    for (int r = 0; r < p->ranks; r++)
        if (r != p->rank)
            unmap(p, r);
    MPI_Barrier(p->comm);       /* nobody frees what is mapped */
    unmap(p, p->rank);
    free(x->match);
    free(x->sent);
    free(x->received);
    free(x->peers);
    free(x);
}
