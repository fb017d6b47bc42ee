/* SPDX-License-Identifier: Apache-2.0
 *
 * Transports: what moves tiles between ranks.  Every tile is one message; the
 * messages of a channel between two ranks match in order. */
#ifndef SPAR_TRANSPORT_H
#define SPAR_TRANSPORT_H

#include "mpi/execute.h"

struct message {
    int32_t op;                 /* of this rank's schedule */
    int32_t send;               /* 1 send, 0 receive */
    int64_t bytes;
};

struct transport_kind {
    const char *name, *summary;
    void (*start)(struct transport *t, struct message what,
                  const struct memory *m, struct tile tile, enum channel c,
                  int32_t peer);
    /* Completed messages of all that are under way into t->done. */
    int (*test)(struct transport *t);
};

extern const struct transport_kind *const transports[];  /* NULL last */

/* Start moving a tile to or from `peer`; no bytes: nothing happens, 0. */
int transport_start(struct transport *t, int32_t op, int send,
                    const struct memory *m, struct tile tile, enum channel c,
                    int32_t peer);
/* Number of messages that have completed; *done: these, until the next test. */
int transport_test(struct transport *t, const struct message **done);

#endif
