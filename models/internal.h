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
    EVENT_PUSHED,               /* the first flow of a port is through */
    EVENT_TRANSFER              /* of flow.c: through, arrived, over */
};
struct event {
    double time;
    int32_t rank, op;           /* EVENT_PUSHED: port, its version;
                                   EVENT_TRANSFER: number, version */
    enum event_kind kind;
};
/* Binary heap, earliest first; equal times in the order of (rank, op). */
struct events {
    int64_t n, cap;
    struct event *heap;
};
void events_push(struct events *q, struct event ev);
struct event events_pop(struct events *q);

/* op_seconds(), remembered by what it depends on: ranks repeat each other's
 * attends. */
struct cost_cache;
struct cost_cache *cost_cache_create(void);
void cost_cache_destroy(struct cost_cache *c);

/* ---- The simulation ----------------------------------------------------- */

/* A lane's head is blocked (dependencies not met), ready (met; it waits for an
 * engine or for its peers) or running.  Engines run compute and copies: one for
 * all where machine.shared_core, else one each.  They are of a place: a rank's
 * own, or the device that ranks share. */
enum head_state { HEAD_NONE, HEAD_BLOCKED, HEAD_READY, HEAD_RUNNING };
enum { ENGINES = 4 };          /* compute, copies, to the host, from it */

struct head {
    int32_t op;
    int32_t met;                /* needs before this one are met */
    int32_t done;               /* ops of the lane up to here, as other lanes
                                   see it; -1: none */
    uint8_t state;              /* enum head_state */
    uint8_t woken;              /* an EVENT_ENQUEUED is on its way */
    double since;               /* ready */
};
struct engine {
    int32_t rank, op;           /* op -1: idle */
    double start, end;
    double host_until;          /* idle: messages keep the core until then */
};

/* ---- Shapes (shape.c) --------------------------------------------------- */

/* Ranks that do the same have a shape in common: ops of the same kinds on the
 * same operands, with the same dependencies.  They differ in whom they speak
 * to, their sides, and in what their masks let them see, their costs. */
struct step {                   /* an op; 32 bytes */
    int32_t next[2];            /* next op of its lane(s), or -1 */
    int32_t need_first, needs;
    int32_t side;               /* communication: of the rank's sides */
    int32_t cost;               /* send: of messages; that computes or copies:
                                   of the rank's costs */
    uint8_t kind, channel;
    int8_t lane[2];             /* op_lanes() */
};
struct need {                   /* a dependency */
    int32_t op, lane;
};
/* Bytes of a tile that lie together (ports.c). */
int64_t tile_block(const struct schedule *s, struct tile t);
struct message {                /* of a send */
    int64_t bytes, tiles;
    double seconds;             /* alone; < 0: it depends on the way */
};
struct shape {
    struct schedule *s;         /* the first rank's */
    struct step *steps;         /* [s->n_ops] */
    struct need *needs;
    int32_t first[LANES];       /* op; -1: none */
    int32_t n_sides, n_costs;
    int32_t *costs;             /* of the first rank */
};

struct rank {
    const struct shape *shape;
    int32_t place;
    int32_t beside;             /* the next rank of that place; -1 */
    int32_t *sides;             /* ranks; of collectives: pool groups */
    const int32_t *costs;       /* of seconds; shape->costs or own */
    int64_t base;               /* of its ops in `times` */
    uint32_t blocked;           /* lanes whose head is blocked, by bit */
    uint32_t ready;             /* lanes whose head waits for an engine */
    int awake;                  /* listed: something may begin */
    double slow, delay;         /* jitter */
    struct head heads[LANES];
    /* Overlap: time accounted up to `last`. */
    int communicating, computing;
    double last, communicated, hidden;
};

/* A message, or a collective, that starts: the host's part of it is charged
 * once all that starts at this time is known. */
