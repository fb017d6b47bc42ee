/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/pipeline_internal.h"

#include "run/compute.h"
#include "run/reduce.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Copies ------------------------------------------------------------- */

/* My tile into one of a peer, in the current stream. */
static void push(struct pipeline *p, struct tile from, int peer,
                 struct tile to)
{
    tile_move(&p->peers[peer].memory, to, p->m, from);
    p->payload += (int64_t)tile_bytes(p->s, from);
}

/* ---- Flags -------------------------------------------------------------- */

static struct flags *flags_at(struct pipeline *p, int owner, int channel,
                              int from)
{
    return &p->peers[owner].flags[channel * p->ranks + from];
}

/* Tell `peer` that my tiles may be written; wait until it may write. */
static void say_ready(struct pipeline *p, int stream, int channel, int peer)
{
    uint32_t n = ++p->received[channel * p->ranks + peer];

    cuda_flag_write(stream, &flags_at(p, peer, channel, p->rank)->ready, n);
}

static void wait_ready(struct pipeline *p, int stream, int channel, int peer)
{
    uint32_t n = ++p->sent[channel * p->ranks + peer];

    cuda_flag_wait(stream, &flags_at(p, p->rank, channel, peer)->ready, n);
}

static void say_arrived(struct pipeline *p, int stream, int channel, int peer)
{
    cuda_flag_write(stream, &flags_at(p, peer, channel, p->rank)->arrived,
                    p->sent[channel * p->ranks + peer]);
}

static void wait_arrived(struct pipeline *p, int stream, int channel, int peer)
{
    cuda_flag_wait(stream, &flags_at(p, p->rank, channel, peer)->arrived,
                   p->received[channel * p->ranks + peer]);
}

/* ---- Ops ---------------------------------------------------------------- */

static void enqueue_send(struct pipeline *p, int32_t i, int stream)
{
    const struct op *op = &p->s->ops[i];
    const struct schedule *there = p->peers[op->peer].memory.schedule;
    int64_t n;
    const struct operand *from = pool_operands_get(p->s->pool, op->operands,
                                                   &n);
    const struct operand *to = pool_operands_get(
        there->pool, there->ops[p->match[i]].operands, &n);

    wait_ready(p, stream, op->channel, op->peer);
    for (int64_t k = 0; k < n; k++)
        push(p, from[k].tile, op->peer, to[k].tile);
    say_arrived(p, stream, op->channel, op->peer);
}

static void enqueue_recv(struct pipeline *p, int32_t i, int stream)
{
    const struct op *op = &p->s->ops[i];

    say_ready(p, stream, op->channel, op->peer);
    wait_arrived(p, stream, op->channel, op->peer);
}

/* The k-th collective of a group on a channel at another member. */
static const struct op *same_collective(const struct pipeline *p, int32_t i,
                                        const struct schedule *other)
{
    const struct op *op = &p->s->ops[i];
    int64_t k = 0;

    for (int32_t j = 0; j < i; j++)
        k += p->s->ops[j].kind == OP_COLLECTIVE
            && p->s->ops[j].channel == op->channel
            && p->s->ops[j].peer == op->peer;
    for (int64_t j = 0; j < other->n_ops; j++) {
        const struct op *x = &other->ops[j];
        if (x->kind == OP_COLLECTIVE && x->channel == op->channel
            && x->peer == op->peer && k-- == 0)
            return x;
    }
    die("rank %d: no partner in a collective", (int)other->rank);
}

/* Every other member in turn, starting behind me. */
#define FOR_OTHERS(c, who)                                                    \
    for (int64_t k_ = 1, who; k_ < (c).members                                \
         && (who = ((c).me + k_) % (c).members, 1); k_++)

/* My slices into the others' tiles. */
static void push_slices(struct pipeline *p, int32_t i,
                        const struct collective_shape *c, int64_t who)
{
    const struct op *op = &p->s->ops[i];
    int peer = c->ranks[who];
    const struct schedule *there = p->peers[peer].memory.schedule;
    struct collective_shape t = op_collective(there,
                                              same_collective(p, i, there));
    const struct operand *from = c->send;

    if (op->collective != ALL_GATHER)
        from += who * c->tiles;
    for (int64_t k = 0; k < c->tiles; k++)
        push(p, from[k].tile, peer, t.recv[c->me * t.tiles + k].tile);
}

static char *records_of(const struct pipeline *p, int owner, int64_t member)
{
    return p->peers[owner].records + (size_t)member * p->records;
}

/* My records into my place at a member. */
static void push_records(struct pipeline *p, int32_t i,
                         const struct collective_shape *c, int64_t who)
{
    struct records r = reduce_records(p->s, &p->s->ops[i], p->m);
    size_t bytes = (size_t)(r.n * r.width) * sizeof(float);

    p->device->copy_rows(records_of(p, c->ranks[who], c->me), bytes, r.data,
                         bytes, bytes, 1);
}

/* All members' records are in mine. */
static void reduce(struct pipeline *p, int32_t i, int stream,
                   const struct collective_shape *c)
{
    static const enum cuda_reduction with[COLLECTIVES] = {
        [ALL_REDUCE_MAX] = CUDA_MAX, [ALL_REDUCE_SUM] = CUDA_SUM,
        [ALL_REDUCE_MERGE] = CUDA_MERGE, [EXCLUSIVE_SCAN] = CUDA_SCAN };
    const struct op *op = &p->s->ops[i];
    struct records r = reduce_records(p->s, op, p->m);

    push_records(p, i, c, c->me);
    cuda_reduce(stream, with[op->collective],
                (const float *)(const void *)records_of(p, p->rank, 0),
                p->records / sizeof(float), (int)c->members, (int)c->me, r.n,
                (int)r.width, r.data);
    p->payload += op_work(p->s, op).sent_bytes;
}

