/* SPDX-License-Identifier: Apache-2.0
 *
 * What messages take on a machine by a map of ranks, without a schedule. */
#include <config.h>

#include "models/placement.h"

#include <math.h>
#include <stdlib.h>

/* Bytes onto the links of a message's way; its seconds alone. */
static double load(const struct placement_problem *p, const int32_t *map,
                   const struct traffic_item *x, double *bytes)
{
    struct way w;

    p->links->way(p->links, map[x->from], map[x->to], x->bytes, &w);
    for (int32_t k = 0; k < w.n; k++)
        bytes[w.links[k]] += (double)x->bytes;
    return w.latency + (double)x->bytes / w.bandwidth;
}

/* What a step's links are busy. */
struct busy {
    double most, fourth;        /* s of the fullest; sum of s to the fourth */
};

/* Of the links of a message; they are emptied. */
static void unload(const struct placement_problem *p, const int32_t *map,
                   const struct traffic_item *x, double *bytes, struct busy *b)
{
    struct way w;

    p->links->way(p->links, map[x->from], map[x->to], x->bytes, &w);
    for (int32_t k = 0; k < w.n; k++) {
        int32_t link = w.links[k];
        double seconds = bytes[link] / p->links->capacity[link];
        b->most = fmax(b->most, seconds);
        b->fourth += seconds * seconds * seconds * seconds;
        bytes[link] = 0;
    }
}

static double all_steps(const struct placement_problem *p, const int32_t *map,
                        int strain)
{
    const struct traffic *t = p->traffic;
    double *bytes = xcalloc((size_t)p->links->n, sizeof *bytes), sum = 0;

    for (int64_t s = 0; s < t->steps; s++) {
        struct busy b = { 0, 0 };
        double slowest = 0;
        for (int64_t i = t->first[s]; i < t->first[s + 1]; i++)
            slowest = fmax(slowest, load(p, map, &t->items[i], bytes));
        for (int64_t i = t->first[s]; i < t->first[s + 1]; i++)
            unload(p, map, &t->items[i], bytes, &b);
        sum += strain ? sqrt(sqrt(b.fourth)) : fmax(slowest, b.most);
    }
    free(bytes);
    return sum;
}

double placement_seconds(const struct placement_problem *p, const int32_t *map)
{
    return all_steps(p, map, 0);
}

double placement_strain(const struct placement_problem *p, const int32_t *map)
{
    return all_steps(p, map, 1);
}

double *placement_loads(const struct placement_problem *p, const int32_t *map)
{
    double *bytes = xcalloc((size_t)p->links->n, sizeof *bytes);

    for (int64_t i = 0; i < p->traffic->n; i++)
        load(p, map, &p->traffic->items[i], bytes);
    return bytes;
}

double placement_busiest_nic(const struct placement_problem *p,
                             const int32_t *map)
{
    const struct graph *g = p->machine->graph;
    double *bytes = placement_loads(p, map), most = 0;

    for (int64_t i = 0; i < 2 * g->n_edges; i++)
        if (g->edges[i / 2].type == EDGE_NETWORK)
            most = fmax(most, bytes[graph_resource(g, (int32_t)i)]);
    free(bytes);
    return most;
}
