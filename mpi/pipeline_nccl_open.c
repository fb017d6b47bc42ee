/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first repetition with NCCL: colours, communicators, packing. */
#include <config.h>

#include "mpi/pipeline_nccl.h"

#include "run/reduce.h"

#include <stdlib.h>
#include <string.h>

/* ---- Gathers ------------------------------------------------------------ */

/* Every rank, in order? */
static int is_world(const struct pipeline *p, const struct collective_shape *c)
{
    for (int64_t i = 0; i < c->members; i++)
        if (c->ranks[i] != i)
            return 0;
    return c->members == p->ranks;
}

/* Are all members' tiles number t equal blocks, one behind the other? */
static int is_gather(const struct pipeline *p,
                     const struct collective_shape *c, int64_t t)
{
    size_t bytes = tile_bytes(p->s, c->send[t].tile);
    const char *first = NULL;
    struct tile_span own = memory_span(&p->own, c->send[t].tile);

    for (int64_t i = 0; i < c->members; i++) {
        struct tile tile = c->recv[i * c->tiles + t].tile;
        struct tile_span v = memory_span(&p->own, tile);
        if (tile_bytes(p->s, tile) != bytes || !bytes || !nccl_is_block(&v))
            return 0;
        const char *at = v.base + (size_t)v.runs[0].first * v.row_bytes;
        first = i ? first : at;
        if (at != first + (size_t)i * bytes)
            return 0;
    }
    return nccl_is_block(&own);
}

static int may_gather(const struct pipeline *p, const struct op *op)
{
    struct collective_shape c = op_collective(p->s, op);
    int all = op->collective == ALL_GATHER && is_world(p, &c);

    for (int64_t t = 0; t < c.tiles && all; t++)
        all = is_gather(p, &c, t);
    return all;
}

/* Which collectives are gathers on every rank: those of all ranks come in one
 * order on a channel. */
static void agree_gathers(const struct pipeline *p, struct nccl *x)
{
    int64_t n = p->s->n_ops;
    int *flags = xcalloc((size_t)n + 1, sizeof *flags);

    x->gathers = xcalloc((size_t)n + 1, 1);
    for (int c = 1; c < CHANNELS; c++) {
        int count = 0;
        for (int write = 0; write < 2; write++) {
            count = 0;
            for (int64_t i = 0; i < n; i++) {
                const struct op *op = &p->s->ops[i];
                if (op->kind != OP_COLLECTIVE || op->channel != c
                    || op->collective != ALL_GATHER)
                    continue;
                struct collective_shape s = op_collective(p->s, op);
                if (!is_world(p, &s))
                    continue;
                if (write)
                    x->gathers[i] = (uint8_t)flags[count++];
                else
                    flags[count++] = may_gather(p, op);
            }
            if (!write)
                MPI_Allreduce(MPI_IN_PLACE, flags, count, MPI_INT, MPI_MIN,
                              p->comm);
        }
    }
    free(flags);
}

/* ---- Set-up ------------------------------------------------------------- */

/* Who sends to whom, [ranks][CHANNELS][ranks + 1]; last: uses the channel. */
static char *find_senders(const struct pipeline *p)
{
    size_t row = (size_t)(p->ranks + 1), each = CHANNELS * row;
    char *all = xcalloc((size_t)p->ranks * each, 1);
    char *mine = all + (size_t)p->rank * each;

    for (int64_t i = 0; i < p->s->n_ops; i++) {
        const struct op *op = &p->s->ops[i];
        if (!op->channel)
            continue;
        mine[(size_t)op->channel * row + (size_t)p->ranks] = 1;
        if (op->kind == OP_SEND)
            mine[(size_t)op->channel * row + (size_t)op->peer] = 1;
    }
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, all, (int)each, MPI_CHAR,
                  p->comm);
    return all;
}

/* The least colour that no neighbour has, rank after rank. */
static void colour_channel(const struct pipeline *p, struct nccl *x, int c,
                           const char *all)
{
    size_t n = (size_t)p->ranks, row = n + 1, each = CHANNELS * row;
    int *colour = x->colour + c * p->ranks;

    for (size_t r = 0; r < n; r++) {
        int taken = 1;
        if (all[r * each + (size_t)c * row + n] && !x->colours[c])
            x->colours[c] = 1;
        for (colour[r] = -1; taken;) {
            taken = 0;
            colour[r]++;
            for (size_t b = 0; b < r; b++)
                taken |= colour[b] == colour[r]
                    && (all[r * each + (size_t)c * row + b]
                        || all[b * each + (size_t)c * row + r]);
        }
        if (x->colours[c] && colour[r] >= x->colours[c])
            x->colours[c] = colour[r] + 1;
    }
}

/* Communicators of all ranks, which live as long as the process: to open one
 * takes longer than many a repetition, and pipelines come one after another. */
static struct {
    struct nccl_comm **comms;
    int64_t n, cap;
} pool;

/* The first message between two ranks, and the first gather, wait on the host
 * for the other side: all at once here, where nobody is busy elsewhere. */
static int connect_all(const struct pipeline *p, struct nccl_comm *comm,
                       struct error *e)
{
    size_t n = (size_t)p->ranks;
    char *room = p->device->alloc(3 * n, e);

    if (pipeline_agree(p, !room, e)) {
        if (room)
            p->device->free(room);
        return -1;
    }
    nccl_group_start();
    for (int r = 0; r < p->ranks; r++)
        if (r != p->rank) {
            nccl_send(comm, 0, room + r, 1, r);
            nccl_recv(comm, 0, room + n + (size_t)r, 1, r);
        }
    nccl_group_end();
    nccl_all_gather(comm, 0, room, room + 2 * n, 1);
    p->device->sync();
    p->device->free(room);
    return 0;
}

