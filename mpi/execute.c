/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/execute.h"
#include "mpi/fault.h"
#include "mpi/pipeline.h"
#include "mpi/transport.h"
#include "run/compute.h"
#include "run/reduce.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int64_t clock_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct execution {
    const struct schedule *s;
    struct memory *m;
    struct transport *t;
    const struct execute_options *o;
    struct lanes lanes;
    int32_t *pending;           /* [n_ops] messages under way; -1: none yet */
    int64_t *start, *end;       /* [n_ops] ns since t_zero; recording only */
    int64_t lane_end[LANES];
    int64_t sent;               /* bytes */
    int64_t last_done;          /* ns: the watchdog counts from it */
    int32_t shown;              /* op in the state file */
    uint64_t random;            /* jitter; 0: none */
};

/* ---- Records ------------------------------------------------------------ */

static int64_t since(const struct execution *x)
{
    return clock_now() - x->o->t_zero;
}

static void show(struct execution *x, int32_t i)
{
    char name[96] = "idle";

    if (!x->o->spool || x->shown == i)
        return;
    x->shown = i;
    if (i >= 0)
        op_name(x->s, &x->s->ops[i], name, sizeof name);
    spool_under_way(x->o->spool, x->o->entry, x->o->repeat, i, name);
}

static void op_started(struct execution *x, int32_t i)
{
    x->pending[i] = 0;
    if (x->o->record)
        x->start[i] = since(x);
}

/* When the last dependency, or the op before in a lane, was over. */
static int64_t ready_time(const struct execution *x, int32_t i)
{
    const struct op *op = &x->s->ops[i];
    int64_t t = 0;
    int lane[2];

    op_lanes(op, lane);
    for (int k = 0; k < 2; k++)
        if (lane[k] >= 0)
            t = max64(t, x->lane_end[lane[k]]);
    for (int32_t d = 0; d < op->dep_count; d++)
        t = max64(t, x->end[x->s->deps[op->dep_first + d].op]);
    return min64(t, x->start[i]);
}

static void record(struct execution *x, int32_t i)
{
    struct span span = { .start = x->start[i], .end = since(x),
                         .ready = ready_time(x, i), .entry = x->o->entry,
                         .repeat = x->o->repeat, .rank = x->s->rank, .op = i };
    int lane[2];

    op_lanes(&x->s->ops[i], lane);
    span.lane = lane[0];
    x->end[i] = span.end;
    for (int k = 0; k < 2; k++)
        if (lane[k] >= 0)
            x->lane_end[lane[k]] = span.end;
    spool_append(x->o->spool, &span, 1);
}

static void op_finished(struct execution *x, int32_t i)
{
    if (x->o->record)
        record(x, i);
    lanes_done(&x->lanes, i);
    if (x->o->stall_seconds > 0)
        x->last_done = clock_now();
}

/* ---- Communication ------------------------------------------------------ */

static void start_message(struct execution *x, int32_t i)
{
    const struct op *op = &x->s->ops[i];
    int64_t n;
    const struct operand *o = pool_operands_get(x->s->pool, op->operands, &n);

    for (int64_t k = 0; k < n; k++)
        x->pending[i] += transport_start(x->t, i, op->kind == OP_SEND, x->m,
                                         o[k].tile, op->channel, op->peer);
}

static void start_reduction(struct execution *x, int32_t i)
{
    reduce_pack(x->s, &x->s->ops[i], x->m);
    x->pending[i] += transport_reduce(x->t, i, x->m);
}

/* All slices at once; receives first.  Peers in turn, starting behind me, so
 * that not everybody sends to the same member first. */
static void start_exchange(struct execution *x, int32_t i)
{
    const struct op *op = &x->s->ops[i];
    struct collective_shape c = op_collective(x->s, op);

    for (int send = 0; send < 2; send++)
        for (int64_t k = 1; k < c.members; k++) {
            int64_t step = send ? k : c.members - k;
            int64_t who = (c.me + step) % c.members;
            const struct operand *o = send ? c.send : c.recv;
            if (!send || op->collective != ALL_GATHER)
                o += who * c.tiles;
            for (int64_t t = 0; t < c.tiles; t++)
                x->pending[i] += transport_start(x->t, i, send, x->m,
                                                 o[t].tile, op->channel,
                                                 c.ranks[who]);
        }
}

static void messages_over(struct execution *x, int32_t i)
{
    if (x->s->ops[i].kind == OP_COLLECTIVE)
        collective_finish(x->s, &x->s->ops[i], x->m, x->o->kernel);
    op_finished(x, i);
}

static int unlucky(struct execution *x, unsigned of)
{
    if (!x->random)
        return 0;
    x->random = hash_u64(x->random, 1) | 1;
    return (x->random >> 8) % of != 0;
}

