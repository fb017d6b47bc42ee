/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the transports. */
#ifndef SPAR_TRANSPORT_INTERNAL_H
#define SPAR_TRANSPORT_INTERNAL_H

#include "mpi/pipeline.h"
#include "mpi/reduce.h"
#include "mpi/transport.h"

/* The datatype of tiles that are not one block, by shape. */
struct tile_type {
    const struct pool *pool;
    int32_t rows;
    size_t row_bytes, block_bytes;
    MPI_Datatype type;
};

struct transport {
    const struct transport_kind *kind;
    int automatic;              /* of the kinds from this one on, the first
                                   that can be had */
    char reason[640];           /* why this one */
    struct pipeline *pipeline;  /* of a kind with a mover */
    MPI_Comm channels[CHANNELS];
    struct reducer *reducer;
    /* Messages under way; room for as many indices and statuses. */
    int64_t n, n_cap, requests_cap, indices_cap, statuses_cap, done_cap;
    struct message *messages, *done;
    MPI_Request *requests;
    int *indices;
    MPI_Status *statuses;
    int64_t n_types, types_cap;
    struct tile_type *types;
};

/* transport_host.c: MPI point-to-point and reductions of host memory; and what
 * moves nothing. As in struct transport_kind. */
void host_start(struct transport *t, struct message what,
                const struct memory *m, struct tile tile, enum channel c,
                int32_t peer);
void host_reduce(struct transport *t, struct message what,
                 const struct schedule *s, const struct op *op,
                 struct records records);
int host_test(struct transport *t);
void null_start(struct transport *t, struct message what,
                const struct memory *m, struct tile tile, enum channel c,
                int32_t peer);
void null_reduce(struct transport *t, struct message what,
                 const struct schedule *s, const struct op *op,
                 struct records records);
int null_test(struct transport *t);

#endif
