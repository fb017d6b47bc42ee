/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the network model `flow`. */
#ifndef SPAR_FLOW_INTERNAL_H
#define SPAR_FLOW_INTERNAL_H

#include "models/internal.h"

struct user {                   /* of a link */
    int32_t transfer, at;       /* the link is links[at] of the transfer's */
};
struct link_state {
    int64_t n, cap;
    struct user *users;
    double room;                /* while rates are found: B/s left, */
    int32_t open, seen;         /* users without a rate; in which search */
    double since;               /* users there */
    struct link_use use;
};

enum transfer_state { TRANSFER_FREE, TRANSFER_MOVES, TRANSFER_ARRIVES,
                      TRANSFER_ENDS };
struct transfer {
    int32_t rank, op;           /* of a send, or a member of a collective */
    int32_t leg;                /* of the member */
    enum transfer_state state;
    int32_t version;            /* of its next EVENT_TRANSFER */
    int32_t seen;
    double bytes, left;         /* B; left at `settled` */
    double settled, rate;       /* s, B/s; rate -1: not yet known */
    double bandwidth;           /* B/s at most */
    double latency;             /* s after it is through */
    double until;               /* the host is busy with it */
    double finish;              /* s of the member after its last leg */
    int32_t n, cap;
    int32_t *links, *at;        /* [n] and where among a link's users */
};

struct flows {
    const struct links *links;
    struct link_state *link;
    int64_t n, cap;
    struct transfer *transfers;
    int64_t n_free, free_cap, n_dirty, dirty_cap;
    int32_t *free, *dirty;      /* dirty: links whose users have changed */
    int32_t search;
    /* The part of links and transfers that is looked at. */
    int64_t n_links, links_cap, n_part, part_cap;
    int32_t *part_links, *part;
};

/* ---- Rates (flow_rates.c) ------------------------------------------------ */

/* A transfer gets on its links, and off them. */
void flow_enter(struct simulation *sim, int32_t number);
void flow_leave(struct simulation *sim, const struct transfer *t);
/* Its next event. */
void flow_wait(struct simulation *sim, int32_t number, double until);

/* ---- A member's messages (flow_legs.c) ----------------------------------- */

/* Leg of a collective, one after the other: to which member, how many bytes.
 * 0: there is no such leg. */
int collective_leg(const struct collective_op *x, int devices, int64_t leg,
                   int64_t *to, int64_t *bytes);
/* B/s of all legs of a member that takes so many seconds alone. */
double legs_bandwidth(const struct collective_op *x, double seconds);

#endif
