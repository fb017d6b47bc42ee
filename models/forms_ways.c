/* SPDX-License-Identifier: Apache-2.0
 *
 * What each byte takes on a machine with a graph, every link shared by those
 * who send at once.
 *
 * All groups of ranks send at once, and hosts of one kind are alike: routes are
 * those of the slots of one host of each kind; what they put on the links of
 * that host is exact, links between switches carry what all put on them in
 * equal parts. */
#include <config.h>

#include "models/forms_internal.h"
#include "models/links.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct ways {
    struct graph *g;            /* borrowed */
    int64_t ranks;
    int64_t n, cap;
    struct flows_of *known;
    double *carried;            /* [links] scratch: B */
    int64_t n_touched;
    int32_t *touched;           /* links that carry something */
    double room[2];             /* B/s down and up between switches */
    int64_t n_sources;
    int32_t *sources;           /* slots of one host of each kind */
    double *weights;            /* [n_sources] ranks that each stands for */
    int32_t *leaves;            /* [hosts] a switch, -1: none */
    int32_t *found;             /* [n_sources][slots] route + 1; 0: not yet */
    int64_t n_routes, routes_cap;
    struct route *routes;
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

/* The first switch of the fabric that each host hangs on; -1: none. */
static int32_t *find_leaves(const struct graph *g)
{
    int32_t *leaves = xcalloc((size_t)g->n_hosts, sizeof *leaves);

    memset(leaves, -1, (size_t)g->n_hosts * sizeof *leaves);
    for (int64_t i = g->n_edges - 1; i >= 0; i--)
        for (int k = 0; k < 2; k++) {
            int32_t host = g->vertices[g->edges[i].end[k]].host;
            int32_t other = g->edges[i].end[!k];
            if (host >= 0 && g->vertices[other].host < 0)
                leaves[host] = other;
        }
    return leaves;
}

static int is_fabric(const struct graph *g, int32_t link)
{
    return g->vertices[link_from(g, link)].host < 0
        && g->vertices[link_to(g, link)].host < 0;
}

static int rises(const struct graph *g, int32_t link)
{
    return g->vertices[link_from(g, link)].level
        < g->vertices[link_to(g, link)].level;
}

static void add_room(struct ways *w)
{
    for (int32_t i = 0; i < 2 * w->g->n_edges; i++)
        if (is_fabric(w->g, i))
            w->room[rises(w->g, i)] += link_bandwidth(w->g, i);
}

struct ways *ways_create(struct graph *g, int64_t ranks)
{
    struct ways *w = xcalloc(1, sizeof *w);

    w->g = g;
    w->ranks = ranks;
    w->carried = xcalloc((size_t)(2 * g->n_edges), sizeof *w->carried);
    add_sources(w);
    add_room(w);
    w->touched = xcalloc((size_t)(2 * g->n_edges), sizeof *w->touched);
    w->leaves = find_leaves(g);
    w->found = xcalloc((size_t)(w->n_sources * g->n_slots), sizeof *w->found);
    return w;
}

