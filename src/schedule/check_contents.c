/* SPDX-License-Identifier: Apache-2.0
 *
 * What buffers hold: disjoint spans, cut where a write covers a part of them
 * and joined again where they continue each other. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>
#include <string.h>

void contents_clear(struct contents *c)
{
    free(c->dense.list);
    free(c->strided.list);
    *c = (struct contents){ 0 };
}

/* ---- Dense spans --------------------------------------------------------- */

/* Does b go on where a ends, so that both are one span? */
static int continues(const struct span *a, const struct span *b)
{
    if (a->row + a->rows != b->row || a->head != b->head
        || a->heads != b->heads || a->what != b->what || a->node != b->node
        || a->max != b->max)
        return 0;
    if (a->what == WHAT_ZERO)
        return 1;
    int64_t gap = b->token - (a->token + (a->rows - 1) * a->step);
    int64_t step = a->rows > 1 ? a->step : b->rows > 1 ? b->step : 1;
    return a->of_head == b->of_head && gap == step
        && (b->rows == 1 || b->step == step);
}

static void join(struct span *a, const struct span *b)
{
    if (a->rows == 1)
        a->step = b->rows > 1 ? b->step : 1;
    a->rows += b->rows;
}

static void insert(struct spans *s, struct span x)
{
    int64_t at = s->n;

    while (at > 0 && (s->list[at - 1].row > x.row
                      || (s->list[at - 1].row == x.row
                          && s->list[at - 1].head > x.head)))
        at--;
    if (at > 0 && continues(&s->list[at - 1], &x)) {
        join(&s->list[at - 1], &x);
        if (at == s->n || !continues(&s->list[at - 1], &s->list[at]))
            return;
        join(&s->list[at - 1], &s->list[at]);
        s->n--;
        memmove(&s->list[at], &s->list[at + 1],
                (size_t)(s->n - at) * sizeof x);
        return;
    }
    if (at < s->n && continues(&x, &s->list[at])) {
        join(&x, &s->list[at]);
        s->list[at] = x;
        return;
    }
    spans_push(s, x);
    memmove(&s->list[at + 1], &s->list[at],
            (size_t)(s->n - 1 - at) * sizeof x);
    s->list[at] = x;
}

static void insert_dense(struct contents *c, struct span x)
{
    c->end = max64(c->end, x.row + x.rows);
    insert(&c->dense, x);
}

/* Rows first .. last of x, heads of it from `head` to `end`. */
static struct span part(struct span x, int64_t first, int64_t last,
                        int32_t head, int32_t end)
{
    x.token += (first - x.row) * x.step;
    x.row = first;
    x.rows = last - first;
    if (x.what != WHAT_ZERO) {
        x.of_head += head - x.head;
        if (x.rows == 1)
            x.step = 1;
    }
    x.head = head;
    x.heads = end - head;
    return x;
}

static void keep(struct spans *out, struct span x)
{
    if (x.rows > 0 && x.heads > 0)
        spans_push(out, x);
}

/* What of x lies outside of the box. */
static void cut(struct span x, struct box box, struct spans *out)
{
    int64_t last = x.row + x.rows;
    int64_t a = max64(x.row, box.first), b = min64(last, box.last);
    int32_t end = x.head + x.heads;
    int32_t h = (int32_t)max64(x.head, box.head_first);
    int32_t g = (int32_t)min64(end, box.head_last);

    keep(out, part(x, x.row, a, x.head, end));
    keep(out, part(x, a, b, x.head, h));
    keep(out, part(x, a, b, g, end));
    keep(out, part(x, b, last, x.head, end));
}

static int span_meets(const struct span *x, const struct box *box)
{
    return x->row < box->last && x->row + x->rows > box->first
        && x->head < box->head_last && x->head + x->heads > box->head_first;
}

static void erase(struct contents *c, struct box box)
{
    struct spans cuts = { 0 };
    int64_t kept = 0;

    if (box.first >= c->end)
        return;
    for (int64_t i = 0; i < c->dense.n; i++) {
        struct span x = c->dense.list[i];
        if (span_meets(&x, &box))
            cut(x, box, &cuts);
        else
            c->dense.list[kept++] = x;
    }
    c->dense.n = kept;
    if (!kept)
        c->end = 0;
    for (int64_t i = 0; i < cuts.n; i++)
        insert_dense(c, cuts.list[i]);
    free(cuts.list);
}

/* ---- Rows with a stride -------------------------------------------------- */

/* All of the strided spans as one dense span, if that is what they are. */
static int as_one(const struct contents *c, struct span *one)
{
    const struct span *x = c->strided.list;
    int64_t rows = 0, first = x->row, last = 0, step = x->step / c->stride;

    *one = *x;
    for (int64_t i = 0; i < c->strided.n; i++, x++) {
        int64_t end = x->row + (x->rows - 1) * c->stride + 1;
        if (x->head != one->head || x->heads != one->heads
            || x->what != one->what || x->node != one->node
            || x->max != one->max || x->of_head != one->of_head
            || x->step != one->step || x->step % c->stride
            || x->token - x->row * step != one->token - one->row * step)
            return 0;
        rows += x->rows;
        first = min64(first, x->row);
        last = max64(last, end);
    }
    one->token += (first - one->row) * step;
    one->row = first;
    one->rows = rows;
    one->step = step;
    return rows == last - first;
}