static void enqueue_collective(struct pipeline *p, int32_t i, int stream)
{
    const struct op *op = &p->s->ops[i];
    struct collective_shape c = op_collective(p->s, op);
    int reduces = collective_reduces(op->collective);

    if (reduces)
        reduce_pack(p->s, op, p->m);
    FOR_OTHERS(c, who)
        say_ready(p, stream, op->channel, c.ranks[who]);
    FOR_OTHERS(c, who) {
        wait_ready(p, stream, op->channel, c.ranks[who]);
        if (reduces)
            push_records(p, i, &c, who);
        else
            push_slices(p, i, &c, who);
        say_arrived(p, stream, op->channel, c.ranks[who]);
    }
    FOR_OTHERS(c, who)
        wait_arrived(p, stream, op->channel, c.ranks[who]);
    if (reduces)
        reduce(p, i, stream, &c);
    collective_finish(p->s, op, p->m, p->o->kernel);
}

/* What the op must wait for: dependencies in other streams; a collective holds
 * two lanes. */
static void wait_before(struct pipeline *p, int32_t i, int stream,
                        const int32_t *last)
{
    const struct op *op = &p->s->ops[i];
    int lane[2];

    for (int32_t d = 0; d < op->dep_count; d++)
        cuda_event_wait(p->end[p->s->deps[op->dep_first + d].op], stream);
    op_lanes(op, lane);
    for (int k = 0; k < 2; k++)
        if (lane[k] >= 0 && p->stream[lane[k]] != stream
            && last[lane[k]] >= 0)
            cuda_event_wait(p->end[last[lane[k]]], stream);
}

static void enqueue(struct pipeline *p, int32_t i, int32_t *last)
{
    const struct op *op = &p->s->ops[i];
    int lane[2];

    op_lanes(op, lane);
    int stream = p->stream[lane[0]];
    wait_before(p, i, stream, last);
    p->device->stream(stream);
    if (p->o->record)
        cuda_event_record(p->start[i], stream);
    if (op->kind == OP_SEND)
        enqueue_send(p, i, stream);
    else if (op->kind == OP_RECV)
        enqueue_recv(p, i, stream);
    else if (op->kind == OP_COLLECTIVE)
        enqueue_collective(p, i, stream);
    else
        compute_op(p->s, op, p->m, p->o->kernel, (struct poll){ NULL, NULL });
    cuda_event_record(p->end[i], stream);
    for (int k = 0; k < 2; k++)
        if (lane[k] >= 0)
            last[lane[k]] = i;
    if (lane[1] >= 0)           /* the other lane goes on after it, too */
        cuda_event_wait(p->end[i], p->stream[lane[1]]);
}

/* ---- Waiting ------------------------------------------------------------ */

static void stalled(struct pipeline *p)
{
    fprintf(stderr, "spar: rank %d: nothing completed for %.0f s, waiting for",
            p->rank, p->o->stall_seconds);
    for (int64_t i = 0, shown = 0; i < p->s->n_ops && shown < 8; i++) {
        char name[96];
        if (cuda_event_done(p->end[i]))
            continue;
        op_name(p->s, &p->s->ops[i], name, sizeof name);
        fprintf(stderr, " op %d %s", (int)i, name);
        shown++;
    }
    fprintf(stderr, "\n");
    sleep(2);                   /* the others have their say before the end */
    die("rank %d: stalled", p->rank);
}

static void wait_all(struct pipeline *p)
{
    for (int64_t i = 0; i < p->s->n_ops; i++) {
        int64_t since = clock_now();    /* the ops before were over */
        while (!cuda_event_done(p->end[i])) {
            if (p->o->stall_seconds > 0
                && (double)(clock_now() - since) > p->o->stall_seconds * 1e9)
                stalled(p);
            sched_yield();
        }
    }
}

/* Spans from the device's clock; zero: this moment of the host's. */
static void record(struct pipeline *p, int64_t zero)
{
    for (int32_t i = 0; i < p->s->n_ops; i++) {
        const struct op *op = &p->s->ops[i];
        int lane[2];
        struct span span = {
            .start = zero + (int64_t)(1e9 * cuda_event_seconds(p->zero,
                                                               p->start[i])),
            .end = zero + (int64_t)(1e9 * cuda_event_seconds(p->zero,
                                                             p->end[i])),
            .entry = p->o->entry, .repeat = p->o->repeat, .rank = p->rank,
            .op = i };
        op_lanes(op, lane);
        span.lane = lane[0];
        span.ready = span.start;
        spool_append(p->o->spool, &span, 1);
    }
}

int64_t pipeline_execute(struct pipeline *p, const struct execute_options *o)
{
    int32_t last[LANES];
    int64_t zero = 0;

    memset(last, 0xff, sizeof last);
    p->o = o;
    p->payload = 0;
    if (o->record) {
        cuda_event_record(p->zero, 0);
        while (!cuda_event_done(p->zero))
            ;
        zero = clock_now() - o->t_zero;
    }
    for (int32_t i = 0; i < p->s->n_ops; i++)
        enqueue(p, i, last);
    wait_all(p);
    if (o->record)
        record(p, zero);
    return p->payload;
}
