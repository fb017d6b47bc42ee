/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulator's core: time goes forward from event to event.  Without shared
 * links the result is a max-plus recurrence; events in order of time are needed
 * for what a rank's one core does, where messages steal from the op that
 * computes. */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <stdlib.h>

/* ---- Set-up ------------------------------------------------------------- */

static void link_lanes(struct sim *sim, struct rank *r)
{
    int32_t last[LANES];
    int slot[LANES];

    for (int i = 0; i < LANES; i++)
        last[i] = -1;
    for (int32_t i = 0; i < r->s->n_ops; i++) {
        int lane[2];
        op_lanes(&r->s->ops[i], lane);
        for (int j = 0; j < 2 && lane[j] >= 0; j++) {
            int l = lane[j];
            sim->next[2 * (r->base + i) + j] = -1;
            if (last[l] < 0) {
                r->heads[l] = (struct head){ i, 0, HEAD_BLOCKED };
                r->blocked |= 1u << l;
            } else {
                sim->next[2 * (r->base + last[l]) + slot[l]] = i;
            }
            last[l] = i;
            slot[l] = j;
        }
    }
}

static int32_t groups_used(const struct sim *sim)
{
    int32_t most = -1;

    for (int64_t r = 0; r < sim->ranks; r++)
        for (int64_t i = 0; i < sim->rank[r].s->n_ops; i++) {
            const struct op *op = &sim->rank[r].s->ops[i];
            if (op->kind == OP_COLLECTIVE && op->peer > most)
                most = op->peer;
        }
    return most + 1;
}

static void sim_create(struct sim *sim, const struct schedule *const *schedules,
                       int64_t ranks, const struct machine *m,
                       const struct simulate_options *o)
{
    *sim = (struct sim){ .m = m, .o = o, .ranks = ranks };
    sim->rank = xcalloc((size_t)ranks, sizeof *sim->rank);
    for (int64_t r = 0; r < ranks; r++) {
        sim->rank[r].s = schedules[r];
        sim->rank[r].base = sim->n_ops;
        for (int i = 0; i < ENGINES; i++)
            sim->rank[r].engines[i].op = -1;
        sim->n_ops += schedules[r]->n_ops;
    }
    sim->left = sim->n_ops;
    sim->next = xmalloc((size_t)sim->n_ops * 2 * sizeof *sim->next);
    sim->done = xcalloc((size_t)sim->n_ops, 1);
    if (o->record)
        sim->times = xcalloc((size_t)sim->n_ops, sizeof *sim->times);
    for (int64_t r = 0; r < ranks; r++)
        link_lanes(sim, &sim->rank[r]);
    sim->gathered = xcalloc((size_t)groups_used(sim) * CHANNELS,
                            sizeof *sim->gathered);
    sim->costs = cost_cache_create();
}

static void sim_destroy(struct sim *sim)
{
    free(sim->rank);
    free(sim->next);
    free(sim->done);
    free(sim->times);
    free(sim->gathered);
    free(sim->events.heap);
    cost_cache_destroy(sim->costs);
}

/* ---- Accounts ----------------------------------------------------------- */

/* Account for the time since the last change at r, then change. */
static void account(struct sim *sim, struct rank *r, int communicating,
                    int computing)
{
    double passed = sim->now - r->last;

    if (r->communicating > 0) {
        r->communicated += passed;
        if (r->computing > 0)
            r->hidden += passed;
    }
    r->last = sim->now;
    r->communicating += communicating;
    r->computing += computing;
}

static void note(struct sim *sim, const struct rank *r, int32_t op, int what)
{
    if (sim->times != NULL)
        sim->times[r->base + op][what] = sim->now;
}

static void push(struct sim *sim, double time, enum event_kind kind,
                 const struct rank *r, int32_t op)
{
    events_push(&sim->events,
                (struct event){ time, (int32_t)(r - sim->rank), op, kind });
}

/* ---- Engines ------------------------------------------------------------ */

static struct engine *lane_engine(const struct sim *sim, struct rank *r,
                                  int lane)
{
    return &r->engines[lane == LANE_COPY && !sim->m->shared_core];
}

/* The host's part of `messages` MPI messages, one a tile: it lengthens the op
 * that the core runs, or keeps an idle core busy.  Returns until when; 0 if it
 * computes. */
