/* SPDX-License-Identifier: Apache-2.0
 *
 * Who sends how much to whom, step by step: what a placement must carry. */
#ifndef SPAR_TRAFFIC_H
#define SPAR_TRAFFIC_H

#include "schedule/schedule.h"

struct traffic_item {
    int32_t step, from, to;     /* ranks */
    int64_t bytes;
};
struct traffic {
    int64_t ranks;
    int64_t n, cap;
    struct traffic_item *items; /* by step, from, to; each once */
    int64_t steps;
    int64_t *first;             /* [steps + 1] items of each step */
    /* Of the all-to-alls that are of some ranks only: each rank's group and its
     * place in it; -1: none. */
    int32_t *group, *member;    /* [ranks] */
    int32_t n_groups;
    int64_t of_members;         /* each group has as many; 0: they differ */
};

/* Steps are those of the strategy, in backward counted on.  A collective is of
 * one step: its slices go to their members, what a reduction sends goes to the
 * next member. */
void traffic_begin(struct traffic *t, int64_t ranks);
void traffic_add(struct traffic *t, const struct schedule *s);
void traffic_end(struct traffic *t);
void traffic_clear(struct traffic *t);

/* All of that at once. */
void traffic_of(struct traffic *t, const struct schedule *const *schedules,
                int64_t ranks);

#endif
