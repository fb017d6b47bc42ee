/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/fault.h"
#include "mpi/pipeline_internal.h"
#include "mpi/transport.h"
#include "run/compute.h"
#include "run/reduce.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Ops of the device -------------------------------------------------- */

static int stream_of(const struct pipeline *p, int32_t i)
{
    int track[2];

    pipeline_tracks(p, i, track);
    return p->stream[track[0]];
}

static void wait_for(struct pipeline *p, int32_t i, int stream)
{
    if (p->progress[i] != OP_GIVEN)
        return;
    if (p->by_flag[i])
        p->how->follow(p, i, stream);
    else if (stream_of(p, i) != stream)
        cuda_event_wait(p->end[i], stream);
}

/* What the op must wait for, in `stream`: dependencies in other streams; a
 * collective holds two tracks. */
static void wait_before(struct pipeline *p, int32_t i, const int track[2],
                        int stream)
{
    const struct op *op = &p->s->ops[i];

    for (int32_t d = 0; d < op->dep_count; d++)
        wait_for(p, p->s->deps[op->dep_first + d].op, stream);
    if (track[1] >= 0 && p->last[track[1]] >= 0)
        wait_for(p, p->last[track[1]], stream);
}

/* Tests make it fail here. */
static void give_fault(const struct pipeline *p, int32_t i, int stream)
{
    enum fault f = fault_at(p->rank, p->o->repeat, pipeline_logical(p, i));

    if (f == FAULT_DEVICE)
        cuda_trap(stream);
    if (f == FAULT_STALL)
        cuda_stall(stream);
}

static void give(struct pipeline *p, int32_t i, const int track[2])
{
    const struct op *op = &p->s->ops[i];
    int stream = p->stream[track[0]];

    wait_before(p, i, track, p->by_flag[i] ? p->ready_stream : stream);
    p->device->stream(stream);
    give_fault(p, i, stream);
    if (p->o->record)
        cuda_event_record(p->from[i], stream);
    if (op->kind == OP_SEND)
        p->how->send(p, i, stream);
    else if (op->kind == OP_RECV)
        p->how->recv(p, i, stream);
    else if (op->kind == OP_COLLECTIVE)
        p->how->collective(p, i, stream);
    else
        compute_op(p->s, op, &p->own, p->o->kernel,
                   (struct poll){ NULL, NULL });
    if (p->o->record)
        cuda_event_record(p->to[i], stream);
    if (p->end[i])
        cuda_event_record(p->end[i], stream);
    /* The other track goes on after it, too. */
    if (track[1] >= 0 && p->stream[track[1]] != stream)
        cuda_event_wait(p->end[i], p->stream[track[1]]);
}

void pipeline_reduce(struct pipeline *p, const struct op *op,
                     const struct collective_shape *c, int stream,
                     const char *all, size_t step)
{
    static const enum cuda_reduction with[COLLECTIVES] = {
        [ALL_REDUCE_MAX] = CUDA_MAX, [ALL_REDUCE_SUM] = CUDA_SUM,
        [ALL_REDUCE_MERGE] = CUDA_MERGE, [EXCLUSIVE_SCAN] = CUDA_SCAN };
    struct records r = reduce_records(p->s, op, &p->own);

    cuda_reduce(stream, with[op->collective], (const float *)(const void *)all,
                step / sizeof(float), (int)c->members, (int)c->me, r.n,
                (int)r.width, r.data);
    p->payload += op_work(p->s, op).sent_bytes;
}

/* ---- Ops of the host ---------------------------------------------------- */

static void over(struct pipeline *p, int32_t i)
{
    if (fault_at(p->rank, p->o->repeat, pipeline_logical(p, i)) == FAULT_KILL)
        fault_commit(FAULT_KILL);
    p->progress[i] = OP_OVER;
    p->left--;
}

static void host_over(struct pipeline *p, int32_t i)
{
    const struct op *op = &p->s->ops[i];

    if (op->kind == OP_COLLECTIVE)
        reduce_unpack(p->s, op, &p->host);
    over(p, i);
    if (p->o->record)
        p->ended[i] = clock_now() - p->o->t_zero;
}

