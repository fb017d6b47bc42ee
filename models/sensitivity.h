/* SPDX-License-Identifier: Apache-2.0
 *
 * What a plan depends on: by how much each number of the machine (topo/knobs.h)
 * moves the time of the choice, and how far it may move before another
 * candidate is better.  By closed forms, each in proportion to what its
 * simulation took at the machine's own numbers. */
#ifndef SPAR_SENSITIVITY_H
#define SPAR_SENSITIVITY_H

#include "models/planner.h"
#include "topo/knobs.h"

/* The value beyond which `choice` is better than the plan's by 1 % and more. */
struct turn {
    double value;               /* NaN: not up to 16 times as much or little */
    struct candidate choice;
};
struct swing {
    const struct knob *knob;
    double value;               /* now */
    double elasticity;          /* d log(time) / d log(value), over +-10 % */
    struct turn below, above;
};
enum { SWINGS = 32 };
struct sensitivity {
    int n;
    struct swing list[SWINGS];  /* by |elasticity|, the largest first */
};

/* Of the first contender, which has a closed form (else none is listed).  `m`
 * is the question's machine; its numbers are moved and put back. */
void sensitivity_find(struct sensitivity *s, const struct answer *a,
                      const struct question *q, struct machine *m);

#endif
