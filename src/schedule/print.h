/* SPDX-License-Identifier: Apache-2.0
 *
 * Schedules in words: text (golden files), Graphviz DOT, and GOAL of
 * LogGOPSim (Hoefler, Schneider, Lumsdaine, HPDC 2010). */
#ifndef SPAR_PRINT_H
#define SPAR_PRINT_H

#include "schedule/schedule.h"

#include <stdio.h>

/* One rank: buffers, then an op a line:
 *   NUMBER NAME OPERANDS [peer] [segments | span NUMBERS] [after DEPENDENCIES]
 * operands are ACCESS:BUFFER[FIRST+COUNT], with heads where not all. */
void print_text(FILE *out, const struct schedule *s);

/* All ranks; dashed edges: order within a lane; bold: messages. */
void print_dot(FILE *out, const struct schedule *const *schedules,
               int64_t ranks);

/* Seconds of an op that computes. */
struct op_timer {
    double (*seconds)(void *arg, const struct schedule *s, const struct op *op);
    void *arg;
};
/* All ranks; an op that computes is `calc` of its ns, without a timer one ns a
 * flop (that is, at 1 Gflop/s); collectives are their pairwise messages, tag =
 * channel: an all-reduce a reduce-scatter and an all-gather, a scan a chain. */
void print_goal(FILE *out, const struct schedule *const *schedules,
                int64_t ranks, const struct op_timer *timer);

#endif
