/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes: what ranks that do the same have in common is kept once, so that the
 * schedules of many ranks need not be in memory together. */
#include <config.h>

#include "models/internal.h"

#include <stdlib.h>
#include <string.h>

enum { SHAPES_TRIED = 8 };      /* the latest */

static int communicates(const struct op *op)
{
    return op->kind == OP_SEND || op->kind == OP_RECV
        || op->kind == OP_COLLECTIVE;
}

/* ---- A new shape -------------------------------------------------------- */

static void link_lanes(struct shape *x)
{
    int32_t last[LANES];

    for (int l = 0; l < LANES; l++)
        x->first[l] = last[l] = -1;
    for (int32_t i = 0; i < x->s->n_ops; i++) {
        struct step *st = &x->steps[i];
        for (int j = 0; j < 2 && st->lane[j] >= 0; j++) {
            int l = st->lane[j];
            st->next[j] = -1;
            if (last[l] < 0) {
                x->first[l] = i;
            } else {
                struct step *before = &x->steps[last[l]];
                before->next[before->lane[1] == l] = i;
            }
            last[l] = i;
        }
    }
}

static void make_needs(struct shape *x)
{
    const struct schedule *s = x->s;

    x->needs = xmalloc((size_t)s->n_deps * sizeof *x->needs + 1);
    for (int64_t i = 0; i < s->n_deps; i++)
        x->needs[i] = (struct need){ s->deps[i].op,
                                     x->steps[s->deps[i].op].lane[0] };
}

static int32_t message_index(struct simulation *sim, const struct schedule *s,
                             const struct op *op)
{
    struct message msg = { .bytes = op_work(s, op).sent_bytes };

    pool_operands_get(s->pool, op->operands, &msg.tiles);
    for (int64_t i = sim->n_messages - 1; i >= 0; i--)
        if (sim->messages[i].bytes == msg.bytes
            && sim->messages[i].tiles == msg.tiles)
            return (int32_t)i;
    msg.seconds = sim->links->even ? network_seconds(sim, 0, 0, msg.bytes) : -1;
    ARRAY_PUSH(sim->messages, sim->n_messages, sim->messages_cap, msg);
    return (int32_t)(sim->n_messages - 1);
}

/* Sides are numbered as they come. */
static void make_step(struct simulation *sim, struct shape *x, int32_t i)
{
    const struct op *op = &x->s->ops[i];
    struct step *st = &x->steps[i];
    int lane[2];

    op_lanes(op, lane);
    *st = (struct step){ .next = { -1, -1 }, .need_first = op->dep_first,
                         .needs = op->dep_count, .side = -1, .cost = -1,
                         .kind = op->kind, .channel = op->channel,
                         .lane = { (int8_t)lane[0], (int8_t)lane[1] } };
    sim->kinds[op->kind]++;
    if (op->kind == OP_SEND)
        st->cost = message_index(sim, x->s, op);
    if (!communicates(op)) {
        x->costs[x->n_costs] = cost_index(sim, x->s, op);
        st->cost = x->n_costs++;
    } else if (op->kind == OP_COLLECTIVE || op->peer < 0
               || op->peer >= sim->ranks) {
        st->side = x->n_sides++;
    } else {
        if (sim->marks[op->peer] < 0)
            sim->marks[op->peer] = x->n_sides++;
        st->side = sim->marks[op->peer];
    }
}

static struct shape *shape_create(struct simulation *sim,
                                  const struct schedule *s)
{
    struct shape *x = xcalloc(1, sizeof *x);

    x->s = schedule_clone(s);
    x->steps = xmalloc((size_t)s->n_ops * sizeof *x->steps + 1);
    x->costs = xmalloc((size_t)s->n_ops * sizeof *x->costs + 1);
    for (int64_t r = 0; r < sim->ranks; r++)
        sim->marks[r] = -1;
    for (int32_t i = 0; i < s->n_ops; i++)
        make_step(sim, x, i);
    make_needs(x);
    link_lanes(x);
    ARRAY_PUSH(sim->shapes, sim->n_shapes, sim->shapes_cap, x);
    return x;
}

void shapes_destroy(struct simulation *sim)
{
    for (int64_t i = 0; i < sim->n_shapes; i++) {
        struct shape *x = sim->shapes[i];
        schedule_destroy(x->s);
        free(x->steps);
        free(x->needs);
        free(x->costs);
        free(x);
    }
    free(sim->shapes);
}

/* ---- A rank's ----------------------------------------------------------- */

static int same_buffers(const struct schedule *a, const struct schedule *b)
{
    if (a->n_buffers != b->n_buffers)
        return 0;
    for (int64_t i = 0; i < a->n_buffers; i++) {
        const struct buffer *x = &a->buffers[i], *y = &b->buffers[i];
        if (x->role != y->role || x->dtype != y->dtype || x->rows != y->rows
            || x->heads != y->heads || x->width != y->width)
            return 0;
    }
    return 1;
}

