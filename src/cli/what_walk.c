/* SPDX-License-Identifier: Apache-2.0
 *
 * What neighbouring points of a what-if have in common. */
#include <config.h>

#include "cli/what_internal.h"

#include "cli/planned.h"

#include <stdlib.h>
#include <string.h>

int what_is_machine(const struct what_axis *x)
{
    return strncmp(x->key, "machine", 7) == 0;
}

void walk_clear(struct walk *k)
{
    for (int64_t i = 0; i < k->n_ways; i++)
        ways_destroy(k->ways[i].ways);
    free(k->ways);
    k->ways = NULL;
    k->n_ways = k->ways_cap = 0;
    machine_destroy(k->machine);
    k->machine = NULL;
    free(k->machine_sets);
    k->machine_sets = NULL;
}

struct ways *walk_ways(struct walk *k, int64_t ranks)
{
    if (!k->machine->graph)
        return NULL;
    for (int64_t i = 0; i < k->n_ways; i++)
        if (k->ways[i].ranks == ranks)
            return k->ways[i].ways;
    struct known_ways x = { ranks, ways_create(k->machine->graph, ranks) };
    ARRAY_PUSH(k->ways, k->n_ways, k->ways_cap, x);
    return x.ways;
}

int walk_machine(struct walk *k, struct scenario *s, char *const *sets,
                 struct error *e)
{
    char *all = xstrdup("");

    for (int i = 0; i < k->w->n_axes; i++) {
        if (!what_is_machine(&k->w->axes[i]))
            continue;
        char *more = xasprintf("%s %s", all, sets[i]);
        free(all);
        all = more;
    }
    if (k->machine && !strcmp(all, k->machine_sets)) {
        free(all);
        return 0;
    }
    walk_clear(k);
    k->machine_sets = all;
    k->machine = scenario_machine(s, NULL, e);
    if (k->machine && k->q->kept)
        anchor_apply(k->q->kept, k->machine);
    return k->machine ? 0 : -1;
}

double walk_limit(const struct walk *k, int64_t ranks)
{
    double all = k->q->memory > 0 ? k->q->memory
        : question_memory(k->machine, ranks);

    return all * (double)(100 - k->q->reserve) / 100;
}

void walk_sets(const struct what_if *w, int64_t point, char *sets[SWEEP_AXES])
{
    for (int i = 0; i < w->n_axes; i++)
        sets[i] = what_assignment(&w->axes[i], what_index(w, point, i));
}

void walk_sets_free(const struct what_if *w, char *sets[SWEEP_AXES])
{
    for (int i = 0; i < w->n_axes; i++)
        free(sets[i]);
}
