/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages and collectives: when they start, and how long they take: by
 * themselves, or on a device through its port. */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <stdlib.h>

/* The host's part of `messages` MPI messages, one a tile: it lengthens the op
 * that the core runs, or keeps an idle core busy.  Returns until when; 0 if it
 * computes. */
static double charge(const struct simulation *sim, struct rank *r, int64_t messages,
                     int64_t bytes)
{
    struct engine *g = sim_engine(sim, r, LANE_COMPUTE);

    if (!sim->o.network->host || !sim->m->shared_core)
        return 0;
    double cost = (double)messages * sim->m->link.overhead
        + (double)bytes * sim->m->link.host_per_byte;
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
    const struct message *msg = &sim->messages[sim_step(r, send)->cost];

    comm_start(sim, r, send);
    comm_start(sim, p, recv);
    if (sim->m->devices && sim->o.network->host && !sim->flows) {
        port_add(sim, r->place, message_flow(sim, r, send, p, recv));
        return;
    }
    double end = charge(sim, r, msg->tiles, msg->bytes);
    end = fmax(end, charge(sim, p, msg->tiles, msg->bytes));
    if (sim->flows) {
        flow_message(sim, r, send, p, recv, end);
        return;
    }
    double seconds = msg->seconds >= 0 ? msg->seconds
        : network_seconds(sim, r->place, p->place, msg->bytes);
    sim_push(sim, fmax(end, sim->now + seconds), EVENT_MESSAGE, r, send);
}

void message_try(struct simulation *sim, struct rank *r, int32_t op)
{
    const struct step *st = sim_step(r, op);
    int sends = st->kind == OP_SEND;
    int other = sends ? LANE_RECV(st->channel) : LANE_SEND(st->channel);
    int32_t peer = r->sides[st->side];

    if (peer < 0 || peer >= sim->ranks)
        return;
    struct rank *p = &sim->rank[peer];
    struct head *h = &p->heads[other];
    if (h->state != HEAD_READY || sim_step(p, h->op)->kind == OP_COLLECTIVE
        || sim_peer(sim, p, h->op) != r)
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

    return charge(sim, &sim->rank[x->s.rank],
                  collective_messages(&x->c, x->op.collective),
                  w.sent_bytes + w.received_bytes);
}

/* All members are ready: every one's slices on their way. */
static void collective_push(struct simulation *sim,
                            const struct collective_op *x)
{
    int64_t n = x->c.members;
    struct collective_op *all = xmalloc((size_t)n * sizeof *all);

    *gathered(sim, x) = (int32_t)n;
    for (int64_t i = 0; i < n; i++) {
        int32_t own;
        struct rank *p = collective_member(sim, x, i, &own);
        comm_start(sim, p, own);
        sim_collective(sim, p, own, &all[i]);
    }
    for (int64_t i = 0; i < n; i++)
        if (sim->flows)
            flow_member(sim, all, i, member_charge(sim, &all[i]));
        else
            port_add(sim, sim->rank[x->c.ranks[i]].place,
                     collective_flow(sim, all, i));
    free(all);
}

/* Until when member p, and its host, are busy with it. */
static double member_start(struct simulation *sim, struct rank *p, int32_t op)
{
    struct collective_op x;

    sim_collective(sim, p, op, &x);
    comm_start(sim, p, op);
    double end = sim->now + member_seconds(sim, &x);
    return fmax(end, member_charge(sim, &x));
}

static void collective_start(struct simulation *sim,
                             const struct collective_op *x)
{
    *gathered(sim, x) = 0;
    for (int64_t i = 0; i < x->c.members; i++) {
        int32_t own;
        struct rank *p = collective_member(sim, x, i, &own);
        comm_start(sim, p, own);
    }
}

void collective_try(struct simulation *sim, struct rank *r, int32_t op)
{
    enum collective_how how;
    struct collective_op x;
    double end = sim->now;

    sim_collective(sim, r, op, &x);
    if (++*gathered(sim, &x) < x.c.members)
        return;
    double whole = collective_seconds(sim, &x, &how);
    sim->collectives[how]++;
    if (whole >= 0) {
        collective_start(sim, &x);
        sim_push(sim, sim->now + whole, EVENT_COLLECTIVE, r, op);
        return;
    }
    if (sim->flows || (sim->m->devices && sim->o.network->host)) {
        collective_push(sim, &x);
        return;
    }
    *gathered(sim, &x) = 0;
    for (int64_t i = 0; i < x.c.members; i++) {
        int32_t own;
        struct rank *p = collective_member(sim, &x, i, &own);
        end = fmax(end, member_start(sim, p, own));
    }
    sim_push(sim, end, EVENT_COLLECTIVE, r, op);
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
