/* SPDX-License-Identifier: Apache-2.0
 *
 * What ranks send, by the class of the route: NVLink, the host's PCIe, the
 * network, ... */
#ifndef SPAR_CLASSES_H
#define SPAR_CLASSES_H

#include "schedule/schedule.h"
#include "topo/graph.h"

/* Rank r is at slot r, modulo their number. */
struct classes;
struct classes *classes_create(struct graph *g);        /* borrowed */
void classes_destroy(struct classes *c);
/* Adds what a rank's schedule sends: as schedule_sent_bytes() in all. */
void classes_add(struct classes *c, const struct schedule *s,
                 double bytes[ROUTE_CLASSES]);

#endif
