/* SPDX-License-Identifier: Apache-2.0
 *
 * The network model `flow`: transfers share the links of their ways fairly
 * (flow_rates.c). */
#include <config.h>

#include "models/flow_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Set-up ------------------------------------------------------------- */

struct flows *flows_create(const struct links *links)
{
    struct flows *f = xcalloc(1, sizeof *f);

    f->links = links;
    f->link = xcalloc((size_t)f->links->n, sizeof *f->link);
    return f;
}

void flows_destroy(struct flows *f)
{
    if (!f)
        return;
    for (int64_t i = 0; i < f->links->n; i++)
        free(f->link[i].users);
    for (int64_t i = 0; i < f->n; i++)
        free(f->transfers[i].links);
    free(f->link);
    free(f->transfers);
    free(f->free);
    free(f->dirty);
    free(f->part_links);
    free(f->part);
    free(f);
}

/* ---- One transfer ------------------------------------------------------- */

static int32_t transfer_create(struct flows *f)
{
    if (f->n_free > 0)
        return f->free[--f->n_free];
    ARRAY_PUSH(f->transfers, f->n, f->cap, (struct transfer){ 0 });
    return (int32_t)(f->n - 1);
}

static void take_way(struct transfer *t, const struct way *w)
{
    if (w->n > t->cap) {
        t->cap = w->n;
        t->links = xrealloc(t->links, 2 * (size_t)t->cap * sizeof *t->links);
    }
    t->n = w->n;
    t->at = t->links + t->cap;
    if (w->n)
        memcpy(t->links, w->links, (size_t)w->n * sizeof *t->links);
}

/* `bytes` on their way. */
static void transfer_move(struct simulation *sim, int32_t number,
                          const struct way *w, double bytes)
{
    struct transfer *t = &sim->flows->transfers[number];

    take_way(t, w);
    t->state = TRANSFER_MOVES;
    t->bytes = t->left = bytes;
    t->bandwidth = w->bandwidth;
    t->latency = w->latency;
    t->rate = -1;
    t->settled = sim->now;
    if (t->n == 0)
        flow_wait(sim, number, sim->now + bytes / w->bandwidth);
    else
        flow_enter(sim, number);
}

void flow_message(struct simulation *sim, const struct start *s)
{
    struct flows *f = sim->flows;
    const struct rank *r = s->r;
    int64_t bytes = sim->messages[sim_step(r, s->op)->cost].bytes;
    int32_t number = transfer_create(f);
    struct transfer *t = &f->transfers[number];
    struct way w;

    t->rank = (int32_t)(r - sim->rank);
    t->op = s->op;
    t->until = s->until;
    f->links->way(f->links, r->place, sim_place_of(sim, sim_side(r, s->op)),
                  bytes, &w);
    if (sim->m->devices) {
        struct flow pushed = message_flow(sim, r, s->op, s->peer, s->recv);
        w.latency = pushed.latency;
        w.bandwidth = (double)bytes / pushed.left;
        if (pushed.left <= 0)           /* of the host */
            w.n = 0;
    }
    transfer_move(sim, number, &w, (double)bytes);
}

/* ---- Collectives: a member's messages, one after the other -------------- */

/* The next leg that moves something; after the last one what the member does
 * itself. */
static void leg_start(struct simulation *sim, int32_t number)
{
    struct flows *f = sim->flows;
    struct transfer *t = &f->transfers[number];
    const struct rank *r = &sim->rank[t->rank];
    int64_t to, bytes = 0;
    int more;
    struct collective_op x;
    struct way w;

    sim_collective(sim, r, t->op, &x);
    while ((more = collective_leg(&x, sim->m->devices, t->leg, &to, &bytes))
           && bytes == 0)
        t->leg++;
    if (!more) {
        t->state = TRANSFER_ENDS;
        flow_wait(sim, number, fmax(sim->now + t->finish, t->until));
        return;
    }
    f->links->way(f->links, r->place, sim_place_of(sim, x.c.ranks[to]), bytes,
                  &w);
    if (sim->m->devices) {
        w.latency = 0;
        w.bandwidth = t->bandwidth;
    }
    t->leg++;
    transfer_move(sim, number, &w, (double)bytes);
}

void flow_member(struct simulation *sim, const struct collective_op *all,
                 int64_t me, double until)
{
    const struct collective_op *x = &all[me];
    int32_t number = transfer_create(sim->flows);
    struct transfer *t = &sim->flows->transfers[number];

    t->rank = x->c.ranks[me];
    t->op = x->number;
    t->leg = 0;
    t->until = until;
    if (sim->m->devices) {
        struct flow pushed = collective_flow(sim, all, me);
        t->bandwidth = legs_bandwidth(x, pushed.left);
        t->finish = pushed.latency;
    } else {
        t->finish = member_finish(sim->m, x);
    }
    leg_start(sim, number);
}

/* ---- Events ------------------------------------------------------------- */

static void transfer_end(struct simulation *sim, int32_t number)
{
    struct flows *f = sim->flows;
    struct transfer *t = &f->transfers[number];
    struct rank *r = &sim->rank[t->rank];
    int32_t op = t->op;

    t->state = TRANSFER_FREE;
    ARRAY_PUSH(f->free, f->n_free, f->free_cap, number);
    if (sim_step(r, op)->kind == OP_SEND)
        message_over(sim, r, op);
    else
        member_over(sim, r, op);
}

static void transfer_arrive(struct simulation *sim, int32_t number)
{
    struct transfer *t = &sim->flows->transfers[number];

    if (sim_step(&sim->rank[t->rank], t->op)->kind == OP_SEND)
        transfer_end(sim, number);
    else
        leg_start(sim, number);
}

void transfer_event(struct simulation *sim, int32_t number, int32_t version)
{
    struct transfer *t = &sim->flows->transfers[number];
    double end = sim->now + t->latency;

    if (t->version != version)
        return;
    if (t->state == TRANSFER_ENDS) {
        transfer_end(sim, number);
        return;
    }
    if (t->state == TRANSFER_MOVES) {
        flow_leave(sim, t);
        t->state = TRANSFER_ARRIVES;
        if (sim_step(&sim->rank[t->rank], t->op)->kind == OP_SEND)
            end = fmax(end, t->until);
        if (end > sim->now) {
            flow_wait(sim, number, end);
            return;
        }
    }
    transfer_arrive(sim, number);
}

void flows_result(const struct simulation *sim, struct simulate_result *res)
{
    const struct flows *f = sim->flows;

    res->n_links = f->links->n;
    res->links = xcalloc((size_t)res->n_links, sizeof *res->links);
    for (int64_t i = 0; i < res->n_links; i++) {
        int64_t same = i;       /* the port that stands for it */
        if (f->links->period)
            same = i / f->links->places * f->links->places
                + i % f->links->places % f->links->period;
        res->links[i] = f->link[same].use;
        res->links[i].capacity = f->links->capacity[same];
    }
}