static double charge(const struct sim *sim, struct rank *r, int64_t messages,
                     int64_t bytes)
{
    struct engine *g = &r->engines[0];

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

/* Put the earliest ready op of the engine's lanes on it, if it is idle. */
static void engine_start(struct sim *sim, struct rank *r, struct engine *g)
{
    int best = -1;

    if (g->op >= 0)
        return;
    for (int l = LANE_COMPUTE; l <= LANE_COPY; l++)
        if (r->heads[l].state == HEAD_READY && lane_engine(sim, r, l) == g
            && (best < 0 || r->heads[l].op < r->heads[best].op))
            best = l;
    if (best < 0)
        return;
    struct head *h = &r->heads[best];
    g->op = h->op;
    g->start = sim->now;
    g->end = fmax(sim->now, g->host_until)
        + cost_cached(sim->costs, sim->m, sim->o->kernel, r->s,
                      &r->s->ops[h->op]);
    h->state = HEAD_RUNNING;
    account(sim, r, 0, best == LANE_COMPUTE);
    note(sim, r, h->op, TIME_START);
    push(sim, g->end, EVENT_ENGINE, r, h->op);
}

/* ---- Messages and collectives ------------------------------------------- */

static void comm_start(struct sim *sim, struct rank *r, const struct op *op)
{
    int32_t number = (int32_t)(op - r->s->ops);
    int lane[2];

    op_lanes(op, lane);
    for (int j = 0; j < 2 && lane[j] >= 0; j++)
        r->heads[lane[j]].state = HEAD_RUNNING;
    account(sim, r, 1, 0);
    note(sim, r, number, TIME_START);
}

/* `op` of rank r is ready: start the message if the other side is too. */
static void message_try(struct sim *sim, struct rank *r, const struct op *op)
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
    comm_start(sim, r, op);
    comm_start(sim, p, answer);
    int64_t bytes = sends ? op_work(r->s, op).sent_bytes
                          : op_work(p->s, answer).sent_bytes;
    int64_t tiles;
    pool_operands_get(r->s->pool, op->operands, &tiles);
    double end = sim->now + sim->o->network->message(sim->m, bytes);
    end = fmax(end, charge(sim, r, tiles, bytes));
    end = fmax(end, charge(sim, p, tiles, bytes));
    if (sends)
        push(sim, end, EVENT_MESSAGE, r, (int32_t)(op - r->s->ops));
    else
        push(sim, end, EVENT_MESSAGE, p, h->op);
}

