/* SPDX-License-Identifier: Apache-2.0
 *
 * The one place where masks are made: visible segments from two position
 * maps. */
#include <config.h>

#include "job/position.h"

#include <stdlib.h>

struct list {
    struct segment *s;
    int64_t n, cap;
};

/* A place and the local row where it begins. */
struct side {
    struct place place;
    int64_t row;
};

static int is_full(const struct segment *s)
{
    return s->low <= BAND_LOW && s->high >= BAND_HIGH;
}

/* Append; a full segment continues the previous one where the keys of the same
 * rows go on. */
static void push_segment(struct list *l, struct segment s)
{
    if (!segment_trim(&s))
        return;
    struct segment *last = l->n ? &l->s[l->n - 1] : NULL;
    if (last && is_full(last) && is_full(&s) && last->q_first == s.q_first
        && last->q_count == s.q_count
        && last->k_first + last->k_count == s.k_first) {
        last->k_count += s.k_count;
        return;
    }
    ARRAY_PUSH(l->s, l->n, l->cap, s);
}

/* Strides differ: row by row. */
static void push_by_row(struct list *l, const struct mask *m, struct side q,
                        struct side k)
{
    int64_t s = k.place.stride;

    for (int64_t i = 0; i < q.place.count; i++) {
        int64_t d = q.place.first + i * q.place.stride - k.place.first;
        int64_t first = m->left < 0 ? 0 : max64(0, ceil_div(d - m->left, s));
        int64_t last = m->right < 0 ? k.place.count - 1
            : min64(k.place.count - 1, floor_div(d + m->right, s));
        push_segment(l, (struct segment){ q.row + i, 1, k.row + first,
                                          last - first + 1, BAND_LOW,
                                          BAND_HIGH });
    }
}

static void push_pair(struct list *l, const struct mask *m, struct side q,
                      struct side k)
{
    int64_t d = q.place.first - k.place.first;
    int64_t most = d + (q.place.count - 1) * q.place.stride;
    int64_t least = d - (k.place.count - 1) * k.place.stride;
    struct segment s = { q.row, q.place.count, k.row, k.place.count, BAND_LOW,
                         BAND_HIGH };
    int open_left = m->left < 0 || most <= m->left;
    int open_right = m->right < 0 || least >= -m->right;

    if ((m->left >= 0 && least > m->left)
        || (m->right >= 0 && most < -m->right))
        return;
    int64_t stride = q.place.count > 1 ? q.place.stride : k.place.stride;
    if (!(open_left && open_right) && q.place.count > 1 && k.place.count > 1
        && q.place.stride != k.place.stride) {
        push_by_row(l, m, q, k);
        return;
    }
    if (!open_right)
        s.low = ceil_div(-m->right - d, stride);
    if (!open_left)
        s.high = floor_div(m->left - d, stride);
    push_segment(l, s);
}

