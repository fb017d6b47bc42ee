/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages and collectives: when they start, and how long they take: by
 * themselves, or on a device through its port. */
#include <config.h>

#include "models/internal.h"

#include <math.h>

/* The host's part of `messages` MPI messages, one a tile: it lengthens the op
 * that the core runs, or keeps an idle core busy.  Returns until when; 0 if it
 * computes. */
static double charge(const struct sim *sim, struct rank *r, int64_t messages,
                     int64_t bytes)
{
    struct engine *g = sim_engine(sim, r, LANE_COMPUTE);

    if (!sim->o->network->host || !sim->m->shared_core)
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

static void comm_start(struct sim *sim, struct rank *r, const struct op *op)
{
    int32_t number = (int32_t)(op - r->s->ops);
    int lane[2];

    op_lanes(op, lane);
    for (int j = 0; j < 2 && lane[j] >= 0; j++)
        r->heads[lane[j]].state = HEAD_RUNNING;
    sim_account(sim, r, 1, 0);
    sim_note(sim, r, number, TIME_START);
}

/* One message from rank r to rank p. */
static void message_start(struct sim *sim, struct rank *r,
                          const struct op *send, struct rank *p,
                          const struct op *recv)
{
    int64_t bytes = op_work(r->s, send).sent_bytes, tiles;
    int32_t number = (int32_t)(send - r->s->ops);

    comm_start(sim, r, send);
    comm_start(sim, p, recv);
    if (sim->m->devices && sim->o->network->host) {
        port_add(sim, sim_place(sim, r), message_flow(sim, r, send, p, recv));
        return;
    }
    pool_operands_get(r->s->pool, send->operands, &tiles);
    double end = sim->now + sim->o->network->message(sim->m, bytes);
    end = fmax(end, charge(sim, r, tiles, bytes));
    end = fmax(end, charge(sim, p, tiles, bytes));
    sim_push(sim, end, EVENT_MESSAGE, r, number);
}

void message_try(struct sim *sim, struct rank *r, const struct op *op)
{
    int sends = op->kind == OP_SEND;
    int other = sends ? LANE_RECV(op->channel) : LANE_SEND(op->channel);

    if (op->peer < 0 || op->peer >= sim->ranks)
        return;
    struct rank *p = &sim->rank[op->peer];
    struct head *h = &p->heads[other];
    if (h->state != HEAD_READY)
        return;
    const struct op *answer = &p->s->ops[h->op];
    if (answer->kind == OP_COLLECTIVE || answer->peer != r - sim->rank)
        return;
    if (sends)
        message_start(sim, r, op, p, answer);
    else
        message_start(sim, p, answer, r, op);
}

struct rank *collective_member(const struct sim *sim,
                               const struct collective_shape *c, int64_t i,
                               const struct op **op)
{
    struct rank *r = &sim->rank[c->ranks[i]];

    *op = &r->s->ops[r->heads[LANE_SEND((*op)->channel)].op];
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

/* All members are ready: every one's slices through its port. */
static void collective_push(struct sim *sim, const struct collective_shape *c,
                            const struct op *op, int32_t *under_way)
{
    *under_way = (int32_t)c->members;
    for (int64_t i = 0; i < c->members; i++) {
        const struct op *own = op;
        struct rank *p = collective_member(sim, c, i, &own);
        comm_start(sim, p, own);
        port_add(sim, sim_place(sim, p), collective_flow(sim, p, own));
    }
}

void collective_try(struct sim *sim, struct rank *r, const struct op *op)
{
    struct collective_shape c = op_collective(r->s, op);
    int32_t *gathered = &sim->gathered[op->peer * CHANNELS + op->channel];
    double end = sim->now;

    if (++*gathered < c.members)
        return;
    if (sim->m->devices && sim->o->network->host) {
        collective_push(sim, &c, op, gathered);
        return;
    }
    *gathered = 0;
    for (int64_t i = 0; i < c.members; i++) {
        const struct op *own = op;
        struct rank *p = collective_member(sim, &c, i, &own);
        struct work w = op_work(p->s, own);
        comm_start(sim, p, own);
        end = fmax(end, sim->now
                   + sim->o->network->collective(sim->m, p->s, own));
        end = fmax(end, charge(sim, p, collective_messages(&c, own->collective),
                               w.sent_bytes + w.received_bytes));
    }
    sim_push(sim, end, EVENT_COLLECTIVE, r, (int32_t)(op - r->s->ops));
}

/* What comes first through a port is through. */
void port_event(struct sim *sim, int64_t place, int32_t version)
{
    struct flow f;

    if (!port_pushed(sim, place, version, &f))
        return;
    struct rank *r = &sim->rank[f.rank];
    const struct op *op = &r->s->ops[f.op];
    if (op->kind == OP_SEND)
        sim_push(sim, sim->now + f.latency, EVENT_MESSAGE, r, f.op);
    else if (--sim->gathered[op->peer * CHANNELS + op->channel] == 0)
        sim_push(sim, sim->now + f.latency, EVENT_COLLECTIVE, r, f.op);
}
