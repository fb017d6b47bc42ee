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

static void make_places(struct simulation *sim)
{
    const struct machine *m = sim->m;
    int64_t slots = machine_slots(m);

    sim->places = slots ? slots
        : m->shared_core && m->cores > 0 ? min64(m->cores, sim->ranks)
        : sim->ranks;
    sim->residents = xcalloc((size_t)sim->places, sizeof *sim->residents);
    for (int64_t i = 0; i < sim->places; i++)
        sim->residents[i] = -1;
    for (int64_t i = sim->period - 1; i >= 0; i--) {
        struct rank *r = &sim->rank[i];
        r->place = sim_place_of(sim, (int32_t)i);
        r->slow = jitter_slow(sim->o.jitter, i);
        r->delay = jitter_delay(sim->o.jitter, i);
        r->beside = sim->residents[r->place];
        sim->residents[r->place] = (int32_t)i;
        sim->shared_places |= r->beside >= 0;
    }
    if (!sim->o.links) {
        sim->own_links = links_create(m, sim->places);
        links_derate(sim->own_links, sim);
        if (sim->period < sim->ranks)
            sim->own_links->period = sim->period;
    }
    sim->links = sim->o.links ? sim->o.links : sim->own_links;
}

struct simulation *simulation_create(int64_t ranks, const struct machine *m,
                                     const struct simulate_options *o)
{
    struct simulation *sim = xcalloc(1, sizeof *sim);

    *sim = (struct simulation){ .m = m, .o = *o, .ranks = ranks,
                                .period = o->period ? o->period : ranks };
    sim->rank = xcalloc((size_t)sim->period, sizeof *sim->rank);
    sim->awake = xcalloc((size_t)sim->period, sizeof *sim->awake);
    make_places(sim);
    sim->marks = xcalloc((size_t)ranks, sizeof *sim->marks);
    sim->engines = xcalloc((size_t)sim->places * ENGINES,
                           sizeof *sim->engines);
    for (int64_t i = 0; i < sim->places * ENGINES; i++)
        sim->engines[i].op = -1;
    sim->ports = xcalloc(m->devices ? (size_t)sim->places : 0,
                         sizeof *sim->ports);
    sim->costs = cost_cache_create();
    if (o->network->shares)
        sim->flows = flows_create(sim->links);
    return sim;
}

void simulation_destroy(struct simulation *sim)
{
    for (int64_t i = 0; sim->m->devices && i < sim->places; i++)
        free(sim->ports[i].flows);
    for (int64_t i = 0; i < sim->added; i++) {
        free(sim->rank[i].sides);
        if (sim->rank[i].costs != sim->rank[i].shape->costs)
            free((void *)sim->rank[i].costs);
    }
    shapes_destroy(sim);
    flows_destroy(sim->flows);
    links_destroy(sim->own_links);
    cost_cache_destroy(sim->costs);
    free(sim->messages);
    free(sim->seconds);
    free(sim->ports);
    free(sim->engines);
    free(sim->rank);
    free(sim->awake);
    free(sim->starts);
    free(sim->residents);
    free(sim->marks);
    free(sim->times);
    free(sim->gathered);
    free(sim->groups);
    free(sim->events.heap);
    free(sim);
}

int simulation_ready(const struct simulation *sim, struct error *e)
{
    return costs_known(sim->m, sim->o.kernel, sim->kinds, e);
}

/* ---- Lanes -------------------------------------------------------------- */

static int needs_met(const struct rank *r, const struct step *st,
                     struct head *h)
{
    const struct need *needs = r->shape->needs + st->need_first;

    for (; h->met < st->needs; h->met++)
        if (r->heads[needs[h->met].lane].done < needs[h->met].op)
            return 0;
    return 1;
}

