/* SPDX-License-Identifier: Apache-2.0
 *
 * The network model `flow`: transfers share the links of their ways fairly.
 *
 * Rates are max-min: no transfer can have more without another, that has no
 * more than it, having less.  They are found again when transfers begin or end,
 * once an instant, of those transfers only that share links with these, if only
 * through others: links fill up together, where one is full, those on it keep
 * what they have (progressive filling; Bertsekas, Gallager, "Data Networks",
 * section 6.5.2). */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Links as full as each other are filled in one step. */
static const double ALIKE = 1 + 1e-12;

struct user {                   /* of a link */
    int32_t transfer, at;       /* the link is links[at] of the transfer's */
};
struct link_state {
    int64_t n, cap;
    struct user *users;
    double room;                /* while rates are found: B/s left, */
    int32_t open, seen;         /* users without a rate; in which search */
    double since;               /* users there */
    struct link_use use;
};

enum transfer_state { TRANSFER_FREE, TRANSFER_MOVES, TRANSFER_ARRIVES,
                      TRANSFER_ENDS };
struct transfer {
    int32_t rank, op;           /* of a send, or a member of a collective */
    int32_t leg;                /* of the member */
    enum transfer_state state;
    int32_t version;            /* of its next EVENT_TRANSFER */
    int32_t seen;
    double bytes, left;         /* B; left at `settled` */
    double settled, rate;       /* s, B/s; rate -1: not yet known */
    double bandwidth;           /* B/s at most */
    double latency;             /* s after it is through */
    double until;               /* the host is busy with it */
    double finish;              /* s of the member after its last leg */
    int32_t n, cap;
    int32_t *links, *at;        /* [n] and where among a link's users */
};

struct flows {
    const struct links *links;
    struct link_state *link;
    int64_t n, cap;
    struct transfer *transfers;
    int64_t n_free, free_cap, n_dirty, dirty_cap;
    int32_t *free, *dirty;      /* dirty: links whose users have changed */
    int32_t search;
    /* The part of links and transfers that is looked at. */
    int64_t n_links, links_cap, n_part, part_cap;
    int32_t *part_links, *part;
};

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

/* ---- Transfers on links ------------------------------------------------- */

static void set_dirty(struct flows *f, int32_t link)
{
    ARRAY_PUSH(f->dirty, f->n_dirty, f->dirty_cap, link);
}

static void enter(struct simulation *sim, int32_t number)
{
    struct flows *f = sim->flows;
    struct transfer *t = &f->transfers[number];

    for (int32_t k = 0; k < t->n; k++) {
        struct link_state *l = &f->link[t->links[k]];
        struct user user = { number, k };
        if (l->n == 0)
            l->since = sim->now;
        t->at[k] = (int32_t)l->n;
        ARRAY_PUSH(l->users, l->n, l->cap, user);
        set_dirty(f, t->links[k]);
    }
}

static void leave(struct simulation *sim, const struct transfer *t)
{
    struct flows *f = sim->flows;

    for (int32_t k = 0; k < t->n; k++) {
        struct link_state *l = &f->link[t->links[k]];
        struct user last = l->users[--l->n];
        l->users[t->at[k]] = last;
        f->transfers[last.transfer].at[last.at] = t->at[k];
        l->use.bytes += t->bytes;
        if (l->n == 0)
            l->use.busy += sim->now - l->since;
        else
            set_dirty(f, t->links[k]);
    }
}

static void transfer_wait(struct simulation *sim, int32_t number, double until)
{
    struct transfer *t = &sim->flows->transfers[number];

    events_push(&sim->events, (struct event){ until, number, ++t->version,
                                              EVENT_TRANSFER });
}

static void set_rate(struct simulation *sim, int32_t number, double rate)
{
    struct transfer *t = &sim->flows->transfers[number];

    if (t->rate == rate)
        return;
    if (t->rate > 0)
        t->left = fmax(0, t->left - t->rate * (sim->now - t->settled));
    t->settled = sim->now;
    t->rate = rate;
    if (rate > 0)
        transfer_wait(sim, number, sim->now + t->left / rate);
}

/* ---- Rates -------------------------------------------------------------- */

static void see_link(struct flows *f, int32_t link)
{
    struct link_state *l = &f->link[link];

    if (l->seen == f->search)
        return;
    l->seen = f->search;
    l->room = f->links->capacity[link];
    l->open = (int32_t)l->n;
    ARRAY_PUSH(f->part_links, f->n_links, f->links_cap, link);
}

/* Whatever is connected with a link. */
static void find_part(struct flows *f, int32_t link)
{
    f->n_links = f->n_part = 0;
    see_link(f, link);
    for (int64_t i = 0; i < f->n_links; i++) {
        struct link_state *l = &f->link[f->part_links[i]];
        for (int64_t k = 0; k < l->n; k++) {
            struct transfer *t = &f->transfers[l->users[k].transfer];
            if (t->seen == f->search)
                continue;
            t->seen = f->search;
            ARRAY_PUSH(f->part, f->n_part, f->part_cap, l->users[k].transfer);
            for (int32_t j = 0; j < t->n; j++)
                see_link(f, t->links[j]);
        }
    }
}

/* What the fullest link leaves to each of its users. */
static double least_share(const struct flows *f)
{
    double share = INFINITY;

    for (int64_t i = 0; i < f->n_links; i++) {
        const struct link_state *l = &f->link[f->part_links[i]];
        if (l->open > 0)
            share = fmin(share, l->room / l->open);
    }
    return share;
}

