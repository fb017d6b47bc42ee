/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions: parts of a merge, all-reduces, the exclusive scan.  What is
 * reduced is joined once, for all members. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

/* ---- Parts of a merge ---------------------------------------------------- */

static int pair_relative(const struct task *t, struct span *a,
                         const struct span *b)
{
    if (pair_meaning(t, a, b))
        return -1;
    a->max = b->node;
    return 0;
}

int compute_rescale(const struct task *t)
{
    struct spans *o = &t->c->scratch[0], *lse = &t->c->scratch[1];
    struct spans *m = &t->c->scratch[2], *num = &t->c->scratch[3];

    if (operand_read(t, 0, TENSOR_O, o) || operand_read(t, 1, TENSOR_LSE, lse)
        || operand_read(t, 2, WHAT_MAX, m)
        || task_zip(t, o, lse, pair_partial, NULL)
        || task_zip(t, o, m, pair_relative, num))
        return -1;
    for (int i = 0; i < 2; i++) {
        for (int64_t k = 0; k < num->n; k++)
            num->list[k].what = i ? WHAT_DEN : WHAT_NUM;
        task_write(t, t->o[3 + i].tile, num);
    }
    return 0;
}

static int pair_fraction(const struct task *t, struct span *a,
                         const struct span *b)
{
    if (pair_meaning(t, a, b))
        return -1;
    if (a->node != b->node || a->max != b->max)
        return task_fail(t, "num and den of token %lld are of different sums",
                         (long long)a->token);
    return 0;
}

/* Else exp(lse - max) may overflow. */
static int pair_covered(const struct task *t, struct span *a,
                        const struct span *b)
{
    if (pair_meaning(t, a, b))
        return -1;
    if (a->max != b->node)
        return task_fail(t, "num of token %lld is relative to another max",
                         (long long)a->token);
    if (!history_covers(&t->c->history, a->max, a->node))
        return task_fail(t, "the max of token %lld is not over all that is "
                         "in num", (long long)a->token);
    a->max = 0;
    return 0;
}

int compute_normalize(const struct task *t)
{
    struct spans *num = &t->c->scratch[0], *den = &t->c->scratch[1];
    struct spans *m = &t->c->scratch[2], *o = &t->c->scratch[3];

    if (operand_read(t, 0, WHAT_NUM, num) || operand_read(t, 1, WHAT_DEN, den)
        || operand_read(t, 2, WHAT_MAX, m)
        || task_zip(t, num, den, pair_fraction, NULL)
        || task_zip(t, num, m, pair_covered, o))
        return -1;
    for (int i = 0; i < 2; i++) {
        for (int64_t k = 0; k < o->n; k++)
            o->list[k].what = i ? TENSOR_LSE : TENSOR_O;
        task_write(t, t->o[3 + i].tile, o);
    }
    return 0;
}

/* ---- All-reduce ---------------------------------------------------------- */

/* The maximum of lse, or of maxima. */
static int only_maxima(const struct task *t, struct spans *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        struct span *x = &s->list[i];
        if (x->what != TENSOR_LSE && x->what != WHAT_MAX)
            return task_fail(t, "takes the maximum of %s",
                             what_name(x->what));
        x->what = WHAT_MAX;
    }
    return 0;
}

/* Tile i of a member, if it may be reduced so. */
static int read_part(const struct member *m, int64_t i, struct spans *s)
{
    const struct task *t = &m->task;
    struct spans *o = &t->c->scratch[3];

    if (task_read(t, m->shape.send[i].tile, s))
        return -1;
    if (t->op->collective == ALL_REDUCE_MAX)
        return only_maxima(t, s);
    if (t->op->collective == ALL_REDUCE_SUM)
        return task_only_sums(t, s);
    /* (o, lse): checked with lse. */
    return i == 0 ? 0 : task_read(t, m->shape.send[0].tile, o)
        || task_zip(t, o, s, pair_partial, NULL);
}

/* Results are written after all is read. */
static void write_all(const struct member *m, int64_t n, int64_t i,
                      const struct spans *in)
{
    for (int64_t k = 0; k < n; k++)
        task_write(&m[k].task, m[k].shape.result[i].tile, in);
}

static int all_reduce(const struct member *m, int64_t n, struct spans *acc)
{
    struct checker *c = m->task.c;
    struct spans *in = &c->scratch[0], *sum = &c->scratch[1];

    for (int64_t i = 0; i < m->shape.tiles; i++) {
        for (int64_t k = 0; k < n; k++) {
            if (read_part(&m[k], i, in)
                || (k && task_zip(&m[k].task, &acc[i], in, pair_add, sum)))
                return -1;
            spans_swap(&acc[i], k ? sum : in);
        }
    }
    for (int64_t i = 0; i < m->shape.tiles; i++)
        write_all(m, n, i, &acc[i]);
    return 0;
}

/* ---- Exclusive scan ------------------------------------------------------ */

static int exclusive_scan(const struct member *m, int64_t n)
{
    struct checker *c = m->task.c;
    struct spans *acc = &c->scratch[0], *in = &c->scratch[1];
    struct spans *sum = &c->scratch[2];

    spans_zero(&m->task, m->shape.send[0].tile, acc);
    for (int64_t k = 0; k < n; k++) {
        const struct task *t = &m[k].task;
        int64_t numbers, span = *pool_numbers_get(c->pool, t->op->segments,
                                                  &numbers);
        if (operand_state(t, m[k].shape.send[0].tile, in))
            return -1;
        task_write(t, m[k].shape.result[0].tile, acc);
        if (span < 0) {
            spans_swap(acc, in);
            continue;
        }
        states_carry(acc, span);
        if (task_zip(t, acc, in, pair_add, sum))
            return -1;
        spans_swap(acc, sum);
    }
    return 0;
}

/* ---- Both ---------------------------------------------------------------- */

/* Members reduce tiles of the same shapes. */
static int same_shapes(const struct member *m, int64_t n)
{
    for (int64_t k = 1; k < n; k++) {
        if (m[k].shape.tiles != m->shape.tiles)
            return task_fail(&m[k].task, "reduces %d tiles where rank %d "
                             "reduces %d", (int)m[k].shape.tiles,
                             (int)m->task.rank, (int)m->shape.tiles);
        for (int64_t i = 0; i < m->shape.tiles; i++)
            if (check_same_shape(&m->task, m->shape.send[i].tile, &m[k].task,
                                 m[k].shape.send[i].tile))
                return -1;
    }
    return 0;
}

int check_reduction(const struct member *m, int64_t n)
{
    int64_t tiles = m->shape.tiles;
    const struct spans nothing = { 0 };
    int result;

    if (same_shapes(m, n)) {
        m->task.c->report->deadlock = 1;
        return -1;
    }
    if (m->task.op->collective == EXCLUSIVE_SCAN) {
        result = exclusive_scan(m, n);
    } else {
        struct spans *acc = xcalloc((size_t)tiles, sizeof *acc);
        result = all_reduce(m, n, acc);
        for (int64_t i = 0; i < tiles; i++)
            free(acc[i].list);
        free(acc);
    }
    for (int64_t k = 0; k < n; k++)
        task_write(&m[k].task, m[k].shape.staging->tile, &nothing);
    return result;
}
