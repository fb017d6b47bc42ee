/* SPDX-License-Identifier: Apache-2.0
 *
 * Reuse stalls: write-after-read edges whose single removal shortens the
 * makespan at ideal costs, that is, edges on every critical path.  Counted by
 * numbers of critical paths, modulo two primes: an edge from u to v is on all
 * of them iff (paths to u) x (paths from v) = (all paths).  Costs are integers,
 * so that a tight edge is known to be tight. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

typedef __int128 wide;

struct count {
    uint32_t a, b;              /* modulo primes[0], primes[1] */
};

static const uint32_t primes[2] = { 3244611641u, 2821154957u };

enum { EDGE_OF_LANE = -1 };

struct edge {
    int32_t from, kind;         /* event; enum dep_kind, or EDGE_OF_LANE */
};

struct timing {
    const struct checker *c;
    int32_t (*before)[2];       /* by op: the ones before it in its lanes */
    wide *start, *end;          /* by event */
    struct count *to, *from;    /* critical paths from the start to an event,
                                   from an event to the finish */
    int by_flops;               /* weights of products: else by pairs */
    /* Units of time: 1 / (largest message x weight of all products). */
    wide per_weight, per_byte;
    struct edge *edges;         /* into the event at hand */
    int64_t n, cap;
};

static struct count add(struct count x, struct count y)
{
    return (struct count){ (uint32_t)(((uint64_t)x.a + y.a) % primes[0]),
                           (uint32_t)(((uint64_t)x.b + y.b) % primes[1]) };
}

static struct count multiply(struct count x, struct count y)
{
    return (struct count){ (uint32_t)((uint64_t)x.a * y.a % primes[0]),
                           (uint32_t)((uint64_t)x.b * y.b % primes[1]) };
}

/* ---- Costs --------------------------------------------------------------- */

static int is_message(const struct op *op)
{
    return op->kind == OP_SEND || op->kind == OP_COLLECTIVE;
}

static int is_attend(const struct op *op)
{
    return op->kind == OP_ATTEND || op->kind == OP_ATTEND_BACKWARD;
}

/* Attends alone compare by their pairs. */
static int has_other_products(const struct checker *c)
{
    for (int64_t r = 0; r < c->ranks; r++)
        for (int64_t i = 0; i < c->schedules[r]->n_ops; i++) {
            const struct op *op = &c->schedules[r]->ops[i];
            if (op_is_product(op) && !is_attend(op))
                return 1;
        }
    return 0;
}

static int64_t weight(const struct timing *t, const struct op *op,
                      const struct work *w)
{
    if (!op_is_product(op))
        return 0;
    return t->by_flops ? (int64_t)w->flops : w->pairs;
}

/* One mean over the non-empty products of both passes: a product takes weight /
 * (sum / number), a message bytes / largest. */
static void set_units(struct timing *t)
{
    int64_t number = 0, largest = 0;
    wide sum = 0;

    t->by_flops = has_other_products(t->c);
    for (int64_t r = 0; r < t->c->ranks; r++) {
        const struct schedule *s = t->c->schedules[r];
        for (int64_t i = 0; i < s->n_ops; i++) {
            const struct op *op = &s->ops[i];
            if (!is_message(op) && !op_is_product(op))
                continue;
            struct work w = op_work(s, op);
            sum += weight(t, op, &w);
            number += weight(t, op, &w) > 0;
            largest = max64(largest, w.sent_bytes);
        }
    }
    t->per_weight = (wide)number * max64(largest, 1);
    t->per_byte = sum ? sum : 1;
}

/* The longest of its ops: members of a collective differ. */
static wide cost(const struct timing *t, int64_t event)
{
    const struct events *e = &t->c->events;
    wide longest = 0;

    for (int64_t i = e->first[event]; i < e->first[event + 1]; i++) {
        const struct schedule *s = t->c->schedules[e->entries[i].rank];
        const struct op *op = &s->ops[e->entries[i].op];
        if (!is_message(op) && !op_is_product(op))
            continue;
        struct work w = op_work(s, op);
        wide takes = is_message(op) ? w.sent_bytes * t->per_byte
            : weight(t, op, &w) * t->per_weight;
        longest = takes > longest ? takes : longest;
    }
    return longest;
}

/* ---- Edges --------------------------------------------------------------- */

