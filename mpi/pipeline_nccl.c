/* SPDX-License-Identifier: Apache-2.0
 *
 * What an op does in a stream with NCCL.
 *
 * A send waits in its stream for its receive, and what a communicator is given
 * runs in the order in which it is given, so that a ring of sends on one
 * communicator, each before its receive, would never end.  So a channel has as
 * few communicators as give every rank one to send on on which nobody sends to
 * it (ranks are coloured, neighbours unlike: two for an even ring): sends and
 * receives then wait in lanes of their own, as the checker assumes.  The tiles
 * of an op, and the slices of a collective, are one group.
 *
 * Tiles that are not one block are packed in a buffer of their lane. */
#include <config.h>

#include "mpi/pipeline_nccl.h"

#include "run/compute.h"
#include "run/reduce.h"

#include <stdlib.h>

static struct nccl_comm *comm_of(const struct pipeline *p, int channel,
                                 int sender)
{
    const struct nccl *x = p->state;
    int at = channel * p->ranks;

    return x->comms[at + x->colour[at + sender]];
}

/* ---- Packing ------------------------------------------------------------ */

/* A tile as one block: where it is, or where the lane packs it. */
static char *block_of(struct pipeline *p, int lane, struct tile t)
{
    struct nccl *x = p->state;
    struct tile_span v = memory_span(&p->own, t);

    if (nccl_is_block(&v))
        return v.base + (size_t)v.runs[0].first * v.row_bytes;
    char *block = x->pack[lane] + x->at;
    x->at += (tile_bytes(p->s, t) + 63) / 64 * 64;
    return block;
}

/* Between a tile and its block, where they differ. */
static void pack(struct pipeline *p, struct tile t, char *block, int in)
{
    struct tile_span v = memory_span(&p->own, t);

    if (nccl_is_block(&v))
        return;
    for (int64_t i = 0; i < v.n_runs; i++) {
        const struct run *r = &v.runs[i];
        char *rows = v.base + (size_t)r->first * v.row_bytes;
        size_t step = (size_t)r->stride * v.row_bytes, n = (size_t)r->count;
        if (in)
            p->device->copy_rows(block, v.block_bytes, rows, step,
                                 v.block_bytes, n);
        else
            p->device->copy_rows(rows, step, block, v.block_bytes,
                                 v.block_bytes, n);
        block += v.block_bytes * n;
    }
}

/* ---- Messages ----------------------------------------------------------- */

/* One tile to or from a peer. */
struct part {
    struct tile tile;
    int peer, send;
    char *block;
};

static void add_part(struct pipeline *p, struct part *parts, int64_t *n,
                     struct tile t, int channel, int peer, int send)
{
    int lane = send ? LANE_SEND(channel) : LANE_RECV(channel);

    if (!tile_bytes(p->s, t))
        return;
    parts[(*n)++] = (struct part){ t, peer, send, block_of(p, lane, t) };
}

static void move_parts(struct pipeline *p, const struct part *parts, int64_t n,
                       int stream, int channel, int collective)
{
    for (int64_t i = 0; i < n; i++)
        if (parts[i].send)
            pack(p, parts[i].tile, parts[i].block, 1);
    nccl_group_start();
    for (int64_t i = 0; i < n; i++) {
        const struct part *x = &parts[i];
        size_t bytes = tile_bytes(p->s, x->tile);
        int sender = collective ? 0 : x->send ? p->rank : x->peer;
        if (x->send) {
            nccl_send(comm_of(p, channel, sender), stream, x->block, bytes,
                      x->peer);
            p->payload += (int64_t)bytes;
        } else {
            nccl_recv(comm_of(p, channel, sender), stream, x->block, bytes,
                      x->peer);
        }
    }
    nccl_group_end();
    for (int64_t i = 0; i < n; i++)
        if (!parts[i].send)
            pack(p, parts[i].tile, parts[i].block, 0);
}

static void nccl_message(struct pipeline *p, int32_t i, int stream)
{
    struct nccl *x = p->state;
    const struct op *op = &p->s->ops[i];
    int64_t n, parts_n = 0;
    const struct operand *o = pool_operands_get(p->s->pool, op->operands, &n);
    struct part *parts = xmalloc((size_t)n * sizeof *parts + 1);

    x->at = 0;
    for (int64_t k = 0; k < n; k++)
        add_part(p, parts, &parts_n, o[k].tile, op->channel, op->peer,
                 op->kind == OP_SEND);
    move_parts(p, parts, parts_n, stream, op->channel, 0);
    free(parts);
}

