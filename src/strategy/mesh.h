/* SPDX-License-Identifier: Apache-2.0
 *
 * A mesh head x context of the ranks: an all-to-all over the head groups,
 * composed with any context strategy over the context groups.  Options head,
 * placement, interleaved with window; the context strategy reads its own from
 * the same struct. */
#ifndef SPAR_MESH_H
#define SPAR_MESH_H

#include "strategy/exchange.h"

int mesh_applies(const struct job *job, const struct strategy_options *o,
                 int64_t ranks, struct error *e);
struct position_map *mesh_shard(const struct job *job,
                                const struct strategy_options *o,
                                int64_t ranks, int64_t rank);
void mesh_forward(struct schedule *s, struct view *v,
                  const struct strategy *context);
void mesh_backward(struct schedule *s, struct view *v);
int64_t mesh_bytes_forward(const struct view *v,
                           const struct strategy *context);
int64_t mesh_bytes_backward(const struct view *v,
                            const struct strategy *context);
int64_t mesh_period(const struct job *job, const struct strategy_options *o,
                    int64_t ranks, const struct strategy *context);

/* The functions NAME_forward, NAME_bytes_forward, NAME_bytes_backward of a
 * strategy that composes with `context`, and the fields that name them. */
#define MESH_FUNCTIONS(NAME, context)                                         \
    static void NAME ## _forward(struct schedule *s, struct view *v)          \
    {                                                                         \
        mesh_forward(s, v, context);                                          \
    }                                                                         \
    static int64_t NAME ## _bytes_forward(const struct view *v)               \
    {                                                                         \
        return mesh_bytes_forward(v, context);                                \
    }                                                                         \
    static int64_t NAME ## _bytes_backward(const struct view *v)              \
    {                                                                         \
        return mesh_bytes_backward(v, context);                               \
    }                                                                         \
    static int64_t NAME ## _period(const struct job *job,                     \
                                   const struct strategy_options *o,          \
                                   int64_t ranks)                             \
    {                                                                         \
        return mesh_period(job, o, ranks, context);                           \
    }
#define MESH_FIELDS(NAME)                                                     \
    .family = "softmax", .applies = mesh_applies, .turns = 1,                 \
    .shard = mesh_shard, .forward = NAME ## _forward,                         \
    .backward = mesh_backward, .bytes_forward = NAME ## _bytes_forward,       \
    .bytes_backward = NAME ## _bytes_backward, .period = NAME ## _period

#endif
