/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages and collectives: when they start, and how long they take: by
 * themselves, or on a device through its port. */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <stdlib.h>

/* ---- Rows apart --------------------------------------------------------- */

static int tiles_apart(const struct schedule *s, const struct operand *o,
                       int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (tile_block(s, o[i].tile) < (int64_t)tile_bytes(s, o[i].tile))
            return 1;
    return 0;
}

static int op_apart(const struct rank *r, int32_t op)
{
    const struct schedule *s = r->shape->s;
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, s->ops[op].operands,
                                                &n);

    return tiles_apart(s, o, n);
}

/* Bytes that do not go in one piece: what is apart at one end is packed or
 * unpacked, and copied twice, so that both take longer. */
static int64_t message_apart(const struct simulation *sim,
                             const struct start *s, int64_t bytes)
{
    return sim->m->link.apart_per_byte > 0
        && (op_apart(s->r, s->op) || op_apart(s->peer, s->recv)) ? bytes : 0;
}

/* Of what a member sends and receives, as if the other end were like its own;
 * reductions go by records. */
static int64_t member_apart(const struct simulation *sim,
                            const struct collective_op *x, int64_t bytes)
{
    const struct collective_shape *c = &x->c;
    int64_t slices = x->op.collective == ALL_GATHER ? 1 : c->members;

    return sim->m->link.apart_per_byte > 0
        && !collective_reduces(x->op.collective)
        && (tiles_apart(&x->s, c->send, slices * c->tiles)
            || tiles_apart(&x->s, c->recv, c->members * c->tiles))
        ? bytes : 0;
}

/* ---- The host's part ---------------------------------------------------- */

/* The host's part of `messages` MPI messages, one a tile: it lengthens the op
 * that the core runs, or keeps an idle core busy.  Returns until when; 0 if it
 * computes. */
static double charge(const struct simulation *sim, struct rank *r,
                     int64_t messages, int64_t bytes, int64_t apart)
{
    struct engine *g = sim_engine(sim, r, LANE_COMPUTE);

    if (!sim->o.network->host || !sim->m->shared_core)
        return 0;
    double cost = (double)messages * sim->m->link.overhead
        + (double)bytes * sim->m->link.host_per_byte
        + (double)apart * sim->m->link.apart_per_byte;
    if (g->op >= 0) {
        g->end += cost;
        return 0;
    }
    g->host_until = fmax(g->host_until, sim->now) + cost;
    return g->host_until;
}

/* ---- Messages and collectives ------------------------------------------- */

static void comm_start(struct simulation *sim, struct rank *r, int32_t op)
{
    const struct step *st = sim_step(r, op);

    for (int j = 0; j < 2 && st->lane[j] >= 0; j++)
        r->heads[st->lane[j]].state = HEAD_RUNNING;
    sim_account(sim, r, 1, 0);
    sim_note(sim, r, op, TIME_START);
}

/* One message from rank r to rank p. */
static void message_start(struct simulation *sim, struct rank *r, int32_t send,
                          struct rank *p, int32_t recv)
{
    struct start s = { r, p, send, recv, 0 };

    comm_start(sim, r, send);
    comm_start(sim, p, recv);
    ARRAY_PUSH(sim->starts, sim->n_starts, sim->starts_cap, s);
}

static void message_go(struct simulation *sim, const struct start *s)
{
    const struct message *msg = &sim->messages[sim_step(s->r, s->op)->cost];
    double seconds = msg->seconds;

    if (sim->flows) {
        flow_message(sim, s);
        return;
    }
    if (sim->m->devices && sim->o.network->host) {
        port_add(sim, s->r->place, message_flow(sim, s->r, s->op, s->peer,
                                                s->recv));
        return;
    }
    if (seconds < 0)
        seconds = network_seconds(sim, s->r->place,
                                  sim_place_of(sim, sim_side(s->r, s->op)),
                                  msg->bytes);
    sim_push(sim, fmax(s->until, sim->now + seconds), EVENT_MESSAGE, s->r,
             s->op);
}

