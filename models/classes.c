/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/classes.h"

#include <stdlib.h>
#include <string.h>

struct classes {
    struct graph *g;
    int8_t *known;              /* [slots][slots]; -1: not yet */
};

struct classes *classes_create(struct graph *g)
{
    struct classes *c = xcalloc(1, sizeof *c);
    size_t n = (size_t)g->n_slots;

    c->g = g;
    c->known = xcalloc(n, n);
    memset(c->known, -1, n * n);
    return c;
}

void classes_destroy(struct classes *c)
{
    if (c)
        free(c->known);
    free(c);
}

static enum route_class class_of(struct classes *c, int64_t from, int64_t to)
{
    int32_t n = c->g->n_slots, a = (int32_t)(from % n), b = (int32_t)(to % n);
    int8_t *known = &c->known[(int64_t)a * n + b];
    struct route r;

    if (*known < 0) {
        graph_route(c->g, a, b, &r);
        *known = (int8_t)r.class;
    }
    return (enum route_class)*known;
}

/* What goes to member i of a collective. */
static double slice(const struct schedule *s, const struct op *op,
                    const struct collective_shape *x, int64_t i)
{
    const struct operand *o = x->send;
    double bytes = 0;

    if (collective_reduces(op->collective))
        return (double)op_work(s, op).sent_bytes / (double)(x->members - 1);
    if (op->collective != ALL_GATHER)
        o += i * x->tiles;
    for (int64_t k = 0; k < x->tiles; k++)
        bytes += (double)tile_bytes(s, o[k].tile);
    return bytes;
}

void classes_add(struct classes *c, const struct schedule *s,
                 double bytes[ROUTE_CLASSES])
{
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind == OP_SEND)
            bytes[class_of(c, s->rank, op->peer)] +=
                (double)op_work(s, op).sent_bytes;
        if (op->kind != OP_COLLECTIVE)
            continue;
        struct collective_shape x = op_collective(s, op);
        for (int64_t k = 0; k < x.members; k++)
            if (k != x.me)
                bytes[class_of(c, s->rank, x.ranks[k])] += slice(s, op, &x, k);
    }
}
