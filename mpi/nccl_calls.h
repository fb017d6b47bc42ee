/* SPDX-License-Identifier: Apache-2.0
 *
 * NCCL, as far as it is used: bytes between ranks, in streams of the device
 * (kernel/device.h).  Calls that enqueue die on an error. */
#ifndef SPAR_NCCL_CALLS_H
#define SPAR_NCCL_CALLS_H

#include "base/base.h"

#include <stddef.h>

struct nccl_id {
    char bytes[128];
};
/* A name for a communicator; one rank makes it. */
int nccl_make_id(struct nccl_id *id, struct error *e);

/* Collective, on the device that the thread has opened, which no other rank may
 * have.  Its kernels take few of the device's blocks. */
struct nccl_comm;
struct nccl_comm *nccl_open(const struct nccl_id *id, int ranks, int rank,
                            struct error *e);
void nccl_close(struct nccl_comm *c);
/* Whatever is under way. */
void nccl_abort(struct nccl_comm *c);
/* An error that came up since, or NULL. */
const char *nccl_failed(struct nccl_comm *c);

/* What is between the two goes on at once. */
void nccl_group_start(void);
void nccl_group_end(void);
void nccl_send(struct nccl_comm *c, int stream, const void *data,
               size_t bytes, int peer);
void nccl_recv(struct nccl_comm *c, int stream, void *data, size_t bytes,
               int peer);
/* `bytes` of every rank, in their order. */
void nccl_all_gather(struct nccl_comm *c, int stream, const void *own,
                     void *all, size_t bytes);

#endif
