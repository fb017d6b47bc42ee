/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/planned.h"

#include "cli/progress.h"
#include "schedule/lower.h"

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

struct schedule **planned_lower(const struct planned *p)
{
    struct schedule **all = xcalloc((size_t)p->ranks, sizeof *all);

    for (int64_t r = 0; r < p->ranks; r++)
        all[r] = schedule_lower(p->schedules[r], &lower_default, NULL);
    return all;
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