static void host_start(struct pipeline *p, int32_t i)
{
    const struct op *op = &p->s->ops[i];
    int64_t n;
    const struct operand *o = pool_operands_get(p->s->pool, op->operands, &n);

    if (p->o->record)
        p->began[i] = clock_now() - p->o->t_zero;
    p->pending[i] = 0;
    if (op->kind == OP_COLLECTIVE) {
        reduce_pack(p->s, op, &p->host);
        p->pending[i] = transport_reduce(p->transport, i, &p->host);
    } else {
        for (int64_t k = 0; k < n; k++)
            p->pending[i] += transport_start(p->transport, i,
                                             op->kind == OP_SEND, &p->host,
                                             o[k].tile, op->channel, op->peer);
    }
    if (!p->pending[i])
        host_over(p, i);
}

/* ---- What may be given -------------------------------------------------- */

/* Most ops of the device follow on what it has. */
static int may_give(const struct pipeline *p, int32_t i)
{
    const struct op *op = &p->s->ops[i];
    int ends = pipeline_follows_ends(p, i);

    for (int32_t d = 0; d < op->dep_count; d++) {
        int32_t k = p->s->deps[op->dep_first + d].op;
        if (p->progress[k] == OP_WAITS
            || (p->progress[k] == OP_GIVEN && (ends || p->by_host[k])))
            return 0;
    }
    return 1;
}

/* At the head of its tracks: give it. */
static void advance(struct pipeline *p, int32_t i)
{
    int track[2];

    pipeline_tracks(p, i, track);
    p->at = i;
    p->progress[i] = OP_GIVEN;
    if (p->by_host[i])
        host_start(p, i);
    else
        give(p, i, track);
    for (int k = 0; k < 2; k++) {
        if (track[k] < 0)
            continue;
        p->head[track[k]] = p->next[2 * i + k];
        p->last[track[k]] = i;
        if (p->oldest[track[k]] < 0)
            p->oldest[track[k]] = i;
    }
}

/* What waits for flags in a stream must not come before what other ranks wait
 * for: tracks that share a stream give it their ops in the order of the
 * schedule, which is alike on all ranks. */
static int is_in_turn(const struct pipeline *p, int32_t i, const int track[2])
{
    if (!p->how->near_only || pipeline_follows_ends(p, i))
        return 1;
    for (int l = 0; l < LANE_FIRST_STAGE; l++) {
        int32_t k = p->head[l];
        if (k < 0 || k >= i)
            continue;
        if (p->stream[l] == p->stream[track[0]]
            || (track[1] >= 0 && p->stream[l] == p->stream[track[1]])
            || (p->by_flag[i] && p->by_flag[k]))
            return 0;
    }
    return 1;
}

/* 1: something was given. */
static int give_track(struct pipeline *p, int l)
{
    int given = 0;

    for (int32_t i; (i = p->head[l]) >= 0; given = 1) {
        int track[2];
        pipeline_tracks(p, i, track);
        if (track[0] != l || (track[1] >= 0 && p->head[track[1]] != i)
            || !may_give(p, i) || !is_in_turn(p, i, track))
            break;
        advance(p, i);
    }
    return given;
}

/* What computes first, if it follows on nothing: its stream is busy while the
 * messages are given. */
static void give_first(struct pipeline *p)
{
    int32_t i = p->first[LANE_COMPUTE];

    if (i >= 0 && !p->s->ops[i].dep_count)
        advance(p, i);
}

/* Without ops of the host all is given at once, in the order of the schedule:
 * what waits for flags in one stream must not come before what other ranks wait
 * for, and that order is alike on all. */
static void give_ready(struct pipeline *p)
{
    int given = 1;

    if (!p->hosts) {
        if (!p->given)
            give_first(p);
        for (; p->given < p->s->n_ops; p->given++)
            if (p->progress[p->given] == OP_WAITS)
                advance(p, p->given);
        return;
    }
    while (given) {
        given = 0;
        for (int l = 0; l < TRACKS; l++)
            given |= give_track(p, l);
    }
}

/* ---- What is over ------------------------------------------------------- */

/* The op after i in its track, if the device has it; i is over. */
static int32_t after(const struct pipeline *p, int32_t i, int track)
{
    int both[2];

    pipeline_tracks(p, i, both);
    int32_t next = p->next[2 * i + (both[1] == track)];
    return next >= 0 && p->progress[next] != OP_WAITS ? next : -1;
}

