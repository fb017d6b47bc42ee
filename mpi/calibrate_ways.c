/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is where: what lies between the cores of every two ranks. */
#include <config.h>

#include "mpi/calibrate_internal.h"
#include "topo/core_map.h"

#include <stdlib.h>
#include <string.h>

struct rank_place {
    int node;                   /* its first rank */
    int core;
};

static struct rank_place own_place(const struct calibration *c,
                              const struct core_map *map, int *nodes)
{
    struct rank_place own = { c->rank, map ? core_map_own(map) : 0 };
    MPI_Comm node;
    int rank, first;

    MPI_Comm_split_type(c->comm, MPI_COMM_TYPE_SHARED, c->rank, MPI_INFO_NULL,
                        &node);
    MPI_Comm_rank(node, &rank);
    MPI_Bcast(&own.node, 1, MPI_INT, 0, node);
    MPI_Comm_free(&node);
    first = rank == 0;
    MPI_Allreduce(&first, nodes, 1, MPI_INT, MPI_SUM, c->comm);
    return own;
}

/* All nodes' alike, or none. */
static void agree_on_host(const struct calibration *c,
                          const struct core_map *map, struct cluster_host *h)
{
    int shape[6], all[6];

    if (!map || core_map_host(map, h) != 0)
        h->sockets = 0;
    const int mine[] = { h->sockets, h->cores, h->caches };
    for (int i = 0; i < 3; i++) {
        shape[i] = mine[i];
        shape[3 + i] = -mine[i];
    }
    MPI_Allreduce(shape, all, 6, MPI_INT, MPI_MAX, c->comm);
    for (int i = 0; i < 3; i++)
        if (all[i] != -all[3 + i])
            h->sockets = 0;
}

void ways_find(const struct calibration *c, struct ways *w)
{
    size_t n = (size_t)c->ranks;
    struct core_map *map = core_map_create();

    *w = (struct ways){ .ranks = c->ranks, .class = xcalloc(n * n, 1) };
    struct rank_place own = own_place(c, map, &w->nodes);
    struct rank_place *all = xcalloc(n, sizeof *all);
    uint8_t *row = xcalloc(n, 1);
    MPI_Allgather(&own, sizeof own, MPI_BYTE, all, sizeof own, MPI_BYTE,
                  c->comm);
    for (size_t i = 0; i < n; i++)
        row[i] = all[i].node != own.node ? CLASS_LEAF
            : map ? (uint8_t)core_map_class(map, own.core, all[i].core)
            : CLASS_SELF;
    MPI_Allgather(row, c->ranks, MPI_BYTE, w->class, c->ranks, MPI_BYTE,
                  c->comm);
    agree_on_host(c, map, &w->host);
    core_map_destroy(map);
    free(row);
    free(all);
}

void ways_clear(struct ways *w)
{
    free(w->class);
}

/* Where the pair's class has a link that pairs share, what is nearer than that
 * to the first pair's rank is on the same side of it. */
static int same_side(const struct ways *w, enum route_class class, int a, int b)
{
    enum route_class between = ways_class(w, a, b);

    return a == b || between < class
        || (class == CLASS_CACHE && between == class);
}

/* A rank behind `from` on the side of `first` that is in no pair; -1: none. */
static int next_free(const struct ways *w, enum route_class class,
                     const uint8_t *used, int from, int first)
{
    for (int i = from; i < w->ranks; i++)
        if (!used[i] && same_side(w, class, i, first))
            return i;
    return -1;
}

static int first_pair(const struct ways *w, enum route_class class, int pair[2])
{
    int last = w->ranks - 1;

    /* The first and the last rank, if they are such a pair. */
    if (ways_class(w, 0, last) == class) {
        pair[0] = 0;
        pair[1] = last;
        return 1;
    }
    for (pair[0] = 0; pair[0] < last; pair[0]++)
        for (pair[1] = pair[0] + 1; pair[1] <= last; pair[1]++)
            if (ways_class(w, pair[0], pair[1]) == class)
                return 1;
    return 0;
}

int ways_pairs(const struct ways *w, enum route_class class, int most,
               int (*pairs)[2])
{
    uint8_t *used = xcalloc((size_t)w->ranks, 1);
    int n = 0, pair[2];

    if (w->ranks > 1 && first_pair(w, class, pair)) {
        const int first[] = { pair[0], pair[1] };
        do {
            memcpy(pairs[n++], pair, sizeof pair);
            used[pair[0]] = used[pair[1]] = 1;
            for (int k = 0; k < 2; k++) {
                pair[k] = next_free(w, class, used, 0, first[k]);
                if (pair[k] >= 0)
                    used[pair[k]] = 1;
            }
        } while (n < most && pair[0] >= 0 && pair[1] >= 0
                 && ways_class(w, pair[0], pair[1]) == class);
    }
    free(used);
    return n;
}
