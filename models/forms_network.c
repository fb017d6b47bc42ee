/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of messages: on a flat machine as the network model `loggp` has
 * them, on a machine with a graph with every link shared by those who send at
 * once.
 *
 * All groups of ranks send at once, and hosts of one kind are alike: routes are
 * those of the slots of one host of each kind, what they put on the links of
 * their hosts is exact, links between switches carry what all put on them in
 * equal parts. */
#include <config.h>

#include "models/forms_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What each byte that everyone sends to each peer takes. */
struct flows_of {
    enum pattern to;
    int64_t members, stride, window;
    int interleaved;
    double latency;             /* s; TO_ALL: of all peers */
    double seconds;             /* s/B of the slowest, alone or sharing links */
    double busy[EDGE_TYPES];    /* s/B of the busiest link */
    double sent[ROUTE_CLASSES]; /* B/B of a rank, the mean */
};
struct ways {
    struct graph *g;            /* borrowed */
    int64_t ranks;
    int64_t n, cap;
    struct flows_of *known;
    double *carried;            /* [links] scratch: B */
    int64_t n_sources;
    int32_t *sources;           /* slots of one host of each kind */
    double *weights;            /* [n_sources] ranks that each stands for */
};

/* ---- Sources ------------------------------------------------------------- */

static int32_t host_of(const struct graph *g, int32_t slot)
{
    return g->vertices[g->slots[slot]].host;
}

/* The first host of each kind stands for all slots in use of its kind. */
static void add_sources(struct ways *w)
{
    const struct graph *g = w->g;
    int32_t used = (int32_t)min64(w->ranks, g->n_slots);

    w->sources = xcalloc((size_t)used, sizeof *w->sources);
    w->weights = xcalloc((size_t)used, sizeof *w->weights);
    for (int32_t s = 0; s < used; s++) {
        int32_t kind = g->hosts[host_of(g, s)].kind;
        int64_t i = 0, like = 0;
        while (i < w->n_sources
               && g->hosts[host_of(g, w->sources[i])].kind != kind)
            i++;
        if (i == w->n_sources
            || host_of(g, w->sources[i]) == host_of(g, s)) {
            w->sources[w->n_sources++] = s;
            continue;
        }
        for (int64_t k = i; k < w->n_sources; k++)
            like += g->hosts[host_of(g, w->sources[k])].kind == kind;
        for (int64_t k = i; k < w->n_sources; k++)
            if (g->hosts[host_of(g, w->sources[k])].kind == kind)
                w->weights[k] += 1 / (double)like;
    }
    for (int64_t i = 0; i < w->n_sources; i++)
        w->weights[i] += 1;
}

struct ways *ways_create(struct graph *g, int64_t ranks)
{
    struct ways *w = xcalloc(1, sizeof *w);

    w->g = g;
    w->ranks = ranks;
    w->carried = xcalloc((size_t)(2 * g->n_edges), sizeof *w->carried);
    add_sources(w);
    return w;
}

void ways_destroy(struct ways *w)
{
    if (!w)
        return;
    free(w->known);
    free(w->carried);
    free(w->sources);
    free(w->weights);
    free(w);
}

/* ---- Patterns ------------------------------------------------------------ */

/* Place in the rings of a member, and the member at a place, where of every two
 * inner rings one has the even members (src/strategy/mesh.c). */
static int64_t place_of(const struct flows_of *x, int64_t j)
{
    int64_t k = x->interleaved ? j % (2 * x->window) : 0;

    return j - k + k / 2 + (k % 2 ? x->window : 0);
}

static int64_t member_at(const struct flows_of *x, int64_t i)
{
    int64_t k = x->interleaved ? i % (2 * x->window) : 0;

    return i - k + (k < x->window ? 2 * k : 2 * (k - x->window) + 1);
}

