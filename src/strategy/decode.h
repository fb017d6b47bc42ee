/* SPDX-License-Identifier: Apache-2.0
 *
 * Few queries against many keys: which rank has which query, and attention of
 * queries that every rank holds. */
#ifndef SPAR_DECODE_H
#define SPAR_DECODE_H

#include "strategy/strategy.h"

/* `queries` of a strategy.  Cut over the ranks like the chunks of a sequence;
 * in other passes the tokens of the rank. */
struct position_map *queries_cut(const struct job *job,
                                 const struct strategy_options *o,
                                 int64_t ranks, int64_t rank);
/* All of them on every rank. */
struct position_map *queries_replicated(const struct job *job,
                                        const struct strategy_options *o,
                                        int64_t ranks, int64_t rank);
/* Tokens first .. first+count of the packed axis. */
struct position_map *tokens_map(const struct job *job, int64_t first,
                                int64_t count);

/* A partial result: o [queries, H, E], lse [queries, H, 1]. */
struct partial {
    struct tile o, lse;
};

/* Mark o and lse as results that every member holds whole. */
void replicated_results(struct schedule *s, const struct view *v);
/* Attend v->q to my own K, V: the result itself where I am alone, else a
 * partial whose o is of `dtype`.  Without visible keys it is (0, -inf), the
 * identity of a merge. */
struct partial partial_attend(struct schedule *s, const struct view *v,
                              enum dtype dtype);
/* All-gather everybody's partial and merge them, here, into v->o, v->lse. */
void partials_gather(struct schedule *s, const struct view *v,
                     struct partial mine);
/* Bytes that a member sends in it. */
int64_t partials_gather_bytes(const struct view *v, int64_t queries,
                              enum dtype dtype);

#endif