static int same_bytes(const void *a, const void *b, size_t bytes)
{
    return bytes == 0 || memcmp(a, b, bytes) == 0;
}

static int same_op(const struct op *a, const struct op *b)
{
    return a->kind == b->kind && a->channel == b->channel
        && a->collective == b->collective && a->backward == b->backward
        && a->operands == b->operands && a->label == b->label
        && a->step == b->step && a->dep_first == b->dep_first
        && a->dep_count == b->dep_count;
}

/* 1: s has this shape; its sides and costs are then known. */
static int rank_fits(struct simulation *sim, const struct shape *x,
                     const struct schedule *s, int32_t *sides, int32_t *costs)
{
    const struct schedule *y = x->s;
    int32_t known = 0;

    if (s->n_ops != y->n_ops || s->n_deps != y->n_deps || s->pool != y->pool
        || !same_buffers(s, y)
        || !same_bytes(s->deps, y->deps, (size_t)s->n_deps * sizeof *s->deps)
        || (s->parents != NULL) != (y->parents != NULL)
        || (s->parents && !same_bytes(s->parents, y->parents, (size_t)s->n_ops
                                      * sizeof *s->parents)))
        return 0;
    for (int32_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        const struct step *st = &x->steps[i];
        if (!same_op(op, &y->ops[i]))
            return 0;
        if (st->side == known)
            sides[known++] = op->peer;
        else if (st->side >= 0 && sides[st->side] != op->peer)
            return 0;
        if (st->side < 0)
            costs[st->cost] = op->segments == y->ops[i].segments
                ? x->costs[st->cost] : cost_index(sim, s, op);
    }
    return 1;
}

/* Room for the most that it can need. */
static struct shape *find_shape(struct simulation *sim,
                                const struct schedule *s, int32_t *sides,
                                int32_t *costs)
{
    int64_t oldest = max64(0, sim->n_shapes - SHAPES_TRIED);

    for (int64_t i = sim->n_shapes - 1; i >= oldest; i--)
        if (rank_fits(sim, sim->shapes[i], s, sides, costs))
            return sim->shapes[i];
    struct shape *x = shape_create(sim, s);
    rank_fits(sim, x, s, sides, costs);
    return x;
}

static int32_t *numbers_kept(const int32_t *numbers, int64_t n)
{
    int32_t *kept = xmalloc((size_t)n * sizeof *kept + 1);

    if (n)
        memcpy(kept, numbers, (size_t)n * sizeof *kept);
    return kept;
}

static void heads_start(struct rank *r)
{
    for (int l = 0; l < LANES; l++) {
        int32_t first = r->shape->first[l];
        r->heads[l] = (struct head){
            .op = first, .done = -1,
            .state = first < 0 ? HEAD_NONE : HEAD_BLOCKED };
        if (first >= 0)
            r->blocked |= 1u << l;
    }
}

/* Counters of the collectives' groups. */
static void groups_grow(struct simulation *sim, const struct rank *r)
{
    const struct schedule *s = r->shape->s;
    int64_t most = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == OP_COLLECTIVE)
            most = max64(most, r->sides[sim_step(r, (int32_t)i)->side] + 1);
    if (most <= sim->n_gathered)
        return;
    sim->gathered = xrealloc(sim->gathered, (size_t)most * CHANNELS
                             * sizeof *sim->gathered);
    memset(sim->gathered + sim->n_gathered * CHANNELS, 0,
           (size_t)(most - sim->n_gathered) * CHANNELS
           * sizeof *sim->gathered);
    sim->n_gathered = most;
}

void simulation_add(struct simulation *sim, const struct schedule *s)
{
    struct rank *r = &sim->rank[sim->added++];
    int32_t *sides = xmalloc((size_t)s->n_ops * 2 * sizeof *sides + 1);
    int32_t *costs = sides + s->n_ops;
    struct shape *x = find_shape(sim, s, sides, costs);

    r->shape = x;
    r->base = sim->n_ops;
    r->sides = numbers_kept(sides, x->n_sides);
    r->costs = same_bytes(costs, x->costs, (size_t)x->n_costs * sizeof *costs)
        ? x->costs : numbers_kept(costs, x->n_costs);
    heads_start(r);
    if (sim->kinds[OP_COLLECTIVE])
        groups_grow(sim, r);
    sim->n_ops += s->n_ops;
    free(sides);
}

void sim_collective(const struct simulation *sim, const struct rank *r,
                    int32_t op, struct collective_op *x)
{
    x->s = *r->shape->s;
    x->s.rank = (int32_t)(r - sim->rank);
    x->op = x->s.ops[op];
    x->number = op;
    x->op.peer = r->sides[sim_step(r, op)->side];
    x->c = op_collective(&x->s, &x->op);
}