static int64_t next_place(const struct flows_of *x, int64_t j, int64_t i)
{
    int64_t w = x->window;

    switch (x->to) {
    case TO_NEXT:
    case TO_ALL:
        return (j + 1 + i) % x->members;
    case TO_INNER:
        return j - j % w + (j % w + 1) % w;
    case TO_OUTER:
        return (j + w) % x->members;
    }
    return j;
}

/* The member that member j sends its i-th message to. */
static int64_t peer(const struct flows_of *x, int64_t j, int64_t i)
{
    return x->interleaved ? member_at(x, next_place(x, place_of(x, j), i))
                          : next_place(x, j, i);
}

/* Links within a host, or out of it: its own slots put there all there is. */
static int is_own(const struct graph *g, int32_t link)
{
    return g->vertices[link_from(g, link)].host >= 0
        || g->vertices[link_to(g, link)].host >= 0;
}

static void add_flow(struct ways *w, struct flows_of *x, int64_t source,
                     int32_t to)
{
    struct route r;
    int32_t from = w->sources[source];

    if (graph_route(w->g, from, to, &r))
        return;
    x->sent[r.class] += w->weights[source] / (double)w->ranks;
    if (x->to == TO_ALL) {      /* one after the other, the slowest rank's */
        x->latency += r.latency / (double)w->n_sources;
        x->seconds += 1 / r.bandwidth / (double)w->n_sources;
    } else {
        x->latency = fmax(x->latency, r.latency);
        x->seconds = fmax(x->seconds, 1 / r.bandwidth);
    }
    for (int32_t i = 0; i < r.n; i++)
        w->carried[graph_resource(w->g, r.links[i])] +=
            is_own(w->g, r.links[i]) ? 1 : w->weights[source];
}

/* B/s of all links between switches that go as this one does: up or down. */
static double tier(const struct graph *g, int32_t link)
{
    int up = g->vertices[link_from(g, link)].level
        < g->vertices[link_to(g, link)].level;
    double all = 0;

    for (int32_t i = 0; i < 2 * g->n_edges; i++)
        if (g->edges[i / 2].type == EDGE_FABRIC && !is_own(g, i)
            && (g->vertices[link_from(g, i)].level
                < g->vertices[link_to(g, i)].level) == up)
            all += link_bandwidth(g, i);
    return all;
}

static void share_links(struct ways *w, struct flows_of *x)
{
    const struct graph *g = w->g;
    double up = 0, down = 0, most = 0;
    int32_t one[2] = { -1, -1 };

    for (int32_t i = 0; i < 2 * g->n_edges; i++) {
        enum edge_type type = g->edges[i / 2].type;
        if (!(w->carried[i] > 0))
            continue;
        if (is_own(g, i)) {
            x->busy[type] = fmax(x->busy[type],
                                 w->carried[i] / link_bandwidth(g, i));
            continue;
        }
        int rises = g->vertices[link_from(g, i)].level
            < g->vertices[link_to(g, i)].level;
        *(rises ? &up : &down) += w->carried[i];
        one[rises] = i;
    }
    for (int k = 0; k < 2; k++)
        if (one[k] >= 0)
            x->busy[EDGE_FABRIC] = fmax(x->busy[EDGE_FABRIC],
                                        (k ? up : down) / tier(g, one[k]));
    for (int t = 0; t < EDGE_TYPES; t++)
        most = fmax(most, x->busy[t]);
    x->seconds = fmax(x->seconds, most);
}

static void find_flows(struct ways *w, struct flows_of *x)
{
    int64_t n = x->to == TO_ALL ? x->members - 1 : 1;
    int64_t slots = w->g->n_slots;

    memset(w->carried, 0, (size_t)(2 * w->g->n_edges) * sizeof *w->carried);
    for (int64_t s = 0; s < w->n_sources; s++) {
        int64_t rank = w->sources[s], j = rank / x->stride % x->members;
        for (int64_t i = 0; i < n; i++) {
            int64_t to = rank + (peer(x, j, i) - j) * x->stride;
            if (to < w->ranks && to % slots != rank)
                add_flow(w, x, s, (int32_t)(to % slots));
        }
    }
    share_links(w, x);
}

