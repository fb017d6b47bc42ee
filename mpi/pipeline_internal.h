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
     * op does, into a stream. */
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

struct pipeline {
    const struct mover *how;
    void *state;                /* the mover's */
    const struct device *device;
    const struct schedule *logical, *s; /* s: executed, perhaps lowered */
    struct schedule *lowered;
    struct memory *m;           /* of the logical schedule */
    struct memory own, host;    /* of s: seen by the device, by the host */
    struct transport *transport;
    MPI_Comm comm;
    int ranks, rank;
    /* Lanes: first op, [n_ops][2] the next one; streams, -1: of the host. */
    int32_t first[LANES], *next;
    int stream[LANES];
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
    int32_t head[LANES];        /* to be given next; -1 none */
    int32_t oldest[LANES];      /* given, not over; -1 none */
    int32_t last[LANES];        /* given last; -1 none */
    int32_t given;              /* without ops of the host: how many */
    int64_t left;               /* ops not over */
    int64_t last_over;          /* ns: the watchdog counts from it */
    int64_t payload;            /* bytes sent */
    int32_t at;                 /* op that is given, or asked about */
    int32_t shown;              /* op in the state file */
};

/* Is the op the host's? */
static inline int pipeline_is_host(const struct pipeline *p,
                                   const struct op *op)
{
    return !p->how->send && (op->kind == OP_SEND || op->kind == OP_RECV
                             || op->kind == OP_COLLECTIVE);
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

/* The failure of the lowest rank that failed, on every rank. */
int pipeline_agree(const struct pipeline *p, int failed, struct error *e);

#endif
