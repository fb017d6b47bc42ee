/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the pipeline. */
#ifndef SPAR_PIPELINE_INTERNAL_H
#define SPAR_PIPELINE_INTERNAL_H

#include "kernel/cuda_async.h"
#include "mpi/pipeline.h"

/* Of the messages of a channel from one rank to another; in the memory of the
 * rank that waits for it. */
struct flags {
    uint32_t ready;             /* mine to a peer: its tiles may be written */
    uint32_t arrived;           /* a peer's to me: they are written */
};

/* What is known of a rank. */
struct peer {
    struct schedule *schedule;  /* NULL: own */
    struct memory memory;       /* mapped: base of its block */
    struct flags *flags;        /* mapped: [CHANNELS][ranks] */
    char *records;              /* mapped: [ranks][most] of reductions */
};

struct pipeline {
    const struct device *device;
    const struct schedule *s;
    struct memory *m;
    MPI_Comm comm;
    int ranks, rank;
    struct peer *peers;         /* [ranks] */
    int32_t *match;             /* [n_ops] the peer's op of a send; else -1 */
    uint64_t records;           /* bytes of the largest reduction */
    int stream[LANES];          /* -1: the lane is empty */
    void **start, **end;        /* [n_ops] events; start: when recording */
    void *zero;
    /* Messages so far, [CHANNELS][ranks]. */
    uint32_t *sent, *received;
    int64_t payload;            /* bytes sent in this repetition */
    const struct execute_options *o;
};

#endif
