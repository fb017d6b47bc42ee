/* SPDX-License-Identifier: Apache-2.0
 *
 * Banded rectangles of tokens: intersect, count, compare. Exact always; fast in
 * the cases that schedules are made of. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

int64_t run_last(struct run r)
{
    return r.first + (r.count - 1) * r.stride;
}

static int ranges_meet(struct run a, struct run b)
{
    return a.first <= run_last(b) && b.first <= run_last(a);
}

/* Elements of r within low .. high, both included. */
static struct run run_clip(struct run r, int64_t low, int64_t high)
{
    int64_t first = low <= r.first ? 0 : ceil_div(low - r.first, r.stride);
    int64_t last = high >= run_last(r) ? r.count - 1
        : floor_div(high - r.first, r.stride);

    if (r.count == 0 || first > last)
        return (struct run){ r.first, r.stride, 0 };
    return (struct run){ r.first + first * r.stride, r.stride,
                         last - first + 1 };
}

/* gcd, and *x with a * x = gcd (mod b). */
static int64_t gcd_inverse(int64_t a, int64_t b, int64_t *x)
{
    int64_t x0 = 1, x1 = 0, b0 = b;

    while (b) {
        int64_t quotient = a / b, rest = a % b, next = x0 - quotient * x1;
        a = b;
        b = rest;
        x0 = x1;
        x1 = next;
    }
    *x = (x0 % b0 + b0) % b0;
    return a;
}

struct run run_meet(struct run a, struct run b)
{
    struct run none = { a.first, 1, 0 };

    if (a.count == 0 || b.count == 0 || !ranges_meet(a, b))
        return none;
    if (a.count == 1)
        a.stride = b.stride;
    if (b.count == 1)
        b.stride = a.stride;

    /* First x = a.first + i a.stride with x = b.first (mod b.stride). */
    int64_t inverse, gcd = gcd_inverse(a.stride, b.stride, &inverse);
    int64_t gap = b.first - a.first, period = b.stride / gcd;
    if (gap % gcd)
        return none;
    int64_t i = (int64_t)((__int128)(gap / gcd) * inverse % period);
    i = (i + period) % period;
    int64_t stride = a.stride * period, first = a.first + i * a.stride;
    if (first < b.first)
        first += ceil_div(b.first - first, stride) * stride;
    int64_t last = min64(run_last(a), run_last(b));
    if (first > last)
        return none;
    return (struct run){ first, stride, (last - first) / stride + 1 };
}

/* Row by row, along the shorter side. */
static int64_t count_rows(struct rect r)
{
    int64_t pairs = 0;

    if (r.x.count <= r.y.count)
        for (int64_t i = 0; i < r.x.count; i++) {
            int64_t x = r.x.first + i * r.x.stride;
            pairs += run_clip(r.y, x - r.high, x - r.low).count;
        }
    else
        for (int64_t j = 0; j < r.y.count; j++) {
            int64_t y = r.y.first + j * r.y.stride;
            pairs += run_clip(r.x, y + r.low, y + r.high).count;
        }
    return pairs;
}

int64_t rect_pairs(struct rect r)
{
    if (r.x.count == 0 || r.y.count == 0)
        return 0;
    int64_t least = r.x.first - run_last(r.y);
    int64_t most = run_last(r.x) - r.y.first;
    if (r.low <= least && r.high >= most)
        return r.x.count * r.y.count;
    r.low = max64(r.low, least);
    r.high = min64(r.high, most);
    if (r.low > r.high)
        return 0;
    if (r.x.count == 1 || r.y.count == 1 || r.x.stride != r.y.stride)
        return count_rows(r);
    int64_t gap = r.x.first - r.y.first;
    struct segment s = { 0, r.x.count, 0, r.y.count,
                         ceil_div(r.low - gap, r.x.stride),
                         floor_div(r.high - gap, r.x.stride) };
    return segment_pairs(&s);
}

struct rect rect_meet(struct rect a, struct rect b)
{
    return (struct rect){ run_meet(a.x, b.x), run_meet(a.y, b.y),
                          max64(a.low, b.low), min64(a.high, b.high) };
}

static int64_t residue(struct run r)
{
    return (r.first % r.stride + r.stride) % r.stride;
}

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* By stride and residue of y, then along y. */
static int by_class(const void *a, const void *b)
{
    const struct rect *r = a, *s = b;
    int order = compare(r->y.stride, s->y.stride);

    if (!order && r->y.stride > 1)
        order = compare(residue(r->y), residue(s->y));
    return order ? order : compare(r->y.first, s->y.first);
}

static int along_y(const void *a, const void *b)
{
    return compare(((const struct rect *)a)->y.first,
                   ((const struct rect *)b)->y.first);
}

static int same_class(const struct rect *r, const struct rect *s)
{
    return r->y.stride == s->y.stride
        && (r->y.stride == 1 || residue(r->y) == residue(s->y));
}

/* Sweep along y over a sorted list; of rects whose y ranges meet, compare those
 * of one class, or those of different strides. */
static int sweep(const struct rect *list, int64_t n, int across,
                 struct rect *a, struct rect *b)
{
    const struct rect **open = xmalloc((size_t)n * sizeof *open);
    int64_t n_open = 0;
    int met = 0;

    for (int64_t i = 0; i < n && !met; i++) {
        const struct rect *r = &list[i];
        int64_t kept = 0;

        if (!across && i && !same_class(r, &list[i - 1]))
            n_open = 0;
        for (int64_t j = 0; j < n_open && !met; j++) {
            if (run_last(open[j]->y) < r->y.first)
                continue;
            if (across != (open[j]->y.stride == r->y.stride)
                && ranges_meet(open[j]->x, r->x)
                && rect_pairs(rect_meet(*open[j], *r)) > 0) {
                *a = *open[j];
                *b = *r;
                met = 1;
            }
            open[kept++] = open[j];
        }
        open[kept] = r;
        n_open = kept + 1;
    }
    free(open);
    return !met;
}

int rects_disjoint(struct rect *list, int64_t n, struct rect *a,
                   struct rect *b)
{
    int strides = 0;

    for (int64_t i = 0; i < n; i++)
        if (list[i].y.count == 1)
            list[i].y.stride = 1;
    if (n > 1)
        qsort(list, (size_t)n, sizeof *list, by_class);
    for (int64_t i = 1; i < n; i++)
        strides |= list[i].y.stride != list[i - 1].y.stride;
    if (!sweep(list, n, 0, a, b))
        return 0;
    if (!strides)
        return 1;
    qsort(list, (size_t)n, sizeof *list, along_y);
    return sweep(list, n, 1, a, b);
}
