/* SPDX-License-Identifier: Apache-2.0
 *
 * Order: two uses of the same memory, one of them a write, follow each other
 * whatever the timing, by lanes and dependencies of their rank alone.  So no
 * dependency is missing, and buffers share the arena only where they may. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

/* Ops of one lane that read, or that wrote, a buffer: every row and head holds
 * the latest, as the `node` of a span. */
struct track {
    int lane, write;
    int32_t last;               /* of all of them */
    struct contents held;
};

struct tracks {                 /* of one buffer */
    struct track *list;
    int64_t n, cap;
    int64_t reads, writes;      /* operands of the op at hand */
    int64_t written;            /* rows x heads of them */
};

struct order {
    struct checker *c;
    int64_t rank;
    const struct schedule *s;
    int32_t *over;              /* [ops][LANES]: the latest op of the lane that
                                   is over when the op starts; -1: none */
    struct tracks *tracks;      /* [buffers] */
};

/* ---- What is over when an op starts -------------------------------------- */

static void add_before(struct order *x, int32_t *over, int32_t before)
{
    const int32_t *theirs = x->over + (size_t)before * LANES;
    int lane[2];

    for (int k = 0; k < LANES; k++)
        if (theirs[k] > over[k])
            over[k] = theirs[k];
    op_lanes(&x->s->ops[before], lane);
    for (int k = 0; k < 2 && lane[k] >= 0; k++)
        if (before > over[lane[k]])
            over[lane[k]] = before;
}

static void find_order(struct order *x)
{
    int32_t tail[LANES];

    for (int k = 0; k < LANES; k++)
        tail[k] = -1;
    for (int32_t i = 0; i < x->s->n_ops; i++) {
        const struct op *op = &x->s->ops[i];
        int32_t *over = x->over + (size_t)i * LANES;
        int lane[2];
        for (int k = 0; k < LANES; k++)
            over[k] = -1;
        for (int32_t d = 0; d < op->dep_count; d++)
            add_before(x, over, x->s->deps[op->dep_first + d].op);
        op_lanes(op, lane);
        for (int k = 0; k < 2 && lane[k] >= 0; k++) {
            if (tail[lane[k]] >= 0)
                add_before(x, over, tail[lane[k]]);
            tail[lane[k]] = i;
        }
    }
}

/* ---- Uses of memory ------------------------------------------------------ */

static int conflict(const struct order *x, int32_t op, const struct operand *o,
                    const struct track *k, int32_t before, int32_t buffer)
{
    const struct buffer *b = x->s->buffers;
    char name[128];

    op_name(x->s, &x->s->ops[before], name, sizeof name);
    return check_fail(x->c, x->rank, op, "%s %s while op %d %s may still %s "
                      "%s", o->access == ACCESS_READ ? "reads" : "writes",
                      pool_label_get(x->s->pool, b[o->tile.buffer].label),
                      before, name, k->write ? "write" : "read",
                      pool_label_get(x->s->pool, b[buffer].label));
}

/* Earlier uses of the same rows and heads. */
static int check_track(struct order *x, int32_t op, const struct operand *o,
                       struct track *k)
{
    const int32_t *over = x->over + (size_t)op * LANES;
    struct spans *met = &x->c->scratch[0];

    if ((o->access == ACCESS_READ && !k->write) || over[k->lane] >= k->last)
        return 0;
    contents_get(x->s->pool, &k->held, o->tile, met);
    for (int64_t i = 0; i < met->n; i++)
        if (over[k->lane] < met->list[i].node)
            return conflict(x, op, o, k, met->list[i].node, o->tile.buffer);
    return 0;
}

static int check_operand(struct order *x, int32_t op, const struct operand *o)
{
    const int32_t *over = x->over + (size_t)op * LANES;

    for (int32_t b = 0; b < x->s->n_buffers; b++) {
        int same = b == o->tile.buffer;
        if (!same && (x->tracks[b].n == 0
                      || !buffers_share(x->s, b, o->tile.buffer)))
            continue;
        for (int64_t i = 0; i < x->tracks[b].n; i++) {
            struct track *k = &x->tracks[b].list[i];
            if (same && check_track(x, op, o, k))
                return -1;
            if (!same && (k->write || o->access != ACCESS_READ)
                && over[k->lane] < k->last)
                return conflict(x, op, o, k, k->last, b);
        }
    }
    return 0;
}