static const struct flows_of *flows_known(struct scene *c, const struct move *m)
{
    struct ways *w = c->f->ways;
    struct flows_of x = { .to = m->to, .members = c->members,
                          .stride = c->stride, .window = m->window,
                          .interleaved = m->interleaved };

    for (int64_t i = 0; i < w->n; i++) {
        const struct flows_of *y = &w->known[i];
        if (y->members == x.members && y->stride == x.stride && y->to == x.to
            && y->window == x.window && y->interleaved == x.interleaved)
            return y;
    }
    find_flows(w, &x);
    ARRAY_PUSH(w->known, w->n, w->cap, x);
    return &w->known[w->n - 1];
}

/* ---- Moves --------------------------------------------------------------- */

static void graph_move(struct scene *c, struct load *l, struct move m)
{
    const struct flows_of *x = flows_known(c, &m);

    l->wire = fmax(l->wire, x->latency + m.bytes * x->seconds);
    for (int t = 0; t < EDGE_TYPES; t++)
        l->busy[t] += m.bytes * x->busy[t];
}

static double copy_rate(const struct machine *m, int64_t block)
{
    double rate = machine_copy_bandwidth(m, m->devices == 1 ? COPY_DEVICE
                                         : COPY_PEER, block);

    return rate > 0 || m->link.n == 0 ? rate
        : m->link.segments[m->link.n - 1].bandwidth;
}

/* As models/ports.c: bytes share the way out, latencies do not. */
static void device_move(const struct scene *c, struct load *l, struct move m)
{
    const struct machine *x = c->f->m;
    double rate = copy_rate(x, (int64_t)m.block);
    double whole = copy_rate(x, (int64_t)m.bytes);
    double alone = machine_message_seconds(x, (int64_t)m.bytes);

    if (rate > 0)
        l->wire += m.peers * m.bytes / rate;
    if (whole > 0)
        l->wire += fmax(0, alone - m.bytes / whole);
    l->wire += (m.peers * m.tiles - 1) * x->push_overhead;
}

void load_move(struct scene *c, struct load *l, struct move m)
{
    const struct machine *x = c->f->m;

    if (m.peers <= 0 || m.bytes <= 0)
        return;
    if (c->f->ways)
        graph_move(c, l, m);
    else if (x->devices)
        device_move(c, l, m);
    else        /* Channels: without contention the longest counts. */
        l->wire = fmax(l->wire, m.peers
                       * machine_message_seconds(x, (int64_t)m.bytes));
    if (x->shared_core)
        l->host += 2 * m.peers * (m.tiles * x->link.overhead
                                  + m.bytes * x->link.host_per_byte);
}

void load_repeat(struct load *l, double times)
{
    l->compute *= times;
    l->host *= times;
    l->wire *= times;
    for (int t = 0; t < EDGE_TYPES; t++)
        l->busy[t] *= times;
}

void load_beside(const struct scene *c, struct load *l,
                 const struct load *other)
{
    l->compute += other->compute;
    l->host += other->host;
    l->wire = c->f->m->devices && !c->f->ways ? l->wire + other->wire
        : fmax(l->wire, other->wire);
    for (int t = 0; t < EDGE_TYPES; t++)
        l->busy[t] += other->busy[t];
}

double load_seconds(const struct scene *c, struct load l)
{
    const struct machine *m = c->f->m;

    for (int t = 0; c->f->ways && t < EDGE_TYPES; t++)
        l.wire = fmax(l.wire, l.busy[t]);
    if (m->devices && l.wire > 0 && m->attend_beside > 1)
        l.compute *= m->attend_beside;
    return c->f->share * fmax(l.compute + l.host, l.wire);
}