static void head_ready(struct simulation *sim, struct rank *r, int lane)
{
    struct head *h = &r->heads[lane];
    const struct step *st = sim_step(r, h->op);

    h->state = HEAD_READY;
    h->since = sim->now;
    r->blocked &= ~(1u << lane);
    sim_note(sim, r, h->op, TIME_READY);
    if (st->kind == OP_SEND || st->kind == OP_RECV)
        message_try(sim, r, h->op);
    else if (st->kind == OP_COLLECTIVE)
        collective_try(sim, r, h->op);
    else
        r->ready |= 1u << lane;
}

/* The host gives a device one op after another. */
static int enqueued(struct simulation *sim, struct rank *r, struct head *h)
{
    if (!sim->m->devices)
        return 1;
    double when = sim->m->enqueue * (double)(h->op + 1);
    if (sim->now >= when)
        return 1;
    if (!h->woken)
        sim_push(sim, when, EVENT_ENQUEUED, r, h->op);
    h->woken = 1;
    return 0;
}

/* A collective is looked after on its first lane, once it is at the head of
 * both. */
static int heads_other(const struct rank *r, const struct step *st, int lane,
                       int32_t op)
{
    const struct head *second = &r->heads[st->lane[1]];

    return lane == st->lane[1] || second->op != op
        || second->state != HEAD_BLOCKED;
}

static void wake(struct simulation *sim, struct rank *r)
{
    if (r->awake)
        return;
    r->awake = 1;
    sim->awake[sim->n_awake++] = (int32_t)(r - sim->rank);
}

/* Heads of r whose dependencies are met. */
static void advance(struct simulation *sim, struct rank *r)
{
    for (uint32_t lanes = r->blocked; lanes; lanes &= lanes - 1) {
        int lane = __builtin_ctz(lanes);
        struct head *h = &r->heads[lane];
        const struct step *st = sim_step(r, h->op);
        int both = st->lane[1];
        if (both >= 0 && heads_other(r, st, lane, h->op))
            continue;
        if (!needs_met(r, st, h) || !enqueued(sim, r, h))
            continue;
        if (both >= 0) {
            r->heads[both].state = HEAD_READY;
            r->blocked &= ~(1u << both);
        }
        head_ready(sim, r, lane);
    }
}

/* Whatever can begin, begins, after all that ends at this time has ended: then
 * the order in which it did does not matter, and ranks that do the same are
 * treated the same. */
static void begin(struct simulation *sim)
{
    for (int64_t i = 0; i < sim->n_awake; i++)
        advance(sim, &sim->rank[sim->awake[i]]);
    for (int64_t i = 0; i < sim->n_awake; i++) {
        struct rank *r = &sim->rank[sim->awake[i]];
        sim_engines_start(sim, r);
        r->awake = 0;
    }
    sim->n_awake = 0;
    starts_charge(sim);
}

/* Other lanes see that an op is over. */
static void show_done(struct rank *r, int32_t op)
{
    const struct step *st = sim_step(r, op);

    for (int j = 0; j < 2 && st->lane[j] >= 0; j++)
        r->heads[st->lane[j]].done = op;
}

static void complete(struct simulation *sim, struct rank *r, int32_t op)
{
    const struct step *st = sim_step(r, op);

    if (sim->m->devices && sim->m->event_latency > 0)
        sim_push(sim, sim->now + sim->m->event_latency, EVENT_DONE, r, op);
    else
        show_done(r, op);
    sim->left--;
    sim_note(sim, r, op, TIME_END);
    if (sim_is_message_lane(st->lane[0]))
        sim_account(sim, r, -1, 0);
    for (int j = 0; j < 2 && st->lane[j] >= 0; j++) {
        struct head *h = &r->heads[st->lane[j]];
        h->op = st->next[j];
        h->met = 0;
        h->woken = 0;
        h->state = h->op < 0 ? HEAD_NONE : HEAD_BLOCKED;
        if (h->op >= 0)
            r->blocked |= 1u << st->lane[j];
    }
    wake(sim, r);
}

/* ---- Events ------------------------------------------------------------- */

