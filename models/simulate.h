/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulate: the schedules of all ranks on a model of a machine.  Lanes in
 * order, dependencies as inferred, a message is one event of its send and its
 * receive (rendezvous). */
#ifndef SPAR_SIMULATE_H
#define SPAR_SIMULATE_H

#include "schedule/schedule.h"
#include "topo/estimate.h"
#include "topo/machine.h"
#include "trace/trace.h"

/* Seconds of messages.
 *
 *   ideal  no latency, no host cost: bytes / bandwidth of the last segment
 *   loggp  T = L + 2o + S G, by segments of the machine's link; where the
 *          machine's ranks compute and communicate on one core, a message also
 *          takes o per tile + S O of it on either side, and completion is seen
 *          when the computing core looks (machine.poll_interval)
 *
 * A collective of P members is P - 1 rounds of pairwise messages, round i
 * sending to the member i places on and receiving from the one i places back:
 * the sum over rounds of the message of the larger of the two, the slowest
 * member for all. With equal slices (P - 1)(L + 2o + S G / P), S the full
 * payload (the gathered tensor; the send buffer).  An all-reduce of S bytes is
 * log2 P rounds of messages of S/2, S/4, ... and as many back, 2 log2 P (L + 2o)
 * + 2 (P - 1)/P S G for a power of two; an exclusive scan log2 P messages of a
 * record.  loggp adds what a member does with its own slice, for a
 * reduce-scatter the sum, for reductions the records, as memory traffic. */
struct network_model {
    const char *name, *summary;
    int host;                   /* charge the host's part, see above */
    double (*message)(const struct machine *m, int64_t bytes);
    /* This rank's rounds. */
    double (*collective)(const struct machine *m, const struct schedule *s,
                         const struct op *op);
};
extern const struct network_model *const network_models[];  /* ideal loggp */
const struct network_model *network_find(const char *name);

struct simulate_options {
    const struct network_model *network;
    const char *kernel;         /* backend whose surfaces to use */
    int32_t entry;
    int record;                 /* keep spans */
};
struct simulate_result {
    double seconds;             /* makespan */
    double *rank_seconds;       /* [ranks] end of its last op */
    double overlap;             /* communication hidden / communication; NaN if
                                   there is none */
    int deadlock;
    struct error stuck;         /* deadlock: the ops that never ran */
    int64_t n_spans;
    struct span *spans;         /* owned; record only; by rank, start */
};

/* Schedules of ranks 0 .. ranks-1, frozen, sharing one pool.
 *
 * A message starts when its send and its receive are both at the head of their
 * lanes with all dependencies met, a collective when it is so at all members.
 * makespan = end of the last op + the machine's repeat_overhead. */
void simulate(const struct schedule *const *schedules, int64_t ranks,
              const struct machine *m, const struct simulate_options *o,
              struct simulate_result *r);
void simulate_result_clear(struct simulate_result *r);

/* 0, or -1 and *e if `m` cannot time what these schedules compute. */
int simulate_ready(const struct schedule *const *schedules, int64_t ranks,
                   const struct machine *m, const char *kernel,
                   struct error *e);

/* Seconds of one op that computes or copies, on `m`, machine.op_overhead
 * included.  Attends: their segments as measured blocks; others: flops at a
 * measured rate (models/cost.c); never less than the bytes moved in memory
 * / memory_bandwidth. 0 for communication. */
double op_seconds(const struct machine *m, const char *kernel,
                  const struct schedule *s, const struct op *op);

/* The same of attends (OP_ATTEND, OP_ATTEND_BACKWARD) that are not ops of a
 * schedule: these segments, heads of `shape` and so many KV heads, on one of
 * `ranks` ranks; without machine.op_overhead and what results take more. */
double attend_block_seconds(const struct machine *m, enum op_kind kind,
                            const char *kernel,
                            const struct block_shape *shape, int64_t kv_heads,
                            int64_t ranks, const struct segment *list,
                            int64_t n);

/* ---- What a prediction leans on ------------------------------------------ */

/* Attends of one kind whose time comes from the same row of a table. */
struct lean {
    enum op_kind op;
    enum estimate_how how;
    const struct surface *surface;      /* NULL: roofline */
    const struct surface_point *point;
    int64_t ops;
    double seconds;             /* of all these */
    double low, high;           /* P10 and P90 of true / predicted */
};
struct leans {
    int64_t n, cap;
    struct lean *items;         /* the most seconds first; free() */
};
/* Of one schedule, added to l. */
void cost_leans(const struct machine *m, const char *kernel,
                const struct schedule *s, struct leans *l);

#endif
