/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/links.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Quantiles ---------------------------------------------------------- */

const double links_stated[2] = { 0.86, 1.85 };

double spread_slower(const struct machine *m, const double spread[2])
{
    return m->quantile == 0 || spread[0] <= 0 ? 1 : spread[m->quantile > 0];
}

/* P10 and P90 lie 1.6 mean errors away, if errors are normal. */
double segment_slower(const struct machine *m,
                             const struct link_segment *s)
{
    return fmax(0.1, 1 + 1.6 * s->error * m->quantile);
}

double edge_slower(const struct machine *m, const struct edge *e)
{
    const double own[2] = { e->p10, e->p90 };

    return spread_slower(m, e->p10 > 0 ? own : links_stated);
}

double route_slower(const struct machine *m, const struct route *r)
{
    double slower = 1;

    for (int32_t i = 0; i < r->n; i++) {
        double x = edge_slower(m, &m->graph->edges[r->links[i] / 2]);
        slower = m->quantile < 0 ? fmin(slower, x) : fmax(slower, x);
    }
    return slower;
}

/* Of links that were measured as classes of routes; 0: none was. */
static double classes_slower(const struct machine *m)
{
    double slower = 0;

    for (int c = 0; c < ROUTE_CLASSES; c++)
        for (int64_t i = 0; i < m->classes[c].n; i++) {
            double x = segment_slower(m, &m->classes[c].segments[i]);
            slower = slower == 0 ? x : m->quantile < 0 ? fmin(slower, x)
                : fmax(slower, x);
        }
    return slower;
}

/* ---- Ports -------------------------------------------------------------- */

static void port_way(const struct links *l, int64_t from, int64_t to,
                     int64_t bytes, struct way *w)
{
    const struct link_segment *s = link_segment(&l->m->link, bytes);

    double slower = s ? segment_slower(l->m, s) : 1;

    w->latency = s ? s->latency * slower : 0;
    w->bandwidth = s ? s->bandwidth / slower : INFINITY;
    w->n = from != to ? 2 : 0;
    w->links[0] = (int32_t)(l->period ? from % l->period : from);
    w->links[1] = (int32_t)(l->places + (l->period ? to % l->period : to));
}

static void links_of_ports(struct links *l)
{
    const struct link_segment *s = link_segment(&l->m->link,
                                                INT64_MAX - 1);
    double peer = machine_copy_bandwidth(l->m, COPY_PEER, INT64_MAX);

    l->n = 2 * l->places;
    l->even = 1;
    l->way = port_way;
    l->capacity = xcalloc((size_t)l->n, sizeof *l->capacity);
    for (int64_t i = 0; i < l->n; i++)
        l->capacity[i] = (peer > 0 ? peer : s ? s->bandwidth : INFINITY)
            / (s ? segment_slower(l->m, s) : 1);
}

/* ---- A graph ------------------------------------------------------------ */

/* Routes once found: a table by pair, open addressing. */
struct kept_way {
    int64_t pair;               /* -1: free */
    double latency, bandwidth;
    double slower;              /* than told, where a quantile is asked for */
    int64_t first;              /* of links */
    int32_t n;
    enum route_class class;
};
struct kept_ways {
    int64_t n, cap, n_links, links_cap;
    struct kept_way *ways;
    int32_t *links;
};

static struct kept_way *slot_of(const struct kept_ways *k, int64_t pair)
{
    uint64_t at = hash_u64(0, (uint64_t)pair) & (uint64_t)(k->cap - 1);

    while (k->ways[at].pair >= 0 && k->ways[at].pair != pair)
        at = (at + 1) & (uint64_t)(k->cap - 1);
    return &k->ways[at];
}

static void kept_grow(struct kept_ways *k)
{
    struct kept_ways old = *k;

    k->cap = max64(64, 2 * old.cap);
    k->ways = xcalloc((size_t)k->cap, sizeof *k->ways);
    for (int64_t i = 0; i < k->cap; i++)
        k->ways[i].pair = -1;
    for (int64_t i = 0; i < old.cap; i++)
        if (old.ways[i].pair >= 0)
            *slot_of(k, old.ways[i].pair) = old.ways[i];
    free(old.ways);
}

static void find_route(const struct links *l, int64_t from, int64_t to,
                       struct kept_way *w)
{
    struct kept_ways *k = l->kept;
    struct route r;

    graph_route(l->m->graph, (int32_t)from, (int32_t)to, &r);
    w->pair = from * l->places + to;
    w->latency = r.latency;
    w->bandwidth = r.bandwidth;
    w->slower = route_slower(l->m, &r);
    w->class = r.class;
    w->first = k->n_links;
    w->n = (int32_t)min64(r.n, ROUTE_LONGEST);
    for (int32_t i = 0; i < w->n; i++)
        ARRAY_PUSH(k->links, k->n_links, k->links_cap,
                   graph_resource(l->m->graph, r.links[i]));
    k->n++;
}

static void graph_way(const struct links *l, int64_t from, int64_t to,
                      int64_t bytes, struct way *w)
{
    struct kept_ways *k = l->kept;

    if (2 * k->n >= k->cap)
        kept_grow(k);
    struct kept_way *at = slot_of(k, from * l->places + to);
    if (at->pair < 0)
        find_route(l, from, to, at);
    /* As measured between ranks with such a way, else as the graph says. */
    const struct link_segment *s = link_segment(&l->m->classes[at->class],
                                                bytes);
    double slower = s ? segment_slower(l->m, s) : at->slower;
    w->latency = (s ? s->latency : at->latency) * slower;
    w->bandwidth = (s ? s->bandwidth : at->bandwidth) / slower;
    w->n = at->n;
    if (at->n)
        memcpy(w->links, k->links + at->first,
               (size_t)at->n * sizeof *w->links);
}

static void links_of_graph(struct links *l)
{
    const struct graph *g = l->m->graph;

    l->n = 2 * g->n_edges;
    l->way = graph_way;
    l->kept = xcalloc(1, sizeof *l->kept);
    l->capacity = xcalloc((size_t)l->n, sizeof *l->capacity);
    double slower = classes_slower(l->m);
    for (int64_t i = 0; i < l->n; i++)
        l->capacity[i] = link_bandwidth(g, (int32_t)i)
            / (slower > 0 ? slower : edge_slower(l->m, &g->edges[i / 2]));
}

/* ---- Either ------------------------------------------------------------- */

struct links *links_create(const struct machine *m, int64_t places)
{
    struct links *l = xcalloc(1, sizeof *l);

    l->m = m;
    l->places = places;
    if (m->graph)
        links_of_graph(l);
    else
        links_of_ports(l);
    return l;
}

void links_destroy(struct links *l)
{
    if (!l)
        return;
    if (l->kept) {
        free(l->kept->ways);
        free(l->kept->links);
    }
    free(l->kept);
    free(l->derated);
    free(l->capacity);
    free(l);
}
