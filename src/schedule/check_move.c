/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages and collectives: meanings move unchanged. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

/* ---- Moves --------------------------------------------------------------- */

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
static int move_slices(const struct member *a, const struct member *b)
{
    const struct collective_shape *from = &a->shape, *to = &b->shape;
    enum collective what = (enum collective)a->task.op->collective;
    const struct operand *send = from->send;

    if (from->tiles != to->tiles) {
        a->task.c->report->deadlock = 1;
        return task_fail(&b->task, "%d tiles a message where rank %d has %d",
                         (int)to->tiles, (int)a->task.rank, (int)from->tiles);
    }
    if (what == REDUCE_SCATTER && a == b)
        return 0;               /* summed from where it is */
    if (what != ALL_GATHER)
        send += to->me * from->tiles;
    for (int64_t i = 0; i < from->tiles; i++)
        if (move_tile(&a->task, send[i].tile, &b->task,
                      to->recv[from->me * to->tiles + i].tile))
            return -1;
    return 0;
}

/* result = own slice and what was staged of the others. */
static int reduce_slices(const struct member *m)
{
    const struct task *t = &m->task;
    struct collective_shape c = m->shape;
    struct spans *acc = &t->c->scratch[0], *in = &t->c->scratch[1];
    struct spans *out = &t->c->scratch[2];

    for (int64_t i = 0; i < c.tiles; i++) {
        for (int64_t k = 0; k < c.members; k++) {
            struct tile slice = k == c.me ? c.send[k * c.tiles + i].tile
                : c.recv[k * c.tiles + i].tile;
            if (tile_elements(t->s, slice) != tile_elements(t->s,
                                                            c.result[i].tile))
                return task_fail(t, "slice %d is not of the result's size",
                                 (int)k);
            if (task_read(t, slice, in) || task_only_sums(t, in)
                || (k > 0 && task_zip(t, acc, in, pair_add, out)))
                return -1;
            spans_swap(acc, k > 0 ? out : in);
        }
        task_write(t, c.result[i].tile, acc);
    }
    return 0;
}

static int run_collective(const struct member *m, int64_t n)
{
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < n; b++)
            if (move_slices(&m[a], &m[b]))
                return -1;
    for (int64_t a = 0; a < n; a++)
        if (m[a].task.op->collective == REDUCE_SCATTER
            && reduce_slices(&m[a]))
            return -1;
    return 0;
}

int check_collective(struct checker *c, const struct entry *members,
                     int64_t n)
{
    struct member *m = xcalloc((size_t)n, sizeof *m);

    for (int64_t i = 0; i < n; i++) {
        m[i].task = task_at(c, members[i].rank, members[i].op);
        m[i].shape = op_collective(m[i].task.s, m[i].task.op);
    }
    int result = collective_reduces(m->task.op->collective)
        ? check_reduction(m, n) : run_collective(m, n);
    free(m);
    return result;
}
