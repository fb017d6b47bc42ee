/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "base/units.h"
#include "base/yaml.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "cli/planned.h"
#include "cli/what_report.h"

#include <math.h>
#include <stdlib.h>

struct plan_options {
    int format, network;
    struct string_list sets;
    int64_t simulate, entries, reserve;
    const char *emit, *memory, *output, *measured;
};

enum { AS_FITS = -1, SIMULATED = 16, PLACE_OPS = 100000 };

static const char *const network_words[] = { "auto", "ideal", "loggp", "flow",
                                             NULL };
static const struct plan_options plan_initial = {
    .simulate = AS_FITS, .entries = 1, .reserve = 10
};

#define AT(member) offsetof(struct plan_options, member)
static const struct option_row plan_rows[] = {
    { "emit", 0, OPTION_STRING, AT(emit), "FILE", 0, 0, NULL,
      "write the choice as a scenario for run and sim" },
    { "entries", 0, OPTION_INT, AT(entries), "N", 1, 64, NULL,
      "with --emit: the best N (1)" },
    { "simulate", 0, OPTION_INT, AT(simulate), "N", 0, 100000, NULL,
      "simulate the N that are best by closed forms (16; of a what_if 0)" },
    ROW_OUTPUT(plan_options, "of a what_if: the results "
               "(SCENARIO.what-if.h5)"),
    { "memory", 0, OPTION_STRING, AT(memory), "BYTES", 0, 0, NULL,
      "of a rank, as in 80GB (the machine's)" },
    { "measured", 0, OPTION_STRING, AT(measured), "TRACE", 0, 0, NULL,
      "keep the kernel times of this run" },
    { "reserve", 0, OPTION_INT, AT(reserve), "PERCENT", 0, 99, NULL,
      "of it left for others than buffers (10)" },
    { "network", 0, OPTION_WORD, AT(network), "auto|ideal|loggp|flow",
      0, 0, network_words,
      "model of the network (auto: flow of a cluster, else loggp)" },
    ROW_SET(plan_options),
    ROW_FORMAT(plan_options),
    ROW_END
};
#undef AT

static const struct network_model *network_of(const struct plan_options *o,
                                              const struct machine *m)
{
    return o->network ? network_find(network_words[o->network])
        : network_default(m);
}

static int memory_option(const struct plan_options *o, double *bytes,
                         struct error *e)
{
    struct error why = { 0 };

    if (quantity_parse(o->memory, "B", bytes, &why) || *bytes <= 0)
        return fail_usage(e, "--memory %s: not bytes, as in 80GB", o->memory);
    return 0;
}

static int capacity(const struct plan_options *o, const struct question *q,
                    double *bytes, struct error *e)
{
    *bytes = question_memory(q->machine, q->ranks);
    return o->memory ? memory_option(o, bytes, e) : 0;
}

/* The machine's tables brought to what a run measured, and said so. */
static int keep_measured(const struct plan_options *o, struct anchor *a,
                         const struct machine *m, const char *kernel,
                         struct error *e)
{
    char text[512];

    if (!o->measured)
        return 0;
    if (anchor_measure(a, o->measured, m, kernel, e))
        return -1;
    anchor_text(a, text, sizeof text);
    fprintf(stderr, "kernel times of %lld ops of %s: %s\n",
            (long long)a->ops, o->measured, text);
    return 0;
}

/* The entries of the scenario that apply: compared with the choice. */
static struct candidate *asked(const struct scenario *s, int64_t *n)
{
    struct candidate *list = xcalloc((size_t)max64(s->n_strategies, 1),
                                     sizeof *list);

    *n = 0;
    for (int64_t i = 0; i < s->n_strategies; i++) {
        const struct scenario_strategy *a = &s->strategies[i];
        if (!plan_applies(&s->job, a->strategy, &a->options, s->ranks, NULL))
            list[(*n)++] = (struct candidate){
                a->strategy, a->options, { NAN, NAN, NAN, NAN, NAN } };
    }
    return list;
}

static int find(struct scenario *s, const struct plan_options *o,
                struct machine *m, struct answer *a,
                struct plan_report *r, struct error *e)
{
    int64_t n;
    struct candidate *list = asked(s, &n);
    int64_t most = o->simulate > 0 ? o->simulate : SIMULATED;
    int rc = planner_answer(a, r->question, most, list, n, e);

    free(list);
    if (!rc)
        rc = planner_place(a, r->question, PLACE_OPS, e);
    if (!rc)
        sensitivity_find(r->sensitivity, a, r->question, m);
    return rc;
}

