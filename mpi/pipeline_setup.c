/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first repetition: lanes, streams, events. */
#include <config.h>

#include "mpi/pipeline_internal.h"

#include <stdlib.h>

int pipeline_agree(const struct pipeline *p, int failed, struct error *e)
{
    int first = failed ? p->rank : p->ranks;

    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, p->comm);
    if (first == p->ranks)
        return 0;
    MPI_Bcast(e, sizeof *e, MPI_BYTE, first, p->comm);
    return -1;
}

/* ---- Lanes -------------------------------------------------------------- */

static void link_lanes(struct pipeline *p)
{
    int32_t last[LANES];
    int which[LANES];

    p->next = xmalloc((size_t)p->s->n_ops * 2 * sizeof *p->next + 1);
    for (int l = 0; l < LANES; l++)
        p->first[l] = last[l] = -1;
    for (int32_t i = 0; i < p->s->n_ops; i++) {
        int lane[2];
        op_lanes(&p->s->ops[i], lane);
        for (int k = 0; k < 2; k++) {
            p->next[2 * i + k] = -1;
            if (lane[k] < 0)
                continue;
            if (last[lane[k]] < 0)
                p->first[lane[k]] = i;
            else
                p->next[2 * last[lane[k]] + which[lane[k]]] = i;
            last[lane[k]] = i;
            which[lane[k]] = k;
        }
    }
}

/* Does all in a receiving lane hold the sending one, too? */
static int follows_sends(const struct pipeline *p, int l)
{
    int lane[2];

    for (int32_t i = p->first[l]; i >= 0; i = p->next[2 * i + 1]) {
        op_lanes(&p->s->ops[i], lane);
        if (lane[1] != l)
            return 0;
    }
    return 1;
}

/* Lanes of the device that are used get streams, the compute lane the first;
 * lanes that share one must be of work that all ranks have in one order.  The
 * last is the mover's own where it has a use for it. */
static void deal_streams(struct pipeline *p)
{
    int next = 1, streams = DEVICE_STREAMS - (p->how->follow != NULL);

    p->ready_stream = DEVICE_STREAMS - 1;
    for (int l = 0; l < LANES; l++) {
        int32_t i = p->first[l];
        p->stream[l] = l == LANE_COMPUTE ? 0 : -1;
        if (l == LANE_COMPUTE || i < 0
            || pipeline_is_host(p, &p->s->ops[i]))
            continue;
        p->stream[l] = follows_sends(p, l) ? p->stream[l - 1]
                                           : next++ % streams;
    }
}

/* ---- Events ------------------------------------------------------------- */

/* A message's flag says that those before it from the same rank are there: that
 * is all of its lane where that has had no other op. */
static void find_flags(struct pipeline *p)
{
    const struct op *ops = p->s->ops;

    p->by_flag = xcalloc((size_t)p->s->n_ops + 1, 1);
    for (int l = 0; l < LANES && p->how->follow; l++) {
        int32_t first = p->first[l];
        for (int32_t i = first; i >= 0 && ops[i].kind == OP_RECV
             && ops[i].peer == ops[first].peer; i = p->next[2 * i])
            p->by_flag[i] = 1;
    }
}

static int lane_of(const struct pipeline *p, int32_t i)
{
    int lane[2];

    op_lanes(&p->s->ops[i], lane);
    return lane[0];
}

/* Does anybody but the rest of its stream ask when an op is over?  Another
 * stream, the host, or the end of the repetition. */
