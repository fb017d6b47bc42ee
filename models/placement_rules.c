/* SPDX-License-Identifier: Apache-2.0
 *
 * Rules that place ranks. */
#include <config.h>

#include "models/placement.h"

#include <string.h>

static int linear(const struct placement_problem *p, int32_t *map,
                  struct error *e)
{
    (void)e;
    memcpy(map, p->slots, (size_t)p->traffic->ranks * sizeof *map);
    return 0;
}

static int ordered(const struct placement_problem *p, int32_t *map,
                   struct error *e)
{
    (void)e;
    memcpy(map, p->ordered, (size_t)p->traffic->ranks * sizeof *map);
    return 0;
}

/* ---- Meshes: LoongTrain, arXiv:2406.18485, section 4.3 ------------------- */

static int has_groups(const struct placement_problem *p, struct error *e)
{
    if (p->traffic->of_members > 0)
        return 0;
    return fail_usage(e, "the ranks are no mesh of head groups (all-to-alls) "
                      "of equal size");
}

/* Ranks of a head group beside each other. */
static int head_first(const struct placement_problem *p, int32_t *map,
                      struct error *e)
{
    const struct traffic *t = p->traffic;

    if (has_groups(p, e))
        return -1;
    for (int64_t r = 0; r < t->ranks; r++)
        map[r] = p->ordered[t->group[r] * t->of_members + t->member[r]];
    return 0;
}

/* Ranks of a context group, which have the same place in their head groups. */
static int context_first(const struct placement_problem *p, int32_t *map,
                         struct error *e)
{
    const struct traffic *t = p->traffic;

    if (has_groups(p, e))
        return -1;
    for (int64_t r = 0; r < t->ranks; r++)
        map[r] = p->ordered[t->member[r] * t->n_groups + t->group[r]];
    return 0;
}

/* ---- Snake -------------------------------------------------------------- */

static int32_t host_of(const struct placement_problem *p, int64_t i)
{
    const struct graph *g = p->machine->graph;

    return g->vertices[g->slots[p->ordered[i]]].host;
}

/* Every second host backwards: neighbours across hosts are on slots that are
 * counted alike, which hang on the same rail. */
static int snake(const struct placement_problem *p, int32_t *map,
                 struct error *e)
{
    int64_t ranks = p->traffic->ranks, hosts = 0;

    for (int64_t i = 0, end; i < ranks; i = end, hosts++) {
        for (end = i + 1; end < ranks && host_of(p, end) == host_of(p, i);)
            end++;
        for (int64_t k = i; k < end; k++)
            map[k] = p->ordered[hosts % 2 ? i + end - 1 - k : k];
    }
    if (hosts > 1)
        return 0;
    return fail_usage(e, "there is one host");
}

/* ---- Exhaustive --------------------------------------------------------- */

enum { FEW_RANKS = 7 };         /* 5,040 orders */

struct trial {
    const struct placement_problem *p;
    int32_t at[FEW_RANKS], best[FEW_RANKS];
    double seconds;
};

static void try_orders(struct trial *t, int64_t n)
{
    if (n <= 1) {
        double seconds = placement_seconds(t->p, t->at);
        if (seconds < t->seconds) {
            t->seconds = seconds;
            memcpy(t->best, t->at, sizeof t->best);
        }
        return;
    }
    /* The last of n stays first, so that linear is the first order of all. */
    for (int64_t i = n - 1; i >= 0; i--) {
        int32_t last = t->at[n - 1];
        t->at[n - 1] = t->at[i];
        t->at[i] = last;
        try_orders(t, n - 1);
        t->at[i] = t->at[n - 1];
        t->at[n - 1] = last;
    }
}

static int exhaustive(const struct placement_problem *p, int32_t *map,
                      struct error *e)
{
    int64_t ranks = p->traffic->ranks;
    struct trial t = { .p = p };

    if (ranks > FEW_RANKS)
        return fail_usage(e, "more than %d ranks", FEW_RANKS);
    memcpy(t.at, p->ordered, (size_t)ranks * sizeof *t.at);
    memcpy(t.best, p->ordered, (size_t)ranks * sizeof *t.best);
    t.seconds = placement_seconds(p, t.best);
    try_orders(&t, ranks);
    memcpy(map, t.best, (size_t)ranks * sizeof *map);
    return 0;
}

static const struct placement_rule rules[] = {
    { "linear", "as the launcher starts them", linear },
    { "ordered", "as the machine counts its slots", ordered },
    { "head-first", "head groups beside each other", head_first },
    { "context-first", "context groups beside each other", context_first },
    { "snake", "every second host backwards", snake },
    { "exhaustive", "every order, of few ranks", exhaustive },
    { "scotch", "recursive bisection of ranks and of the machine's tree",
      placement_scotch },
};
const struct placement_rule *const placement_rules[] = {
    &rules[0], &rules[1], &rules[2], &rules[3], &rules[4], &rules[5],
    &rules[6], NULL
};
