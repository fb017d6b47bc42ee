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

/* ---- Tracks ------------------------------------------------------------- */

static void find_hosts(struct pipeline *p)
{
    p->by_host = xcalloc((size_t)p->s->n_ops + 1, 1);
    for (int32_t i = 0; i < p->s->n_ops; i++) {
        p->by_host[i] = (uint8_t)op_is_host(p->s, &p->s->ops[i]);
        p->hosts += p->by_host[i];
    }
}

static void link_tracks(struct pipeline *p)
{
    int32_t last[TRACKS];
    int which[TRACKS];

    p->next = xmalloc((size_t)p->s->n_ops * 2 * sizeof *p->next + 1);
    for (int l = 0; l < TRACKS; l++)
        p->first[l] = last[l] = -1;
    for (int32_t i = 0; i < p->s->n_ops; i++) {
        int track[2];
        pipeline_tracks(p, i, track);
        for (int k = 0; k < 2; k++) {
            p->next[2 * i + k] = -1;
            if (track[k] < 0)
                continue;
            if (last[track[k]] < 0)
                p->first[track[k]] = i;
            else
                p->next[2 * last[track[k]] + which[track[k]]] = i;
            last[track[k]] = i;
            which[track[k]] = k;
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

/* Lanes of a kind that are used and need a stream. */
static int count_lanes(const struct pipeline *p, int first, int end)
{
    int n = 0;

    for (int l = first; l < end; l++)
        n += p->first[l] >= 0
            && !(l >= LANE_FIRST_CHANNEL && l < LANE_FIRST_STAGE
                 && follows_sends(p, l));
    return n;
}

/* Where some messages are of the host: its copies have a stream each way, in
 * which nothing waits for flags; copies on the device go with the kernels; lanes
 * of messages have streams of their own while they last, else those that send
 * share half of them, those that receive the rest. */
static int stream_apart(const struct pipeline *p, int l, int dealt[2])
{
    enum { OUT = DEVICE_STREAMS - 3, IN };
    int side = (l - LANE_FIRST_CHANNEL) % 2;
    int staged = count_lanes(p, LANE_FIRST_STAGE, LANES) > 0;
    int lanes = count_lanes(p, LANE_FIRST_CHANNEL, LANE_FIRST_STAGE);
    int streams = (staged ? OUT : IN + 1) - 1;

    if (l < LANE_FIRST_CHANNEL)
        return 0;
    if (l >= LANE_FIRST_STAGE)
        return side ? IN : OUT;
    if (follows_sends(p, l))
        return p->stream[l - 1];
    if (lanes <= streams)
        return 1 + dealt[0]++;
    return 1 + side * (streams / 2) + dealt[side]++ % (streams / 2);
}

/* Lanes of the device that are used get streams, the compute lane the first;
 * lanes that share one must be of work that all ranks have in one order.  The
 * last is the mover's own where it has a use for it. */
static void deal_streams(struct pipeline *p)
{
    int next = 1, streams = DEVICE_STREAMS - (p->how->follow != NULL);
    int dealt[2] = { 0 };

    p->ready_stream = DEVICE_STREAMS - 1;
    for (int l = 0; l < TRACKS; l++) {
        p->stream[l] = l == LANE_COMPUTE ? 0 : -1;
        if (l == LANE_COMPUTE || p->first[l] < 0 || p->by_host[p->first[l]])
            continue;
        if (p->how->near_only)
            p->stream[l] = stream_apart(p, l, dealt);
        else
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

static int track_of(const struct pipeline *p, int32_t i)
{
    int track[2];

    pipeline_tracks(p, i, track);
    return track[0];
}

/* Does anybody but the rest of its stream ask when an op is over?  Another
 * stream, the host, the end of the repetition; what takes long tells the
 * watchdog that something goes on. */
static uint8_t *find_asked(const struct pipeline *p)
{
    static const double LONG = 1e10;    /* flops: some 20 us */
    const struct schedule *s = p->s;
    uint8_t *asked = xcalloc((size_t)s->n_ops + 1, 1);

    for (int32_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        int both[2];
        pipeline_tracks(p, i, both);
        asked[i] |= both[1] >= 0 || op_work(s, op).flops > LONG;
        for (int32_t d = 0; d < op->dep_count; d++) {
            int32_t k = s->deps[op->dep_first + d].op;
            int stream = p->by_flag[i] ? p->ready_stream : p->stream[both[0]];
            asked[k] |= pipeline_follows_ends(p, i)
                || (p->stream[track_of(p, k)] != stream && !p->by_flag[k]);
        }
        /* What holds two tracks waits for those before it in them; the last that
         * only followers wait for stands for those before it. */
        for (int k = 0; k < 2 && both[k] >= 0; k++) {
            int32_t next = p->next[2 * i + k];
            int track[2] = { -1, -1 };
            if (next >= 0)
                pipeline_tracks(p, next, track);
            asked[i] |= next < 0 || track[1] >= 0
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
        if (asked[i] && !p->by_host[i])
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
    int failed = how->near_only && pipeline_reach(p, e);
    if (!how->send || p->near)
        p->s = p->lowered = schedule_lower(own, &lower_default, p->near);
    size_t n = (size_t)p->s->n_ops + 1;
    p->progress = xcalloc(n, 1);
    p->pending = xcalloc(n, sizeof *p->pending);
    find_hosts(p);
    link_tracks(p);
    deal_streams(p);
    find_flags(p);
    make_events(p);
    if (!failed)
        failed = pipeline_agree(p, lay_out(p, e), e);
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
    free(p->by_host);
    free(p->progress);
    free(p->pending);
    schedule_destroy(p->lowered);
    reach_destroy(p->near);
    free(p);
}