static uint8_t *find_asked(const struct pipeline *p)
{
    const struct schedule *s = p->s;
    uint8_t *asked = xcalloc((size_t)s->n_ops + 1, 1);

    for (int32_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        int both[2];
        op_lanes(op, both);
        asked[i] |= both[1] >= 0;
        for (int32_t d = 0; d < op->dep_count; d++) {
            int32_t k = s->deps[op->dep_first + d].op;
            int stream = p->by_flag[i] ? p->ready_stream : p->stream[both[0]];
            asked[k] |= pipeline_is_host(p, op)
                || (p->stream[lane_of(p, k)] != stream && !p->by_flag[k]);
        }
        /* What holds two lanes waits for those before it in them; the last that
         * only followers wait for stands for those before it. */
        for (int k = 0; k < 2; k++) {
            int32_t next = p->next[2 * i + k];
            int lane[2] = { -1, -1 };
            if (next >= 0)
                op_lanes(&s->ops[next], lane);
            asked[i] |= next < 0 || lane[1] >= 0
                || p->by_flag[i] > p->by_flag[next];
        }
    }
    return asked;
}

static void make_events(struct pipeline *p)
{
    size_t n = (size_t)p->s->n_ops + 1;
    uint8_t *asked = find_asked(p);

    p->end = xcalloc(n, sizeof *p->end);
    p->from = xcalloc(n, sizeof *p->from);
    p->to = xcalloc(n, sizeof *p->to);
    p->began = xcalloc(n, sizeof *p->began);
    p->ended = xcalloc(n, sizeof *p->ended);
    for (int32_t i = 0; i < p->s->n_ops; i++)
        if (asked[i] && !pipeline_is_host(p, &p->s->ops[i]))
            p->end[i] = cuda_event_create(0);
    free(asked);
    p->zero = cuda_event_create(1);
}

static void destroy_events(struct pipeline *p)
{
    for (int64_t i = 0; p->end && i < p->s->n_ops; i++) {
        void *events[] = { p->end[i], p->from[i], p->to[i] };
        for (int k = 0; k < 3; k++)
            if (events[k])
                cuda_event_destroy(events[k]);
    }
    if (p->zero)
        cuda_event_destroy(p->zero);
    free(p->end);
    free(p->from);
    free(p->to);
    free(p->began);
    free(p->ended);
}

/* ---- All together ------------------------------------------------------- */

/* The memory of the executed schedule: that of the logical one, and staging. */
static int lay_out(struct pipeline *p, struct error *e)
{
    size_t staging = p->s->role_bytes[ROLE_STAGING];

    p->own = *p->m;
    memory_layout(&p->own, p->s);
    if (staging) {
        p->own.staging = p->device->alloc_host(staging, e);
        if (!p->own.staging)
            return -1;
    }
    p->host = p->own;
    p->host.device = &device_host;
    return 0;
}

struct pipeline *pipeline_create(const struct mover *how, struct plan *plan,
                                 const struct schedule *own, struct memory *m,
                                 struct transport *t, MPI_Comm comm,
                                 struct error *e)
{
    struct pipeline *p = xcalloc(1, sizeof *p);

    p->how = how;
    p->device = m->device;
    p->logical = p->s = own;
    p->m = m;
    p->transport = t;
    p->comm = comm;
    MPI_Comm_size(comm, &p->ranks);
    MPI_Comm_rank(comm, &p->rank);
    if (!how->send)
        p->s = p->lowered = schedule_lower(own, &lower_default, NULL);
    size_t n = (size_t)p->s->n_ops + 1;
    p->progress = xcalloc(n, 1);
    p->pending = xcalloc(n, sizeof *p->pending);
    link_lanes(p);
    deal_streams(p);
    find_flags(p);
    make_events(p);
    int failed = pipeline_agree(p, lay_out(p, e), e);
    if (how->open && !failed)
        failed = how->open(p, plan, e);
    if (failed) {
        pipeline_destroy(p);
        return NULL;
    }
    return p;
}

void pipeline_destroy(struct pipeline *p)
{
    if (!p)
        return;
    p->device->sync();
    MPI_Barrier(p->comm);
    if (p->how->close)
        p->how->close(p);
    destroy_events(p);
    if (p->own.staging)
        p->device->free_host(p->own.staging);
    free(p->own.offsets);
    free(p->next);
    free(p->by_flag);
    free(p->progress);
    free(p->pending);
    schedule_destroy(p->lowered);
    free(p);
}