/* Make all rows dense. */
static void settle(struct contents *c)
{
    struct span one;

    if (c->strided.n == 0)
        return;
    if (as_one(c, &one))
        insert_dense(c, one);
    else
        for (int64_t i = 0; i < c->strided.n; i++) {
            struct span x = c->strided.list[i];
            for (int64_t k = 0; k < x.rows; k++) {
                struct span row = x;
                row.row += k * c->stride;
                row.token += k * x.step;
                row.rows = 1;
                row.step = x.what != WHAT_ZERO;
                insert_dense(c, row);
            }
        }
    c->strided.n = 0;
}

/* Can rows of this run join those that wait, none of them written twice? */
static int can_wait(const struct contents *c, struct run r)
{
    if (c->strided.n && c->stride != r.stride)
        return 0;
    for (int64_t i = 0; i < c->strided.n; i++)
        if ((c->strided.list[i].row - r.first) % r.stride == 0)
            return 0;
    return 1;
}

static void erase_run(struct contents *c, struct run r, int32_t head,
                      int32_t end)
{
    struct box box = { r.first, run_last(r) + 1, head, end };

    if (r.stride == 1) {
        settle(c);
        erase(c, box);
        return;
    }
    if (!can_wait(c, r))
        settle(c);
    for (int64_t i = 0; i < c->dense.n; i++)
        if (span_meets(&c->dense.list[i], &box)) {
            for (int64_t k = 0; k < r.count; k++) {
                box.first = r.first + k * r.stride;
                box.last = box.first + 1;
                erase(c, box);
            }
            return;
        }
}

/* ---- Tiles --------------------------------------------------------------- */

/* The part of the run that is in the dense span x; row `at` of the tile is the
 * first of the run. */
static void read_span(const struct span *x, struct run r, int64_t at,
                      struct tile t, struct spans *out)
{
    int64_t i = max64(0, ceil_div(x->row - r.first, r.stride));
    int64_t j = min64(r.count, ceil_div(x->row + x->rows - r.first,
                                        r.stride));
    int32_t h = (int32_t)max64(x->head, t.head_first);
    int32_t g = (int32_t)min64(x->head + x->heads,
                               t.head_first + t.head_count);

    if (i >= j || h >= g)
        return;
    struct span y = part(*x, r.first + i * r.stride,
                         r.first + i * r.stride + 1, h, g);
    y.row = at + i;
    y.rows = j - i;
    y.head -= t.head_first;
    if (x->what != WHAT_ZERO)
        y.step = y.rows == 1 ? 1 : x->step * r.stride;
    spans_push(out, y);
}

void contents_get(const struct pool *pool, struct contents *c, struct tile t,
                  struct spans *out)
{
    int64_t n, at = 0;
    const struct run *runs = pool_rows_get(pool, t.rows, &n);

    settle(c);
    out->n = 0;
    for (int64_t i = 0; i < n; at += runs[i++].count)
        for (int64_t k = 0; k < c->dense.n; k++) {
            if (c->dense.list[k].row > run_last(runs[i]))
                break;
            read_span(&c->dense.list[k], runs[i], at, t, out);
        }
}

int buffers_share(const struct schedule *s, int32_t a, int32_t b)
{
    const struct buffer *x = &s->buffers[a], *y = &s->buffers[b];

    return a != b && x->role == ROLE_SCRATCH && y->role == ROLE_SCRATCH
        && x->offset < y->offset + buffer_bytes(s, b)
        && y->offset < x->offset + buffer_bytes(s, a);
}

/* Buffers in the arena are gone where another one is written over them. */
static void overwrite(const struct schedule *s, struct contents *buffers,
                      int32_t buffer)
{
    for (int32_t i = 0; i < s->n_buffers; i++)
        if ((buffers[i].dense.n || buffers[i].strided.n)
            && buffers_share(s, i, buffer)) {
            buffers[i].dense.n = buffers[i].strided.n = 0;
            buffers[i].end = 0;
        }
}

/* Rows of the tile that are in run r, whose first is row `at` of the tile. */
static void write_run(struct contents *c, struct run r, int64_t at,
                      struct tile t, const struct spans *in)
{
    for (int64_t i = 0; i < in->n; i++) {
        const struct span *x = &in->list[i];
        int64_t a = max64(x->row, at), b = min64(x->row + x->rows,
                                                 at + r.count);
        if (a >= b)
            continue;
        struct span y = part(*x, a, b, x->head, x->head + x->heads);
        y.row = r.first + (a - at) * r.stride;
        y.head += t.head_first;
        if (r.stride == 1 || y.rows == 1) {
            insert_dense(c, y);
        } else {
            c->stride = r.stride;
            spans_push(&c->strided, y);
        }
    }
}

void contents_put(const struct pool *pool, struct contents *c, struct tile t,
                  const struct spans *in)
{
    int64_t n, at = 0;
    const struct run *runs = pool_rows_get(pool, t.rows, &n);

    for (int64_t i = 0; i < n; at += runs[i++].count) {
        erase_run(c, runs[i], t.head_first, t.head_first + t.head_count);
        write_run(c, runs[i], at, t, in);
    }
}

void contents_read(const struct schedule *s, struct contents *buffers,
                   struct tile t, struct spans *out)
{
    contents_get(s->pool, &buffers[t.buffer], t, out);
}

void contents_write(const struct schedule *s, struct contents *buffers,
                    struct tile t, const struct spans *in)
{
    overwrite(s, buffers, t.buffer);
    contents_put(s->pool, &buffers[t.buffer], t, in);
}
