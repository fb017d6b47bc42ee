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
                r->heads[l] = (struct head){ .op = i,
                                             .state = HEAD_BLOCKED };
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
    *sim = (struct sim){ .m = m, .o = o, .ranks = ranks,
                         .places = m->devices ? m->devices : ranks };
    sim->rank = xcalloc((size_t)ranks, sizeof *sim->rank);
    sim->engines = xcalloc((size_t)sim->places * ENGINES,
                           sizeof *sim->engines);
    for (int64_t i = 0; i < sim->places * ENGINES; i++)
        sim->engines[i].op = -1;
    sim->ports = xcalloc(m->devices ? (size_t)sim->places : 0,
                         sizeof *sim->ports);
    for (int64_t r = 0; r < ranks; r++) {
        sim->rank[r].s = schedules[r];
        sim->rank[r].base = sim->n_ops;
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
    for (int64_t i = 0; sim->m->devices && i < sim->places; i++)
        free(sim->ports[i].flows);
    free(sim->ports);
    free(sim->engines);
    free(sim->rank);
    free(sim->next);
    free(sim->done);
    free(sim->times);
    free(sim->gathered);
    free(sim->events.heap);
    cost_cache_destroy(sim->costs);
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
    h->since = sim->now;
    r->blocked &= ~(1u << lane);
    sim_note(sim, r, h->op, TIME_READY);
    if (op->kind == OP_SEND || op->kind == OP_RECV)
        message_try(sim, r, op);
    else if (op->kind == OP_COLLECTIVE)
        collective_try(sim, r, op);
    else
        sim_engines_start(sim, r);
}

/* The host gives a device one op after another. */
static int enqueued(struct sim *sim, struct rank *r, struct head *h)
{
    double when = sim->m->enqueue * (double)(h->op + 1);

    if (!sim->m->devices || sim->now >= when)
        return 1;
    if (!h->woken)
        sim_push(sim, when, EVENT_ENQUEUED, r, h->op);
    h->woken = 1;
    return 0;
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
        if (!deps_met(sim, r, h) || !enqueued(sim, r, h))
            continue;
        if (both[1] >= 0) {
            r->heads[both[1]].state = HEAD_READY;
            r->blocked &= ~(1u << both[1]);
        }
        head_ready(sim, r, lane);
    }
    sim_engines_start(sim, r);
}

static void complete(struct sim *sim, struct rank *r, int32_t number)
{
    int lane[2];

    if (sim->m->devices && sim->m->event_latency > 0)
        sim_push(sim, sim->now + sim->m->event_latency, EVENT_DONE, r,
                 number);
    else
        sim->done[r->base + number] = 1;
    sim->left--;
    sim_note(sim, r, number, TIME_END);
    op_lanes(&r->s->ops[number], lane);
    if (sim_is_message_lane(lane[0]))
        sim_account(sim, r, -1, 0);
    for (int j = 0; j < 2 && lane[j] >= 0; j++) {
        int32_t next = sim->next[2 * (r->base + number) + j];
        r->heads[lane[j]] = (struct head){
            .op = next, .state = next < 0 ? HEAD_NONE : HEAD_BLOCKED
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
    const struct engine *g = sim_engine(sim, r, LANE_COMPUTE);
    double poll = sim->m->poll_interval;

    if (sim->o->network->host && sim->m->shared_core && poll > 0
        && g->op >= 0) {
        double looks = ceil((sim->now - g->start) / poll);
        double when = fmin(g->start + looks * poll, g->end);
        if (when > sim->now) {
            sim_push(sim, when, EVENT_SEEN, r, number);
            return;
        }
    }
    complete(sim, r, number);
}

static void engine_event(struct sim *sim, struct rank *r, int32_t number)
{
    int lane[2];

    op_lanes(&r->s->ops[number], lane);
    struct engine *g = sim_engine(sim, r, lane[0]);
    if (g->op != number || &sim->rank[g->rank] != r)
        return;                 /* shortened: it is over */
    if (g->end > sim->now) {    /* lengthened meanwhile */
        sim_push(sim, g->end, EVENT_ENGINE, r, number);
        return;
    }
    g->op = -1;
    g->host_until = sim->now;
    sim_account(sim, r, 0, -(lane[0] == LANE_COMPUTE));
    complete(sim, r, number);
}

static void collective_event(struct sim *sim, struct rank *r,
                             const struct op *op)
{
    struct collective_shape c = op_collective(r->s, op);

    for (int64_t i = 0; i < c.members; i++) {
        const struct op *own = op;
        struct rank *p = collective_member(sim, &c, i, &own);
        seen(sim, p, (int32_t)(own - p->s->ops));
    }
}

static void message_event(struct sim *sim, struct rank *r, const struct op *op)
{
    struct rank *p = &sim->rank[op->peer];

    seen(sim, p, p->heads[LANE_RECV(op->channel)].op);
    seen(sim, r, (int32_t)(op - r->s->ops));
}

static void handle(struct sim *sim, struct event ev)
{
    if (ev.kind == EVENT_PUSHED) {
        port_event(sim, ev.rank, ev.op);
        return;
    }
    struct rank *r = &sim->rank[ev.rank];
    const struct op *op = &r->s->ops[ev.op];
    switch (ev.kind) {
    case EVENT_ENGINE:
        engine_event(sim, r, ev.op);
        return;
    case EVENT_MESSAGE:
        message_event(sim, r, op);
        return;
    case EVENT_COLLECTIVE:
        collective_event(sim, r, op);
        return;
    case EVENT_SEEN:
        complete(sim, r, ev.op);
        return;
    case EVENT_DONE:
        sim->done[r->base + ev.op] = 1;
        advance(sim, r);
        return;
    case EVENT_ENQUEUED:
        advance(sim, r);
        return;
    case EVENT_PUSHED:
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
