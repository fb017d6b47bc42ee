/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/traffic.h"

#include <stdlib.h>
#include <string.h>

void traffic_begin(struct traffic *t, int64_t ranks)
{
    *t = (struct traffic){ .ranks = ranks };
    t->group = xcalloc((size_t)ranks, sizeof *t->group);
    t->member = xcalloc((size_t)ranks, sizeof *t->member);
    for (int64_t r = 0; r < ranks; r++)
        t->group[r] = t->member[r] = -1;
}

void traffic_clear(struct traffic *t)
{
    free(t->items);
    free(t->first);
    free(t->group);
    free(t->member);
    *t = (struct traffic){ 0 };
}

/* ---- A schedule --------------------------------------------------------- */

enum { BACKWARD = 1 << 30 };    /* its steps come after all forward */

static void add_item(struct traffic *t, const struct op *op, int32_t from,
                     int32_t to, int64_t bytes)
{
    struct traffic_item x = { op->step + op->backward * BACKWARD, from, to,
                              bytes };

    if (from != to && bytes > 0)
        ARRAY_PUSH(t->items, t->n, t->cap, x);
}

static int64_t operand_bytes(const struct schedule *s, const struct operand *o,
                             int64_t n)
{
    int64_t bytes = 0;

    for (int64_t i = 0; i < n; i++)
        bytes += (int64_t)tile_bytes(s, o[i].tile);
    return bytes;
}

static void note_group(struct traffic *t, const struct op *op,
                       const struct collective_shape *c)
{
    int32_t me = c->ranks[c->me];

    if (op->collective != ALL_TO_ALL || c->members == t->ranks
        || t->group[me] >= 0)
        return;
    t->group[me] = op->peer;
    t->member[me] = (int32_t)c->me;
}

static void add_collective(struct traffic *t, const struct schedule *s,
                           const struct op *op)
{
    struct collective_shape c = op_collective(s, op);
    int32_t next = c.ranks[(c.me + 1) % c.members];

    note_group(t, op, &c);
    if (collective_reduces((enum collective)op->collective)) {
        add_item(t, op, s->rank, next, op_work(s, op).sent_bytes);
        return;
    }
    for (int64_t i = 0; i < c.members; i++) {
        const struct operand *o = op->collective == ALL_GATHER ? c.send
            : c.send + i * c.tiles;
        add_item(t, op, s->rank, c.ranks[i], operand_bytes(s, o, c.tiles));
    }
}

void traffic_add(struct traffic *t, const struct schedule *s)
{
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind == OP_SEND)
            add_item(t, op, s->rank, op->peer, op_work(s, op).sent_bytes);
        else if (op->kind == OP_COLLECTIVE)
            add_collective(t, s, op);
    }
}

/* ---- All of them -------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const struct traffic_item *x = a, *y = b;

    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

static void add_alike(struct traffic *t)
{
    int64_t n = 0;

    qsort(t->items, (size_t)t->n, sizeof *t->items, compare);
    for (int64_t i = 0; i < t->n; i++) {
        if (n && compare(&t->items[n - 1], &t->items[i]) == 0)
            t->items[n - 1].bytes += t->items[i].bytes;
        else
            t->items[n++] = t->items[i];
    }
    t->n = n;
}

/* Steps 0, 1, ... of those that there are. */
static void number_steps(struct traffic *t)
{
    int64_t cap = 0;
    int32_t last = -1;

    for (int64_t i = 0; i < t->n; i++) {
        if (i == 0 || t->items[i].step != last)
            ARRAY_PUSH(t->first, t->steps, cap, i);
        last = t->items[i].step;
        t->items[i].step = (int32_t)t->steps - 1;
    }
    int64_t steps = t->steps;
    ARRAY_PUSH(t->first, steps, cap, t->n);
}

/* Groups are numbered in the order of their first ranks. */
static void number_groups(struct traffic *t)
{
    int32_t *sizes = xcalloc((size_t)t->ranks + 1, sizeof *sizes);
    int32_t *found = xcalloc((size_t)t->ranks + 1, sizeof *found);

    for (int64_t r = 0; r < t->ranks; r++) {
        int32_t k = 0;
        if (t->group[r] < 0)
            continue;
        while (k < t->n_groups && found[k] != t->group[r])
            k++;
        if (k == t->n_groups)
            found[t->n_groups++] = t->group[r];
        t->group[r] = k;
        sizes[k]++;
    }
    t->of_members = t->n_groups ? sizes[0] : 0;
    for (int32_t k = 0; k < t->n_groups; k++)
        if (sizes[k] != sizes[0])
            t->of_members = 0;
    if (t->of_members * t->n_groups != t->ranks)
        t->of_members = 0;
    free(sizes);
    free(found);
}

void traffic_end(struct traffic *t)
{
    add_alike(t);
    number_steps(t);
    number_groups(t);
}

void traffic_of(struct traffic *t, const struct schedule *const *schedules,
                int64_t ranks)
{
    traffic_begin(t, ranks);
    for (int64_t r = 0; r < ranks; r++)
        traffic_add(t, schedules[r]);
    traffic_end(t);
}
