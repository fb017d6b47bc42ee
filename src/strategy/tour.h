/* SPDX-License-Identifier: Apache-2.0
 *
 * Tours: what one side of attention needs of every member (K and V; or Q, in
 * backward with dO, lse and delta) visits the others on a route, while the
 * other side stays.
 *
 *   step s:  attend with the cargo of member me - d s, while
 *            it goes on to me + d and that of me - d (s + 1) comes from me - d,
 *            the results of step s - 1 leave, and some of mine come home and
 *            are added
 *   tail:    the results of step N - 1 go home
 *
 * Results of the side that stays add up in place.  Those of the side that
 * travels (dK, dV; or O, lse; or dQ) go straight home, each step's by
 * themselves; or they are carried: one step behind their cargo, every step
 * adding its part, and home from where the cargo ends. */
#ifndef SPAR_TOUR_H
#define SPAR_TOUR_H

#include "strategy/blocks.h"

/* K, V travel.  `kv`: their circuit, kept by the caller.  `last`: where the
 * last to come is kept, or NULL. */
void tour_keys_forward(struct schedule *s, struct view *v,
                       const struct route *r, struct circuit *kv,
                       const struct cargo *last);
/* dK, dV are carried. */
void tour_keys_backward(struct schedule *s, struct view *v,
                        const struct route *r, struct circuit *kv);
/* Q travels; results go straight home. */
void tour_queries_forward(struct schedule *s, struct view *v,
                          const struct route *r);
/* Q, dO, lse and delta travel. */
void tour_queries_backward(struct schedule *s, struct view *v,
                           const struct route *r, int carried);

/* Closed forms: bytes that I send. */
int64_t tour_bytes_forward(const struct route *r);
int64_t tour_bytes_backward(const struct route *r);

#endif