static int tell(struct scenario *s, const struct call *call,
                const struct plan_report *r, struct error *e)
{
    const struct plan_options *o = call->options;

    if (o->format == FORMAT_JSON)
        plan_json(stdout, r);
    else
        plan_text(stdout, r);
    if (o->emit && plan_emit(o->emit, s, r->answer, o->entries, call->line, e))
        return -1;
    if (o->emit && o->format == FORMAT_TEXT)
        fprintf(stderr, "scenario: %s\n", o->emit);
    return 0;
}

static int plan_scenario(struct scenario *s, const struct call *call,
                         struct error *e)
{
    const struct plan_options *o = call->options;
    struct machine *machine = scenario_machine(s, NULL, e);
    struct question q = { .job = &s->job, .ranks = s->ranks,
                          .machine = machine, .kernel = s->kernel };
    struct answer a = { 0 };
    struct sensitivity depends = { 0 };
    struct plan_report r = { s, &q, &a, &depends, 0, o->reserve };

    if (!machine)
        return -1;
    struct anchor kept = { 0 };
    q.network = network_of(o, machine);
    q.slots = scenario_slots(s, machine);
    int rc = capacity(o, &q, &r.capacity, e) ? -1
        : keep_measured(o, &kept, machine, s->kernel, e);
    anchor_apply(&kept, machine);
    q.memory = r.capacity * (double)(100 - o->reserve) / 100;
    if (!rc)
        rc = find(s, o, machine, &a, &r, e);
    if (!rc)
        rc = tell(s, call, &r, e);
    answer_clear(&a);
    machine_destroy(machine);
    return rc;
}

/* ---- what_if ------------------------------------------------------------- */

static int tell_what(const struct call *call, const struct what_report *r,
                     const char *path, struct error *e)
{
    const struct plan_options *o = call->options;

    if (what_write(path, r, call->line, e))
        return -1;
    if (o->format == FORMAT_JSON)
        what_json(stdout, r);
    else
        what_text(stdout, r);
    if (o->format == FORMAT_TEXT)
        fprintf(stderr, "results: %s\n", path);
    return 0;
}

/* By the machine as the scenario has it. */
static int what_measured(struct scenario *s, const struct plan_options *o,
                         struct anchor *kept, struct error *e)
{
    struct machine *m = o->measured ? scenario_machine(s, NULL, e) : NULL;

    if (!o->measured)
        return 0;
    int rc = m ? keep_measured(o, kept, m, s->kernel, e) : -1;
    machine_destroy(m);
    return rc;
}

static int run_what(struct scenario *s, const struct call *call,
                    const struct what_if *w, const char *path, struct error *e)
{
    const struct plan_options *o = call->options;
    struct what_question q = { .reserve = o->reserve,
                               .simulate = max64(o->simulate, 0) };
    struct anchor kept = { 0 };
    struct what_result result = { 0 };
    struct what_report r = { s, w, &result, NULL, 0, q.simulate };

    if (o->network)
        q.network = network_find(network_words[o->network]);
    if ((o->memory && memory_option(o, &q.memory, e))
        || what_measured(s, o, &kept, e))
        return -1;
    q.kept = &kept;
    int rc = what_if_run(&result, w, s, &q, e);
    struct what_longest *longest = rc ? NULL
        : what_if_longest(w, s, &q, &r.n_longest);
    r.longest = longest;
    if (!rc)
        rc = tell_what(call, &r, path, e);
    free(longest);
    what_result_clear(&result);
    return rc;
}

static int what_scenario(struct scenario *s, const struct call *call,
                         struct error *e)
{
    const struct plan_options *o = call->options;
    char *path = o->output ? xstrdup(o->output)
        : scenario_output(s->path, ".what-if.h5");
    struct what_if w = { 0 };
    int rc = -1;

    if (o->emit)
        fail_usage(e, "--emit: a what_if has more than one answer");
    else if (s->input)
        scenario_fail(s, "job.input", e, "what_if needs jobs without one");
    else if (!what_if_read(&w, s, e)
             && !output_check(path, (const char *const[]){ s->path }, 1, e))
        rc = run_what(s, call, &w, path, e);
    what_if_clear(&w);
    free(path);
    return rc;
}

static int plan_exec(const struct call *call, struct error *e)
{
    const struct plan_options *o = call->options;
    struct scenario *s = question_load(call->operands[0], &o->sets, e);
    int rc = -1;

    if (s && yaml_get(s->yaml, yaml_root(s->yaml), "what_if"))
        rc = what_scenario(s, call, e);
    else if (s && !scenario_need_ranks(s, e)
        && (!o->emit || !output_check(o->emit, (const char *const[]){
            s->path, s->input }, 2, e)))
        rc = plan_scenario(s, call, e);
    scenario_destroy(s);
    return rc;
}

const struct command command_plan = {
    "plan", "SCENARIO", "Choose the strategy for a job on a machine: its "
    "degrees, layout and options.", plan_rows, sizeof(struct plan_options),
    &plan_initial, 1, 1, 0, plan_exec
};