/* Ops up to the next event of the track, if that has passed.  1: they are. */
static int track_passed(struct pipeline *p, int track)
{
    int32_t i = p->oldest[track], asked = i;

    while (asked >= 0 && !p->end[asked] && p->progress[asked] == OP_GIVEN)
        asked = after(p, asked, track);
    p->at = max64(asked, 0);
    if (asked < 0 || (p->progress[asked] == OP_GIVEN
                      && (!p->end[asked] || !cuda_event_done(p->end[asked]))))
        return 0;
    for (int32_t end = after(p, asked, track); i != end;
         i = after(p, i, track))
        if (p->progress[i] == OP_GIVEN)
            over(p, i);
    p->oldest[track] = i;
    return 1;
}

static void watch(struct pipeline *p)
{
    if (p->how->poll)
        p->how->poll(p);
    for (int l = 0; l < LANES; l++)
        while (p->stream[l] >= 0 && p->oldest[l] >= 0 && track_passed(p, l))
            ;
    if (!p->hosts)
        return;
    const struct message *done = NULL;
    int n = transport_test(p->transport, &done);
    for (int k = 0; k < n; k++) {
        if (done[k].send)
            p->payload += done[k].bytes;
        if (--p->pending[done[k].op] == 0)
            host_over(p, done[k].op);
    }
}

/* ---- Where it is -------------------------------------------------------- */

/* What die() says first. */
static void where(void *arg, char *text, size_t size)
{
    const struct pipeline *p = arg;
    int32_t i = pipeline_logical(p, p->at);
    char name[96];

    op_name(p->logical, &p->logical->ops[i], name, sizeof name);
    snprintf(text, size, "rank %d, op %d %s: ", p->rank, i, name);
}

/* The first op that is not over, for those who come after this process. */
static void show(struct pipeline *p)
{
    int32_t first = -1;
    char name[96] = "idle";

    for (int l = 0; l < TRACKS; l++) {
        int32_t i = p->oldest[l];
        if (i >= 0 && p->progress[i] != OP_OVER && (first < 0 || i < first))
            first = i;
    }
    first = first < 0 ? -1 : pipeline_logical(p, first);
    if (!p->o->spool || first == p->shown)
        return;
    p->shown = first;
    if (first >= 0)
        op_name(p->logical, &p->logical->ops[first], name, sizeof name);
    spool_under_way(p->o->spool, p->o->entry, p->o->repeat, first, name);
}

static void stalled(struct pipeline *p)
{
    fprintf(stderr, "spar: rank %d: nothing completed for %.0f s, waiting for",
            p->rank, p->o->stall_seconds);
    for (int64_t i = 0, shown = 0; i < p->s->n_ops && shown < 8; i++) {
        char name[96];
        if (p->progress[i] == OP_OVER)
            continue;
        op_name(p->s, &p->s->ops[i], name, sizeof name);
        fprintf(stderr, " op %d %s", (int)i, name);
        shown++;
    }
    fprintf(stderr, "\n");
    die_set_where(NULL, NULL);
    sleep(2);                   /* the others have their say before the end */
    die("rank %d: stalled", p->rank);
}

const struct mover mover_staged = { .name = "staged" };

/* ---- One repetition ----------------------------------------------------- */

enum { LOOK = 16 };

/* Nothing was over, `times` times: now and then look at the clock, say where it
 * is, let others have the core. */
static void idle(struct pipeline *p, int64_t times)
{
    if (times % LOOK)
        return;
    int64_t now = clock_now();
    if (times == LOOK)
        p->last_over = now;
    else if (p->o->stall_seconds > 0
             && (double)(now - p->last_over) > p->o->stall_seconds * 1e9)
        stalled(p);
    show(p);
    sched_yield();
}

int64_t pipeline_execute(struct pipeline *p, const struct execute_options *o)
{
    int64_t zero = 0, idles = 0;

    p->o = o;
    p->payload = 0;
    p->left = p->s->n_ops;
    p->given = 0;
    p->own.live = p->host.live = p->m->live;
    memset(p->progress, OP_WAITS, (size_t)p->s->n_ops);
    memcpy(p->head, p->first, sizeof p->head);
    memset(p->oldest, 0xff, sizeof p->oldest);
    memset(p->last, 0xff, sizeof p->last);
    if (o->record)
        zero = pipeline_mark(p);
    p->shown = -1;
    die_set_where(where, p);
    while (p->left) {
        int64_t left = p->left;
        give_ready(p);
        watch(p);
        if (p->left == left)
            idle(p, ++idles);
        else
            idles = 0;
    }
    die_set_where(NULL, NULL);
    show(p);
    if (o->record)
        pipeline_spans(p, zero);
    return p->payload;
}
