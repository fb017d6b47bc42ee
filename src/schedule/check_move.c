/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages and collectives: meanings move unchanged. */
#include <config.h>

#include "schedule/check_internal.h"

/* ---- Moves --------------------------------------------------------------------------- */

static int move_tile(const struct task *a, struct tile from,
                     const struct task *b, struct tile to)
{
    struct spans *x = &a->c->scratch[0];

    if (check_same_shape(a, from, b, to)) {
        a->c->report->deadlock = 1;
        return -1;
    }
    if (task_read(a, from, x))
        return -1;
    task_write(b, to, x);
    return 0;
}

int check_message(const struct task *send, const struct task *recv)
{
    if (send->n != recv->n) {
        send->c->report->deadlock = 1;
        return task_fail(recv, "takes %d tiles where rank %d sends %d",
                         (int)recv->n, (int)send->rank, (int)send->n);
    }
    for (int64_t i = 0; i < send->n; i++)
        if (move_tile(send, send->o[i].tile, recv, recv->o[i].tile))
            return -1;
    return 0;
}

/* Everything that member a sends to member b. */
static int move_slices(const struct task *a, const struct task *b)
{
    struct collective_shape from = op_collective(a->s, a->op);
    struct collective_shape to = op_collective(b->s, b->op);
    int reduce = a->op->collective == REDUCE_SCATTER;
    const struct operand *send = a->op->collective == ALL_GATHER ? from.send
        : from.send + to.me * from.tiles;

    if (from.tiles != to.tiles) {
        a->c->report->deadlock = 1;
        return task_fail(b, "%d tiles a message where rank %d has %d",
                         (int)to.tiles, (int)a->rank, (int)from.tiles);
    }
    if (reduce && a == b)
        return 0;               /* summed from where it is */
    for (int64_t i = 0; i < from.tiles; i++)
        if (move_tile(a, send[i].tile, b, to.recv[from.me * to.tiles
                                                  + i].tile))
            return -1;
    return 0;
}

/* result = own slice and what was staged of the others. */
static int reduce_slices(const struct task *t)
{
    struct spans *acc = &t->c->scratch[0], *in = &t->c->scratch[1];
    struct spans *out = &t->c->scratch[2];
    struct collective_shape c = op_collective(t->s, t->op);

    for (int64_t i = 0; i < c.tiles; i++) {
        for (int64_t m = 0; m < c.members; m++) {
            struct tile slice = m == c.me ? c.send[m * c.tiles + i].tile
                : c.recv[m * c.tiles + i].tile;
            if (tile_elements(t->s, slice) != tile_elements(t->s,
                                                            c.result[i].tile))
                return task_fail(t, "slice %d is not of the result's size",
                                 (int)m);
            if (task_read(t, slice, in) || task_only_gradients(t, in)
                || (m > 0 && task_zip(t, acc, in, pair_add, out)))
                return -1;
            spans_swap(acc, m > 0 ? out : in);
        }
        task_write(t, c.result[i].tile, acc);
    }
    return 0;
}

int check_collective(struct checker *c, const struct entry *members,
                     int64_t n)
{
    struct task first = task_at(c, members[0].rank, members[0].op);

    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < n; b++) {
            struct task from = task_at(c, members[a].rank, members[a].op);
            struct task to = task_at(c, members[b].rank, members[b].op);
            if (move_slices(&from, a == b ? &from : &to))
                return -1;
        }
    for (int64_t a = 0; a < n; a++) {
        struct task t = task_at(c, members[a].rank, members[a].op);
        if (first.op->collective == REDUCE_SCATTER && reduce_slices(&t))
            return -1;
    }
    return 0;
}