/* Is what r sends to its side what p's op receives?  Of those that r and p
 * stand for, too: they are as far apart. */
static int is_match(const struct simulation *sim, const struct rank *r,
                    int32_t side, const struct rank *p, int32_t op)
{
    int32_t there = side - (int32_t)(r - sim->rank);
    int32_t back = (int32_t)(p - sim->rank) - sim_side(p, op);

    return there == back || there == back + sim->ranks
        || back == there + sim->ranks;
}

void message_try(struct simulation *sim, struct rank *r, int32_t op)
{
    const struct step *st = sim_step(r, op);
    int sends = st->kind == OP_SEND;
    int other = sends ? LANE_RECV(st->channel) : LANE_SEND(st->channel);
    int32_t peer = r->sides[st->side];

    if (peer < 0 || peer >= sim->ranks)
        return;
    struct rank *p = sim_rank(sim, peer);
    struct head *h = &p->heads[other];
    if (h->state != HEAD_READY || sim_step(p, h->op)->kind == OP_COLLECTIVE
        || !is_match(sim, r, peer, p, h->op))
        return;
    if (sends)
        message_start(sim, r, op, p, h->op);
    else
        message_start(sim, p, h->op, r, op);
}

struct rank *collective_member(const struct simulation *sim,
                               const struct collective_op *x, int64_t i,
                               int32_t *op)
{
    if (x->c.ranks[i] >= sim->period)
        return NULL;
    struct rank *r = &sim->rank[x->c.ranks[i]];
    *op = r->heads[LANE_SEND(x->op.channel)].op;
    return r;
}

/* Messages of a member, sent and received, one a tile. */
static int64_t collective_messages(const struct collective_shape *c,
                                   enum collective what)
{
    int64_t rounds = 0;

    if (!collective_reduces(what))
        return 2 * (c->members - 1) * c->tiles;
    for (int64_t reach = 1; reach < c->members; reach *= 2)
        rounds++;
    return (what == EXCLUSIVE_SCAN ? 2 : 4) * rounds;
}

static int32_t *gathered(const struct simulation *sim,
                         const struct collective_op *x)
{
    return &sim->gathered[x->op.peer * CHANNELS + x->op.channel];
}

/* The host's part of a member's. */
static double member_charge(struct simulation *sim,
                            const struct collective_op *x)
{
    struct work w = op_work(&x->s, &x->op);
    int64_t bytes = w.sent_bytes + w.received_bytes;

    return charge(sim, &sim->rank[x->s.rank],
                  collective_messages(&x->c, x->op.collective), bytes,
                  member_apart(sim, x, bytes));
}

/* Members that are simulated. */
static int32_t members_here(const struct simulation *sim,
                            const struct collective_op *x)
{
    int32_t n = 0;

    if (sim->period == sim->ranks)
        return (int32_t)x->c.members;
    for (int64_t i = 0; i < x->c.members; i++)
        n += x->c.ranks[i] < sim->period;
    return n;
}

void collective_try(struct simulation *sim, struct rank *r, int32_t op)
{
    struct start s = { r, NULL, op, -1, 0 };
    struct collective_op x;
    struct rank *p;
    int32_t own;

    sim_collective(sim, r, op, &x);
    if (++*gathered(sim, &x) < members_here(sim, &x))
        return;
    *gathered(sim, &x) = 0;
    for (int64_t i = 0; i < x.c.members; i++)
        if ((p = collective_member(sim, &x, i, &own)))
            comm_start(sim, p, own);
    ARRAY_PUSH(sim->starts, sim->n_starts, sim->starts_cap, s);
}

/* Every member's slices on their way; the last one that is through ends it. */
static void members_push(struct simulation *sim,
                         const struct collective_op *all, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const struct collective_op *x = &all[i];
        if (x->c.ranks == NULL)
            continue;
        ++*gathered(sim, x);
        if (sim->flows)
            flow_member(sim, all, i, member_charge(sim, x));
        else
            port_add(sim, sim->rank[x->s.rank].place,
                     collective_flow(sim, all, i));
    }
}

