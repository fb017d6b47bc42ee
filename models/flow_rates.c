/* SPDX-License-Identifier: Apache-2.0
 *
 * The network model `flow`: the rates of transfers.
 *
 * They are max-min: no transfer can have more without another, that has no more
 * than it, having less.  They are found again when transfers begin or end, once
 * an instant, of those transfers only that share links with these, if only
 * through others: links fill up together, where one is full, those on it keep
 * what they have (progressive filling; Bertsekas, Gallager, "Data Networks",
 * section 6.5.2). */
#include <config.h>

#include "models/flow_internal.h"

#include <math.h>
#include <string.h>

/* Links as full as each other are filled in one step. */
static const double ALIKE = 1 + 1e-12;

/* ---- Transfers on links ------------------------------------------------- */

static void set_dirty(struct flows *f, int32_t link)
{
    ARRAY_PUSH(f->dirty, f->n_dirty, f->dirty_cap, link);
}

void flow_enter(struct simulation *sim, int32_t number)
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

void flow_leave(struct simulation *sim, const struct transfer *t)
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

void flow_wait(struct simulation *sim, int32_t number, double until)
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
        flow_wait(sim, number, sim->now + t->left / rate);
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
