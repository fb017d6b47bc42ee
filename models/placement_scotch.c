/* SPDX-License-Identifier: Apache-2.0
 *
 * Scotch: dual recursive bisection of the graph of messages and of the tree
 * that slots are on (Pellegrini, Roman, "SCOTCH: A software package for static
 * mapping by dual recursive bipartitioning", HPCN 1996).  The tree is of the
 * classes of routes: a level is a class within which slots are alike. */
#include <config.h>

#include "models/placement.h"

#ifndef HAVE_SCOTCH

int placement_scotch(const struct placement_problem *p, int32_t *map,
                     struct error *e)
{
    (void)p;
    (void)map;
    return fail_usage(e, "this spar was built without Scotch");
}

#else

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <scotch.h>
#include <stdlib.h>
#include <string.h>

/* ---- The machine's tree ------------------------------------------------- */

struct tleaf {
    SCOTCH_Num n;
    SCOTCH_Num sizes[ROUTE_CLASSES], links[ROUTE_CLASSES];  /* root first */
};

static enum route_class class_of(const struct placement_problem *p, int64_t a,
                                 int64_t b, double *seconds)
{
    struct route r;

    graph_route(p->machine->graph, p->ordered[a], p->ordered[b], &r);
    *seconds = r.latency + 1048576 / (isfinite(r.bandwidth) ? r.bandwidth
                                      : 10e9);
    return r.class;
}

/* Slots that routes of up to this class connect: so many each, one group after
 * the other; 0: they are not so regular. */
static int64_t group_size(const struct placement_problem *p,
                          enum route_class class)
{
    int64_t ranks = p->traffic->ranks, size = 1;
    double ignored;

    while (size < ranks && class_of(p, 0, size, &ignored) <= class)
        size++;
    for (int64_t i = 0; i < ranks; i++) {
        int64_t first = i / size * size;
        if (i > first && class_of(p, first, i, &ignored) > class)
            return 0;
        if (i == first && i > 0 && class_of(p, i - 1, i, &ignored) <= class)
            return 0;
    }
    return ranks % size ? 0 : size;
}

/* Seconds of a mebibyte between the last slot of a group and the next one, in
 * tenths of a microsecond. */
static SCOTCH_Num link_cost(const struct placement_problem *p, int64_t size)
{
    double seconds;

    class_of(p, size - 1, size, &seconds);
    return (SCOTCH_Num)fmax(1, fmin(seconds * 1e7, 1e6));
}

static void find_tree(const struct placement_problem *p, struct tleaf *t)
{
    int64_t ranks = p->traffic->ranks, sizes[ROUTE_CLASSES + 1];
    int64_t last = 1;
    int n = 0;

    for (int class = CLASS_CACHE; class < ROUTE_CLASSES && last < ranks;
         class++) {
        int64_t size = class == ROUTE_CLASSES - 1 ? ranks
            : group_size(p, (enum route_class)class);
        if (size <= last || size % last)
            continue;
        sizes[n++] = last;
        last = size;
    }
    t->n = n;
    for (int i = 0; i < n; i++) {
        int64_t above = i + 1 < n ? sizes[i + 1] : ranks;
        t->sizes[n - 1 - i] = (SCOTCH_Num)(above / sizes[i]);
        t->links[n - 1 - i] = link_cost(p, sizes[i]);
    }
}

/* ---- The graph of messages ---------------------------------------------- */

struct pair {
    int32_t a, b;
    double bytes;
};
struct weighed {
    SCOTCH_Num *first, *ends, *weights;
};

static int compare_pairs(const void *x, const void *y)
{
    const struct pair *a = x, *b = y;

    return a->a != b->a ? (a->a > b->a) - (a->a < b->a)
        : (a->b > b->b) - (a->b < b->b);
}

/* Every message in both directions, of a pair once. */
static struct pair *list_pairs(const struct traffic *t, int64_t *n)
{
    struct pair *pairs = xcalloc((size_t)t->n * 2 + 1, sizeof *pairs);

