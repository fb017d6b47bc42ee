/* SPDX-License-Identifier: Apache-2.0
 *
 * How far what every member sends round a ring goes, and which rows of it: read
 * off the position maps of the members that are still to come. */
#ifndef SPAR_ROUTE_H
#define SPAR_ROUTE_H

#include "schedule/view.h"

enum side { SIDE_KEYS, SIDE_QUERIES };

/* The cargo of each member visits the others in order, that of member j at step
 * s the member j + d s. */
struct route {
    const struct view *v;
    enum side side;             /* what travels */
    int d;                      /* 1 or -1 */
    int halves;                 /* a chunk of a causal zigzag goes on only while
                                   a member to come sees it, or is seen by it */
    int needed;                 /* nothing goes on once no member to come needs
                                   any of it, under any mask */
};

struct part {                   /* rows of a member's shard */
    int64_t first, count;
};

/* One causal sequence in zigzag: chunks part ways. */
int route_has_halves(const struct view *v);

/* At step `step`: rows that are with me; those of them that go on from me; rows
 * of my own that are with the member whom they visit then.  Step 0: all. */
struct part route_here(const struct route *r, int64_t step);
struct part route_on(const struct route *r, int64_t step);
struct part route_mine(const struct route *r, int64_t step);
/* The rows of `all` without `some`, which are at one end of it, or none. */
struct part part_without(struct part all, struct part some);

/* Closed forms: rows that I send as cargo, and as results of others' cargo,
 * whether these go on one step behind it or straight home. */
int64_t route_cargo_rows(const struct route *r);
int64_t route_result_rows(const struct route *r);

#endif
