/* SPDX-License-Identifier: Apache-2.0
 *
 * Which rank works where under the planner's choice. */
#include <config.h>

#include "models/planner.h"

#include <stdlib.h>

static int place(struct answer *a, const struct question *q,
                 const struct schedule *const *all, double most_ops,
                 struct error *e)
{
    struct simulate_options o = { .network = q->network, .kernel = q->kernel };
    int32_t *slots = xcalloc((size_t)q->ranks, sizeof *slots);
    struct traffic traffic;

    for (int64_t r = 0; r < q->ranks; r++)
        slots[r] = (int32_t)r;
    traffic_of(&traffic, all, q->ranks);
    struct placement_problem p = { .machine = q->machine, .links = a->links,
                                   .traffic = &traffic, .slots = slots };
    int rc = placement_choose(&a->placed, &p, all, &o, most_ops, e);
    traffic_clear(&traffic);
    free(slots);
    return rc;
}

int planner_place(struct answer *a, const struct question *q, double most_ops,
                  struct error *e)
{
    const struct candidate *c = &a->contenders[0].candidate;
    struct graph *g = q->machine->graph;
    int rc = -1;

    if (!g || q->machine->devices || q->slots || q->ranks > g->n_slots
        || q->ranks < 2 || !(c->estimate.effort * (double)q->ranks <= most_ops))
        return 0;
    struct plan *p = plan_create(q->job, c->strategy, &c->options,
                                 (int32_t)q->ranks, e);
    if (!p)
        return -1;
    struct schedule **all = xcalloc((size_t)q->ranks, sizeof *all);
    for (int32_t r = 0; r < q->ranks; r++)
        all[r] = plan_build(p, r);
    rc = place(a, q, (const struct schedule *const *)all, most_ops, e);
    for (int64_t r = 0; r < q->ranks; r++)
        schedule_destroy(all[r]);
    free(all);
    plan_destroy(p);
    return rc;
}

const struct placed *answer_placement(const struct answer *a)
{
    const struct placements *c = &a->placed;

    return c->n > 0 && c->best > 0 ? &c->rows[c->best] : NULL;
}