void ways_destroy(struct ways *w)
{
    if (!w)
        return;
    free(w->known);
    free(w->carried);
    free(w->touched);
    free(w->sources);
    free(w->weights);
    free(w->leaves);
    free(w->found);
    free(w->routes);
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
    case TO_ANOTHER:
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

/* ---- Routes -------------------------------------------------------------- */

/* Where switches spread what they carry, hosts of one kind are as far from
 * this one as each other, on its leaf and beyond: the first of them. */
static int32_t like_host(const struct ways *w, int32_t from, int32_t to)
{
    const struct graph *g = w->g;
    int32_t own = w->leaves[from], leaf = w->leaves[to];

    if (from == to || leaf < 0 || !g->vertices[leaf].spreads)
        return to;
    for (int32_t h = 0; h < to; h++)
        if (h != from && g->hosts[h].kind == g->hosts[to].kind
            && (w->leaves[h] == own) == (leaf == own))
            return h;
    return to;
}

/* The slot of a like host at the same place; slots of a host follow each
 * other. */
static int32_t like_slot(const struct ways *w, int32_t from, int32_t to)
{
    const struct graph *g = w->g;
    int32_t host = host_of(g, to), like = like_host(w, host_of(g, from), host);
    int32_t v = g->slots[to] - g->hosts[host].first + g->hosts[like].first;

    return g->vertices[v].slot;
}

static const struct route *route_to(struct ways *w, int64_t source,
                                    int32_t to)
{
    int32_t *found = &w->found[source * w->g->n_slots + to];
    int32_t from = w->sources[source];

    if (!*found) {
        int32_t like = like_slot(w, from, to);
        int32_t *known = &w->found[source * w->g->n_slots + like];
        if (!*known) {
            struct route r;
            graph_route(w->g, from, like, &r);
            ARRAY_PUSH(w->routes, w->n_routes, w->routes_cap, r);
            *known = (int32_t)w->n_routes;
        }
        *found = *known;
    }
    return &w->routes[*found - 1];
}

/* ---- Sharing ------------------------------------------------------------- */

static int is_of(const struct graph *g, int32_t link, int32_t host)
{
    return g->vertices[link_from(g, link)].host == host
        || g->vertices[link_to(g, link)].host == host;
}

static void put(struct ways *w, int32_t link, double bytes)
{
    int32_t resource = graph_resource(w->g, link);

    if (!(w->carried[resource] > 0))
        w->touched[w->n_touched++] = resource;
    w->carried[resource] += bytes;
}

/* Links of its own host and between switches; those of the other host are as
 * busy as its own. */
static void carry(struct ways *w, const struct route *r, int64_t source)
{
    int32_t host = host_of(w->g, w->sources[source]);

    for (int32_t i = 0; i < r->n; i++)
        if (is_of(w->g, r->links[i], host))
            put(w, r->links[i], 1);
        else if (is_fabric(w->g, r->links[i]))
            put(w, r->links[i], w->weights[source]);
}

/* A round of messages: the slowest. */
struct leg {
    double latency, seconds;    /* s, s/B */
};

static void add_flow(struct ways *w, const struct machine *m,
                     struct flows_of *x, struct leg *leg, int64_t source,
                     int32_t to)
{
    const struct route *r = route_to(w, source, to);
    double slower = route_slower(m, r);

    x->sent[r->class] += w->weights[source] / (double)w->ranks;
    leg->latency = fmax(leg->latency, slower * r->latency);
    leg->seconds = fmax(leg->seconds, slower / r->bandwidth);
    carry(w, r, source);
}

/* The busiest link of each type; between switches all that go up, and all that
 * go down, together. */
static void share_links(struct ways *w, const struct machine *m,
                        struct flows_of *x)
{
    const struct graph *g = w->g;
    double between[2] = { 0, 0 };

    for (int64_t i = 0; i < w->n_touched; i++) {
        int32_t link = w->touched[i];
        const struct edge *e = &g->edges[link / 2];
        double *busy = &x->busy[e->type];
        w->carried[link] *= edge_slower(m, e);
        if (is_fabric(g, link))
            between[rises(g, link)] += w->carried[link];
        else
            *busy = fmax(*busy, w->carried[link] / link_bandwidth(g, link));
        w->carried[link] = 0;
    }
    w->n_touched = 0;
    for (int k = 0; k < 2; k++)
        if (between[k] > 0)
            x->busy[EDGE_FABRIC] = fmax(x->busy[EDGE_FABRIC],
                                        between[k] / w->room[k]);
    for (int t = 0; t < EDGE_TYPES; t++)
        x->seconds = fmax(x->seconds, x->busy[t]);
}

static void find_flows(struct ways *w, const struct machine *m,
                       struct flows_of *x)
{
    int64_t n = x->to == TO_ALL ? x->members - 1 : 1;
    int64_t slots = w->g->n_slots;

    for (int64_t i = 0; i < n; i++) {   /* members wait for the slowest */
        struct leg leg = { 0 };
        for (int64_t s = 0; s < w->n_sources; s++) {
            int64_t rank = w->sources[s], j = rank / x->stride % x->members;
            int64_t to = rank + (peer(x, j, i) - j) * x->stride;
            if (to < w->ranks && to % slots != rank)
                add_flow(w, m, x, &leg, s, (int32_t)(to % slots));
        }
        x->latency += leg.latency;
        x->seconds += leg.seconds;
    }
    share_links(w, m, x);
}

int64_t groups_at_once(const struct forms *f, int64_t members, int64_t slots)
{
    return f->ranks > slots || f->ranks % members ? 0 : f->ranks / members;
}

/* Of the first rank's group: its hosts; on one, what is between its members. */
static void find_group(const struct forms *f, struct flows_of *x)
{
    const struct graph *g = f->ways->g;
    int32_t *slots = xcalloc((size_t)x->members, sizeof *slots);

    for (int64_t i = 0; i < x->members; i++)
        slots[i] = (int32_t)(i * x->stride % g->n_slots);
    collective_place(f->m, slots, x->members,
                     groups_at_once(f, x->members, g->n_slots), &x->group);
    int gpus = x->group.hosts == 1 && !x->group.cores;
    for (int k = 0; gpus && k < COLLECTIVE_KINDS; k++)
        collective_path(f->m, slots, x->members, (enum collective_kind)k,
                        &x->paths[k]);
    free(slots);
}

const struct flows_of *flows_known(struct scene *c, const struct move *m)
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
    find_flows(w, c->f->m, &x);
    if (x.to == TO_ALL)
        find_group(c->f, &x);
    ARRAY_PUSH(w->known, w->n, w->cap, x);
    return &w->known[w->n - 1];
}