/* Start every communication op that may start. */
static void start_ready(struct execution *x)
{
    for (int lane = LANE_FIRST_CHANNEL; lane < LANE_FIRST_STAGE; lane++) {
        int32_t i = x->lanes.head[lane];
        if (i < 0 || x->pending[i] >= 0 || !lanes_ready(&x->lanes, i)
            || unlucky(x, 3))
            continue;
        op_started(x, i);
        if (x->s->ops[i].kind != OP_COLLECTIVE)
            start_message(x, i);
        else if (collective_reduces(x->s->ops[i].collective))
            start_reduction(x, i);
        else
            start_exchange(x, i);
        if (x->pending[i] == 0) {
            messages_over(x, i);
            lane = LANE_FIRST_CHANNEL - 1;  /* others may start now */
        }
    }
}

/* The poll of the kernels. */
static void progress(void *arg)
{
    struct execution *x = arg;
    const struct message *done = NULL;
    int n = transport_test(x->t, &done), over = 0;

    for (int k = 0; k < n; k++) {
        int32_t i = done[k].op;
        if (done[k].send)
            x->sent += done[k].bytes;
        if (--x->pending[i] == 0) {
            messages_over(x, i);
            over = 1;
        }
    }
    if (over || x->random)
        start_ready(x);
}

/* ---- Compute ------------------------------------------------------------ */

/* The next op of the lanes without messages that may run, or -1. */
static int32_t next_compute(struct execution *x)
{
    int32_t best = -1;

    for (int lane = 0; lane < LANES; lane++) {
        int32_t i = x->lanes.head[lane];
        int messages = lane >= LANE_FIRST_CHANNEL && lane < LANE_FIRST_STAGE;
        if (i >= 0 && !messages && (best < 0 || i < best)
            && lanes_ready(&x->lanes, i))
            best = i;
    }
    return best;
}

/* Of this thread's processor: who else has it meanwhile does not count. */
static int64_t worked(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* As if the core were slower: polls as kernels do. */
static void drag(struct execution *x, int64_t from)
{
    int64_t until = worked();

    until += (int64_t)((double)(until - from) * (x->o->slow - 1));
    while (worked() < until)
        progress(x);
}

/* A core that is busy with something else. */
static void begin_late(double seconds)
{
    int64_t until = clock_now() + (int64_t)(seconds * 1e9);

    while (clock_now() < until)
        ;
}

static void run_compute(struct execution *x, int32_t i)
{
    if (unlucky(x, 2))
        usleep((useconds_t)(x->random >> 40) % 500);
    show(x, i);
    fault_commit(fault_at(x->s->rank, x->o->repeat, i));
    op_started(x, i);
    int64_t from = x->o->slow > 1 ? worked() : 0;
    compute_op(x->s, &x->s->ops[i], x->m, x->o->kernel,
               (struct poll){ progress, x });
    if (x->o->slow > 1)
        drag(x, from);
    op_finished(x, i);
    start_ready(x);
}

static void stalled(struct execution *x)
{
    char text[900];

    lanes_describe(&x->lanes, text, sizeof text);
    fprintf(stderr, "spar: rank %d: nothing completed for %.0f s, waiting "
            "for%s\n", x->s->rank, x->o->stall_seconds, text);
    sleep(2);                   /* the others have their say before the end */
    die("rank %d: stalled", x->s->rank);
}

/* Nothing to compute: name what is waited for, let others have the core. */
static void idle(struct execution *x)
{
    if (x->o->spool) {
        int32_t first = -1;
        for (int lane = 0; lane < LANES; lane++) {
            int32_t i = x->lanes.head[lane];
            if (i >= 0 && x->pending[i] > 0 && (first < 0 || i < first))
                first = i;
        }
        show(x, first);
    }
    if (x->o->stall_seconds > 0
        && (double)(clock_now() - x->last_done) > x->o->stall_seconds * 1e9)
        stalled(x);
    sched_yield();
}

int64_t execute(const struct schedule *s, struct memory *m,
                struct transport *t, const struct execute_options *o)
{
    struct execution x = { .s = s, .m = m, .t = t, .o = o, .shown = -1,
                           .last_done = clock_now(),
                           .random = o->jitter_seed
                               ? hash_u64(o->jitter_seed, (uint64_t)s->rank) | 1
                               : 0 };
    size_t n = (size_t)s->n_ops;

    begin_late(o->delay);
    if (transport_pipeline(t))
        return pipeline_execute(transport_pipeline(t), o);
    lanes_init(&x.lanes, s);
    x.pending = xmalloc(n * sizeof *x.pending);
    memset(x.pending, 0xff, n * sizeof *x.pending);
    x.start = xcalloc(o->record ? n : 0, sizeof *x.start);
    x.end = xcalloc(o->record ? n : 0, sizeof *x.end);
    start_ready(&x);
    while (x.lanes.left) {
        int32_t i = next_compute(&x);
        if (i >= 0)
            run_compute(&x, i);
        else
            idle(&x);
        progress(&x);
    }
    show(&x, -1);
    lanes_clear(&x.lanes);
    free(x.pending);
    free(x.start);
    free(x.end);
    return x.sent;
}