static int by_sequence(const void *a, const void *b)
{
    const struct side *x = a, *y = b;

    if (x->place.sequence != y->place.sequence)
        return x->place.sequence < y->place.sequence ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int by_rows(const void *a, const void *b)
{
    const struct segment *x = a, *y = b;

    if (x->q_first != y->q_first)
        return x->q_first < y->q_first ? -1 : 1;
    return (x->k_first > y->k_first) - (x->k_first < y->k_first);
}

static struct side *sides(const struct position_map *map)
{
    struct side *s = xmalloc((size_t)map->n * sizeof *s);
    int64_t row = 0;

    for (int64_t i = 0; i < map->n; i++) {
        s[i] = (struct side){ map->places[i], row };
        row += map->places[i].count;
    }
    return s;
}

/* First of the places of `sequence`, among n sorted by sequence. */
static int64_t find_sequence(const struct side *s, int64_t n, int64_t sequence)
{
    int64_t low = 0, high = n;

    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (s[middle].place.sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Equal maps whose positions rise with the row, causal: key <= query in
 * position iff in row, so a sequence is one triangle.  Returns 0 if it is not
 * so. */
static int push_triangles(struct list *l, const struct position_map *map)
{
    int64_t row = 0, count;

    for (int64_t i = 1; i < map->n; i++) {
        const struct place *p = &map->places[i], *before = p - 1;
        if (p->sequence < before->sequence
            || (p->sequence == before->sequence && p->first < before->first
                + before->count * before->stride))
            return 0;
    }
    for (int64_t i = 0; i < map->n; row += count) {
        int64_t sequence = map->places[i].sequence;
        count = 0;
        for (; i < map->n && map->places[i].sequence == sequence; i++)
            count += map->places[i].count;
        push_segment(l, (struct segment){ row, count, row, count, 0,
                                          BAND_HIGH });
    }
    return 1;
}

/* Full segments of the same keys over adjoining rows become one. */
static void merge_rows(struct list *l)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < l->n; i++) {
        struct segment s = l->s[i];
        struct segment *last = kept ? &l->s[kept - 1] : NULL;
        if (last && is_full(last) && is_full(&s) && last->k_first == s.k_first
            && last->k_count == s.k_count
            && last->q_first + last->q_count == s.q_first)
            last->q_count += s.q_count;
        else
            l->s[kept++] = s;
    }
    l->n = kept;
}

/* ---- Pairs of places ----------------------------------------------------- */

/* Two maps, the keys sorted by sequence. */
struct sides {
    struct side *q, *k;
    int64_t nq, nk;
};

/* Positions first .. last - 1 of queries and of keys. */
struct window {
    int64_t q_first, q_last, k_first, k_last;
};

static const struct window everything = { 0, INT64_MAX, 0, INT64_MAX };

/* The part of a place at these positions; count 0: none. */
static struct side side_clip(struct side s, int64_t first, int64_t last)
{
    struct place *p = &s.place;
    int64_t end = p->first + p->count * p->stride;
    int64_t from = first <= p->first ? 0
        : ceil_div(min64(first, end) - p->first, p->stride);
    int64_t to = last <= p->first ? 0
        : ceil_div(min64(last, end) - p->first, p->stride);

    from = min64(from, p->count);
    p->count = max64(0, min64(to, p->count) - from);
    p->first += from * p->stride;
    s.row += from;
    return s;
}

static void push_window(struct list *l, const struct mask *m,
                        const struct sides *s, struct window w)
{
    for (int64_t i = 0; i < s->nq; i++) {
        struct side q = side_clip(s->q[i], w.q_first, w.q_last);
        int64_t sequence = q.place.sequence;
        int64_t j = q.place.count ? find_sequence(s->k, s->nk, sequence)
            : s->nk;
        for (; j < s->nk && s->k[j].place.sequence == sequence; j++) {
            struct side k = side_clip(s->k[j], w.k_first, w.k_last);
            if (k.place.count)
                push_pair(l, m, q, k);
        }
    }
}

static int64_t last_position(const struct side *s, int64_t n, int64_t last)
{
    int64_t most = 0;

    for (int64_t i = 0; i < n; i++) {
        const struct place *p = &s[i].place;
        most = max64(most, p->first + (p->count - 1) * p->stride);
    }
    return min64(most, last);
}

/* Queries of blocks that begin within the anchor, and the query part, see all
 * before them; the other blocks the anchor and themselves. */
static void push_star(struct list *l, const struct star *m,
                      const struct sides *s)
{
    static const struct mask causal = { MASK_CAUSAL, -1, 0 };
    static const struct mask full = { MASK_FULL, -1, -1 };
    int64_t plain = min64(m->context, (m->anchor / m->block + 1) * m->block);
    int64_t end = last_position(s->q, s->nq, m->context - 1) + 1;

    push_window(l, &causal, s, (struct window){ 0, plain, 0, INT64_MAX });
    push_window(l, &causal, s, (struct window){ m->context, INT64_MAX, 0,
                                                INT64_MAX });
    push_window(l, &full, s, (struct window){ plain, m->context, 0,
                                              m->anchor });
    for (int64_t first = plain; first < end; first += m->block) {
        int64_t last = min64(first + m->block, m->context);
        push_window(l, &causal, s, (struct window){ first, last, first,
                                                    last });
    }
}

int64_t segments_between(const struct job *job, const struct position_map *q,
                         const struct position_map *k, struct segment **list)
{
    struct list l = { 0 };
    const struct mask *m = &job->mask;

    if (m->kind != MASK_STAR && m->left < 0 && m->right == 0
        && q->hash == k->hash && push_triangles(&l, q)) {
        *list = l.s;
        return l.n;
    }
    struct sides s = { sides(q), sides(k), q->n, k->n };
    qsort(s.k, (size_t)s.nk, sizeof *s.k, by_sequence);
    if (m->kind == MASK_STAR)
        push_star(&l, &job->star, &s);
    else
        push_window(&l, m, &s, everything);
    free(s.q);
    free(s.k);
    if (l.n > 1)
        qsort(l.s, (size_t)l.n, sizeof *l.s, by_rows);
    merge_rows(&l);
    *list = l.s;
    if (!l.n) {
        free(l.s);
        *list = NULL;
    }
    return l.n;
}
