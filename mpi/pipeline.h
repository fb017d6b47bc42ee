/* SPDX-License-Identifier: Apache-2.0
 *
 * Execution on devices: ops are given to the device as soon as what they follow
 * on has been given to it, the host does not wait for it in between.
 *
 *   lanes         streams; an op follows the ops before it in its lane
 *   dependencies  events
 *   messages      as the mover does it: in streams, too (ipc, nccl), and then
 *                 the whole schedule is given at once; or by the host (staged),
 *                 which polls for what its messages follow on; or some so and
 *                 some so (ipc+staged)
 *
 * A mover: how tiles go from rank to rank. */
#ifndef SPAR_PIPELINE_H
#define SPAR_PIPELINE_H

#include "mpi/execute.h"
#include "strategy/strategy.h"

struct mover;
/* Copies into the memory of the peers, which is mapped; flags in it say that
 * tiles may be written, and that they are. */
extern const struct mover mover_ipc;
/* Pieces of tiles by way of pinned host memory and the transport's messages. */
extern const struct mover mover_staged;
/* The first between ranks that reach each other's memory, the second between
 * the others. */
extern const struct mover mover_ipc_staged;
/* NCCL's sends, receives and collectives. */
extern const struct mover mover_nccl;

struct pipeline;

#ifdef HAVE_CUDA
/* `own`, `m`: of this rank, on a device; `t`: whose messages move what is on
 * the host.  Collective; NULL and the same *e on every rank where it fails on one:
 * ipc cannot reach a peer, say. */
struct pipeline *pipeline_create(const struct mover *how, struct plan *plan,
                                 const struct schedule *own, struct memory *m,
                                 struct transport *t, MPI_Comm comm,
                                 struct error *e);
/* Bytes of device memory that ipc takes besides the schedule's own. */
size_t pipeline_needs(const struct schedule *own, int ranks);
/* What it does between which ranks, where that is not alike; "" else. */
const char *pipeline_about(const struct pipeline *p);
/* Collective: nobody unmaps what another still writes. */
void pipeline_destroy(struct pipeline *p);

/* As execute(). */
int64_t pipeline_execute(struct pipeline *p, const struct execute_options *o);
#else                           /* no device, no pipeline */
static inline struct pipeline *pipeline_create(
    const struct mover *how, struct plan *plan, const struct schedule *own,
    struct memory *m, struct transport *t, MPI_Comm comm, struct error *e)
{
    (void)how, (void)plan, (void)own, (void)m, (void)t, (void)comm;
    fail(e, "built without CUDA");
    return NULL;
}

static inline size_t pipeline_needs(const struct schedule *own, int ranks)
{
    (void)own, (void)ranks;
    return 0;
}

static inline const char *pipeline_about(const struct pipeline *p)
{
    (void)p;
    return "";
}

static inline void pipeline_destroy(struct pipeline *p)
{
    (void)p;
}

static inline int64_t pipeline_execute(struct pipeline *p,
                                       const struct execute_options *o)
{
    (void)p, (void)o;
    return 0;
}
#endif

#endif
