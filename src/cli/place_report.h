/* SPDX-License-Identifier: Apache-2.0
 *
 * What `place` prints, and the files that it writes. */
#ifndef SPAR_PLACE_REPORT_H
#define SPAR_PLACE_REPORT_H

#include "cli/planned.h"
#include "models/placement.h"

#include <stdio.h>

struct place_report {
    const struct planned *entry;
    const struct placement_problem *problem;
    const struct placements *placement;
};

void place_text(FILE *out, const struct place_report *r);
void place_json(FILE *out, const struct place_report *r);

/* The host of each rank, a line each: for mpiexec -f and, as $SLURM_HOSTFILE,
 * for srun --distribution=arbitrary. */
void place_hosts(FILE *out, const struct place_report *r);
/* "[0, 2, 1, 3]", the caller's to free: run.slots. */
char *place_slots(const struct place_report *r);

#endif
