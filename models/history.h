/* SPDX-License-Identifier: Apache-2.0
 *
 * What a simulation says besides times: what links carried, memory over time,
 * the critical path. */
#ifndef SPAR_HISTORY_H
#define SPAR_HISTORY_H

#include "models/simulate.h"

/* Of the links that carried anything, in the order of their numbers: *n, the
 * caller's to free.  NULL: the network model does not share links. */
struct trace_link *history_links(const struct machine *m,
                                 const struct simulate_result *r, int64_t *n);

/* Bytes of buffers of one rank at each time at which they change: inputs,
 * outputs and saved ones always, scratch ones from the start of the first op
 * that uses them to the end of the last.  `spans`: the rank's, one for each op.
 * Appended to *points. */
void history_memory(const struct schedule *s, const struct span *spans,
                    int64_t n, struct trace_memory **points, int64_t *n_points,
                    int64_t *cap);

/* The ops that the makespan consists of: backwards from the last that ended, to
 * whatever ended last of what it waited for: a dependency, the op before it in
 * its lane, what the other side waited for.  ns by kind of op;
 * gaps are time that nothing accounts for (hosts,
 * polling, delays, an engine that had another lane's op). */
struct critical_path {
    int64_t ops, total;
    int64_t kinds[OP_KINDS], gaps;
};
/* `spans` of all ranks, sorted by rank and start; `schedules` [ranks]. */
struct critical_path history_path(const struct schedule *const *schedules,
                                  int64_t ranks, const struct span *spans,
                                  int64_t n);

#endif
