/* SPDX-License-Identifier: Apache-2.0
 *
 * Loopback enqueued on a CUDA device: the hook of loopback_run() that deals its
 * events to streams, in an order in which each may follow all before it.  Rank
 * r computes in stream r mod `streams`, messages have streams of their own;
 * events order the streams. */
#ifndef SPAR_TESTS_DEVICE_ORDER_H
#define SPAR_TESTS_DEVICE_ORDER_H

#include "rig.h"

enum { ORDER_MESSAGES = 2 };    /* streams of messages, behind those of ranks */

/* One repetition: which event of the device is the end of which op. */
struct order {
    const struct rig *g;
    int serial;                 /* all in stream 0, timed */
    int streams;                /* of ranks */
    int64_t n, cap;             /* events so far of this repetition, created */
    void **events;              /* [cap] ends */
    void **starts;              /* [cap], serial */
    const struct op **ops;      /* [cap] what it was */
    int64_t **end;              /* [ranks][n_ops] */
    int stream;                 /* of the event at work */
    void *first, *last;         /* of the repetition */
    uint32_t used;              /* streams */
};

/* streams 0: everything in stream 0, with times of every event. */
void order_open(struct order *o, const struct rig *g, int streams);
void order_close(struct order *o);
/* The hook, whose arg is the order; o->n = 0 before a repetition. */
void order_begin(void *arg, const int32_t *ranks, const int32_t *ops,
                 int64_t n);
void order_end(void *arg, const int32_t *ranks, const int32_t *ops, int64_t n);
/* After it: o->last, in stream 0, once all is done. */
void order_join(struct order *o);

#endif