/* Member i, and in *op, which is one member's, its op. */
static struct rank *member(const struct sim *sim,
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

static void collective_try(struct sim *sim, struct rank *r,
                           const struct op *op)
{
    struct collective_shape c = op_collective(r->s, op);
    int32_t *gathered = &sim->gathered[op->peer * CHANNELS + op->channel];
    double end = sim->now;

    if (++*gathered < c.members)
        return;
    *gathered = 0;
    for (int64_t i = 0; i < c.members; i++) {
        const struct op *own = op;
        struct rank *p = member(sim, &c, i, &own);
        struct work w = op_work(p->s, own);
        comm_start(sim, p, own);
        end = fmax(end, sim->now
                   + sim->o->network->collective(sim->m, p->s, own));
        end = fmax(end, charge(sim, p, collective_messages(&c, own->collective),
                               w.sent_bytes + w.received_bytes));
    }
    push(sim, end, EVENT_COLLECTIVE, r, (int32_t)(op - r->s->ops));
}

/* ---- Lanes -------------------------------------------------------------- */

static int deps_met(const struct sim *sim, const struct rank *r,
                    struct head *h)
{
    const struct op *op = &r->s->ops[h->op];

    for (; h->dep < op->dep_count; h->dep++)
        if (!sim->done[r->base + r->s->deps[op->dep_first + h->dep].op])
            return 0;
    return 1;
}

static void head_ready(struct sim *sim, struct rank *r, int lane)
{
    struct head *h = &r->heads[lane];
    const struct op *op = &r->s->ops[h->op];

    h->state = HEAD_READY;
    r->blocked &= ~(1u << lane);
    note(sim, r, h->op, TIME_READY);
    if (op->kind == OP_SEND || op->kind == OP_RECV)
        message_try(sim, r, op);
    else if (op->kind == OP_COLLECTIVE)
        collective_try(sim, r, op);
    else
        engine_start(sim, r, lane_engine(sim, r, lane));
}

/* Whatever can begin at r, begins. */
static void advance(struct sim *sim, struct rank *r)
{
    for (uint32_t lanes = r->blocked; lanes; lanes &= lanes - 1) {
        int lane = __builtin_ctz(lanes), both[2];
        struct head *h = &r->heads[lane];
        op_lanes(&r->s->ops[h->op], both);
        /* A collective is looked after on its first lane, once it is at the
         * head of both. */
        if (both[1] >= 0
            && (lane == both[1] || r->heads[both[1]].op != h->op
                || r->heads[both[1]].state != HEAD_BLOCKED))
            continue;
        if (!deps_met(sim, r, h))
            continue;
        if (both[1] >= 0) {
            r->heads[both[1]].state = HEAD_READY;
            r->blocked &= ~(1u << both[1]);
        }
        head_ready(sim, r, lane);
    }
    for (int i = 0; i < ENGINES; i++)
        engine_start(sim, r, &r->engines[i]);
}

static void complete(struct sim *sim, struct rank *r, int32_t number)
{
    int lane[2];

    sim->done[r->base + number] = 1;
    sim->left--;
    note(sim, r, number, TIME_END);
    op_lanes(&r->s->ops[number], lane);
    if (lane[0] >= LANE_FIRST_CHANNEL)
        account(sim, r, -1, 0);
    for (int j = 0; j < 2 && lane[j] >= 0; j++) {
        int32_t next = sim->next[2 * (r->base + number) + j];
        r->heads[lane[j]] = (struct head){
            next, 0, next < 0 ? HEAD_NONE : HEAD_BLOCKED
        };
        if (next >= 0)
            r->blocked |= 1u << lane[j];
    }
    advance(sim, r);
}

/* ---- Events ------------------------------------------------------------- */

/* Communication is over; a computing core sees it when it next looks. */
static void seen(struct sim *sim, struct rank *r, int32_t number)
{
    const struct engine *g = &r->engines[0];
    double poll = sim->m->poll_interval;

    if (sim->o->network->host && sim->m->shared_core && poll > 0
        && g->op >= 0) {
        double looks = ceil((sim->now - g->start) / poll);
        double when = fmin(g->start + looks * poll, g->end);
        if (when > sim->now) {
            push(sim, when, EVENT_SEEN, r, number);
            return;
        }
    }
    complete(sim, r, number);
}

static void engine_event(struct sim *sim, struct rank *r, int32_t number)
{
    struct engine *g = &r->engines[0];

    if (g->op != number)
        g = &r->engines[1];
    if (g->end > sim->now) {    /* lengthened meanwhile */
        push(sim, g->end, EVENT_ENGINE, r, number);
        return;
    }
    g->op = -1;
    g->host_until = sim->now;
    int lane[2];
    op_lanes(&r->s->ops[number], lane);
    account(sim, r, 0, -(lane[0] == LANE_COMPUTE));
    complete(sim, r, number);
}

static void handle(struct sim *sim, struct event ev)
{
    struct rank *r = &sim->rank[ev.rank];
    const struct op *op = &r->s->ops[ev.op];

    switch (ev.kind) {
    case EVENT_ENGINE:
        engine_event(sim, r, ev.op);
        return;
    case EVENT_MESSAGE: {
        struct rank *p = &sim->rank[op->peer];
        int32_t answer = p->heads[LANE_RECV(op->channel)].op;
        seen(sim, p, answer);
        seen(sim, r, ev.op);
        return;
    }
    case EVENT_COLLECTIVE: {
        struct collective_shape c = op_collective(r->s, op);
        for (int64_t i = 0; i < c.members; i++) {
            const struct op *own = op;
            struct rank *p = member(sim, &c, i, &own);
            seen(sim, p, (int32_t)(own - p->s->ops));
        }
        return;
    }
    case EVENT_SEEN:
        complete(sim, r, ev.op);
        return;
    }
}

/* ---- All ---------------------------------------------------------------- */

void simulate(const struct schedule *const *schedules, int64_t ranks,
              const struct machine *m, const struct simulate_options *o,
              struct simulate_result *result)
{
    struct sim sim;

    sim_create(&sim, schedules, ranks, m, o);
    for (int64_t r = 0; r < ranks; r++)
        advance(&sim, &sim.rank[r]);
    while (sim.events.n > 0) {
        struct event ev = events_pop(&sim.events);
        sim.now = ev.time;
        handle(&sim, ev);
    }
    sim_result(&sim, result);
    sim_destroy(&sim);
}
