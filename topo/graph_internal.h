/* SPDX-License-Identifier: Apache-2.0
 *
 * Between graph.c and route.c. */
#ifndef SPAR_GRAPH_INTERNAL_H
#define SPAR_GRAPH_INTERNAL_H

#include "topo/graph.h"

struct paths *paths_create(const struct graph *g);
void paths_destroy(struct paths *p, const struct graph *g);

#endif
