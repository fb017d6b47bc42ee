/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing a placement: rules, a search, the simulator as the judge. */
#include <config.h>

#include "models/placement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Differences below this are none. */
static const double ALIKE = 1e-6;

struct chooser {
    struct placements *c;
    struct placement_problem *p;
    const struct schedule *const *schedules;
    struct simulate_options options;
    double ops, most_ops;       /* of a simulation; of all */
    uint64_t random;
};

static int64_t ranks_of(const struct chooser *x)
{
    return x->p->traffic->ranks;
}

static int32_t *copy_map(const struct chooser *x, const int32_t *map)
{
    int32_t *copy = xcalloc((size_t)ranks_of(x), sizeof *copy);

    memcpy(copy, map, (size_t)ranks_of(x) * sizeof *copy);
    return copy;
}

static double judge(struct chooser *x, const int32_t *map)
{
    struct simulate_options o = x->options;
    struct simulate_result r;

    o.slots = map;
    simulate(x->schedules, ranks_of(x), x->p->machine, &o, &r);
    double seconds = r.deadlock ? NAN : r.seconds;
    simulate_result_clear(&r);
    x->c->simulations++;
    return seconds;
}

/* ---- Rules -------------------------------------------------------------- */

static struct placed *find_same(struct chooser *x, const int32_t *map)
{
    for (int64_t i = 0; i < x->c->n; i++) {
        struct placed *row = &x->c->rows[i];
        if (row->map && memcmp(row->map, map, (size_t)ranks_of(x)
                               * sizeof *map) == 0)
            return row;
    }
    return NULL;
}

/* Another row; `map` is its own. */
static void add_row(struct chooser *x, const char *name, int32_t *map)
{
    struct placed row = { .name = name, .map = map };
    const struct placed *same = find_same(x, map);

    if (same) {
        row = *same;
        row.name = name;
        row.map = map;
        row.as = same->as ? same->as : same->name;
    } else {
        row.predicted = judge(x, map);
        row.alone = placement_seconds(x->p, map);
        row.busiest_nic = placement_busiest_nic(x->p, map);
    }
    x->c->rows[x->c->n++] = row;
}

static void try_rule(struct chooser *x, const struct placement_rule *rule)
{
    struct placed row = { .name = rule->name };
    int32_t *map = xcalloc((size_t)ranks_of(x), sizeof *map);

    if (rule->place(x->p, map, &row.reason) == 0) {
        add_row(x, rule->name, map);
        return;
    }
    free(map);
    x->c->rows[x->c->n++] = row;
}

static void find_best(struct placements *c)
{
    c->best = 0;
    for (int64_t i = 1; i < c->n; i++)
        if (c->rows[i].map
            && c->rows[i].predicted < c->rows[c->best].predicted * (1 - ALIKE))
            c->best = i;
}

/* ---- Search ------------------------------------------------------------- */

/* xorshift64: the same exchanges every time. */
static int64_t draw(struct chooser *x, int64_t n)
{
    x->random ^= x->random << 13;
    x->random ^= x->random >> 7;
    x->random ^= x->random << 17;
    return (int64_t)(x->random % (uint64_t)n);
}

static void exchange(int32_t *map, int64_t a, int64_t b)
{
    int32_t slot = map[a];

    map[a] = map[b];
    map[b] = slot;
}

/* Exchanges that make the messages faster, as long as there are any among about
 * as many as there are pairs, and as many messages looked at as the simulator
 * may take ops. */
static void descend(struct chooser *x, int32_t *map)
{
    int64_t n = ranks_of(x), pairs = n * (n - 1) / 2;
    double seconds, least = placement_strain(x->p, map);
    double left = x->most_ops / (double)max64(x->p->traffic->n, 1);

    do {
        seconds = least;
        for (int64_t i = 0; i < pairs && left > 0; i++, left--) {
            int64_t a = draw(x, n), b = draw(x, n);
            exchange(map, a, b);
            double now = placement_strain(x->p, map);
            if (now < least * (1 - ALIKE))
                least = now;
            else
                exchange(map, a, b);
        }
    } while (least < seconds * (1 - ALIKE) && left > 0);
}

/* Exchanges that the simulator calls faster. */
static double improve(struct chooser *x, int32_t *map)
{
    int64_t n = ranks_of(x);
    double least = judge(x, map);

    while ((double)x->c->simulations * x->ops < x->most_ops
           && x->c->simulations < n * n + 16) {
        int64_t a = draw(x, n), b = draw(x, n);
        exchange(map, a, b);
        double now = a == b ? least : judge(x, map);
        if (now < least * (1 - ALIKE))
            least = now;
        else
            exchange(map, a, b);
    }
    return least;
}

static void search_placement(struct chooser *x)
{
    const struct placed *start = &x->c->rows[x->c->best];
    int32_t *map = copy_map(x, start->map), *down = copy_map(x, start->map);

    if (ranks_of(x) > 1) {
        descend(x, down);
        if (judge(x, down) < start->predicted * (1 - ALIKE))
            memcpy(map, down, (size_t)ranks_of(x) * sizeof *map);
        improve(x, map);
    }
    free(down);
    add_row(x, "search", map);
}

static int compare_slots(const void *a, const void *b)
{
    const int32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

/* ---- All of it ---------------------------------------------------------- */

int placement_choose(struct placements *c, const struct placement_problem *p,
                     const struct schedule *const *schedules,
                     const struct simulate_options *o, double most_ops,
                     struct error *e)
{
    struct placement_problem own = *p;
    struct chooser x = { c, &own, schedules, *o, 0, most_ops,
                         88172645463325252u };
    int64_t rules = 0;

    *c = (struct placements){ 0 };
    if (simulate_ready(schedules, p->traffic->ranks, p->machine, o->kernel, e))
        return -1;
    int32_t *ascending = copy_map(&x, p->slots);
    qsort(ascending, (size_t)ranks_of(&x), sizeof *ascending, compare_slots);
    own.ordered = ascending;
    x.options.record = 0;
    x.options.links = p->links;
    for (int64_t r = 0; r < ranks_of(&x); r++)
        x.ops += (double)schedules[r]->n_ops;
    while (placement_rules[rules])
        rules++;
    c->rows = xcalloc((size_t)rules + 1, sizeof *c->rows);
    for (int64_t i = 0; i < rules; i++)
        try_rule(&x, placement_rules[i]);
    find_best(c);
    search_placement(&x);
    find_best(c);
    free(ascending);
    return 0;
}

void placement_clear(struct placements *c)
{
    for (int64_t i = 0; i < c->n; i++)
        free(c->rows[i].map);
    free(c->rows);
    *c = (struct placements){ 0 };
}
