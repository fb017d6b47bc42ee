/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/core_map.h"
#include "topo/topology.h"

#include <stdlib.h>

struct core_map {
    hwloc_topology_t t;
    int n;
    hwloc_obj_t *cores;         /* [n] */
};

/* A PU where hwloc knows no cores. */
static int core_depth(hwloc_topology_t t)
{
    int depth = hwloc_get_type_depth(t, HWLOC_OBJ_CORE);

    return depth >= 0 ? depth : hwloc_get_type_depth(t, HWLOC_OBJ_PU);
}

struct core_map *core_map_create(void)
{
    hwloc_topology_t t = topology_load(0);

    if (!t)
        return NULL;
    int depth = core_depth(t);
    struct core_map *map = xcalloc(1, sizeof *map);
    hwloc_const_bitmap_t allowed = hwloc_topology_get_allowed_cpuset(t);
    map->t = t;
    map->cores = xcalloc(hwloc_get_nbobjs_by_depth(t, depth),
                         sizeof(hwloc_obj_t));
    for (hwloc_obj_t c = NULL; (c = hwloc_get_next_obj_by_depth(t, depth, c));)
        if (hwloc_bitmap_intersects(c->cpuset, allowed))
            map->cores[map->n++] = c;
    return map;
}

void core_map_destroy(struct core_map *map)
{
    if (!map)
        return;
    hwloc_topology_destroy(map->t);
    free(map->cores);
    free(map);
}

int core_map_own(const struct core_map *map)
{
    hwloc_bitmap_t set = topology_usable(map->t);
    int own = 0;

    while (own < map->n
           && !hwloc_bitmap_intersects(map->cores[own]->cpuset, set))
        own++;
    hwloc_bitmap_free(set);
    return own < map->n ? own : 0;
}

static hwloc_obj_t shared_cache(const struct core_map *map, hwloc_obj_t a,
                                hwloc_obj_t b)
{
    hwloc_obj_t x = hwloc_get_common_ancestor_obj(map->t, a, b);

    while (x && !hwloc_obj_type_is_cache(x->type))
        x = x->parent;
    return x;
}

static int domain_of(const struct core_map *map, hwloc_obj_t core)
{
    hwloc_obj_t o = NULL;

    while ((o = hwloc_get_next_obj_by_type(map->t, HWLOC_OBJ_NUMANODE, o)))
        if (hwloc_bitmap_isincluded(core->cpuset, o->cpuset))
            return (int)o->logical_index;
    return 0;
}

enum route_class core_map_class(const struct core_map *map, int a, int b)
{
    if (a == b || a < 0 || b < 0 || a >= map->n || b >= map->n)
        return CLASS_SELF;
    if (shared_cache(map, map->cores[a], map->cores[b]))
        return CLASS_CACHE;
    return domain_of(map, map->cores[a]) == domain_of(map, map->cores[b])
        ? CLASS_NUMA : CLASS_SOCKET;
}

/* Cores from `from` on that follow one another as `class` or nearer. */
static int run_of(const struct core_map *map, int from,
                  enum route_class class)
{
    int n = 1;

    while (from + n < map->n && core_map_class(map, from, from + n) <= class)
        n++;
    return n;
}

/* How many to a group, where all groups are alike; 0: they are not. */
static int even_group(const struct core_map *map, enum route_class class)
{
    int first = run_of(map, 0, class);

    for (int at = 0; at < map->n; at += first)
        if (run_of(map, at, class) != first)
            return 0;
    return first;
}

int core_map_host(const struct core_map *map, struct cluster_host *h)
{
    int domain = even_group(map, CLASS_NUMA);
    int cache = even_group(map, CLASS_CACHE);

    if (!domain || !cache)
        return -1;
    h->sockets = map->n / domain;
    h->cores = domain;
    h->caches = cache > 1 ? domain / cache : 0;
    return 0;
}
