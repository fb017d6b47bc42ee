/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions by MPI: communicators of groups, and operators on records
 * (src/run/reduce.h).  Collectives of MPI, since it knows the machine. */
#ifndef SPAR_MPI_REDUCE_H
#define SPAR_MPI_REDUCE_H

#include "run/reduce.h"

#include <mpi.h>

struct reducer;
struct reducer *reducer_create(void);
void reducer_destroy(struct reducer *r);

/* A communicator for each channel and group in which the schedule reduces, its
 * ranks in the group's order: scans depend on it, and a group reversed is
 * another one.  channels: [CHANNELS], of all ranks, which must all call it for
 * schedules of one plan. */
void reducer_prepare(struct reducer *r, const struct schedule *s,
                     const MPI_Comm *channels);

/* Start reducing the records of an op in place; at the first member of a scan
 * they are garbage afterwards.  Prepared before. */
MPI_Request reducer_start(struct reducer *r, const struct schedule *s,
                          const struct op *op, struct records records);

#endif
