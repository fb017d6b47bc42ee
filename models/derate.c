/* SPDX-License-Identifier: Apache-2.0
 *
 * Links that have not all of their bandwidth: `jitter.links` of a scenario. */
#include <config.h>

#include "models/internal.h"

#include <string.h>

static int32_t vertex_find(const struct graph *g, const char *name)
{
    char text[64];

    for (int32_t v = 0; v < g->n_vertices; v++)
        if (strcmp(graph_name(g, v, text, sizeof text), name) == 0)
            return v;
    return -1;
}

/* Edge i connects a and b; b -1: whatever. */
static int is_between(const struct graph *g, int64_t i, int32_t a, int32_t b)
{
    const int32_t *end = g->edges[i].end;

    return (end[0] == a && (b < 0 || end[1] == b))
        || (end[1] == a && (b < 0 || end[0] == b));
}

static void derate_link(struct links *l, int64_t link, double left)
{
    l->capacity[link] *= left;
    l->derated[link] = 1;
}

static int64_t derate_edges(struct links *l, int32_t a, int32_t b,
                            double left)
{
    const struct graph *g = l->m->graph;
    int64_t n = 0;

    for (int64_t i = 0; i < g->n_edges; i++)
        if (is_between(g, i, a, b)) {
            derate_link(l, 2 * i, left);
            derate_link(l, 2 * i + 1, left);
            n++;
        }
    return n;
}

static void derate_place(struct links *l, int32_t place, double left)
{
    if (l->m->graph) {
        derate_edges(l, l->m->graph->slots[place], -1, left);
        return;
    }
    derate_link(l, place, left);
    derate_link(l, l->places + place, left);
}

void links_derate(struct links *l, const struct simulation *sim)
{
    const struct jitter *j = sim->o.jitter;

    if (j && j->n_links && !l->derated)
        l->derated = xcalloc((size_t)l->n, 1);
    for (int64_t i = 0; j && i < j->n_links; i++) {
        const struct jitter_link *x = &j->links[i];
        l->even = 0;
        if (x->rank < 0)
            derate_edges(l, vertex_find(l->m->graph, x->from),
                         vertex_find(l->m->graph, x->to), x->bandwidth);
        else if (x->rank < sim->ranks)
            derate_place(l, sim_place_of(sim, (int32_t)x->rank), x->bandwidth);
    }
}

static int way_derated(const struct links *l, int64_t from, int64_t to)
{
    struct way w;

    l->way(l, from, to, 1, &w);
    for (int32_t i = 0; i < w.n; i++)
        if (l->derated[w.links[i]])
            return 1;
    return 0;
}

int links_derated(const struct links *l, const int32_t *places, int64_t n)
{
    for (int64_t a = 0; l->derated && a < n; a++)
        for (int64_t b = 0; b < n; b++)
            if (way_derated(l, places[a], places[b]))
                return 1;
    return 0;
}

static int check_named(const struct machine *m, const struct jitter_link *x,
                       struct error *e)
{
    const struct graph *g = m->graph;

    if (!g)
        return fail_usage(e, "machine %s has no cluster with %s",
                          m->name, x->from);
    int32_t a = vertex_find(g, x->from), b = vertex_find(g, x->to);
    if (a < 0 || b < 0)
        return fail_usage(e, "machine %s has no \"%s\"; see "
                          "`spar topo`", m->name, a < 0 ? x->from : x->to);
    for (int64_t i = 0; i < g->n_edges; i++)
        if (is_between(g, i, a, b))
            return 0;
    return fail_usage(e, "no link of machine %s connects %s with "
                      "%s", m->name, x->from, x->to);
}

int simulate_jitter(const struct machine *m, const struct jitter *j,
                    const struct network_model *network, struct error *e)
{
    if (j && j->n_links && m->devices && network->host && !network->shares)
        return fail_usage(e, "between devices only --network "
                          "flow knows links");
    for (int64_t i = 0; j && i < j->n_links; i++)
        if (j->links[i].rank < 0 && check_named(m, &j->links[i], e))
            return -1;
    return 0;
}
