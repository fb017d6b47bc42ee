/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/planned.h"

#include "cli/progress.h"
#include "schedule/lower.h"
#include "topo/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Schedules ----------------------------------------------------------- */

void planned_open(struct planned *p, const struct scenario *s, int64_t i,
                int64_t ranks)
{
    memset(p, 0, sizeof *p);
    p->asked = &s->strategies[i];
    p->ranks = ranks;
    p->plan = plan_create(&s->job, p->asked->strategy, &p->asked->options,
                          (int32_t)ranks, &p->reason);
}

void planned_build(struct planned *p)
{
    if (!p->plan || p->schedules)
        return;
    p->schedules = xcalloc((size_t)p->ranks, sizeof(struct schedule *));
    for (int64_t r = 0; r < p->ranks; r++) {
        progress("%s: building the schedule of rank %lld of %lld",
                 p->asked->strategy->name, (long long)r, (long long)p->ranks);
        p->schedules[r] = plan_build(p->plan, (int32_t)r);
    }
}

/* ---- As they are executed ------------------------------------------------ */

const char *const lowered_words[] = { "none", "staged", "ipc+staged", NULL };

static int is_lowered(const struct planned *p)
{
    return p->lowered && p->lowered->as != LOWERED_NOT;
}

struct schedule *planned_lower(const struct planned *p,
                               const struct schedule *s)
{
    return is_lowered(p)
        ? schedule_lower(s, &lower_default, p->lowered->near) : NULL;
}

struct schedule **planned_lower_all(const struct planned *p)
{
    if (!is_lowered(p))
        return NULL;
    struct schedule **all = xcalloc((size_t)p->ranks, sizeof *all);

    for (int64_t r = 0; r < p->ranks; r++)
        all[r] = planned_lower(p, p->schedules[r]);
    return all;
}

/* Without a graph a machine is one host. */
static int32_t host_of(const struct scenario *s, const struct machine *m,
                       int64_t rank)
{
    const struct graph *g = m->graph;

    if (!g)
        return 0;
    int64_t slot = s->slots ? s->slots[rank] : rank % g->n_slots;
    return g->vertices[g->slots[slot]].host;
}

int lowered_open(struct lowered *x, enum lowered_as as, struct scenario *s,
                 const struct machine *m, struct error *e)
{
    *x = (struct lowered){ .as = as };
    if (as != LOWERED_BETWEEN_HOSTS)
        return 0;
    if (scenario_check_slots(s, m, e))
        return -1;
    x->near = reach_create(s->ranks);
    for (int64_t a = 0; a < s->ranks; a++)
        for (int64_t b = 0; b < a; b++)
            if (host_of(s, m, a) == host_of(s, m, b))
                reach_add(x->near, a, b);
    return 0;
}

int lowered_for(struct lowered *x, enum lowered_as as, struct scenario *s,
                struct error *e)
{
    if (as != LOWERED_BETWEEN_HOSTS)
        return lowered_open(x, as, s, NULL, e);
    if (!s->machine)
        return scenario_fail(s, "machine", e, "missing, for --lowered %s",
                             lowered_words[as]);
    struct machine *m = scenario_machine(s, NULL, e);
    int rc = m ? lowered_open(x, as, s, m, e) : -1;

    machine_destroy(m);
    return rc;
}

void lowered_close(struct lowered *x)
{
    reach_destroy(x->near);
    x->near = NULL;
}

void planned_close(struct planned *p)
{
    for (int64_t r = 0; p->schedules && r < p->ranks; r++)
        schedule_destroy(p->schedules[r]);
    free(p->schedules);
    plan_destroy(p->plan);
    memset(p, 0, sizeof *p);
}

/* ---- What is known of them ----------------------------------------------- */

const char *planned_layout(const struct planned *p)
{
    return layout_names[p->plan ? plan_layout(p->plan)
                        : p->asked->options.layout];
}

int64_t *planned_bytes_expected(const struct planned *p)
{
    int64_t *values = xcalloc((size_t)p->ranks, sizeof *values);

    for (int64_t r = 0; r < p->ranks; r++)
        values[r] = plan_bytes_expected(p->plan, (int32_t)r);
    return values;
}

int entries_apply(const struct scenario *s, int64_t ranks, struct error *e)
{
    char lines[sizeof e->text] = "";

    for (int64_t i = 0; i < s->n_strategies; i++) {
        const struct scenario_strategy *a = &s->strategies[i];
        struct error reason = { 0 };
        if (!plan_applies(&s->job, a->strategy, &a->options, ranks, &reason))
            return 0;
        snprintf(lines + strlen(lines), sizeof lines - strlen(lines),
                 "%s%s does not apply: %.240s", i ? "\nspar: " : "",
                 a->strategy->name, reason.text);
    }
    return fail_usage(e, "%s", lines);
}
