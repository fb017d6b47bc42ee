/* SPDX-License-Identifier: Apache-2.0
 *
 * Execution on devices that reach each other's memory: the whole schedule is
 * given to the device at once, without the host in between.
 *
 *   lanes         streams; an op follows the ops before it in its lane
 *   dependencies  events
 *   messages      the sender copies into the receiver's memory, which it has
 *                 mapped, once the receiver's flag says that the tiles may be
 *                 overwritten; its own flag then says that they are there
 *
 * Flags are words of device memory that count messages of a channel from one
 * rank to another; they only rise, from repetition to repetition. */
#ifndef SPAR_PIPELINE_H
#define SPAR_PIPELINE_H

#include "mpi/execute.h"
#include "strategy/strategy.h"

struct pipeline;

#ifdef HAVE_CUDA
/* Maps the memories of all ranks of one plan. `own`, `m`: of this rank, on a
 * device. Collective; NULL and the same *e on every rank where some rank cannot
 * reach another. */
struct pipeline *pipeline_create(struct plan *plan, const struct schedule *own,
                                 struct memory *m, MPI_Comm comm,
                                 struct error *e);
/* Collective: nobody unmaps what another still writes. */
void pipeline_destroy(struct pipeline *p);

/* As execute(). */
int64_t pipeline_execute(struct pipeline *p, const struct execute_options *o);
#else                           /* no device, no pipeline */
static inline struct pipeline *pipeline_create(
    struct plan *plan, const struct schedule *own, struct memory *m,
    MPI_Comm comm, struct error *e)
{
    (void)plan, (void)own, (void)m, (void)comm;
    fail(e, "built without CUDA");
    return NULL;
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
