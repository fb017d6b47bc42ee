/* SPDX-License-Identifier: Apache-2.0
 *
 * The all-to-all of Ulysses, composed with any context strategy: a head group
 * turns token shards into head shards, the context strategy runs unchanged in
 * the child view, its output is turned back.
 *
 * Heads are cut like tokens, so their number need not be a multiple of the
 * group; a KV head goes to every member whose query heads need it, and the
 * gradients of its copies are summed at home.
 *
 * Option head_group: a member takes so many of its KV heads, and the query heads
 * that read them, at a time: while one part is attended the next is on its way,
 * and the part before goes back. */
#ifndef SPAR_EXCHANGE_H
#define SPAR_EXCHANGE_H

#include "strategy/strategy.h"

struct exchange {
    const struct strategy *context;
    struct view group;          /* the head group: members exchange heads */
    struct view child;          /* my heads, all tokens of the group */
    int64_t each;               /* KV heads at a time */
    int64_t turns;              /* parts, alike on all members */
    struct view *children;      /* [turns] of a part each */
    int32_t *rows;              /* [group.members] where each one's tokens are
                                   in the child's tensors (pool row sets) */
};

/* Heads of my child view, and how many at a time: set from group.me and the
 * options; child.maps, ranks, members, me are the caller's. */
void exchange_heads(struct exchange *x);

void exchange_forward(struct schedule *s, const struct view *v,
                      struct exchange *x);
void exchange_backward(struct schedule *s, struct exchange *x);

/* Payload that I send to the others of the head group, and in the context
 * strategy. */
int64_t exchange_bytes_forward(const struct exchange *x);
int64_t exchange_bytes_backward(const struct exchange *x);

#endif
