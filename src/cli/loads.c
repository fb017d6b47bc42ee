/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/loads.h"

#include "models/placement.h"

#include <stdlib.h>

int scenario_check_graph(struct scenario *s, const struct machine *m,
                         struct error *e)
{
    if (m->graph && machine_slots(m) == m->graph->n_slots)
        return 0;
    return scenario_fail(s, "machine", e, "%s: nothing is said of how its "
                         "slots are connected (cluster)", m->name);
}

int scenario_check_entry(const struct scenario *s, int64_t entry,
                         struct error *e)
{
    if (entry < s->n_strategies)
        return 0;
    return fail_usage(e, "--entry %lld: the scenario has %lld",
                      (long long)entry, (long long)s->n_strategies);
}

static int find_slots(struct scenario *s, const struct machine *m,
                      int32_t *slots, struct error *e)
{
    if (scenario_check_slots(s, m, e))
        return -1;
    for (int64_t r = 0; r < s->ranks; r++)
        slots[r] = s->slots ? s->slots[r]
            : (int32_t)(r % m->graph->n_slots);
    return 0;
}

static double *entry_loads(const struct planned *p, const struct machine *m,
                           const int32_t *slots)
{
    struct links *links = links_create(m, m->graph->n_slots);
    struct traffic t;

    traffic_of(&t, (const struct schedule *const *)p->schedules, p->ranks);
    double *bytes = placement_loads(&(struct placement_problem){
        .machine = m, .links = links, .traffic = &t }, slots);
    traffic_clear(&t);
    links_destroy(links);
    return bytes;
}

double *scenario_loads(struct scenario *s, const struct machine *m,
                       int64_t entry, struct error *e)
{
    struct planned p;
    double *bytes = NULL;

    if (scenario_check_entry(s, entry, e) || scenario_check_graph(s, m, e))
        return NULL;
    int32_t *slots = xcalloc((size_t)s->ranks, sizeof *slots);
    planned_open(&p, s, entry, s->ranks);
    if (!p.plan)
        fail_usage(e, "%s does not apply: %s", p.asked->strategy->name,
                   p.reason.text);
    else if (find_slots(s, m, slots, e) == 0) {
        planned_build(&p);
        bytes = entry_loads(&p, m, slots);
    }
    planned_close(&p);
    free(slots);
    return bytes;
}