static double least_bandwidth(const struct flows *f)
{
    double bandwidth = INFINITY;

    for (int64_t i = 0; i < f->n_part; i++)
        bandwidth = fmin(bandwidth, f->transfers[f->part[i]].bandwidth);
    return bandwidth;
}

/* Does it get no more than its own bandwidth, or than a full link's share? */
static int is_held(const struct flows *f, const struct transfer *t,
                   double share, int by_links)
{
    if (!by_links)
        return t->bandwidth <= share;
    for (int32_t k = 0; k < t->n; k++) {
        const struct link_state *l = &f->link[t->links[k]];
        if (l->room <= share * ALIKE * l->open)
            return 1;
    }
    return 0;
}

/* The held ones keep that rate; which they are is decided before any is taken
 * off its links. */
static void fill(struct simulation *sim, double share, int by_links)
{
    struct flows *f = sim->flows;
    int64_t held = 0;

    for (int64_t i = 0; i < f->n_part; i++)
        if (is_held(f, &f->transfers[f->part[i]], share, by_links)) {
            int32_t number = f->part[i];
            f->part[i] = f->part[held];
            f->part[held++] = number;
        }
    for (int64_t i = 0; i < held; i++) {
        struct transfer *t = &f->transfers[f->part[i]];
        double rate = fmin(share, t->bandwidth);
        for (int32_t k = 0; k < t->n; k++) {
            struct link_state *l = &f->link[t->links[k]];
            l->room = fmax(0, l->room - rate);
            l->open--;
        }
        set_rate(sim, f->part[i], rate);
    }
    f->n_part -= held;
    memmove(f->part, f->part + held, (size_t)f->n_part * sizeof *f->part);
}

static void find_rates(struct simulation *sim)
{
    struct flows *f = sim->flows;

    while (f->n_part > 0) {
        double share = least_share(f), bandwidth = least_bandwidth(f);
        fill(sim, share, bandwidth > share);
    }
    for (int64_t i = 0; i < f->n_links; i++) {
        struct link_state *l = &f->link[f->part_links[i]];
        double capacity = f->links->capacity[f->part_links[i]];
        l->use.peak = fmax(l->use.peak, 1 - l->room / capacity);
    }
}

int flows_changed(const struct simulation *sim)
{
    return sim->flows && sim->flows->n_dirty > 0;
}

void flows_settle(struct simulation *sim)
{
    struct flows *f = sim->flows;

    f->search++;
    for (int64_t i = 0; i < f->n_dirty; i++) {
        if (f->link[f->dirty[i]].seen == f->search)
            continue;
        find_part(f, f->dirty[i]);
        find_rates(sim);
    }
    f->n_dirty = 0;
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
        transfer_wait(sim, number, sim->now + bytes / w->bandwidth);
    else
        enter(sim, number);
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

/* Reductions go by halves, to and from the member twice as far on each time; on
 * devices everything goes to everyone. */
static int reduction_leg(const struct collective_op *x, int devices,
                         int64_t leg, int64_t *to, int64_t *bytes)
{
    int64_t P = x->c.members, rounds = 0;
    int scans = x->op.collective == EXCLUSIVE_SCAN;

    *bytes = (int64_t)tile_bytes(&x->s, x->c.staging->tile);
    if (devices) {
        *to = (x->c.me + 1 + leg) % P;
        return leg < P - 1;
    }
    while ((int64_t)1 << rounds < P)
        rounds++;
    int64_t reach = leg < rounds ? leg : 2 * rounds - 1 - leg;
    if (leg >= rounds * (scans ? 1 : 2))
        return 0;
    *to = (x->c.me + ((int64_t)1 << reach)) % P;
    if (!scans)
        *bytes = ceil_div(*bytes, (int64_t)2 << reach);
    return 1;
}

/* 0: there is no such leg. */
static int collective_leg(const struct collective_op *x, int devices,
                          int64_t leg, int64_t *to, int64_t *bytes)
{
    const struct collective_shape *c = &x->c;

    if (collective_reduces(x->op.collective))
        return reduction_leg(x, devices, leg, to, bytes);
    if (leg >= c->members - 1)
        return 0;
    *to = (c->me + 1 + leg) % c->members;
    const struct operand *slice = c->send;
    if (x->op.collective != ALL_GATHER)
        slice += *to * c->tiles;
    *bytes = 0;
    for (int64_t i = 0; i < c->tiles; i++)
        *bytes += (int64_t)tile_bytes(&x->s, slice[i].tile);
    return 1;
}

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
        transfer_wait(sim, number, fmax(sim->now + t->finish, t->until));
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

/* B/s of all legs of a member that takes so many seconds alone. */
static double mean_bandwidth(const struct collective_op *x, double seconds)
{
    int64_t to, bytes, sum = 0;

    for (int64_t leg = 0; collective_leg(x, 1, leg, &to, &bytes); leg++)
        sum += bytes;
    return (double)sum / seconds;
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
        t->bandwidth = mean_bandwidth(x, pushed.left);
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
        leave(sim, t);
        t->state = TRANSFER_ARRIVES;
        if (sim_step(&sim->rank[t->rank], t->op)->kind == OP_SEND)
            end = fmax(end, t->until);
        if (end > sim->now) {
            transfer_wait(sim, number, end);
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
