/* SPDX-License-Identifier: Apache-2.0
 *
 * The worst legal transport: lanes in order, one op a lane at a time, a send
 * ends only when its receive is at the head of its lane. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct lanes {                  /* of one rank */
    int32_t *list;              /* ops, lane by lane */
    int64_t head[LANES], end[LANES];    /* into list */
};

struct stage {
    struct checker *c;
    struct lanes *lanes;
    int32_t *queue;             /* ranks that may go on; a ring of `ranks` */
    char *queued;
    int64_t first, n;
};

static void make_lanes(const struct schedule *s, struct lanes *l)
{
    int64_t count[LANES] = { 0 }, n = 0;
    int lane[2];

    for (int64_t i = 0; i < s->n_ops; i++) {
        op_lanes(&s->ops[i], lane);
        count[lane[0]]++;
        if (lane[1] >= 0)
            count[lane[1]]++;
    }
    for (int k = 0; k < LANES; k++) {
        l->head[k] = l->end[k] = n;
        n += count[k];
    }
    l->list = xmalloc((size_t)n * sizeof *l->list);
    for (int64_t i = 0; i < s->n_ops; i++) {
        op_lanes(&s->ops[i], lane);
        for (int k = 0; k < 2 && lane[k] >= 0; k++)
            l->list[l->end[lane[k]]++] = (int32_t)i;
    }
}

static int32_t head(const struct stage *g, int64_t rank, int lane)
{
    const struct lanes *l = &g->lanes[rank];

    return l->head[lane] < l->end[lane] ? l->list[l->head[lane]] : -1;
}

/* At the head of its lanes, all that it depends on done. */
static int ready(const struct stage *g, int64_t rank, int32_t i)
{
    const struct schedule *s = g->c->schedules[rank];
    const struct op *op = &s->ops[i];
    const int32_t *done = g->c->events.of + g->c->base[rank];
    int lane[2];

    op_lanes(op, lane);
    for (int k = 0; k < 2 && lane[k] >= 0; k++)
        if (head(g, rank, lane[k]) != i)
            return 0;
    for (int32_t d = 0; d < op->dep_count; d++)
        if (done[s->deps[op->dep_first + d].op] < 0)
            return 0;
    return 1;
}

static void wake(struct stage *g, int64_t rank)
{
    if (g->queued[rank])
        return;
    g->queued[rank] = 1;
    g->queue[(g->first + g->n++) % g->c->ranks] = (int32_t)rank;
}

/* The op is over, as a part of the event at hand. */
static void done(struct stage *g, int64_t rank, int32_t i)
{
    struct events *e = &g->c->events;
    struct entry entry = { (int32_t)rank, i };
    int lane[2];

    ARRAY_PUSH(e->entries, e->n_entries, e->entries_cap, entry);
    e->of[g->c->base[rank] + i] = (int32_t)e->n;
    op_lanes(&g->c->schedules[rank]->ops[i], lane);
    for (int k = 0; k < 2 && lane[k] >= 0; k++)
        g->lanes[rank].head[lane[k]]++;
    wake(g, rank);
}

static void end_event(struct stage *g)
{
    struct events *e = &g->c->events;
    int64_t next = e->n + 2;

    e->first = array_grow(e->first, next, &e->first_cap, sizeof *e->first);
    e->first[++e->n] = e->n_entries;
}

/* A send of rank a that is ready; moves if its receive is. 1: moved. */
static int try_send(struct stage *g, int64_t a, int32_t i)
{
    const struct op *send = &g->c->schedules[a]->ops[i];
    int64_t b = send->peer;
    int32_t j = head(g, b, LANE_RECV(send->channel));

    if (j < 0 || g->c->schedules[b]->ops[j].kind != OP_RECV
        || g->c->schedules[b]->ops[j].peer != a || !ready(g, b, j))
        return 0;
    struct task from = task_at(g->c, a, i), to = task_at(g->c, b, j);
    if (!g->c->timing_only && check_message(&from, &to))
        return -1;
    done(g, a, i);
    done(g, b, j);
    end_event(g);
    return 1;
}

static int try_recv(struct stage *g, int64_t b, int32_t j)
{
    const struct op *recv = &g->c->schedules[b]->ops[j];
    int64_t a = recv->peer;
    int32_t i = head(g, a, LANE_SEND(recv->channel));

    if (i < 0 || g->c->schedules[a]->ops[i].kind != OP_SEND
        || g->c->schedules[a]->ops[i].peer != b || !ready(g, a, i))
        return 0;
    return try_send(g, a, i);
}