struct start {
    struct rank *r, *peer;      /* peer NULL: a collective */
    int32_t op, recv;
    double until;               /* the hosts are busy with it */
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
/* What is known of a group of ranks for one kind of collective. */
struct known_group {
    int known;
    int calls;                  /* its collectives are timed as one */
    struct collective_group group;
    struct collective_path path;        /* of GPUs */
};
struct simulation {
    const struct machine *m;
    struct simulate_options o;
    int64_t ranks, added, n_ops, left;
    int64_t period;             /* ranks simulated; see simulate_options */
    int64_t n_awake;
    int32_t *awake;             /* [period] */
    int64_t n_starts, starts_cap;
    struct start *starts;       /* communication that starts now */
    int64_t places;
    int32_t *residents;         /* [places] the first rank there; -1 */
    int shared_places;          /* ranks share some */
    const struct links *links;
    struct links *own_links;    /* NULL: the caller's */
    int64_t kinds[OP_KINDS];    /* ops of shapes */
    struct rank *rank;          /* [period] */
    int64_t n_shapes, shapes_cap;
    struct shape **shapes;
    int64_t n_messages, messages_cap, n_seconds, seconds_cap;
    struct message *messages;
    double *seconds;
    int32_t *marks;             /* [ranks] while a shape is made */
    struct engine *engines;     /* [places][ENGINES] */
    struct port *ports;         /* [places]; devices only */
    struct flows *flows;        /* NULL: the network does not share */
    double (*times)[3];         /* [n_ops] by TIME_*; NULL: not recorded */
    int64_t n_gathered;
    int32_t *gathered;          /* [groups x CHANNELS] members ready; then, with
                                   ports, those whose slices are under way */
    int64_t collectives[COLLECTIVE_HOWS];
    int64_t n_groups;           /* times COLLECTIVE_KINDS */
    struct known_group *groups;
    double now;
    struct events events;
    struct cost_cache *costs;
};

static inline int sim_is_message_lane(int lane)
{
    return lane >= LANE_FIRST_CHANNEL && lane < LANE_FIRST_STAGE;
}

static inline void sim_push(struct simulation *sim, double time, enum event_kind kind,
                            const struct rank *r, int32_t op)
{
    events_push(&sim->events,
                (struct event){ time, (int32_t)(r - sim->rank), op, kind });
}

static inline const struct step *sim_step(const struct rank *r, int32_t op)
{
    return &r->shape->steps[op];
}

static inline int32_t sim_side(const struct rank *r, int32_t op)
{
    return r->sides[sim_step(r, op)->side];
}

/* Who stands for a rank. */
static inline struct rank *sim_rank(const struct simulation *sim,
                                    int32_t number)
{
    return &sim->rank[number < sim->period ? number : number % sim->period];
}

/* The other side of a message. */
static inline struct rank *sim_peer(const struct simulation *sim,
                                    const struct rank *r, int32_t op)
{
    return sim_rank(sim, sim_side(r, op));
}

/* Ranks take slots in turn, unless it is said where they are. */
static inline int32_t sim_place_of(const struct simulation *sim,
                                   int32_t number)
{
    if (sim->o.slots)
        return sim->o.slots[number];
    return number < sim->places ? number : (int32_t)(number % sim->places);
}

/* A collective as rank r has it. */
struct collective_op {
    struct schedule s;          /* the shape's, of this rank */
    struct op op;
    int32_t number;
    struct collective_shape c;
};
void sim_collective(const struct simulation *sim, const struct rank *r,
                    int32_t op, struct collective_op *x);
/* 0, or -1 and *e if kinds of ops cannot be timed. */
int costs_known(const struct machine *m, const char *kernel,
                const int64_t kinds[OP_KINDS], struct error *e);
/* Of `seconds`: the time of an op that computes or copies. */
int32_t cost_index(struct simulation *sim, const struct schedule *s,
                   const struct op *op);
void shapes_destroy(struct simulation *sim);

/* ---- Ports (ports.c) ---------------------------------------------------- */

void port_add(struct simulation *sim, int64_t place, struct flow f);
/* EVENT_PUSHED: 1 and in *f what is through; 0: others came meanwhile. */
int port_pushed(struct simulation *sim, int64_t place, int32_t version,
                struct flow *f);
/* What a send, or a member of a collective, puts on its port. */
struct flow message_flow(const struct simulation *sim, const struct rank *r,
                         int32_t send, const struct rank *peer, int32_t recv);
struct flow collective_flow(const struct simulation *sim,
                            const struct collective_op *all, int64_t me);

/* ---- Communication (messages.c) ----------------------------------------- */

/* `op` of rank r is ready: start it if the other side, or every member, is. */
void message_try(struct simulation *sim, struct rank *r, int32_t op);
void collective_try(struct simulation *sim, struct rank *r, int32_t op);
/* Communication that starts now: the hosts' part, then it is under way. */
void starts_charge(struct simulation *sim);
/* Member i of the collective of which x is one member's; in *op its own op.
 * NULL: another one stands for it. */
struct rank *collective_member(const struct simulation *sim,
                               const struct collective_op *x, int64_t i,
                               int32_t *op);
void port_event(struct simulation *sim, int64_t place, int32_t version);
/* A member's part of a collective is over; the last one ends it. */
void member_over(struct simulation *sim, struct rank *r, int32_t op);

/* s of all of a collective that is one call of a library, and how that is
 * known; -1: it goes by messages (collective.c). */
double collective_seconds(struct simulation *sim,
                          const struct collective_op *x,
                          enum collective_how *how);

/* ---- Networks (network.c) ------------------------------------------------ */

/* s of a message, alone, from place to place. */
double network_seconds(const struct simulation *sim, int64_t from, int64_t to,
                       int64_t bytes);
/* s of a member of a collective: its rounds and what it does itself, or that
 * alone. */
double member_seconds(const struct simulation *sim,
                      const struct collective_op *x);
double member_finish(const struct machine *m, const struct collective_op *x);

/* What jitter leaves of them (derate.c). */
void links_derate(struct links *l, const struct simulation *sim);
/* Does that slow a way between two of these? */
int links_derated(const struct links *l, const int32_t *places, int64_t n);

/* ---- Sharing links (flow.c) --------------------------------------------- */

struct flows *flows_create(const struct links *links);
void flows_destroy(struct flows *f);
/* A message from r to peer, or a member's part of a collective, is on its way;
 * not over before `until`. */
void flow_message(struct simulation *sim, const struct start *s);
void flow_member(struct simulation *sim, const struct collective_op *all,
                 int64_t me, double until);
/* Have transfers begun or ended, so that rates must be found before time goes
 * on? */
int flows_changed(const struct simulation *sim);
void flows_settle(struct simulation *sim);
void transfer_event(struct simulation *sim, int32_t number, int32_t version);
void flows_result(const struct simulation *sim, struct simulate_result *res);
/* ---- Events (simulate.c) ------------------------------------------------- */

/* Of a send: its message is over. */
void message_over(struct simulation *sim, struct rank *r, int32_t send);

/* ---- Engines (engines.c) ------------------------------------------------ */

/* Accounts for the time since the last change at r, then changes. */
void sim_account(struct simulation *sim, struct rank *r, int communicating,
                 int computing);
void sim_note(struct simulation *sim, const struct rank *r, int32_t op, int what);
struct engine *sim_engine(const struct simulation *sim, const struct rank *r,
                          int lane);
/* Ops that are ready, onto the engines of r's place that are idle. */
void sim_engines_start(struct simulation *sim, const struct rank *r);

void sim_result(const struct simulation *sim, struct simulate_result *result);

#endif
