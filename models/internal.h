/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of models only. */
#ifndef SPAR_MODELS_INTERNAL_H
#define SPAR_MODELS_INTERNAL_H

#include "models/simulate.h"

enum event_kind {
    EVENT_ENGINE,               /* an op that computes or copies ends */
    EVENT_MESSAGE,              /* of a send: its message is over */
    EVENT_COLLECTIVE,           /* of the last member's op: all are over */
    EVENT_SEEN                  /* a rank sees that its communication is over */
};
struct event {
    double time;
    int32_t rank, op;
    enum event_kind kind;
};
/* Binary heap, earliest first; equal times in the order of (rank, op). */
struct events {
    int64_t n, cap;
    struct event *heap;
};
void events_push(struct events *q, struct event ev);
struct event events_pop(struct events *q);

/* op_seconds(), remembered by shape: ranks repeat each other's attends. */
struct cost_cache;
struct cost_cache *cost_cache_create(void);
void cost_cache_destroy(struct cost_cache *c);
double cost_cached(struct cost_cache *c, const struct machine *m,
                   const char *kernel, const struct schedule *s,
                   const struct op *op);

/* ---- The simulation ----------------------------------------------------- */

/* A lane's head is blocked (dependencies not met), ready (met; it waits for an
 * engine or for its peers) or running.  Engines run compute and copies: one for
 * both where machine.shared_core, else one each. */
enum head_state { HEAD_NONE, HEAD_BLOCKED, HEAD_READY, HEAD_RUNNING };
enum { ENGINES = 2 };

struct head {
    int32_t op;
    int32_t dep;                /* dependencies before this one are met */
    enum head_state state;
};
struct engine {
    int32_t op;                 /* -1: idle */
    double start, end;
    double host_until;          /* idle: messages keep the core until then */
};
struct rank {
    const struct schedule *s;
    int64_t base;               /* of its ops in the flat arrays */
    uint32_t blocked;           /* lanes whose head is blocked, by bit */
    struct head heads[LANES];
    struct engine engines[ENGINES];
    /* Overlap: time accounted up to `last`. */
    int communicating, computing;
    double last, communicated, hidden;
};

enum { TIME_READY, TIME_START, TIME_END };
struct sim {
    const struct machine *m;
    const struct simulate_options *o;
    int64_t ranks, n_ops, left;
    struct rank *rank;
    int32_t *next;              /* [n_ops][2] next op of its lane(s), or -1 */
    uint8_t *done;              /* [n_ops] */
    double (*times)[3];         /* [n_ops] by TIME_*; NULL: not recorded */
    int32_t *gathered;          /* [groups x CHANNELS] members ready */
    double now;
    struct events events;
    struct cost_cache *costs;
};

void sim_result(const struct sim *sim, struct simulate_result *result);

#endif