static int open_comm(struct pipeline *p, struct error *e)
{
    struct nccl_id id = { { 0 } };
    int failed = p->rank == 0 && nccl_make_id(&id, e);

    if (pipeline_agree(p, failed, e))
        return -1;
    MPI_Bcast(&id, sizeof id, MPI_BYTE, 0, p->comm);
    struct nccl_comm *comm = nccl_open(&id, p->ranks, p->rank, e);
    if (pipeline_agree(p, !comm, e) || connect_all(p, comm, e)) {
        nccl_close(comm);
        return -1;
    }
    ARRAY_PUSH(pool.comms, pool.n, pool.cap, comm);
    return 0;
}

/* For every channel and colour one. */
static int open_comms(struct pipeline *p, struct nccl *x, struct error *e)
{
    int64_t used = 0;

    for (int c = 0; c < CHANNELS; c++)
        for (int k = 0; k < x->colours[c]; k++) {
            if (used == pool.n && open_comm(p, e))
                return -1;
            x->comms[c * p->ranks + k] = pool.comms[used++];
        }
    return 0;
}

static size_t packed_bytes(const struct pipeline *p, const struct operand *o,
                           int64_t n)
{
    size_t bytes = 0;

    for (int64_t k = 0; k < n; k++)
        bytes += (tile_bytes(p->s, o[k].tile) + 63) / 64 * 64;
    return bytes;
}

static void need_pack(struct nccl *x, int lane, size_t bytes)
{
    if (bytes > x->pack_bytes[lane])
        x->pack_bytes[lane] = bytes;
}

/* What an op may have to pack, and the records that it gathers. */
static void need_op(const struct pipeline *p, struct nccl *x,
                    const struct op *op)
{
    int64_t n;
    const struct operand *o = pool_operands_get(p->s->pool, op->operands, &n);
    int c = op->channel, lane[2];

    op_lanes(op, lane);
    if (op->kind == OP_SEND || op->kind == OP_RECV) {
        need_pack(x, lane[0], packed_bytes(p, o, n));
    } else if (op->kind == OP_COLLECTIVE
               && collective_reduces(op->collective)) {
        size_t bytes = tile_bytes(p->s, op_collective(p->s, op).staging->tile);
        x->most[c] = bytes > x->most[c] ? bytes : x->most[c];
    } else if (op->kind == OP_COLLECTIVE) {
        struct collective_shape s = op_collective(p->s, op);
        int64_t each = op->collective == ALL_GATHER ? 1 : s.members;
        size_t sent = packed_bytes(p, s.send, each * s.tiles);
        if (op->collective == ALL_GATHER)       /* once for each member */
            sent *= (size_t)s.members;
        need_pack(x, lane[0], sent);
        need_pack(x, lane[1], packed_bytes(p, s.recv, s.members * s.tiles));
    }
}

static int make_room(struct pipeline *p, struct nccl *x, struct error *e)
{
    for (int64_t i = 0; i < p->s->n_ops; i++)
        need_op(p, x, &p->s->ops[i]);
    for (int l = 0; l < LANES; l++)
        if (x->pack_bytes[l]
            && !(x->pack[l] = p->device->alloc(x->pack_bytes[l], e)))
            return -1;
    for (int c = 0; c < CHANNELS; c++)
        if (x->most[c] && !(x->records[c] = p->device->alloc(
                                x->most[c] * (size_t)p->ranks, e)))
            return -1;
    return 0;
}

/* NCCL wants every rank to have a device of its own. */
static int check_devices(const struct pipeline *p, struct error *e)
{
    struct device_facts facts = { .name = "" };
    char (*ids)[sizeof facts.id] = xcalloc((size_t)p->ranks, sizeof *ids);

    int failed = p->device->facts(cuda_device_opened(), &facts, e);
    failed = pipeline_agree(p, failed, e);
    memcpy(ids[p->rank], facts.id, sizeof *ids);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, ids, sizeof *ids,
                  MPI_CHAR, p->comm);
    for (int a = 0; a < p->ranks && !failed; a++)
        for (int b = 0; b < a && !failed; b++)
            if (strcmp(ids[a], ids[b]) == 0)
                failed = fail(e, "ranks %d and %d share a device, nccl is for "
                              "ranks with one each", b, a);
    free(ids);
    return failed;
}

int nccl_prepare(struct pipeline *p, struct plan *plan, struct error *e)
{
    size_t n = (size_t)(CHANNELS * p->ranks);
    struct nccl *x = p->state = xcalloc(1, sizeof *x);

    (void)plan;
    if (check_devices(p, e))
        return -1;
    char *all = find_senders(p);
    x->colour = xcalloc(n, sizeof *x->colour);
    x->comms = xcalloc(n, sizeof *x->comms);
    for (int c = 0; c < CHANNELS; c++)
        colour_channel(p, x, c, all);
    free(all);
    agree_gathers(p, x);
    return pipeline_agree(p, make_room(p, x, e), e) || open_comms(p, x, e)
        ? -1 : 0;
}

void nccl_release(struct pipeline *p)
{
    struct nccl *x = p->state;

    if (!x)
        return;
    for (int l = 0; l < LANES; l++)
        if (x->pack[l])
            p->device->free(x->pack[l]);
    for (int c = 0; c < CHANNELS; c++)
        if (x->records[c])
            p->device->free(x->records[c]);
    free(x->comms);
    free(x->colour);
    free(x->gathers);
    free(x);
}