static void find_lanes(struct timing *t, int64_t rank)
{
    const struct schedule *s = t->c->schedules[rank];
    int32_t tail[LANES];

    for (int k = 0; k < LANES; k++)
        tail[k] = -1;
    for (int64_t i = 0; i < s->n_ops; i++) {
        int32_t *before = t->before[t->c->base[rank] + i];
        int lane[2];
        op_lanes(&s->ops[i], lane);
        before[1] = -1;
        for (int k = 0; k < 2 && lane[k] >= 0; k++) {
            before[k] = tail[lane[k]];
            tail[lane[k]] = (int32_t)i;
        }
    }
}

static void edges_of_op(struct timing *t, struct entry x)
{
    const struct schedule *s = t->c->schedules[x.rank];
    const struct op *op = &s->ops[x.op];
    const int32_t *of = t->c->events.of + t->c->base[x.rank];
    const int32_t *before = t->before[t->c->base[x.rank] + x.op];

    for (int k = 0; k < 2; k++)
        if (before[k] >= 0) {
            struct edge edge = { of[before[k]], EDGE_OF_LANE };
            ARRAY_PUSH(t->edges, t->n, t->cap, edge);
        }
    for (int32_t i = 0; i < op->dep_count; i++) {
        const struct dep *d = &s->deps[op->dep_first + i];
        struct edge edge = { of[d->op], d->kind };
        ARRAY_PUSH(t->edges, t->n, t->cap, edge);
    }
}

static void edges_into(struct timing *t, int64_t event)
{
    const struct events *e = &t->c->events;

    t->n = 0;
    for (int64_t i = e->first[event]; i < e->first[event + 1]; i++)
        edges_of_op(t, e->entries[i]);
}

/* ---- Paths --------------------------------------------------------------- */

/* Start and end of all events, in the order in which they ran. */
static wide run_forward(struct timing *t)
{
    wide makespan = 0;

    for (int64_t v = 0; v < t->c->events.n; v++) {
        wide start = 0;
        edges_into(t, v);
        for (int64_t i = 0; i < t->n; i++)
            if (t->end[t->edges[i].from] > start)
                start = t->end[t->edges[i].from];
        t->start[v] = start;
        t->end[v] = start + cost(t, v);
        if (t->end[v] > makespan)
            makespan = t->end[v];
        /* A path may begin at any event that starts at 0. */
        t->to[v] = (struct count){ start == 0, start == 0 };
        for (int64_t i = 0; i < t->n; i++)
            if (t->end[t->edges[i].from] == start)
                t->to[v] = add(t->to[v], t->to[t->edges[i].from]);
    }
    return makespan;
}

static struct count count_all(const struct timing *t, wide makespan)
{
    struct count all = { 0, 0 };

    for (int64_t v = 0; v < t->c->events.n; v++)
        if (t->end[v] == makespan)
            all = add(all, t->to[v]);
    return all;
}

static int64_t run_backward(struct timing *t, wide makespan)
{
    struct count all = count_all(t, makespan);
    int64_t stalls = 0;

    for (int64_t v = 0; v < t->c->events.n; v++)
        t->from[v] = (struct count){ t->end[v] == makespan,
                                     t->end[v] == makespan };
    for (int64_t v = t->c->events.n - 1; v >= 0; v--) {
        edges_into(t, v);
        for (int64_t i = 0; i < t->n; i++) {
            int32_t u = t->edges[i].from;
            if (t->end[u] != t->start[v])
                continue;
            t->from[u] = add(t->from[u], t->from[v]);
            struct count through = multiply(t->to[u], t->from[v]);
            stalls += t->edges[i].kind == DEP_WRITE_AFTER_READ
                && through.a == all.a && through.b == all.b;
        }
    }
    return stalls;
}

int64_t check_stalls(struct checker *c)
{
    struct timing t = { .c = c };
    size_t n = (size_t)c->events.n;

    t.before = xmalloc((size_t)c->base[c->ranks] * sizeof *t.before);
    t.start = xmalloc(n * sizeof *t.start);
    t.end = xmalloc(n * sizeof *t.end);
    t.to = xmalloc(n * sizeof *t.to);
    t.from = xmalloc(n * sizeof *t.from);
    for (int64_t r = 0; r < c->ranks; r++)
        find_lanes(&t, r);
    set_units(&t);
    int64_t stalls = run_backward(&t, run_forward(&t));
    free(t.before);
    free(t.start);
    free(t.end);
    free(t.to);
    free(t.from);
    free(t.edges);
    return stalls;
}
