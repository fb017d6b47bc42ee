/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/planned.h"

#include "base/file.h"
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
        all[r] = schedule_lower(p->schedules[r], &lower_default);
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

/* ---- Machine ------------------------------------------------------------- */

static char *local_text(struct scenario *s, char **path, size_t *size,
                        struct error *e)
{
    struct error why = { 0 };
    const char *file = *path = machine_local_path();
    char *text = file_read(&file, 1, &(int){ 0 }, size, &why);

    if (!text)
        scenario_fail(s, "machine", e, "local: %s; `spar calibrate` writes it",
                      why.text);
    return text;
}

static char *preset_text(struct scenario *s, char **path, size_t *size,
                         struct error *e)
{
    struct error why = { 0 };
    char *text = scenario_data("machines", s->machine, s->path, path, size,
                               &why);

    if (!text)
        scenario_fail(s, "machine", e, "there is no preset or file \"%s\" "
                      "(%s)", s->machine, why.text);
    return text;
}

/* The surfaces that a machine file names: added to m, the file to *text. */
static int add_kernels(struct machine *m, const char *from, char **text,
                       struct error *e)
{
    char *path = NULL, *both;
    size_t size = 0;
    char *bytes = scenario_data("machines/kernels", m->kernels, from, &path,
                                &size, e);

    int rc = bytes ? machine_add_kernels(m, path, bytes, size, e) : -1;
    if (rc == 0) {
        both = xasprintf("%s---\n%s", *text, bytes);
        free(*text);
        *text = both;
    }
    free(bytes);
    free(path);
    return rc;
}

struct machine *scenario_machine(struct scenario *s, char **text,
                                 struct error *e)
{
    char *path = NULL;
    size_t size = 0;

    if (!s->machine) {
        scenario_fail(s, "machine", e, "missing: local, a preset or a file");
        return NULL;
    }
    char *bytes = (strcmp(s->machine, "local") ? preset_text : local_text)(
        s, &path, &size, e);
    struct machine *m = bytes ? machine_parse(path, bytes, size, e) : NULL;
    if (m && *m->kernels && add_kernels(m, path, &bytes, e)) {
        machine_destroy(m);
        m = NULL;
    }
    free(path);
    if (m && text)
        *text = bytes;
    else
        free(bytes);
    return m;
}
