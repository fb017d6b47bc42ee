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
    EVENT_SEEN,                 /* a rank sees that its communication is over */
    /* Of devices: */
    EVENT_ENQUEUED,             /* the host has given the op to the device */
    EVENT_DONE,                 /* other streams see that the op is over */
    EVENT_PUSHED                /* the first flow of a port is through */
};
struct event {
    double time;
    int32_t rank, op;           /* EVENT_PUSHED: port, its version */
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
 * all where machine.shared_core, else one each.  They are of a place: a rank's
 * own, or the device that ranks share. */
enum head_state { HEAD_NONE, HEAD_BLOCKED, HEAD_READY, HEAD_RUNNING };
enum { ENGINES = 4 };          /* compute, copies, to the host, from it */

struct head {
    int32_t op;
    int32_t dep;                /* dependencies before this one are met */
    enum head_state state;
    int woken;                  /* an EVENT_ENQUEUED is on its way */
    double since;               /* ready */
};
struct engine {
    int32_t rank, op;           /* op -1: idle */
    double start, end;
    double host_until;          /* idle: messages keep the core until then */
};
struct rank {
    const struct schedule *s;
    int64_t base;               /* of its ops in the flat arrays */
    uint32_t blocked;           /* lanes whose head is blocked, by bit */
    struct head heads[LANES];
    /* Overlap: time accounted up to `last`. */
    int communicating, computing;
    double last, communicated, hidden;
};

/* What leaves a device at the same time shares its way out. */
struct flow {
    int32_t rank, op;           /* of a send or a collective */
    double left;                /* s, alone */
    double latency;             /* s after it is through */
};
struct port {
    int64_t n, cap;
    struct flow *flows;
    double last;                /* they are up to date */
    int32_t version;            /* of its next EVENT_PUSHED */
};

enum { TIME_READY, TIME_START, TIME_END };
struct sim {
    const struct machine *m;
    const struct simulate_options *o;
    int64_t ranks, n_ops, left;
    int64_t places;
    struct rank *rank;
    struct engine *engines;     /* [places][ENGINES] */
    struct port *ports;         /* [places]; devices only */
    int32_t *next;              /* [n_ops][2] next op of its lane(s), or -1 */
    uint8_t *done;              /* [n_ops] */
    double (*times)[3];         /* [n_ops] by TIME_*; NULL: not recorded */
    int32_t *gathered;          /* [groups x CHANNELS] members ready; then, with
                                   ports, those whose slices are under way */
    double now;
    struct events events;
    struct cost_cache *costs;
};

static inline int sim_is_message_lane(int lane)
{
    return lane >= LANE_FIRST_CHANNEL && lane < LANE_FIRST_STAGE;
}

/* The device of a rank, or the rank itself. */
static inline int64_t sim_place(const struct sim *sim, const struct rank *r)
{
    return (r - sim->rank) % sim->places;
}

static inline void sim_push(struct sim *sim, double time, enum event_kind kind,
                            const struct rank *r, int32_t op)
{
    events_push(&sim->events,
                (struct event){ time, (int32_t)(r - sim->rank), op, kind });
}

/* ---- Ports (ports.c) ---------------------------------------------------- */

void port_add(struct sim *sim, int64_t place, struct flow f);
/* EVENT_PUSHED: 1 and in *f what is through; 0: others came meanwhile. */
int port_pushed(struct sim *sim, int64_t place, int32_t version,
                struct flow *f);
/* What a send, or a member of a collective, puts on its port. */
struct flow message_flow(const struct sim *sim, const struct rank *r,
                         const struct op *send, const struct rank *peer,
                         const struct op *recv);
struct flow collective_flow(const struct sim *sim, const struct rank *r,
                            const struct op *op);

/* ---- Communication (messages.c) ----------------------------------------- */

/* `op` of rank r is ready: start it if the other side, or every member, is. */
void message_try(struct sim *sim, struct rank *r, const struct op *op);
void collective_try(struct sim *sim, struct rank *r, const struct op *op);
/* Member i of a collective, and in *op, which is one member's, its op. */
struct rank *collective_member(const struct sim *sim,
                               const struct collective_shape *c, int64_t i,
                               const struct op **op);
void port_event(struct sim *sim, int64_t place, int32_t version);

/* ---- Engines (engines.c) ------------------------------------------------ */

/* Accounts for the time since the last change at r, then changes. */
void sim_account(struct sim *sim, struct rank *r, int communicating,
                 int computing);
void sim_note(struct sim *sim, const struct rank *r, int32_t op, int what);
struct engine *sim_engine(const struct sim *sim, const struct rank *r,
                          int lane);
/* Ops that are ready, onto the engines of r's place that are idle. */
void sim_engines_start(struct sim *sim, const struct rank *r);

void sim_result(const struct sim *sim, struct simulate_result *result);

#endif