/* Communication is over; a computing core sees it when it next looks. */
static void seen(struct simulation *sim, struct rank *r, int32_t number)
{
    const struct engine *g = sim_engine(sim, r, LANE_COMPUTE);
    double poll = sim->m->poll_interval;

    if (sim->o.network->host && sim->m->shared_core && poll > 0
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

static void engine_event(struct simulation *sim, struct rank *r, int32_t number)
{
    int lane = sim_step(r, number)->lane[0];
    struct engine *g = sim_engine(sim, r, lane);

    if (g->op != number || &sim->rank[g->rank] != r)
        return;                 /* shortened: it is over */
    if (g->end > sim->now) {    /* lengthened meanwhile */
        sim_push(sim, g->end, EVENT_ENGINE, r, number);
        return;
    }
    g->op = -1;
    g->host_until = sim->now;
    sim_account(sim, r, 0, -(lane == LANE_COMPUTE));
    complete(sim, r, number);
}

static void collective_event(struct simulation *sim, const struct rank *r,
                             int32_t op)
{
    struct collective_op x;

    sim_collective(sim, r, op, &x);
    for (int64_t i = 0; i < x.c.members; i++) {
        int32_t own;
        struct rank *p = collective_member(sim, &x, i, &own);
        if (p)
            seen(sim, p, own);
    }
}

void message_over(struct simulation *sim, struct rank *r, int32_t send)
{
    struct rank *p = sim_peer(sim, r, send);

    seen(sim, p, p->heads[LANE_RECV(sim_step(r, send)->channel)].op);
    seen(sim, r, send);
}

static void handle(struct simulation *sim, struct event ev)
{
    if (ev.kind == EVENT_PUSHED) {
        port_event(sim, ev.rank, ev.op);
        return;
    }
    if (ev.kind == EVENT_TRANSFER) {
        transfer_event(sim, ev.rank, ev.op);
        return;
    }
    struct rank *r = &sim->rank[ev.rank];
    switch (ev.kind) {
    case EVENT_ENGINE:
        engine_event(sim, r, ev.op);
        return;
    case EVENT_MESSAGE:
        message_over(sim, r, ev.op);
        return;
    case EVENT_COLLECTIVE:
        collective_event(sim, r, ev.op);
        return;
    case EVENT_SEEN:
        complete(sim, r, ev.op);
        return;
    case EVENT_DONE:
        show_done(r, ev.op);
        wake(sim, r);
        return;
    case EVENT_ENQUEUED:
        wake(sim, r);
        return;
    case EVENT_PUSHED:
    case EVENT_TRANSFER:
        return;
    }
}

/* ---- All ---------------------------------------------------------------- */

/* All events of the next time at which there are any; 0: no more. */
static int next_events(struct simulation *sim)
{
    struct events *q = &sim->events;

    if (flows_changed(sim) && (q->n == 0 || q->heap->time > sim->now))
        flows_settle(sim);
    if (q->n == 0)
        return 0;
    sim->now = q->heap->time;
    for (int64_t n = q->n; n > 0 && q->n > 0 && q->heap->time <= sim->now; n--)
        handle(sim, events_pop(q));
    return 1;
}

void simulation_run(struct simulation *sim, struct simulate_result *result)
{
    if (sim->o.record)
        sim->times = xcalloc((size_t)sim->n_ops, sizeof *sim->times);
    sim->left = sim->n_ops;
    for (int64_t i = 0; i < sim->period; i++) {
        struct rank *r = &sim->rank[i];
        if (r->delay > 0)
            sim_push(sim, r->delay, EVENT_ENQUEUED, r, 0);
        else
            wake(sim, r);
    }
    begin(sim);
    while (next_events(sim))
        begin(sim);
    sim_result(sim, result);
}

void simulate(const struct schedule *const *schedules, int64_t ranks,
              const struct machine *m, const struct simulate_options *o,
              struct simulate_result *result)
{
    struct simulation *sim = simulation_create(ranks, m, o);

    for (int64_t r = 0; r < ranks; r++)
        simulation_add(sim, schedules[r]);
    simulation_run(sim, result);
    simulation_destroy(sim);
}
