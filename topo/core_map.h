/* SPDX-License-Identifier: Apache-2.0
 *
 * The cores of this node that processes may use, numbered in hwloc's order, and
 * what the way between two of them goes through. */
#ifndef SPAR_CORE_MAP_H
#define SPAR_CORE_MAP_H

#include "topo/cluster.h"

struct core_map;

/* NULL: hwloc cannot tell. */
struct core_map *core_map_create(void);
void core_map_destroy(struct core_map *map);
/* The number of the first core that this process is bound to. */
int core_map_own(const struct core_map *map);
/* Self, a cache, a memory domain or the link between two; other numbers than
 * cores have: self. */
enum route_class core_map_class(const struct core_map *map, int a, int b);
/* Sockets (memory domains), cores and caches of a socket, where all sockets are
 * alike; else -1. */
int core_map_host(const struct core_map *map, struct cluster_host *h);

#endif
