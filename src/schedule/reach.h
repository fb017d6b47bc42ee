/* SPDX-License-Identifier: Apache-2.0
 *
 * Which ranks reach each other's memory: those of one host, say, that see each
 * other's devices.  As good as any symmetric relation: a rank may reach two
 * that do not reach each other. */
#ifndef SPAR_REACH_H
#define SPAR_REACH_H

#include "base/base.h"

struct reach;

/* Of `ranks` ranks, none of which reaches another yet. */
struct reach *reach_create(int64_t ranks);
void reach_destroy(struct reach *r);
/* a and b reach each other. */
void reach_add(struct reach *r, int64_t a, int64_t b);
/* A rank reaches itself. */
int reach_has(const struct reach *r, int64_t a, int64_t b);
/* Does each of them reach all others? */
int reach_all(const struct reach *r, const int32_t *ranks, int64_t n);
/* Pairs of different ranks that reach each other; all pairs. */
int64_t reach_pairs(const struct reach *r, int64_t *all);

#endif
