/* SPDX-License-Identifier: Apache-2.0
 *
 * Calibrate: measure this machine and write it as a machine file
 * (topo/machine.h), for `machine: local`. */
#ifndef SPAR_CALIBRATE_H
#define SPAR_CALIBRATE_H

#include "base/base.h"

struct calibrate_request {
    const char *output;         /* NULL: $SPAR_LOCAL, else
                                   ~/.config/spar/local.yaml */
    const char *kernel;         /* backend name; NULL or "auto": the fastest */
    const int64_t *head_dims;   /* [n_head_dims]; none: 64 and 128 */
    int64_t n_head_dims;
    const int64_t *groups;      /* [n_groups] query heads per KV head; none: 1
                                   and 4 */
    int64_t n_groups;
    const int64_t *heads;       /* [n_heads] query heads that a device computes
                                   at once; none: 32, 16, 8, 4 */
    int64_t n_heads;
    const enum dtype *dtypes;   /* [n_dtypes]; none: fp32, of a device bf16 */
    int64_t n_dtypes;
    int quick;                  /* coarse grid: under a minute at the defaults */
};

/* Collective over MPI_COMM_WORLD, between mpi_start() and mpi_finish().  All
 * ranks measure at the same time, as in a run, on devices one rank each; with
 * two or more also messages, between the first and the last, on devices through
 * each other's memory.  Rank 0 prints what was found and
 * writes the file (temporary name, then rename).
 * Returns the exit status, the same on every rank. */
int calibrate_command(const struct calibrate_request *request);

#endif
