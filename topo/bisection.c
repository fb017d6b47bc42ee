/* SPDX-License-Identifier: Apache-2.0
 *
 * Bisection: a maximum flow by blocking flows (Dinic 1970), from the slots of
 * the first half, joined into one source, to those of the second. */
#include <config.h>

#include "topo/survey.h"

#include <math.h>
#include <stdlib.h>

/* Arcs in pairs: 2 i and 2 i + 1 run against each other; those of an edge are
 * its two links, the last ones tie the halves together. */
struct flow_net {
    int32_t n, source, sink;    /* vertices */
    int64_t n_arcs;
    int32_t *to;                /* [n_arcs] */
    double *left;               /* [n_arcs] B/s */
    int64_t *first, *arcs;      /* out of v: first[v] .. first[v + 1] */
    int32_t *level, *queue;
    int64_t *next;              /* the arc of v to try */
};

/* More than any link has: a cut through it is unknown. */
static const double UNKNOWN = 1e24;

static void add_arc(struct flow_net *f, int64_t arc, int32_t to, double left)
{
    f->to[arc] = to;
    f->left[arc] = left;
}

static void list_arcs(struct flow_net *f)
{
    for (int64_t i = 0; i < f->n_arcs; i++)
        f->first[f->to[i ^ 1] + 1]++;
    for (int32_t v = 0; v < f->n; v++)
        f->first[v + 1] += f->first[v];
    for (int64_t i = 0; i < f->n_arcs; i++)
        f->arcs[f->first[f->to[i ^ 1]] + f->next[f->to[i ^ 1]]++] = i;
}

static void net_init(struct flow_net *f, const struct graph *g)
{
    int32_t n = (int32_t)g->n_vertices;
    size_t v = (size_t)n + 3, a;

    *f = (struct flow_net){ .n = n + 2, .source = n, .sink = n + 1,
                            .n_arcs = 2 * (g->n_edges + g->n_slots) };
    a = (size_t)f->n_arcs + 1;
    f->to = xcalloc(a, sizeof *f->to);
    f->left = xcalloc(a, sizeof *f->left);
    f->arcs = xcalloc(a, sizeof *f->arcs);
    f->first = xcalloc(v, sizeof *f->first);
    f->next = xcalloc(v, sizeof *f->next);
    f->level = xcalloc(v, sizeof *f->level);
    f->queue = xcalloc(v, sizeof *f->queue);
    for (int32_t i = 0; i < 2 * g->n_edges; i++)
        add_arc(f, i, link_to(g, i), fmin(link_bandwidth(g, i), UNKNOWN));
    for (int32_t i = 0; i < g->n_slots; i++) {
        int64_t arc = 2 * (g->n_edges + i);
        int upper = i >= g->n_slots / 2;
        add_arc(f, arc, upper ? f->sink : g->slots[i], INFINITY);
        add_arc(f, arc + 1, upper ? g->slots[i] : f->source, 0);
    }
    list_arcs(f);
}

static void net_clear(struct flow_net *f)
{
    free(f->to);
    free(f->left);
    free(f->arcs);
    free(f->first);
    free(f->next);
    free(f->level);
    free(f->queue);
}

/* Distances from the source along what is left. 0: the sink is cut off. */
static int set_levels(struct flow_net *f, double least)
{
    int32_t head = 0, tail = 0;

    for (int32_t v = 0; v < f->n; v++) {
        f->level[v] = -1;
        f->next[v] = f->first[v];
    }
    f->level[f->source] = 0;
    f->queue[tail++] = f->source;
    while (head < tail) {
        int32_t v = f->queue[head++];
        for (int64_t i = f->first[v]; i < f->first[v + 1]; i++) {
            int32_t to = f->to[f->arcs[i]];
            if (f->left[f->arcs[i]] <= least || f->level[to] >= 0)
                continue;
            f->level[to] = f->level[v] + 1;
            f->queue[tail++] = to;
        }
    }
    return f->level[f->sink] >= 0;
}

static double push(struct flow_net *f, int32_t v, double most, double least)
{
    if (v == f->sink)
        return most;
    for (; f->next[v] < f->first[v + 1]; f->next[v]++) {
        int64_t arc = f->arcs[f->next[v]];
        if (f->left[arc] <= least || f->level[f->to[arc]] != f->level[v] + 1)
            continue;
        double sent = push(f, f->to[arc], fmin(most, f->left[arc]), least);
        if (sent <= 0)
            continue;
        f->left[arc] -= sent;
        f->left[arc ^ 1] += sent;
        return sent;
    }
    return 0;
}

double graph_bisection(const struct graph *g)
{
    struct flow_net f;
    double all = 0, least = INFINITY, sent;

    if (g->n_slots < 2)
        return 0;
    for (int32_t i = 0; i < 2 * g->n_edges; i++)
        least = fmin(least, link_bandwidth(g, i));
    least = fmin(least, UNKNOWN) * 1e-9;        /* rounding is no capacity */
    net_init(&f, g);
    while (set_levels(&f, least))
        while ((sent = push(&f, f.source, INFINITY, least)) > 0)
            all += sent;
    net_clear(&f);
    return all < UNKNOWN ? all : INFINITY;
}
