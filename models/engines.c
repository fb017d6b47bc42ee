/* SPDX-License-Identifier: Apache-2.0
 *
 * What computes and copies: engines of ranks, or of devices that ranks share,
 * and the time of ranks under communication and computation. */
#include <config.h>

#include "models/internal.h"

#include <math.h>

/* ---- Accounts ----------------------------------------------------------- */

/* How much longer an op takes beside messages that come and go. */
static double beside(const struct simulation *sim, const struct rank *r,
                     const struct op *op)
{
    double factor = op_is_product(op) ? sim->m->attend_beside
                                      : sim->m->bytes_beside;

    return sim->m->devices && r->communicating > 0 && factor > 0 ? factor : 1;
}

/* Messages begin or are over: what r computes goes on at another rate. */
static void retime(struct simulation *sim, struct rank *r, int communicating)
{
    struct engine *g = &sim->engines[ENGINES * r->place];

    for (int i = 0; i < ENGINES; i++, g++) {
        if (g->op < 0 || &sim->rank[g->rank] != r)
            continue;
        const struct op *op = &r->shape->s->ops[g->op];
        double before = beside(sim, r, op);
        r->communicating += communicating;
        double after = beside(sim, r, op);
        r->communicating -= communicating;
        if (before == after)
            continue;
        g->end = sim->now + (g->end - sim->now) * after / before;
        sim_push(sim, g->end, EVENT_ENGINE, r, g->op);
    }
}

void sim_account(struct simulation *sim, struct rank *r, int communicating,
                 int computing)
{
    double passed = sim->now - r->last;

    if (communicating && sim->m->devices)
        retime(sim, r, communicating);

    if (r->communicating > 0) {
        r->communicated += passed;
        if (r->computing > 0)
            r->hidden += passed;
    }
    r->last = sim->now;
    r->communicating += communicating;
    r->computing += computing;
}

void sim_note(struct simulation *sim, const struct rank *r, int32_t op, int what)
{
    if (sim->times != NULL)
        sim->times[r->base + op][what] = sim->now;
}

/* ---- Engines ------------------------------------------------------------ */

struct engine *sim_engine(const struct simulation *sim, const struct rank *r,
                          int lane)
{
    int which = lane == LANE_COPY;

    if (lane >= LANE_FIRST_STAGE)
        which = 2 + (lane - LANE_FIRST_STAGE) % 2;
    return &sim->engines[ENGINES * r->place
                         + (sim->m->shared_core ? 0 : which)];
}

/* The ready op of rank r for engine g that comes first, by lane; -1: none. */
static int first_ready(const struct simulation *sim, const struct rank *r,
                       const struct engine *g)
{
    int best = -1;

    for (uint32_t lanes = r->ready; lanes; lanes &= lanes - 1) {
        int l = __builtin_ctz(lanes);
        if (sim_engine(sim, r, l) == g
            && (best < 0 || r->heads[l].op < r->heads[best].op))
            best = l;
    }
    return best;
}

/* Of the ranks that share engine g, the one that has waited longest. */
static struct rank *next_rank(const struct simulation *sim,
                              const struct engine *g, int64_t place, int *lane)
{
    struct rank *best = NULL;

    for (int32_t i = sim->residents[place]; i >= 0; i = sim->rank[i].beside) {
        struct rank *r = &sim->rank[i];
        int l = first_ready(sim, r, g);
        if (l < 0
            || (best && best->heads[*lane].since <= r->heads[l].since))
            continue;
        best = r;
        *lane = l;
    }
    return best;
}

/* Put the op that comes first on the engine, if it is idle. */
static void engine_start(struct simulation *sim, struct engine *g,
                         int64_t place)
{
    int lane = LANE_COMPUTE;

    if (g->op >= 0)
        return;
    struct rank *r = next_rank(sim, g, place, &lane);
    if (r == NULL)
        return;
    struct head *h = &r->heads[lane];
    const struct step *st = sim_step(r, h->op);
    g->rank = (int32_t)(r - sim->rank);
    g->op = h->op;
    g->start = sim->now;
    g->end = fmax(sim->now, g->host_until)
        + beside(sim, r, &r->shape->s->ops[h->op])
        * sim->seconds[r->costs[st->cost]] * r->slow;
    h->state = HEAD_RUNNING;
    r->ready &= ~(1u << lane);
    sim_account(sim, r, 0, lane == LANE_COMPUTE);
    sim_note(sim, r, h->op, TIME_START);
    sim_push(sim, g->end, EVENT_ENGINE, r, h->op);
}

void sim_engines_start(struct simulation *sim, const struct rank *r)
{
    if (!r->ready && !sim->shared_places)
        return;
    for (int i = 0; i < ENGINES; i++)
        engine_start(sim, &sim->engines[ENGINES * r->place + i], r->place);
}
