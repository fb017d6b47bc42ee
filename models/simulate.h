/* SPDX-License-Identifier: Apache-2.0
 *
 * Simulate: the schedules of all ranks on a model of a machine.  Lanes in
 * order, dependencies as inferred, a message is one event of its send and its
 * receive (rendezvous). */
#ifndef SPAR_SIMULATE_H
#define SPAR_SIMULATE_H

#include "job/jitter.h"
#include "models/links.h"
#include "schedule/schedule.h"
#include "topo/collective.h"
#include "topo/estimate.h"
#include "trace/trace.h"

/* Seconds of messages.
 *
 *   ideal  no latency, no host cost: bytes / bandwidth of the last segment, or,
 *          where the machine has a graph, of the narrowest link of the route
 *   loggp  T = L + 2o + S G, by segments of the machine's link, or L and G of
 *          the route (topo/graph.h); where the machine's ranks compute and
 *          communicate on one core, a message also takes o per tile + S O of it
 *          on either side, more where rows lie apart at one end and are
 *          packed, and completion is seen when the computing core looks
 *          (machine.poll_interval)
 *   flow   as loggp, but the bytes of all messages under way share the links of
 *          their ways, in either direction, max-min fairly (models/flow.c); the
 *          latency comes after them
 *
 * A collective of GPUs of one host that shares its links with no other group
 * (all ranks, or over NVLink) is one call of a library, by the machine's table
 * for so many ranks or by constants (topo/collective.h), except with ideal. One
 * of CPU ranks goes by a table that was measured in a group like it: as many
 * members on as many hosts, as far apart, as many groups at once, each rank on a
 * core of its own; meanwhile the host's part of its messages is charged as
 * otherwise. What other channels send at the same time does not slow it.  Links
 * that jitter slows are in no table: then it goes by messages.
 * Any other collective of P members is P - 1 rounds of pairwise messages, round i
 * sending to the member i places on and receiving from the one i places back:
 * the sum over rounds of the message of the larger of the two, the slowest
 * member for all. With equal slices (P - 1)(L + 2o + S G / P), S the full
 * payload (the gathered tensor; the send buffer).  An all-reduce of S bytes is
 * log2 P rounds of messages of S/2, S/4, ... and as many back, 2 log2 P (L + 2o)
 * + 2 (P - 1)/P S G for a power of two; an exclusive scan log2 P messages of a
 * record.  loggp adds what a member does with its own slice, for a
 * reduce-scatter the sum, for reductions the records, as memory traffic.  With
 * flow every member sends its messages of the rounds one after the other, and
 * does not wait for others between them. */
struct network_model {
    const char *name, *summary;
    int host;                   /* charge the host's part, see above */
    int latency;                /* not bandwidth alone */
    int shares;                 /* messages share links */
};
extern const struct network_model *const network_models[];  /* NULL last */
const struct network_model *network_find(const char *name);
/* Where nobody asks for one: flow where the machine has a graph, else loggp;
 * that, too, on devices whose messages were measured. */
const struct network_model *network_default(const struct machine *m);

struct simulate_options {
    const struct network_model *network;
    const char *kernel;         /* backend whose surfaces to use */
    int32_t entry;
    int record;                 /* keep spans */
    const struct links *links;  /* NULL: links_create() of the machine */
    /* [ranks] slot of the machine's graph, or device; NULL: rank r is on slot r
     * modulo their number. */
    const int32_t *slots;
    /* Only ranks 0 .. period - 1 are added and simulated: rank r stands for all
     * r + i period, which do the same, to those as far from them
     * (simulate_period()). 0: all. */
    int64_t period;
    const struct jitter *jitter;        /* NULL: none */
};
/* Of a link: all that went over it, the time when anything did, and the largest
 * part of its capacity that was used. */
struct link_use {
    double bytes, busy, peak;
    double capacity;            /* B/s */
};
struct simulate_result {
    double seconds;             /* makespan */
    double *rank_seconds;       /* [ranks] end of its last op */
    double overlap;             /* communication hidden / communication; NaN if
                                   there is none */
    int deadlock;
    struct error stuck;         /* deadlock: the ops that never ran */
    int64_t collectives[COLLECTIVE_HOWS];       /* that were timed so */
    int64_t n_spans;
    struct span *spans;         /* owned; record only; by rank, start */
    int64_t n_links;            /* 0: the network model does not share them */
    struct link_use *links;     /* owned */
};

/* May the simulation be folded?  `schedules`: of the ranks of one period, of
 * which the strategy knows that it repeats itself (plan_period()).  The least
 * multiple of it after which ranks also have equal ways to whom they speak;
 * `ranks`: there is none. */
int64_t simulate_period(const struct schedule *const *schedules,
                        int64_t period, int64_t ranks, const struct machine *m,
                        const struct simulate_options *o);

/* 0, or -1 and *e (usage) if the machine has not the links that j (NULL: none)
 * derates. */
int simulate_jitter(const struct machine *m, const struct jitter *j,
                    const struct network_model *network, struct error *e);

/* A simulation gets the schedules one by one, of ranks 0, 1, ... ranks - 1,
 * frozen and of one pool, and then runs once.  What it needs of a schedule it
 * keeps, what ranks have in common once: only the pool and the job must outlive
 * it.
 *
 * A message starts when its send and its receive are both at the head of their
 * lanes with all dependencies met, a collective when it is so at all members.
 * makespan = end of the last op + the machine's repeat_overhead. */
struct simulation;
struct simulation *simulation_create(int64_t ranks, const struct machine *m,
                                     const struct simulate_options *o);
void simulation_destroy(struct simulation *sim);
void simulation_add(struct simulation *sim, const struct schedule *s);
/* 0, or -1 and *e if the machine cannot time what was added. */
int simulation_ready(const struct simulation *sim, struct error *e);
void simulation_run(struct simulation *sim, struct simulate_result *r);
void simulate_result_clear(struct simulate_result *r);

/* All of that at once. */
void simulate(const struct schedule *const *schedules, int64_t ranks,
              const struct machine *m, const struct simulate_options *o,
              struct simulate_result *r);
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
