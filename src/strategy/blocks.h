/* SPDX-License-Identifier: Apache-2.0
 *
 * What the strategies that attend block by block have in common. */
#ifndef SPAR_BLOCKS_H
#define SPAR_BLOCKS_H

#include "schedule/view.h"

/* K and V, or dK and dV, as one message. */
void pair_send(struct schedule *s, const char *label, enum channel c,
               int32_t peer, struct pair p);
void pair_recv(struct schedule *s, const char *label, enum channel c,
               int32_t peer, struct pair p);
/* dst = sum of n pairs; none: zeros. */
void pair_sum(struct schedule *s, struct pair dst, enum access access,
              const struct pair *p, int64_t n);

/* What every step of backward reads and adds to: delta = rowsum(dO * O), made
 * once, and dQ, fp32 where there are several steps. */
struct gradients {
    struct tile delta, dq;
    int dq_started;
};
struct gradients gradients_start(struct schedule *s, const struct view *v);
/* Attend backward to the block `kv`: stores its dK, dV in `out`, adds to dQ. */
void gradients_add(struct schedule *s, const struct view *v,
                   struct gradients *g, struct pair kv, struct pair out,
                   const struct segment *list, int64_t n);

#endif
