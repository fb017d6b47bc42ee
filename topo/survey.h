/* SPDX-License-Identifier: Apache-2.0
 *
 * What a graph amounts to: its routes by class, its bisection, what looks
 * wrong. */
#ifndef SPAR_SURVEY_H
#define SPAR_SURVEY_H

#include "topo/graph.h"

struct class_survey {
    int64_t pairs;              /* ordered */
    double slowest, fastest;    /* B/s alone */
    double shortest, longest;   /* s of latency */
};
struct survey {
    struct class_survey classes[ROUTE_CLASSES];
    int64_t from;               /* slots whose pairs are counted: all, or those
                                   of the first host of each kind */
    double bisection;           /* B/s, one direction; 0: one slot; INFINITY:
                                   a link is unknown */
    int64_t n_lints, lints_cap;
    char **lints;
};

void survey(struct graph *g, struct survey *s);
void survey_clear(struct survey *s);

/* Most that the slots below n_slots / 2 can send to the others at once, over
 * all ways (maximum flow): B/s. */
double graph_bisection(const struct graph *g);

#endif
