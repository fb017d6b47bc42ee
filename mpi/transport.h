/* SPDX-License-Identifier: Apache-2.0
 *
 * Transports: what moves tiles between ranks.  Every tile is one message; the
 * messages of a channel between two ranks match in order. */
#ifndef SPAR_TRANSPORT_H
#define SPAR_TRANSPORT_H

#include "mpi/execute.h"
#include "run/reduce.h"

/* A reduction is one message, sent. */
struct message {
    int32_t op;                 /* of this rank's schedule */
    int32_t send;               /* 1 send, 0 receive */
    int64_t bytes;              /* payload that leaves or arrives */
};

struct mover;
struct transport_kind {
    const char *name, *summary;
    const struct device *device;        /* of the buffers; NULL: any */
    const struct mover *mover;          /* of a pipeline; NULL: none */
    /* Messages of host memory; NULL: the mover does without. */
    void (*start)(struct transport *t, struct message what,
                  const struct memory *m, struct tile tile, enum channel c,
                  int32_t peer);
    /* Reduce records in place. */
    void (*reduce)(struct transport *t, struct message what,
                   const struct schedule *s, const struct op *op,
                   struct records records);
    /* Completed messages of all that are under way into t->done. */
    int (*test)(struct transport *t);
};

extern const struct transport_kind *const transports[];  /* NULL last */

/* The pipeline of a transport that has one, prepared; else NULL. */
struct pipeline;
struct pipeline *transport_pipeline(const struct transport *t);

/* Start moving a tile to or from `peer`; no bytes: nothing happens, 0. */
int transport_start(struct transport *t, int32_t op, int send,
                    const struct memory *m, struct tile tile, enum channel c,
                    int32_t peer);
/* Start reducing the records of an op in place; alone in a group: nothing
 * happens, 0. */
int transport_reduce(struct transport *t, int32_t op, const struct memory *m);
/* Number of messages that have completed; *done: these, until the next test. */
int transport_test(struct transport *t, const struct message **done);

#endif