    for (int64_t i = 0; i < t->n; i++) {
        const struct traffic_item *x = &t->items[i];
        pairs[2 * i] = (struct pair){ x->from, x->to, (double)x->bytes };
        pairs[2 * i + 1] = (struct pair){ x->to, x->from, (double)x->bytes };
    }
    qsort(pairs, (size_t)t->n * 2, sizeof *pairs, compare_pairs);
    *n = 0;
    for (int64_t i = 0; i < 2 * t->n; i++) {
        if (*n && compare_pairs(&pairs[*n - 1], &pairs[i]) == 0)
            pairs[*n - 1].bytes += pairs[i].bytes;
        else
            pairs[(*n)++] = pairs[i];
    }
    return pairs;
}

/* Weights are whole numbers of a few digits. */
static int64_t weigh(const struct traffic *t, struct weighed *g)
{
    int64_t n;
    struct pair *pairs = list_pairs(t, &n);
    double most = 1;

    for (int64_t i = 0; i < n; i++)
        most = fmax(most, pairs[i].bytes);
    g->first = xcalloc((size_t)t->ranks + 1, sizeof *g->first);
    g->ends = xcalloc((size_t)n + 1, sizeof *g->ends);
    g->weights = xcalloc((size_t)n + 1, sizeof *g->weights);
    for (int64_t i = 0; i < n; i++) {
        g->first[pairs[i].a + 1]++;
        g->ends[i] = pairs[i].b;
        g->weights[i] = (SCOTCH_Num)ceil(1000 * pairs[i].bytes / most);
    }
    for (int64_t r = 0; r < t->ranks; r++)
        g->first[r + 1] += g->first[r];
    free(pairs);
    return n;
}

/* ---- Mapping ------------------------------------------------------------ */

/* Balance is a wish of Scotch: who finds its leaf taken gets the nearest that
 * is free. */
static void settle(const struct placement_problem *p, const SCOTCH_Num *leaf,
                   int32_t *map)
{
    int64_t n = p->traffic->ranks;
    char *taken = xcalloc((size_t)n, 1);

    for (int64_t r = 0; r < n; r++)
        map[r] = -1;
    for (int64_t r = 0; r < n; r++)
        if (!taken[leaf[r]]) {
            taken[leaf[r]] = 1;
            map[r] = p->ordered[leaf[r]];
        }
    for (int64_t r = 0; r < n; r++)
        for (int64_t d = 1; map[r] < 0; d++)
            for (int64_t at = leaf[r] - d; at <= leaf[r] + d; at += 2 * d)
                if (map[r] < 0 && at >= 0 && at < n && !taken[at]) {
                    taken[at] = 1;
                    map[r] = p->ordered[at];
                }
    free(taken);
}

static int run_scotch(const struct placement_problem *p, struct weighed *w,
                      int64_t edges, SCOTCH_Num *leaf)
{
    SCOTCH_Num n = (SCOTCH_Num)p->traffic->ranks;
    struct tleaf tree = { 0 };
    SCOTCH_Graph graph;
    SCOTCH_Arch arch;
    SCOTCH_Strat strategy;

    find_tree(p, &tree);
    SCOTCH_randomReset();
    SCOTCH_graphInit(&graph);
    SCOTCH_archInit(&arch);
    SCOTCH_stratInit(&strategy);
    int rc = SCOTCH_graphBuild(&graph, 0, n, w->first, NULL, NULL, NULL,
                               (SCOTCH_Num)edges, w->ends, w->weights)
        || SCOTCH_archTleaf(&arch, tree.n, tree.sizes, tree.links)
        || SCOTCH_stratGraphMapBuild(&strategy, SCOTCH_STRATBALANCE, n, 0)
        || SCOTCH_graphMap(&graph, &arch, &strategy, leaf);
    SCOTCH_stratExit(&strategy);
    SCOTCH_archExit(&arch);
    SCOTCH_graphExit(&graph);
    return rc;
}

int placement_scotch(const struct placement_problem *p, int32_t *map,
                     struct error *e)
{
    struct weighed w = { 0 };

    if (p->traffic->ranks < 2 || p->traffic->n == 0)
        return fail_usage(e, "no rank sends anything");
    SCOTCH_Num *leaf = xcalloc((size_t)p->traffic->ranks, sizeof *leaf);
    int rc = run_scotch(p, &w, weigh(p->traffic, &w), leaf);
    if (rc == 0)
        settle(p, leaf, map);
    free(leaf);
    free(w.first);
    free(w.ends);
    free(w.weights);
    return rc ? fail_usage(e, "Scotch failed") : 0;
}

#endif
