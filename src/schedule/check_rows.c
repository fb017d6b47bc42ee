/* SPDX-License-Identifier: Apache-2.0
 *
 * Exactly once, by rows: where tokens lie in many short runs (stripes of
 * several tokens), a segment over rows of a tile is one rectangle, over tokens
 * thousands.  Good as long as every token list names a token once, and lists of
 * other sides are equal or apart: then rows stand for tokens. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

struct list {                   /* of tokens */
    int32_t number;             /* in checker.tokens */
    int64_t base;               /* its rows count from here on */
    int64_t n;
    const struct run *runs;
    int64_t *rows;              /* [n + 1] of the runs, added up */
    int rises;                  /* tokens rise with the row */
};

struct lists {                  /* few: found one by one */
    struct list *list;
    int64_t n, cap, rows;
};

enum { MOST_LISTS = 4096 };

static struct list list_make(const struct pool *tokens, int32_t number,
                             int64_t base)
{
    struct list x = { .number = number, .base = base, .rises = 1 };

    x.runs = pool_rows_get(tokens, number, &x.n);
    x.rows = xcalloc((size_t)x.n + 1, sizeof *x.rows);
    for (int64_t i = 0; i < x.n; i++) {
        x.rows[i + 1] = x.rows[i] + x.runs[i].count;
        x.rises &= i == 0 || run_last(x.runs[i - 1]) < x.runs[i].first;
    }
    return x;
}

static const struct list *lists_find(struct lists *all,
                                     const struct pool *tokens,
                                     int32_t number)
{
    for (int64_t i = 0; i < all->n; i++)
        if (all->list[i].number == number)
            return &all->list[i];
    struct list x = list_make(tokens, number, all->rows);
    all->rows += x.rows[x.n];
    ARRAY_PUSH(all->list, all->n, all->cap, x);
    return &all->list[all->n - 1];
}

static void lists_clear(struct lists *all)
{
    for (int64_t i = 0; i < all->n; i++)
        free(all->list[i].rows);
    free(all->list);
}

/* No token is in two of them, or in one twice. */
static int lists_apart(struct checker *c, const struct lists *all)
{
    struct prover *w = &c->prover;
    struct rect a, b;

    w->n = 0;
    for (int64_t i = 0; i < all->n; i++)
        for (int64_t k = 0; k < all->list[i].n; k++) {
            struct rect r = { { 0, 1, 1 }, all->list[i].runs[k], BAND_LOW,
                              BAND_HIGH };
            ARRAY_PUSH(w->rects, w->n, w->cap, r);
        }
    return rects_disjoint(w->rects, w->n, &a, &b);
}

/* ---- Segments ------------------------------------------------------------ */

