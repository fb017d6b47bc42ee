/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages over the links of a machine's graph against ring collectives, which
 * are nothing else: how sure a link is of which only a usable bandwidth is
 * stated, or not even that. */
#include <config.h>

#include "cli/validate.h"

#include "topo/collective.h"
#include "topo/estimate.h"
#include "topo/import.h"

#include <math.h>
#include <stdlib.h>

/* Under this it is protocols that decide, which collectives have and messages
 * have not. */
enum { SHORTEST = 524288 };

/* Each rank to the next one, all at once: what a message has of the fullest of
 * its links, and its start-up time. */
static void ring_path(struct graph *g, int64_t ranks, double *latency,
                      double *bandwidth)
{
    double *load = xcalloc(2 * (size_t)g->n_edges, sizeof *load);
    struct route r;

    *latency = 0;
    *bandwidth = INFINITY;
    for (int32_t i = 0; i < ranks; i++) {
        graph_route(g, i, (int32_t)((i + 1) % ranks), &r);
        *latency = fmax(*latency, r.latency);
        for (int32_t k = 0; k < r.n; k++)
            load[graph_resource(g, r.links[k])] += 1;
    }
    for (int32_t i = 0; i < 2 * g->n_edges; i++)
        if (load[i] > 0)
            *bandwidth = fmin(*bandwidth, link_bandwidth(g, i) / load[i]);
    free(load);
}

void links_ratios(const struct import *in, const struct machine *m,
                  struct ratios *out)
{
    double latency, bandwidth;

    for (int64_t i = 0; i < in->n; i++) {
        const struct import_run *r = &in->runs[i];
        double P = (double)r->ranks;
        if (r->kind != OF_ALL_GATHER && r->kind != OF_REDUCE_SCATTER)
            continue;
        ring_path(m->graph, r->ranks, &latency, &bandwidth);
        for (int64_t k = 0; k < r->n; k++) {
            double bytes = (double)r->points[k].bytes / P;
            if (bytes >= SHORTEST)
                ARRAY_PUSH(out->items, out->n, out->cap, r->points[k].seconds
                           / ((P - 1) * (latency + bytes / bandwidth)));
        }
    }
}

void links_spread(const struct collective_scores *s, int64_t but,
                  double spread[2])
{
    struct ratios all = { .n = 0 };

    for (int64_t i = 0; i < s->n; i++) {
        const struct ratios *x = &s->items[i].links[CALIBRATED];
        for (int64_t k = 0; k < x->n && i != but && s->items[i].nvlink; k++)
            ARRAY_PUSH(all.items, all.n, all.cap, x->items[k]);
    }
    spread[0] = quantile_of(all.items, all.n, 0.1);
    spread[1] = quantile_of(all.items, all.n, 0.9);
    free(all.items);
}

double links_cover(const struct collective_scores *s)
{
    int64_t rows = 0, inside = 0;
    double spread[2];

    for (int64_t i = 0; i < s->n; i++) {
        const struct ratios *x = &s->items[i].links[CALIBRATED];
        links_spread(s, i, spread);
        for (int64_t k = 0; k < x->n && s->items[i].nvlink; k++, rows++)
            inside += x->items[k] >= spread[0] && x->items[k] <= spread[1];
    }
    return 100.0 * (double)inside / (double)max64(1, rows);
}