static struct track *find_track(struct order *x, int32_t op,
                                const struct operand *o)
{
    struct tracks *t = &x->tracks[o->tile.buffer];
    int lane[2], write = o->access != ACCESS_READ;

    op_lanes(&x->s->ops[op], lane);
    for (int64_t i = 0; i < t->n; i++)
        if (t->list[i].lane == lane[0] && t->list[i].write == write)
            return &t->list[i];
    struct track track = { .lane = lane[0], .write = write };
    ARRAY_PUSH(t->list, t->n, t->cap, track);
    return &t->list[t->n - 1];
}

static void record(struct order *x, int32_t op, const struct operand *o)
{
    struct track *k = find_track(x, op, o);
    struct spans *use = &x->c->scratch[0];

    k->last = op;
    use->n = 0;
    spans_push(use, (struct span){ .rows = tile_row_count(x->s, o->tile),
                                   .heads = o->tile.head_count,
                                   .what = WHAT_ZERO, .node = op });
    contents_put(x->s->pool, &k->held, o->tile, use);
}

static int64_t area(const struct order *x, struct tile t)
{
    return tile_row_count(x->s, t) * t.head_count;
}

static void count_operands(struct order *x, const struct operand *o,
                           int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        x->tracks[o[i].tile.buffer].reads =
            x->tracks[o[i].tile.buffer].writes =
            x->tracks[o[i].tile.buffer].written = 0;
    for (int64_t i = 0; i < n; i++) {
        struct tracks *t = &x->tracks[o[i].tile.buffer];
        t->reads += o[i].access == ACCESS_READ;
        t->writes += o[i].access != ACCESS_READ;
        if (o[i].access != ACCESS_READ)
            t->written += area(x, o[i].tile);
    }
}

/* Rows x heads of spans that op `op` used. */
static int64_t area_of(const struct spans *s, int32_t op)
{
    int64_t sum = 0;

    for (int64_t i = 0; i < s->n; i++)
        if (s->list[i].node == op)
            sum += s->list[i].rows * s->list[i].heads;
    return sum;
}

/* Tiles of one op that it writes lie on each other, or on one that it reads:
 * then what was recorded of it covers less than all of them. */
static int check_within(struct order *x, int32_t op, const struct operand *o)
{
    struct tracks *t = &x->tracks[o->tile.buffer];
    struct spans *held = &x->c->scratch[0];

    if (o->access == ACCESS_READ)
        return 0;
    if (t->writes > 1) {
        contents_get(x->s->pool, &find_track(x, op, o)->held,
                     tile_whole(x->s, o->tile.buffer), held);
        if (area_of(held, op) != t->written)
            return check_fail(x->c, x->rank, op, "writes rows twice");
        t->writes = 1;
    }
    if (t->reads == 0)
        return 0;
    struct operand read = { o->tile, ACCESS_READ };
    contents_get(x->s->pool, &find_track(x, op, &read)->held, o->tile, held);
    return area_of(held, op) == 0 ? 0
        : check_fail(x->c, x->rank, op, "writes rows that it reads");
}

static int check_op(struct order *x, int32_t op)
{
    int64_t n;
    const struct operand *o = pool_operands_get(x->s->pool,
                                                x->s->ops[op].operands, &n);

    for (int64_t i = 0; i < n; i++)
        if (area(x, o[i].tile) && check_operand(x, op, &o[i]))
            return -1;
    for (int64_t i = 0; i < n; i++)
        if (area(x, o[i].tile))
            record(x, op, &o[i]);
    count_operands(x, o, n);
    for (int64_t i = 0; i < n; i++)
        if (area(x, o[i].tile) && check_within(x, op, &o[i]))
            return -1;
    return 0;
}

static int check_rank(struct order *x)
{
    for (int32_t i = 0; i < x->s->n_ops; i++)
        if (check_op(x, i))
            return -1;
    return 0;
}

static void tracks_clear(struct tracks *t)
{
    for (int64_t i = 0; i < t->n; i++)
        contents_clear(&t->list[i].held);
    free(t->list);
}

int check_order(struct checker *c)
{
    int failed = 0;

    for (int64_t r = 0; r < c->ranks && !failed; r++) {
        struct order x = { .c = c, .rank = r, .s = c->schedules[r] };
        x.over = xmalloc((size_t)x.s->n_ops * LANES * sizeof *x.over);
        x.tracks = xcalloc((size_t)x.s->n_buffers, sizeof *x.tracks);
        find_order(&x);
        failed = check_rank(&x);
        for (int64_t b = 0; b < x.s->n_buffers; b++)
            tracks_clear(&x.tracks[b]);
        free(x.tracks);
        free(x.over);
    }
    return failed;
}