/* The op with which `rank` joins the collective; -1: not yet. */
static int32_t joins(const struct stage *g, int64_t rank,
                     const struct op *op)
{
    int32_t j = head(g, rank, LANE_SEND(op->channel));

    if (j < 0)
        return -1;
    const struct op *other = &g->c->schedules[rank]->ops[j];
    if (other->kind != OP_COLLECTIVE || other->peer != op->peer
        || other->collective != op->collective || !ready(g, rank, j))
        return -1;
    return j;
}

static int try_collective(struct stage *g, int64_t rank, int32_t i)
{
    const struct op *op = &g->c->schedules[rank]->ops[i];
    int64_t n, found = 0;
    const int32_t *ranks = pool_group_get(g->c->pool, op->peer, &n);
    struct entry *members = xmalloc((size_t)n * sizeof *members);
    int result = 0;

    for (; found < n; found++) {
        int32_t j = joins(g, ranks[found], op);
        if (j < 0)
            break;
        members[found] = (struct entry){ ranks[found], j };
    }
    if (found == n)
        result = !g->c->timing_only && check_collective(g->c, members, n)
            ? -1 : 1;
    for (int64_t k = 0; result > 0 && k < n; k++)
        done(g, members[k].rank, members[k].op);
    if (result > 0)
        end_event(g);
    free(members);
    return result;
}

/* 1: something ran; 0: not; -1: a finding. */
static int try_lane(struct stage *g, int64_t rank, int lane)
{
    int32_t i = head(g, rank, lane);

    if (i < 0 || !ready(g, rank, i))
        return 0;
    enum op_kind kind = g->c->schedules[rank]->ops[i].kind;
    if (kind == OP_SEND)
        return try_send(g, rank, i);
    if (kind == OP_RECV)
        return try_recv(g, rank, i);
    if (kind == OP_COLLECTIVE)
        return try_collective(g, rank, i);
    struct task t = task_at(g->c, rank, i);
    if (!g->c->timing_only && check_compute(&t))
        return -1;
    done(g, rank, i);
    end_event(g);
    return 1;
}

static int run_rank(struct stage *g, int64_t rank)
{
    int went_on;

    do {
        went_on = 0;
        for (int lane = 0; lane < LANES; lane++) {
            int ran = try_lane(g, rank, lane);
            if (ran < 0)
                return -1;
            went_on |= ran;
        }
    } while (went_on);
    return 0;
}

/* Names the first ops that stand at the head of a lane. */
static int stuck(struct stage *g, int64_t left)
{
    char text[800] = "";
    size_t at = 0;
    int named = 0;

    for (int64_t r = 0; r < g->c->ranks && named < 6; r++)
        for (int lane = 0; lane < LANES && named < 6; lane++) {
            char name[96];
            int32_t i = head(g, r, lane);
            if (i < 0)
                continue;
            op_name(g->c->schedules[r], &g->c->schedules[r]->ops[i], name,
                    sizeof name);
            at += (size_t)snprintf(text + at, sizeof text - at,
                                   "%s rank %d op %d %s", named++ ? "," : "",
                                   (int)r, i, name);
        }
    g->c->report->deadlock = 1;
    return check_fail(g->c, -1, -1, "deadlock: %lld ops never ran; at the "
                      "heads of their lanes wait%s", (long long)left, text);
}

static int run_all(struct stage *g)
{
    struct checker *c = g->c;

    for (int64_t r = 0; r < c->ranks; r++) {
        make_lanes(c->schedules[r], &g->lanes[r]);
        wake(g, r);
    }
    while (g->n) {
        int32_t rank = g->queue[g->first];
        g->first = (g->first + 1) % c->ranks;
        g->n--;
        g->queued[rank] = 0;
        if (run_rank(g, rank))
            return -1;
    }
    int64_t left = c->base[c->ranks] - c->events.n_entries;
    return left ? stuck(g, left) : 0;
}

int check_run(struct checker *c)
{
    struct stage g = { .c = c };

    g.lanes = xcalloc((size_t)c->ranks, sizeof *g.lanes);
    g.queue = xcalloc((size_t)c->ranks, sizeof *g.queue);
    g.queued = xcalloc((size_t)c->ranks, 1);
    ARRAY_PUSH(c->events.first, c->events.n, c->events.first_cap, 0);
    c->events.n = 0;
    int result = run_all(&g);
    for (int64_t r = 0; r < c->ranks; r++)
        free(g.lanes[r].list);
    free(g.lanes);
    free(g.queue);
    free(g.queued);
    return result;
}
