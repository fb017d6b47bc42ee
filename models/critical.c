/* SPDX-License-Identifier: Apache-2.0
 *
 * The critical path, from spans alone. */
#include <config.h>

#include "models/history.h"

#include <stdlib.h>
#include <string.h>

struct finder {
    const struct schedule *const *schedules;
    const struct span **of;     /* by base[rank] + op; NULL: it never ran */
    int64_t *base;              /* [ranks + 1] */
    const struct span *spans;
    int64_t *first;             /* [ranks + 1] of spans */
    int64_t ranks;
};

static const struct span *span_of(const struct finder *f, int64_t rank,
                                  int64_t op)
{
    return op >= 0 ? f->of[f->base[rank] + op] : NULL;
}

/* The later end; NULL is none. */
static const struct span *later(const struct span *a, const struct span *b)
{
    return !b || (a && a->end >= b->end) ? a : b;
}

/* What rank's op itself waited for: dependencies, and whatever else of the rank
 * ended when it began, or last before. */
static const struct span *before_op(const struct finder *f,
                                    const struct span *x)
{
    const struct schedule *s = f->schedules[x->rank];
    const struct op *op = &s->ops[x->op];
    const struct span *best = NULL;
    int lanes[2], mine[2];

    for (int32_t d = 0; d < op->dep_count; d++)
        best = later(best, span_of(f, x->rank,
                                   s->deps[op->dep_first + d].op));
    op_lanes(op, mine);
    for (int64_t i = x->op - 1; i >= 0; i--) {
        op_lanes(&s->ops[i], lanes);
        if (lanes[0] == mine[0] || (lanes[1] >= 0 && lanes[1] == mine[0])
            || (mine[1] >= 0 && (lanes[0] == mine[1] || lanes[1] == mine[1])))
            return later(best, span_of(f, x->rank, i));
    }
    return best;
}

static int is_message(const struct op *op)
{
    return op->kind == OP_SEND || op->kind == OP_RECV;
}

/* The span of the other side: as a message it starts when both are ready. */
static const struct span *other_side(const struct finder *f,
                                     const struct span *x)
{
    const struct op *op = &f->schedules[x->rank]->ops[x->op];
    int64_t peer = op->peer, want = op->kind == OP_SEND ? OP_RECV : OP_SEND;

    for (int64_t i = f->first[peer]; i < f->first[peer + 1]; i++) {
        const struct span *y = &f->spans[i];
        const struct op *o = &f->schedules[peer]->ops[y->op];
        if (y->start > x->start)
            break;
        if (y->start == x->start && o->kind == want && o->peer == x->rank
            && o->channel == op->channel)
            return y;
    }
    return NULL;
}

static const struct span *last_member(const struct finder *f,
                                      const struct span *x)
{
    const struct schedule *s = f->schedules[x->rank];
    const struct op *op = &s->ops[x->op];
    const struct span *late = x;
    int64_t n;
    const int32_t *ranks = pool_group_get(s->pool, op->peer, &n);

    for (int64_t k = 0; k < n; k++)
        for (int64_t i = f->first[ranks[k]]; i < f->first[ranks[k] + 1]; i++) {
            const struct span *y = &f->spans[i];
            const struct op *o = &f->schedules[ranks[k]]->ops[y->op];
            if (y->start > x->start)
                break;
            if (y->start == x->start && o->kind == OP_COLLECTIVE
                && o->peer == op->peer && y->ready > late->ready)
                late = y;
        }
    return late;
}

static const struct span *before(const struct finder *f, const struct span *x)
{
    const struct op *op = &f->schedules[x->rank]->ops[x->op];
    const struct span *waits = x;

    if (is_message(op)) {
        const struct span *y = other_side(f, x);
        waits = y && y->ready > x->ready ? y : x;
    } else if (op->kind == OP_COLLECTIVE) {
        waits = last_member(f, x);
    }
    return before_op(f, waits);
}

/* ---- All ----------------------------------------------------------------- */

static void index_spans(struct finder *f, int64_t n)
{
    int64_t at = 0;

    for (int64_t r = 0; r < f->ranks; r++) {
        f->base[r + 1] = f->base[r] + f->schedules[r]->n_ops;
        f->first[r] = at;
        while (at < n && f->spans[at].rank == r)
            at++;
    }
    f->first[f->ranks] = at;
    f->of = xcalloc((size_t)f->base[f->ranks] + 1, sizeof *f->of);
    for (int64_t i = 0; i < at; i++)
        f->of[f->base[f->spans[i].rank] + f->spans[i].op] = &f->spans[i];
}

static struct critical_path follow(const struct finder *f,
                                   const struct span *x)
{
    struct critical_path p = { .total = x ? x->end : 0 };

    while (x) {
        const struct span *y = before(f, x);
        const struct op *op = &f->schedules[x->rank]->ops[x->op];
        int64_t from = y && y->end < x->end ? max64(y->end, x->start)
                                            : x->start;
        p.ops++;
        p.kinds[op->kind] += x->end - from;
        p.gaps += from - (y ? min64(y->end, from) : 0);
        if (y && y->end > x->end)
            break;              /* cannot be */
        x = y;
    }
    return p;
}

struct critical_path history_path(const struct schedule *const *schedules,
                                  int64_t ranks, const struct span *spans,
                                  int64_t n)
{
    struct finder f = { .schedules = schedules, .spans = spans,
                        .ranks = ranks };
    const struct span *last = NULL;

    f.base = xcalloc((size_t)ranks + 1, sizeof *f.base);
    f.first = xcalloc((size_t)ranks + 1, sizeof *f.first);
    index_spans(&f, n);
    for (int64_t i = 0; i < n; i++)
        last = later(last, &spans[i]);
    struct critical_path p = follow(&f, last);
    free(f.of);
    free(f.base);
    free(f.first);
    return p;
}
