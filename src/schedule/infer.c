/* SPDX-License-Identifier: Apache-2.0
 *
 * Dependencies from what ops read and write, tile by tile: last writer,
 * readers since. */
#include <config.h>

#include "schedule/internal.h"

#include <stdlib.h>

struct use {                    /* of a part of a buffer */
    struct box box;
    int32_t op;
};

struct uses {
    struct use *list;
    int64_t n, cap;
};

struct infer {
    struct uses *writes, *reads;        /* [n] by buffer */
    int32_t *follows;                   /* [n] buffer used before; -1: none */
    int64_t n;
    struct dep *deps;                   /* of the op at hand */
    int64_t n_deps, deps_cap;
};

struct infer *infer_create(void)
{
    return xcalloc(1, sizeof(struct infer));
}

void infer_destroy(struct infer *in)
{
    for (int64_t i = 0; i < in->n; i++) {
        free(in->writes[i].list);
        free(in->reads[i].list);
    }
    free(in->writes);
    free(in->reads);
    free(in->follows);
    free(in->deps);
    free(in);
}

static int boxes_meet(const struct box *a, const struct box *b)
{
    return a->first < b->last && b->first < a->last
        && a->head_first < b->head_last && b->head_first < a->head_last;
}

static int box_inside(const struct box *a, const struct box *outer)
{
    return a->first >= outer->first && a->last <= outer->last
        && a->head_first >= outer->head_first
        && a->head_last <= outer->head_last;
}

static int share_lane(const struct op *a, const struct op *b)
{
    int x[2], y[2];

    op_lanes(a, x);
    op_lanes(b, y);
    return x[0] == y[0] || (x[1] >= 0 && (x[1] == y[0] || x[1] == y[1]))
        || (y[1] >= 0 && y[1] == x[0]);
}

static void add_dep(struct infer *in, int32_t op, int32_t kind)
{
    for (int64_t i = 0; i < in->n_deps; i++)
        if (in->deps[i].op == op) {
            if (kind < in->deps[i].kind)
                in->deps[i].kind = kind;
            return;
        }
    struct dep dep = { op, kind };
    ARRAY_PUSH(in->deps, in->n_deps, in->deps_cap, dep);
}

/* Order within a lane goes without saying. */
static void add_uses(const struct schedule *s, struct infer *in,
                     const struct op *op, const struct uses *uses,
                     const struct box *box, int32_t kind)
{
    for (int64_t i = 0; i < uses->n; i++)
        if (boxes_meet(&uses->list[i].box, box)
            && !share_lane(op, &s->ops[uses->list[i].op]))
            add_dep(in, uses->list[i].op, kind);
}

static void forget_covered(struct uses *uses, const struct box *box)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < uses->n; i++)
        if (!box_inside(&uses->list[i].box, box))
            uses->list[kept++] = uses->list[i];
    uses->n = kept;
}

/* A later read of the same part in the same lane stands for the earlier. */
static void record_read(const struct schedule *s, struct uses *uses,
                        const struct op *op, int32_t number,
                        const struct box *box)
{
    for (int64_t i = 0; i < uses->n; i++) {
        struct use *u = &uses->list[i];
        if (box_inside(&u->box, box) && box_inside(box, &u->box)
            && (u->op == number || share_lane(op, &s->ops[u->op]))) {
            u->op = number;
            return;
        }
    }
    struct use use = { *box, number };
    ARRAY_PUSH(uses->list, uses->n, uses->cap, use);
}

static int is_dense(const struct schedule *s, struct tile t)
{
    int64_t n;
    const struct run *r = pool_rows_get(s->pool, t.rows, &n);

    return n == 1 && r->stride == 1;
}

static void record(const struct schedule *s, struct infer *in,
                   const struct op *op, const struct operand *o)
{
    struct box box;
    int32_t number = (int32_t)s->n_ops;
    struct uses *writes = &in->writes[o->tile.buffer];
    struct uses *reads = &in->reads[o->tile.buffer];

    if (!tile_box(s, o->tile, &box))
        return;
    if (o->access == ACCESS_READ) {
        record_read(s, reads, op, number, &box);
        return;
    }
    if (is_dense(s, o->tile)) {
        forget_covered(writes, &box);
        forget_covered(reads, &box);
    }
    struct use use = { box, number };
    ARRAY_PUSH(writes->list, writes->n, writes->cap, use);
}

static void look_up(const struct schedule *s, struct infer *in,
                    const struct op *op, const struct operand *o)
{
    struct box box;
    const struct uses *writes = &in->writes[o->tile.buffer];

    if (!tile_box(s, o->tile, &box))
        return;
    add_uses(s, in, op, writes, &box, o->access == ACCESS_WRITE
             ? DEP_WRITE_AFTER_WRITE : DEP_READ_AFTER_WRITE);
    if (o->access != ACCESS_READ)
        add_uses(s, in, op, &in->reads[o->tile.buffer], &box,
                 DEP_WRITE_AFTER_READ);
}

/* A buffer that follows another is written after all uses of that one. */
static void look_up_before(const struct schedule *s, struct infer *in,
                           const struct op *op, const struct operand *o)
{
    const struct box all = { 0, INT64_MAX, 0, INT32_MAX };
    int32_t before = in->follows[o->tile.buffer];

    if (before < 0 || o->access == ACCESS_READ)
        return;
    add_uses(s, in, op, &in->writes[before], &all, DEP_WRITE_AFTER_WRITE);
    add_uses(s, in, op, &in->reads[before], &all, DEP_WRITE_AFTER_READ);
}

static void grow_buffers(struct infer *in, int64_t n)
{
    if (n <= in->n)
        return;
    in->writes = xrealloc(in->writes, (size_t)n * sizeof *in->writes);
    in->reads = xrealloc(in->reads, (size_t)n * sizeof *in->reads);
    in->follows = xrealloc(in->follows, (size_t)n * sizeof *in->follows);
    for (; in->n < n; in->n++) {
        in->writes[in->n] = in->reads[in->n] = (struct uses){ 0 };
        in->follows[in->n] = -1;
    }
}

void infer_follow(const struct schedule *s, struct infer *in, int32_t buffer,
                  int32_t before)
{
    grow_buffers(in, s->n_buffers);
    in->follows[buffer] = before;
}

static int by_op(const void *a, const void *b)
{
    return ((const struct dep *)a)->op - ((const struct dep *)b)->op;
}

void infer_op(struct schedule *s, struct infer *in, struct op *op,
              const struct operand *operands, int64_t n)
{
    grow_buffers(in, s->n_buffers);
    in->n_deps = 0;
    for (int64_t i = 0; i < n; i++)
        look_up(s, in, op, &operands[i]);
    for (int64_t i = 0; i < n; i++)
        look_up_before(s, in, op, &operands[i]);
    for (int64_t i = 0; i < n; i++)
        record(s, in, op, &operands[i]);
    if (in->n_deps > 1)
        qsort(in->deps, (size_t)in->n_deps, sizeof *in->deps, by_op);
    op->dep_first = (int32_t)s->n_deps;
    op->dep_count = (int32_t)in->n_deps;
    for (int64_t i = 0; i < in->n_deps; i++)
        ARRAY_PUSH(s->deps, s->n_deps, s->builder->deps_cap, in->deps[i]);
}