/* ---- Collectives -------------------------------------------------------- */

static void gather(struct pipeline *p, const struct collective_shape *c,
                   int stream, int channel)
{
    for (int64_t t = 0; t < c->tiles; t++) {
        struct tile own = c->send[t].tile;
        size_t bytes = tile_bytes(p->s, own);
        nccl_all_gather(comm_of(p, channel, 0), stream,
                        block_of(p, LANE_SEND(channel), own),
                        block_of(p, LANE_RECV(channel), c->recv[t].tile),
                        bytes);
        p->payload += (int64_t)bytes * (c->members - 1);
    }
}

static void exchange(struct pipeline *p, const struct op *op,
                     const struct collective_shape *c, int stream)
{
    int64_t n = 0;
    struct nccl *x = p->state;
    struct part *parts = xmalloc((size_t)(2 * c->members * c->tiles)
                                 * sizeof *parts + 1);

    for (int send = 0; send < 2; send++) {
        x->at = 0;
        for (int64_t k = 1; k < c->members; k++) {
            int64_t who = (c->me + (send ? k : c->members - k)) % c->members;
            const struct operand *o = send ? c->send : c->recv;
            if (!send || op->collective != ALL_GATHER)
                o += who * c->tiles;
            for (int64_t t = 0; t < c->tiles; t++)
                add_part(p, parts, &n, o[t].tile, op->channel, c->ranks[who],
                         send);
        }
    }
    move_parts(p, parts, n, stream, op->channel, 1);
    free(parts);
}

/* The records of all members, and then as all of them do. */
static void reduce(struct pipeline *p, const struct op *op,
                   const struct collective_shape *c, int stream)
{
    struct nccl *x = p->state;
    struct records r = reduce_records(p->s, op, &p->own);
    size_t bytes = (size_t)(r.n * r.width) * sizeof(float);
    size_t most = x->most[op->channel];
    char *all = x->records[op->channel];
    struct nccl_comm *comm = comm_of(p, op->channel, 0);

    p->device->copy_rows(all + (size_t)c->me * most, bytes, r.data, bytes,
                         bytes, 1);
    nccl_group_start();
    for (int64_t k = 1; k < c->members && bytes; k++) {
        int64_t to = (c->me + k) % c->members;
        int64_t from = (c->me + c->members - k) % c->members;
        nccl_send(comm, stream, r.data, bytes, c->ranks[to]);
        nccl_recv(comm, stream, all + (size_t)from * most, bytes,
                  c->ranks[from]);
    }
    nccl_group_end();
    pipeline_reduce(p, op, c, stream, all, most);
}

static void nccl_collective(struct pipeline *p, int32_t i, int stream)
{
    const struct op *op = &p->s->ops[i];
    struct collective_shape c = op_collective(p->s, op);

    if (collective_reduces(op->collective)) {
        reduce_pack(p->s, op, &p->own);
        reduce(p, op, &c, stream);
    } else if (((struct nccl *)p->state)->gathers[i]) {
        gather(p, &c, stream, op->channel);
    } else {
        exchange(p, op, &c, stream);
    }
    collective_finish(p->s, op, &p->own, p->o->kernel);
}

/* ---- Errors ------------------------------------------------------------- */

enum { POLL_NS = 10000000 };

static void nccl_poll(struct pipeline *p)
{
    struct nccl *x = p->state;
    int64_t now = clock_now();
    const char *why = NULL;
    int n = CHANNELS * p->ranks;

    if (now - x->polled < POLL_NS)
        return;
    x->polled = now;
    for (int k = 0; k < n && !why; k++)
        why = x->comms[k] ? nccl_failed(x->comms[k]) : NULL;
    for (int k = 0; k < n && why; k++)
        nccl_abort(x->comms[k]);
    if (why)
        die("rank %d: NCCL: %s", p->rank, why);
}

const struct mover mover_nccl = {
    .name = "nccl", .send = nccl_message, .recv = nccl_message,
    .collective = nccl_collective, .open = nccl_prepare,
    .close = nccl_release, .poll = nccl_poll,
};
