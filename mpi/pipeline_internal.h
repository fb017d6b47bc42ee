/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the pipeline. */
#ifndef SPAR_PIPELINE_INTERNAL_H
#define SPAR_PIPELINE_INTERNAL_H

#include "kernel/cuda_async.h"
#include "mpi/pipeline.h"
#include "schedule/lower.h"

struct mover {
    const char *name;
    /* NULL: messages leave from the host, the schedule is lowered. Else what an
     * op does, into a stream; where `near_only`, between ranks that reach each
     * other, for which the schedule is lowered. */
    int near_only;
    void (*send)(struct pipeline *p, int32_t i, int stream);
    void (*recv)(struct pipeline *p, int32_t i, int stream);
    void (*collective)(struct pipeline *p, int32_t i, int stream);
    /* What comes in a stream follows on a recv that was given to another, and on
     * those before it in its lane; NULL: by the event at its end. */
    void (*follow)(struct pipeline *p, int32_t i, int stream);
    /* Collective; -1 and the same *e on every rank. */
    int (*open)(struct pipeline *p, struct plan *plan, struct error *e);
    void (*close)(struct pipeline *p);  /* collective; after a failed open, too */
    void (*poll)(struct pipeline *p);   /* dies on an error; or NULL */
};

enum progress { OP_WAITS, OP_GIVEN, OP_OVER };

/* A lane twice: what it has on the device, and its messages of the host, which
 * need not wait for each other: what must is in the lowered schedule. */
enum { TRACKS = 2 * LANES };

struct pipeline {
    const struct mover *how;
    void *state;                /* the mover's */
    const struct device *device;
    const struct schedule *logical, *s; /* s: executed, perhaps lowered */
    struct schedule *lowered;
    struct reach *near;         /* who reaches whom; NULL: nobody, or all */
    char about[400];            /* for people, of these pairs; "" */
    struct memory *m;           /* of the logical schedule */
    struct memory own, host;    /* of s: seen by the device, by the host */
    struct transport *transport;
    MPI_Comm comm;
    int ranks, rank;
    uint8_t *by_host;           /* [n_ops] a message of the host */
    int64_t hosts;              /* how many */
    /* Tracks: first op, [n_ops][2] the next one; streams, -1: of the host. */
    int32_t first[TRACKS], *next;
    int stream[TRACKS];
    /* [n_ops] A recv that others follow as the mover says. What it follows on,
     * and the word to the sender that it may write, are given to a stream of
     * their own: they need not wait for the message before. */
    uint8_t *by_flag;
    int ready_stream;
    void **end;                 /* [n_ops] events; NULL: nobody asks */
    void **from, **to;          /* [n_ops] timed; recording only */
    int64_t *began, *ended;     /* [n_ops] of host ops, ns; recording only */
    void *zero;
    /* One repetition */
    const struct execute_options *o;
    uint8_t *progress;          /* [n_ops] enum progress */
    int32_t *pending;           /* [n_ops] messages under way */
    int32_t head[TRACKS];       /* to be given next; -1 none */
    int32_t oldest[TRACKS];     /* given, not over; -1 none */
    int32_t last[TRACKS];       /* given last; -1 none */
    int32_t given;              /* without ops of the host: how many */
    int64_t left;               /* ops not over */
    int64_t last_over;          /* ns: the watchdog counts from it */
    int64_t payload;            /* bytes sent */
    int32_t at;                 /* op that is given, or asked about */
    int32_t shown;              /* op in the state file */
};

static inline void pipeline_tracks(const struct pipeline *p, int32_t i,
                                   int track[2])
{
    op_lanes(&p->s->ops[i], track);
    for (int k = 0; k < 2; k++)
        if (p->by_host[i] && track[k] >= 0)
            track[k] += LANES;
}

/* Does the op follow on what is over, as the host sees it?  Messages of the
 * host do, and copies from and to it where others wait for flags: behind one of
 * these in a stream they would hold back what the peers wait for. */
static inline int pipeline_follows_ends(const struct pipeline *p, int32_t i)
{
    int lane[2];

    op_lanes(&p->s->ops[i], lane);
    return p->by_host[i] || (p->how->near_only && lane[0] >= LANE_FIRST_STAGE);
}

/* Records of all members, `step` bytes apart: as the op reduces them, into its
 * own, in a stream. */
void pipeline_reduce(struct pipeline *p, const struct op *op,
                     const struct collective_shape *c, int stream,
                     const char *all, size_t step);

/* The op of the logical schedule that an op which is executed is part of. */
static inline int32_t pipeline_logical(const struct pipeline *p, int32_t i)
{
    return p->s->parents ? p->s->parents[i] : i;
}

/* pipeline_spans.c: before a repetition that is recorded, where the clocks of
 * host and device meet, ns; after it, spans of the logical ops, from the device's
 * clock, of messages of the host from its own. */
int64_t pipeline_mark(struct pipeline *p);
void pipeline_spans(struct pipeline *p, int64_t zero);

/* pipeline_reach.c: which ranks reach each other's memory, into p->near, and
 * p->about.  Collective; -1 and the same *e on every rank: none does. */
int pipeline_reach(struct pipeline *p, struct error *e);
/* Are all ranks on one host?  As above. */
int pipeline_one_host(const struct pipeline *p, struct error *e);

/* The failure of the lowest rank that failed, on every rank. */
int pipeline_agree(const struct pipeline *p, int failed, struct error *e);

#endif
