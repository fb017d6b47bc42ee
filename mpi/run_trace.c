/* SPDX-License-Identifier: Apache-2.0
 *
 * What rank 0 says of a run in its trace: names and work of all ranks' ops,
 * and what a model predicted for them. */
#include <config.h>

#include "cli/predict.h"
#include "mpi/run_internal.h"
#include "topo/slurm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void entry_describe(struct session *s, int64_t index)
{
    const struct scenario_strategy *st = &s->scenario->strategies[index];
    struct entry *x = &s->entries[index];
    struct schedule **all = xcalloc((size_t)s->ranks, sizeof *all);
    const struct schedule *const *built = (const struct schedule *const *)all;

    for (int32_t r = 0; r < s->ranks; r++)
        all[r] = plan_build(x->plan, r);
    x->trace = records_entry(&s->records, st->strategy->name,
                             layout_names[plan_layout(x->plan)], built,
                             s->ranks);
    if (s->machine)
        x->predicted = predict_seconds(built, s->ranks, s->machine,
                                       s->kernel->name,
                                       scenario_slots(s->scenario,
                                                      s->machine),
                                       &s->scenario->jitter);
    for (int32_t r = 0; r < s->ranks; r++)
        schedule_destroy(all[r]);
    free(all);
}

/* ---- Overlap ------------------------------------------------------------ */


/* Spans of one rank and repeat, by start: time under communication, and under
 * communication and computation both.  Computation is one op at a time;
 * communication is merged as it comes. */
static void overlap_of(const struct span *s, int64_t n, double *talk,
                       double *both)
{
    int64_t to = 0, first = 0;  /* communication up to now; computation */

    for (int64_t i = 0; i < n; i++) {
        int64_t from = max64(s[i].start, to);
        if (s[i].lane < LANE_FIRST_CHANNEL || s[i].end <= from)
            continue;
        to = s[i].end;
        *talk += (double)(to - from);
        for (int64_t k = first; k < n && s[k].start < to; k++) {
            if (s[k].lane >= LANE_FIRST_CHANNEL || s[k].end <= from) {
                first += k == first;
                continue;
            }
            *both += (double)(min64(s[k].end, to) - max64(s[k].start, from));
        }
    }
}

static void find_overlaps(struct session *s, const struct span *spans,
                          int64_t n)
{
    for (int64_t i = 0; i < n;) {
        int32_t entry = spans[i].entry;
        double talk = 0, both = 0;
        while (i < n && spans[i].entry == entry) {
            int64_t k = i;
            while (k < n && spans[k].entry == entry
                   && spans[k].repeat == spans[i].repeat
                   && spans[k].rank == spans[i].rank)
                k++;
            overlap_of(spans + i, k - i, &talk, &both);
            i = k;
        }
        if (entry >= 0 && entry < s->scenario->n_strategies && talk > 0)
            s->entries[entry].overlap = both / talk;
    }
}

/* ---- The file ----------------------------------------------------------- */

/* Borrows. An entry that does not apply has no ranks. */
static struct trace_entry describe_entry(const struct session *s, int64_t i)
{
    const struct entry *x = &s->entries[i];
    const struct scenario_strategy *st = &s->scenario->strategies[i];
    struct trace_entry out = x->trace;

    memcpy(out.transport, x->transport, sizeof out.transport);
    if (!x->plan) {
        snprintf(out.strategy, sizeof out.strategy, "%s", st->strategy->name);
        snprintf(out.layout, sizeof out.layout, "%s",
                 layout_names[st->options.layout]);
        return out;
    }
    out.repeats = (int32_t)x->repeats;
    out.repeat_ns = x->repeat_ns;
    out.spans_ns = x->spans_ns;
    return out;
}

/* 1: the run is of a job; *topology is the caller's to free. */
static int describe_job(const struct session *s, struct trace_job *job,
                        char **topology)
{
    struct slurm_job of;
    char *path = NULL;
    size_t size;

    if (!slurm_job(&of))
        return 0;
    *topology = slurm_job_topology(&path, &size);
    free(path);
    *job = (struct trace_job){
        .id = of.id ? of.id : "", .nodes = of.nodes,
        .tasks = of.tasks ? of.tasks : "",
        .topology = *topology ? *topology : "",
        .places = xcalloc((size_t)s->ranks, sizeof *job->places)
    };
    for (int r = 0; r < s->ranks; r++)
        job->places[r] = s->places[r];
    return 1;
}

static int write_trace(struct session *s, const struct span *spans, int64_t n,
                       struct error *e)
{
    struct trace_job job = { 0 };
    char *topology = NULL;
    int64_t entries = s->scenario->n_strategies;
    const char **hosts = xcalloc((size_t)s->ranks, sizeof *hosts);
    const char **slots = xcalloc((size_t)s->ranks, sizeof *slots);
    char *versions = mpi_versions();
    struct trace t = {
        .scenario_json = s->scenario->json, .command = s->request->command,
        .machine = s->machine_text ? s->machine_text : "",
        .versions = versions, .ranks = s->ranks, .hosts = hosts,
        .slots = slots, .job = describe_job(s, &job, &topology) ? &job : NULL,
        .clocks = s->clocks, .n_entries = entries,
        .entries = xcalloc((size_t)entries, sizeof *t.entries),
        .n_spans = n, .spans = spans,
    };

    records_describe(&s->records, &t);
    for (int r = 0; r < s->ranks; r++)
        hosts[r] = s->hosts[r], slots[r] = s->slots[r];
    for (int64_t i = 0; i < entries; i++)
        t.entries[i] = describe_entry(s, i);
    int rc = trace_write(s->output, &t, e);
    free(t.entries);
    free(hosts);
    free(slots);
    free(job.places);
    free(topology);
    free(versions);
    return rc;
}

int trace_assemble(struct session *s, struct error *e)
{
    struct span *spans = NULL;
    int64_t n = spool_read(s->folder, &spans, e);
    int rc = n < 0 ? -1 : 0;

    if (!rc) {
        find_overlaps(s, spans, n);
        rc = write_trace(s, spans, n, e);
    }
    free(spans);
    return rc;
}
