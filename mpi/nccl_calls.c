/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/nccl_calls.h"

#include "kernel/cuda_async.h"

#include <nccl.h>
#include <stdlib.h>
#include <string.h>

/* Blocks of a communicator's kernels: those that wait for a peer keep them from
 * attention. */
enum { MOST_BLOCKS = 8 };

struct nccl_comm {
    ncclComm_t comm;
};

#define must(call)                                                            \
    do {                                                                      \
        ncclResult_t rc_ = (call);                                            \
        if (rc_ != ncclSuccess)                                               \
            die("NCCL: %s: %s", #call, ncclGetErrorString(rc_));              \
    } while (0)

int nccl_make_id(struct nccl_id *id, struct error *e)
{
    ncclUniqueId x;
    ncclResult_t rc = ncclGetUniqueId(&x);

    _Static_assert(sizeof x == sizeof id->bytes, "size of an NCCL id");
    if (rc != ncclSuccess)
        return fail(e, "NCCL: no id: %s", ncclGetErrorString(rc));
    memcpy(id->bytes, &x, sizeof x);
    return 0;
}

struct nccl_comm *nccl_open(const struct nccl_id *id, int ranks, int rank,
                            struct error *e)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    struct nccl_comm *c = xcalloc(1, sizeof *c);
    ncclUniqueId x;

    config.maxCTAs = MOST_BLOCKS;
    memcpy(&x, id->bytes, sizeof x);
    ncclResult_t rc = ncclCommInitRankConfig(&c->comm, ranks, x, rank,
                                             &config);
    if (rc == ncclSuccess)
        return c;
    fail(e, "rank %d: NCCL: %s: %s", rank, ncclGetErrorString(rc),
         ncclGetLastError(NULL));
    free(c);
    return NULL;
}

void nccl_close(struct nccl_comm *c)
{
    if (!c)
        return;
    ncclCommDestroy(c->comm);
    free(c);
}

void nccl_abort(struct nccl_comm *c)
{
    if (c)
        ncclCommAbort(c->comm);
}

const char *nccl_failed(struct nccl_comm *c)
{
    ncclResult_t state = ncclSuccess;
    ncclResult_t rc = ncclCommGetAsyncError(c->comm, &state);

    if (rc == ncclSuccess)
        rc = state;
    return rc == ncclSuccess || rc == ncclInProgress ? NULL
        : ncclGetErrorString(rc);
}

void nccl_group_start(void)
{
    must(ncclGroupStart());
}

void nccl_group_end(void)
{
    must(ncclGroupEnd());
}

void nccl_send(struct nccl_comm *c, int stream, const void *data,
               size_t bytes, int peer)
{
    must(ncclSend(data, bytes, ncclInt8, peer, c->comm,
                  cuda_stream_handle(stream)));
}

void nccl_recv(struct nccl_comm *c, int stream, void *data, size_t bytes,
               int peer)
{
    must(ncclRecv(data, bytes, ncclInt8, peer, c->comm,
                  cuda_stream_handle(stream)));
}

void nccl_all_gather(struct nccl_comm *c, int stream, const void *own,
                     void *all, size_t bytes)
{
    must(ncclAllGather(own, all, bytes, ncclInt8, c->comm,
                       cuda_stream_handle(stream)));
}
