/* SPDX-License-Identifier: Apache-2.0
 *
 * From ops to kernel calls: what loopback and execute share. */
#ifndef SPAR_COMPUTE_H
#define SPAR_COMPUTE_H

#include "kernel/kernel.h"
#include "run/memory.h"

/* Where the bytes of a tile are: rows of `runs`, counted in steps of
 * `row_bytes` from `base`, `block_bytes` of each.  Any row set. */
struct tile_span {
    char *base;
    size_t row_bytes, block_bytes;
    const struct run *runs;
    int64_t n_runs;
};
struct tile_span memory_span(const struct memory *m, struct tile t);

/* The tensor that a tile is in memory.  Only for tiles whose rows are one run
 * (all operands of ops that compute). */
struct tensor memory_tensor(const struct memory *m, struct tile t);

/* Run an op of the compute or copy lane. */
void compute_op(const struct schedule *s, const struct op *op,
                struct memory *m, const struct kernel_backend *kernel,
                struct poll poll);

/* What the ops of the compute lane need beside the memory plan. */
struct rehearsal {
    size_t work_bytes;          /* of the device, that kernels work in */
    int64_t attends;            /* ops of softmax attention, */
    int64_t left;               /* of which other kernels do these; */
    const char *why;            /* why the first of them; NULL */
};
/* Runs them once, on whatever memory holds: plans are built and work spaces
 * grow to what the run needs, before anything is timed or waits for another
 * rank.  Destroys what memory held. */
struct rehearsal compute_rehearse(const struct schedule *s, struct memory *m,
                                  const struct kernel_backend *kernel);

/* A tile of one memory into one of another, of the same shape (any row sets);
 * on a device, in its current stream. */
void tile_move(const struct memory *to, struct tile dst,
               const struct memory *from, struct tile src);
/* dst = src, converted where dtypes differ; equal row and head counts. */
void tile_copy(struct memory *m, struct tile dst, struct tile src);

/* What a member does itself once the messages of a collective are there: copy
 * its own slice; reduce-scatter: sum all slices in member order, in fp32;
 * reductions: take the results from the records. */
void collective_finish(const struct schedule *s, const struct op *op,
                       struct memory *m, const struct kernel_backend *kernel);

/* ---- Loopback: all ranks in one process, real numbers, no MPI ----------- */

/* Around what an event enqueues: an op, a message (its send and its receive), a
 * collective (an op of each member), n in all.  Order is one in which each may
 * follow all before it. */
struct loopback_hook {
    void (*begin)(void *arg, const int32_t *ranks, const int32_t *ops,
                  int64_t n);
    void (*end)(void *arg, const int32_t *ranks, const int32_t *ops,
                int64_t n);
    void *arg;
};

struct loopback {
    int64_t ranks;
    const struct schedule *const *schedules;
    struct memory *memories;    /* [ranks] */
    int64_t *bytes_sent;        /* [ranks] counted as messages complete */
    const struct loopback_hook *hook;   /* borrowed; NULL: none */
};
/* On the host, or all on one device. */
int loopback_create(struct loopback *l,
                    const struct schedule *const *schedules, int64_t ranks,
                    struct error *e);
int loopback_create_on(struct loopback *l,
                       const struct schedule *const *schedules, int64_t ranks,
                       const struct device *device, struct error *e);
/* Runs every op once; order among ready ops varies with `seed` (0: rank by
 * rank).  -1 and the ops that never ran if it gets stuck, or messages that do
 * not match. */
int loopback_run(struct loopback *l, const struct kernel_backend *kernel,
                 uint64_t seed, struct error *e);
void loopback_destroy(struct loopback *l);

/* ---- Lanes: which op is next -------------------------------------------- */

/* Progress through one rank's schedule. Ops of a lane run in order. */
struct lanes {
    const struct schedule *schedule;
    int32_t *next;              /* [n_ops][2] following op in lane; -1 */
    int32_t head[LANES];        /* op at the head; -1: lane is empty */
    uint8_t *done;              /* [n_ops] */
    int64_t left;
};
void lanes_init(struct lanes *l, const struct schedule *s);
void lanes_clear(struct lanes *l);
/* Op at the head of all its lanes, with every dependency done. */
int lanes_ready(const struct lanes *l, int32_t op);
void lanes_done(struct lanes *l, int32_t op);
/* " op 3 forward.step1.kv.recv (after op 2), ..." of the ops at lane heads. */
void lanes_describe(const struct lanes *l, char *text, size_t size);

#endif
