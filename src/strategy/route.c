/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/route.h"

#include <stdlib.h>

static int64_t wrap(int64_t i, int64_t n)
{
    return (i % n + n) % n;
}

static const struct position_map *map_at(const struct route *r, int64_t owner,
                                         int64_t step)
{
    const struct view *v = r->v;

    return pool_map_get(v->pool, v->maps[wrap(owner + r->d * step,
                                              v->members)]);
}

int route_has_halves(const struct view *v)
{
    const struct job *job = v->job;

    return v->options->layout == LAYOUT_ZIGZAG && job->sequences == 1
        && job->mask.left < 0 && job->mask.right == 0
        && job->pass != PASS_DECODE;
}

static int64_t place_last(const struct place *p)
{
    return p->first + (p->count - 1) * p->stride;
}

/* Leading places that a later query sees: up to the last position to come. */
static struct part keys_seen(const struct route *r, int64_t owner,
                             int64_t step)
{
    const struct position_map *own = map_at(r, owner, 0);
    struct part p = { 0, 0 };
    int64_t last = -1, all = own->n ? own->places[own->n - 1].first : -1;

    for (; step < r->v->members && last < all; step++) {
        const struct position_map *m = map_at(r, owner, step);
        if (m->n)
            last = max64(last, place_last(&m->places[m->n - 1]));
    }
    for (int64_t i = 0; i < own->n && own->places[i].first <= last; i++)
        p.count += own->places[i].count;
    return p;
}

/* Trailing places that see an earlier key: from the first position to come. */
static struct part queries_seeing(const struct route *r, int64_t owner,
                                  int64_t step)
{
    const struct position_map *own = map_at(r, owner, 0);
    struct part p = { 0, own->rows };
    int64_t first = INT64_MAX, all = own->n ? place_last(own->places) : first;

    for (; step < r->v->members && first > all; step++) {
        const struct position_map *m = map_at(r, owner, step);
        if (m->n)
            first = min64(first, m->places[0].first);
    }
    for (int64_t i = 0; i < own->n && place_last(&own->places[i]) < first; i++)
        p.first += own->places[i].count;
    p.count -= p.first;
    return p;
}

static int is_visible(const struct route *r, const struct position_map *cargo,
                      const struct position_map *other)
{
    int keys = r->side == SIDE_KEYS;
    struct segment *list;
    int64_t n = segments_between(r->v->job, keys ? other : cargo,
                                 keys ? cargo : other, &list);

    free(list);
    return n > 0;
}

static int is_needed(const struct route *r, int64_t owner, int64_t step,
                     struct part p)
{
    struct position_map *cargo = position_map_slice(map_at(r, owner, 0),
                                                    p.first, p.count);
    int found = 0;

    for (; step < r->v->members && !found; step++)
        found = is_visible(r, cargo, map_at(r, owner, step));
    position_map_destroy(cargo);
    return found;
}

/* Rows of the owner's cargo that a member at `step` or later needs.  Decoding,
 * the members' maps are not those of their queries: everything goes on. */
static struct part rows_at(const struct route *r, int64_t owner, int64_t step)
{
    struct part p = { 0, view_rows(r->v, owner) };

    if (step >= r->v->members)
        return (struct part){ 0, 0 };
    if (step == 0 || r->v->job->pass == PASS_DECODE)
        return p;
    if (r->halves)
        p = r->side == SIDE_KEYS ? keys_seen(r, owner, step)
                                 : queries_seeing(r, owner, step);
    if (r->needed && !is_needed(r, owner, step, p))
        return (struct part){ 0, 0 };
    return p;
}

static int64_t owner(const struct route *r, int64_t step)
{
    return wrap(r->v->me - r->d * step, r->v->members);
}

struct part route_here(const struct route *r, int64_t step)
{
    return rows_at(r, owner(r, step), step);
}

struct part route_on(const struct route *r, int64_t step)
{
    return rows_at(r, owner(r, step), step + 1);
}

struct part route_mine(const struct route *r, int64_t step)
{
    return rows_at(r, r->v->me, step);
}

struct part part_without(struct part all, struct part some)
{
    struct part p = { all.first, all.count - some.count };

    if (some.count && some.first == all.first)
        p.first += some.count;
    return p;
}

int64_t route_cargo_rows(const struct route *r)
{
    int64_t rows = 0;

    for (int64_t step = 0; step < r->v->members - 1; step++)
        rows += route_on(r, step).count;
    return rows;
}

int64_t route_result_rows(const struct route *r)
{
    int64_t rows = 0;

    for (int64_t step = 1; step < r->v->members; step++)
        rows += route_here(r, step).count;
    return rows;
}
