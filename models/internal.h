/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of models only. */
#ifndef SPAR_MODELS_INTERNAL_H
#define SPAR_MODELS_INTERNAL_H

#include "models/simulate.h"

/* Index into the recorded times of an op. */
enum { TIME_READY, TIME_START, TIME_END };

enum event_kind {
    EVENT_ENGINE,               /* an op that computes or copies ends */
    EVENT_MESSAGE,              /* of a send: its message is over */
    EVENT_COLLECTIVE,           /* of the last member's op: all are over */
    EVENT_SEEN                  /* a rank sees that its communication is over */
};
struct event {
    double time;
    int32_t rank, op;
    enum event_kind kind;
};
/* Binary heap, earliest first; equal times in the order of (rank, op). */
struct events {
    int64_t n, cap;
    struct event *heap;
};
void events_push(struct events *q, struct event ev);
struct event events_pop(struct events *q);

/* op_seconds(), remembered by shape: ranks repeat each other's attends. */
struct cost_cache;
struct cost_cache *cost_cache_create(void);
void cost_cache_destroy(struct cost_cache *c);
double cost_cached(struct cost_cache *c, const struct machine *m,
                   const char *kernel, const struct schedule *s,
                   const struct op *op);

#endif
