/* SPDX-License-Identifier: Apache-2.0
 *
 * What an op does in a stream where the peers' memory is mapped. */
#include <config.h>

#include "mpi/pipeline_ipc.h"

#include "run/compute.h"
#include "run/reduce.h"

/* ---- Copies ------------------------------------------------------------- */

/* My tile into one of a peer, in the current stream. */
static void push(struct pipeline *p, struct tile from, int peer,
                 struct tile to)
{
    struct ipc *x = p->state;

    tile_move(&x->peers[peer].memory, to, &p->own, from);
    p->payload += (int64_t)tile_bytes(p->s, from);
}

/* ---- Flags -------------------------------------------------------------- */

static struct flags *flags_at(struct pipeline *p, int owner, int channel,
                              int from)
{
    struct ipc *x = p->state;

    return &x->peers[owner].flags[channel * p->ranks + from];
}

/* Tell `peer` that my tiles may be written; wait until it may write. */
static void say_ready(struct pipeline *p, int32_t i, int stream, int peer)
{
    struct ipc *x = p->state;
    int channel = p->s->ops[i].channel;
    uint32_t n = ++x->received[channel * p->ranks + peer];

    if (!x->peers[p->rank].fresh[i])
        cuda_flag_write(stream, &flags_at(p, peer, channel, p->rank)->ready, n);
}

/* there: the peer's op. */
static void wait_ready(struct pipeline *p, int32_t i, int stream, int peer,
                       int32_t there)
{
    struct ipc *x = p->state;
    int channel = p->s->ops[i].channel;
    uint32_t n = ++x->sent[channel * p->ranks + peer];

    if (!x->peers[peer].fresh[there])
        cuda_flag_wait(stream, &flags_at(p, p->rank, channel, peer)->ready, n);
}

static void say_arrived(struct pipeline *p, int stream, int channel, int peer)
{
    struct ipc *x = p->state;

    cuda_flag_write(stream, &flags_at(p, peer, channel, p->rank)->arrived,
                    x->sent[channel * p->ranks + peer]);
}

static void wait_arrived(struct pipeline *p, int stream, int channel, int peer)
{
    struct ipc *x = p->state;

    cuda_flag_wait(stream, &flags_at(p, p->rank, channel, peer)->arrived,
                   x->received[channel * p->ranks + peer]);
}

/* What follows on a message waits for its flag itself. */
static void ipc_follow(struct pipeline *p, int32_t i, int stream)
{
    const struct ipc *x = p->state;
    const struct op *op = &p->s->ops[i];

    cuda_flag_wait(stream,
                   &flags_at(p, p->rank, op->channel, op->peer)->arrived,
                   x->number[i]);
}

/* ---- Ops ---------------------------------------------------------------- */

static void ipc_send(struct pipeline *p, int32_t i, int stream)
{
    const struct ipc *x = p->state;
    const struct op *op = &p->s->ops[i];
    const struct schedule *there = x->peers[op->peer].memory.schedule;
    int64_t n;
    const struct operand *from = pool_operands_get(p->s->pool, op->operands,
                                                   &n);
    const struct operand *to = pool_operands_get(
        there->pool, there->ops[x->match[i]].operands, &n);

    wait_ready(p, i, stream, op->peer, x->match[i]);
    for (int64_t k = 0; k < n; k++)
        push(p, from[k].tile, op->peer, to[k].tile);
    say_arrived(p, stream, op->channel, op->peer);
}

static void ipc_recv(struct pipeline *p, int32_t i, int stream)
{
    struct ipc *x = p->state;
    const struct op *op = &p->s->ops[i];

    say_ready(p, i, p->by_flag[i] ? p->ready_stream : stream, op->peer);
    x->number[i] = x->received[op->channel * p->ranks + op->peer];
    /* Its followers wait themselves; who asks when it is over, here. */
    if (!p->by_flag[i] || p->end[i] || p->o->record)
        wait_arrived(p, stream, op->channel, op->peer);
}

/* Every other member in turn, starting behind me. */
#define FOR_OTHERS(c, who)                                                    \
    for (int64_t k_ = 1, who; k_ < (c).members                                \
         && (who = ((c).me + k_) % (c).members, 1); k_++)

/* My slices into the others' tiles. */
static void push_slices(struct pipeline *p, int32_t i,
                        const struct collective_shape *c, int64_t who)
{
    const struct ipc *x = p->state;
    const struct op *op = &p->s->ops[i];
    int peer = c->ranks[who];
    const struct schedule *there = x->peers[peer].memory.schedule;
    struct collective_shape t = op_collective(
        there, &there->ops[x->peers[peer].same[i]]);
    const struct operand *from = c->send;

    if (op->collective != ALL_GATHER)
        from += who * c->tiles;
    for (int64_t k = 0; k < c->tiles; k++)
        push(p, from[k].tile, peer, t.recv[c->me * t.tiles + k].tile);
}

static char *records_of(const struct pipeline *p, int channel, int owner,
                        int64_t member)
{
    const struct ipc *x = p->state;

    return x->peers[owner].records + x->first[channel]
        + (size_t)member * x->most[channel];
}

/* My records into my place at a member. */
static void push_records(struct pipeline *p, int32_t i,
                         const struct collective_shape *c, int64_t who)
{
    const struct op *op = &p->s->ops[i];
    struct records r = reduce_records(p->s, op, &p->own);
    size_t bytes = (size_t)(r.n * r.width) * sizeof(float);

    p->device->copy_rows(records_of(p, op->channel, c->ranks[who], c->me),
                         bytes, r.data, bytes, bytes, 1);
}

/* All members' records are in mine. */
static void reduce(struct pipeline *p, int32_t i, int stream,
                   const struct collective_shape *c)
{
    const struct op *op = &p->s->ops[i];
    const struct ipc *x = p->state;

    push_records(p, i, c, c->me);
    pipeline_reduce(p, op, c, stream, records_of(p, op->channel, p->rank, 0),
                    x->most[op->channel]);
}

static void ipc_collective(struct pipeline *p, int32_t i, int stream)
{
    const struct ipc *x = p->state;
    const struct op *op = &p->s->ops[i];
    struct collective_shape c = op_collective(p->s, op);
    int reduces = collective_reduces(op->collective);

    if (reduces)
        reduce_pack(p->s, op, &p->own);
    FOR_OTHERS(c, who)
        say_ready(p, i, stream, c.ranks[who]);
    FOR_OTHERS(c, who) {
        int peer = c.ranks[who];
        wait_ready(p, i, stream, peer, x->peers[peer].same[i]);
        if (reduces)
            push_records(p, i, &c, who);
        else
            push_slices(p, i, &c, who);
        say_arrived(p, stream, op->channel, peer);
    }
    FOR_OTHERS(c, who)
        wait_arrived(p, stream, op->channel, c.ranks[who]);
    if (reduces)
        reduce(p, i, stream, &c);
    collective_finish(p->s, op, &p->own, p->o->kernel);
}

const struct mover mover_ipc = {
    .name = "ipc", .send = ipc_send, .recv = ipc_recv,
    .collective = ipc_collective, .follow = ipc_follow, .open = ipc_open,
    .close = ipc_close,
};

const struct mover mover_ipc_staged = {
    .name = "ipc+staged", .near_only = 1, .send = ipc_send, .recv = ipc_recv,
    .collective = ipc_collective, .follow = ipc_follow, .open = ipc_open,
    .close = ipc_close,
};
