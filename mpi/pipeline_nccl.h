/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the mover that has NCCL. */
#ifndef SPAR_PIPELINE_NCCL_H
#define SPAR_PIPELINE_NCCL_H

#include "mpi/nccl_calls.h"
#include "mpi/pipeline_internal.h"
#include "run/compute.h"

struct nccl {
    int *colour;                /* [CHANNELS][ranks] on which a rank sends */
    int colours[CHANNELS];
    struct nccl_comm **comms;   /* [CHANNELS][ranks] by colour */
    char *pack[LANES];
    size_t pack_bytes[LANES], at;
    char *records[CHANNELS];    /* [members][most] */
    size_t most[CHANNELS];      /* bytes of a member's */
    uint8_t *gathers;           /* [n_ops] an all-gather as NCCL has it */
    int64_t polled;             /* ns */
};

/* Do the bytes of a tile lie together? */
static inline int nccl_is_block(const struct tile_span *v)
{
    return v->n_runs == 1
        && (v->runs[0].count == 1
            || (v->runs[0].stride == 1 && v->block_bytes == v->row_bytes));
}

/* pipeline_nccl_open.c: open and close of the mover. */
int nccl_prepare(struct pipeline *p, struct plan *plan, struct error *e);
void nccl_release(struct pipeline *p);

#endif