/* All together for so long, while the host's part keeps their cores busy. */
static void members_call(struct simulation *sim, const struct start *s,
                         const struct collective_op *all, int64_t n,
                         double seconds)
{
    double end = sim->now + seconds;

    for (int64_t i = 0; i < n && sim->m->shared_core; i++)
        if (all[i].c.ranks != NULL)
            end = fmax(end, member_charge(sim, &all[i]));
    sim_push(sim, end, EVENT_COLLECTIVE, s->r, s->op);
}

static void members_wait(struct simulation *sim, const struct start *s,
                         const struct collective_op *all, int64_t n)
{
    double end = sim->now;

    for (int64_t i = 0; i < n; i++) {
        if (all[i].c.ranks == NULL)
            continue;
        end = fmax(end, sim->now + member_seconds(sim, &all[i]));
        end = fmax(end, member_charge(sim, &all[i]));
    }
    sim_push(sim, end, EVENT_COLLECTIVE, s->r, s->op);
}

static void collective_go(struct simulation *sim, const struct start *s)
{
    struct collective_op x;
    enum collective_how how;
    int32_t own;

    sim_collective(sim, s->r, s->op, &x);
    int64_t n = x.c.members;
    double whole = collective_seconds(sim, &x, &how);
    sim->collectives[how] += sim->ranks / sim->period * members_here(sim, &x)
        / n;
    struct collective_op *all = xcalloc((size_t)n, sizeof *all);
    for (int64_t i = 0; i < n; i++) {
        struct rank *p = collective_member(sim, &x, i, &own);
        if (p)
            sim_collective(sim, p, own, &all[i]);
    }
    if (whole >= 0)
        members_call(sim, s, all, n, whole);
    else if (sim->flows || (sim->m->devices && sim->o.network->host))
        members_push(sim, all, n);
    else
        members_wait(sim, s, all, n);
    free(all);
}

/* What a channel sends is charged before what it receives, channel by channel:
 * in whichever order ranks got ready. */
static void channel_charge(struct simulation *sim, int channel)
{
    for (int side = 0; side < 2; side++)
        for (int64_t i = 0; i < sim->n_starts; i++) {
            struct start *s = &sim->starts[i];
            const struct step *st = sim_step(s->r, s->op);
            if (st->channel != channel || (side && !s->peer))
                continue;
            if (!s->peer) {
                collective_go(sim, s);
                continue;
            }
            const struct message *msg = &sim->messages[st->cost];
            s->until = fmax(s->until, charge(
                sim, side ? s->peer : s->r, msg->tiles, msg->bytes,
                message_apart(sim, s, msg->bytes)));
            if (side)
                message_go(sim, s);
        }
}

void starts_charge(struct simulation *sim)
{
    uint32_t channels = 0;

    for (int64_t i = 0; i < sim->n_starts; i++)
        channels |= 1u << sim_step(sim->starts[i].r,
                                   sim->starts[i].op)->channel;
    for (; channels; channels &= channels - 1)
        channel_charge(sim, __builtin_ctz(channels));
    sim->n_starts = 0;
}

void member_over(struct simulation *sim, struct rank *r, int32_t op)
{
    struct collective_op x;

    sim_collective(sim, r, op, &x);
    if (--*gathered(sim, &x) == 0)
        sim_push(sim, sim->now, EVENT_COLLECTIVE, r, op);
}

/* What comes first through a port is through. */
void port_event(struct simulation *sim, int64_t place, int32_t version)
{
    struct flow f;

    if (!port_pushed(sim, place, version, &f))
        return;
    struct rank *r = &sim->rank[f.rank];
    double end = sim->now + f.latency;
    if (sim_step(r, f.op)->kind == OP_SEND) {
        sim_push(sim, end, EVENT_MESSAGE, r, f.op);
        return;
    }
    struct collective_op x;
    sim_collective(sim, r, f.op, &x);
    if (--*gathered(sim, &x) == 0)
        sim_push(sim, end, EVENT_COLLECTIVE, r, f.op);
}
