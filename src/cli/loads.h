/* SPDX-License-Identifier: Apache-2.0
 *
 * What a strategy puts on the links of a machine. */
#ifndef SPAR_LOADS_H
#define SPAR_LOADS_H

#include "cli/planned.h"

/* Bytes over each link of the machine's graph, by graph_resource(), of entry
 * `entry` of a scenario that has its ranks: in the order of the slots, or where
 * run.slots puts them.  The caller frees them. NULL and *e. */
double *scenario_loads(struct scenario *s, const struct machine *m,
                       int64_t entry, struct error *e);

/* The machine has a graph, whose slots are where ranks can be; the scenario has
 * the entry.  0, or -1 and *e. */
int scenario_check_graph(struct scenario *s, const struct machine *m,
                         struct error *e);
int scenario_check_entry(const struct scenario *s, int64_t entry,
                         struct error *e);

#endif