/* The run in which a row is. */
static int64_t run_of(const struct list *x, int64_t row)
{
    int64_t low = 0, high = x->n;

    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (x->rows[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static int64_t token_at(const struct list *x, int64_t row)
{
    int64_t i = run_of(x, row);

    return x->runs[i].first + (row - x->rows[i]) * x->runs[i].stride;
}

/* Tokens of rows first .. first + count that rise, as far as they go; strides
 * matter only where it is one run. */
static struct run extent(const struct list *x, int64_t first, int64_t count)
{
    int64_t from = token_at(x, first), to = token_at(x, first + count - 1);
    int64_t i = run_of(x, first);

    if (run_of(x, first + count - 1) == i)
        return (struct run){ from, count > 1 ? x->runs[i].stride : 1, count };
    return (struct run){ from, 1, to - from + 1 };
}

/* All pairs of a segment are visible.  0: perhaps not. */
static int clearly_visible(const struct job *job, const struct segment *s,
                           const struct list *q, const struct list *k)
{
    int open = s->low <= BAND_LOW && s->high >= BAND_HIGH;
    int same = q->number == k->number && s->q_first == s->k_first;
    struct rect r = { extent(q, s->q_first, s->q_count),
                      extent(k, s->k_first, s->k_count), BAND_LOW, BAND_HIGH };

    if (open)
        return mask_covers(job, &r);
    /* Rows above or below the diagonal are tokens above or below it. */
    if (same && s->low >= 0)
        r.low = 0;
    else if (same && s->high <= 0)
        r.high = 0;
    else if (r.x.stride == r.y.stride && r.x.count == s->q_count
             && r.y.count == s->k_count) {
        int64_t gap = r.x.first - r.y.first;
        if (s->low > BAND_LOW)
            r.low = gap + s->low * r.x.stride;
        if (s->high < BAND_HIGH)
            r.high = gap + s->high * r.x.stride;
    }
    return mask_covers(job, &r);
}

/* x: rows of keys, y: rows of queries. */
static struct rect row_rect(const struct segment *s, int64_t q, int64_t k)
{
    struct rect r = { { k + s->k_first, 1, s->k_count },
                      { q + s->q_first, 1, s->q_count }, BAND_LOW, BAND_HIGH };
    int64_t gap = r.x.first - r.y.first;

    if (s->high < BAND_HIGH)
        r.low = gap - s->high;
    if (s->low > BAND_LOW)
        r.high = gap - s->low;
    return r;
}

/* Pairs of a leaf; -1: not sure. */
static int64_t push_rows(struct checker *c, const struct leaf *leaf,
                         const struct list *q, const struct list *k)
{
    struct prover *w = &c->prover;
    int64_t n, pairs = 0;
    const struct segment *list = pool_segments_get(c->pool, leaf->segments,
                                                   &n);

    for (int64_t i = 0; i < n; i++) {
        if (segment_pairs(&list[i]) == 0)
            continue;
        if (!clearly_visible(c->job, &list[i], q, k))
            return -1;
        struct rect r = row_rect(&list[i], q->base, k->base);
        pairs += rect_pairs(r);
        ARRAY_PUSH(w->rects, w->n, w->cap, r);
    }
    return pairs;
}

/* ---- The proof ----------------------------------------------------------- */

static int rises(const struct lists *all)
{
    for (int64_t i = 0; i < all->n; i++)
        if (!all->list[i].rises)
            return 0;
    return 1;
}

/* Lists of the leaves' own side, which must be the claim's, and of the other
 * side. */
static int find_lists(struct checker *c, const struct claim *claim,
                      const int32_t *leaves, int64_t n, struct lists *own,
                      struct lists *others)
{
    for (int64_t i = 0; i < n; i++) {
        const struct leaf *x = &c->history.leaves[leaves[i]];
        int query = claim->side == SIDE_QUERY;
        if ((query ? x->q : x->k) != claim->tokens || others->n > MOST_LISTS)
            return 0;
        lists_find(own, c->tokens, claim->tokens);
        lists_find(others, c->tokens, query ? x->k : x->q);
    }
    return rises(own) && rises(others) && lists_apart(c, own)
        && lists_apart(c, others);
}

static int64_t count_pairs(struct checker *c, const struct claim *claim,
                           const int32_t *leaves, int64_t n,
                           struct lists *own, struct lists *others)
{
    struct prover *w = &c->prover;
    int query = claim->side == SIDE_QUERY;
    int64_t pairs = 0;
    struct rect a, b;

    if (!find_lists(c, claim, leaves, n, own, others))
        return -1;
    w->n = 0;
    for (int64_t i = 0; i < n; i++) {
        const struct leaf *leaf = &c->history.leaves[leaves[i]];
        struct lists *q = query ? own : others, *k = query ? others : own;
        int64_t more = push_rows(c, leaf, lists_find(q, c->tokens, leaf->q),
                                 lists_find(k, c->tokens, leaf->k));
        if (more < 0)
            return -1;
        pairs += more;
    }
    return rects_disjoint(w->rects, w->n, &a, &b) ? pairs : -1;
}

int64_t rows_pairs(struct checker *c, const struct claim *claim,
                   const int32_t *leaves, int64_t n)
{
    struct lists own = { 0 }, others = { 0 };
    int64_t pairs = count_pairs(c, claim, leaves, n, &own, &others);

    lists_clear(&own);
    lists_clear(&others);
    return pairs;
}
