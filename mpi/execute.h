/* SPDX-License-Identifier: Apache-2.0
 *
 * Real runs.  Data of one rank's schedule live in a struct memory
 * (src/run/memory.h): one allocation, laid out by the memory plan.  `execute`
 * runs one repetition on MPI ranks. */
#ifndef SPAR_EXECUTE_H
#define SPAR_EXECUTE_H

#include "kernel/kernel.h"
#include "run/memory.h"
#include "schedule/schedule.h"
#include "trace/trace.h"

#include <mpi.h>

/* ---- Agreement ------------------------------------------------------------
 * Collective.  If any rank's rc != 0: rank 0 prints the text of the lowest
 * failing rank ("spar: ..."), and every rank gets that status.  Else 0. */
int agree(int rc, const struct error *e, MPI_Comm comm);
/* Rank 0 reads the first of its n paths that it can open; every rank gets the
 * same bytes (NUL-terminated, caller frees) and *which, whatever its own list.
 * NULL and the same *e on every rank. */
char *agree_file(const char *const *paths, int n, int *which, size_t *size,
                 MPI_Comm comm, struct error *e);
/* A broadcast from rank 0 for which the others wait asleep: rank 0 may be long
 * about something else, and have the core. */
void nap_bcast(void *data, int bytes, MPI_Comm comm);
/* 1 iff all ranks hold the same value. */
int agree_equal(uint64_t value, MPI_Comm comm);

/* ---- Transport ---------------------------------------------------------- */
struct transport;
struct plan;
/* One communicator per channel, for schedules of one pool, which it must not
 * outlive.  `name`: a name of the table, or "auto", the first of the table for
 * buffers on that kind of device that transport_prepare() finds to work between
 * these ranks.  Collective; fails alike on every rank. */
struct transport *transport_create(const char *name,
                                   const struct device *device, MPI_Comm comm,
                                   struct error *e);
void transport_destroy(struct transport *t);
/* Once it is prepared: which, and why that one. */
const char *transport_name(const struct transport *t);
const char *transport_reason(const struct transport *t);
/* What a schedule needs before it is executed: communicators of the groups in
 * which it reduces, or the memories of its peers, which are of `plan` (NULL will
 * do on the host, and for schedules that send nothing but reduce). Collective:
 * every rank for its own schedule of one plan; 0, or -1 and the same *e on every
 * rank. */
int transport_prepare(struct transport *t, struct plan *plan,
                      const struct schedule *s, struct memory *m,
                      struct error *e);

/* ---- Execute ------------------------------------------------------------ */
struct execute_options {
    const struct kernel_backend *kernel;
    struct spool *spool;        /* the op under way goes there; NULL: nowhere */
    int record;                 /* spans go to the spool too */
    int32_t entry, repeat;
    int64_t t_zero;             /* ns, clock_now(): spans count from it */
    uint64_t jitter_seed;       /* tests: random delays between ops; 0: none */
    double stall_seconds;       /* watchdog; 0: none */
    double delay;               /* s before this rank begins */
    double slow;                /* it computes so many times as long, on the
                                   host; <= 1: as fast as it can */
};
/* One repetition of the schedule.  Not collective beyond what the schedule
 * sends; on devices all ranks have met since the last one.  Returns payload bytes
 * that left this rank, counted by the transport from completed operations. Dies on a stall, naming the ops waited for.
 *
 * Lanes in order; an op starts once it is at the head of its lane(s) and its
 * dependencies are done.  One host thread: kernels poll, and polling completes
 * and starts messages between their tiles; what completes inside a kernel is
 * seen at its next poll, so ends of messages are ends as observed. */
int64_t execute(const struct schedule *s, struct memory *m,
                struct transport *t, const struct execute_options *o);

int64_t clock_now(void);        /* ns, monotonic */

#endif
