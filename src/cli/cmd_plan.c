/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "base/units.h"
#include "cli/output.h"
#include "cli/plan_report.h"
#include "cli/planned.h"

#include <math.h>
#include <stdlib.h>

struct plan_options {
    int format, network;
    struct string_list sets;
    int64_t simulate, entries, reserve;
    const char *emit, *memory;
};

static const char *const network_words[] = { "auto", "ideal", "loggp", "flow",
                                             NULL };
static const struct plan_options plan_initial = {
    .simulate = 16, .entries = 1, .reserve = 10
};

#define AT(member) offsetof(struct plan_options, member)
static const struct option_row plan_rows[] = {
    { "emit", 0, OPTION_STRING, AT(emit), "FILE", 0, 0, NULL,
      "write the choice as a scenario for run and sim" },
    { "entries", 0, OPTION_INT, AT(entries), "N", 1, 64, NULL,
      "with --emit: the best N (1)" },
    { "simulate", 0, OPTION_INT, AT(simulate), "N", 1, 100000, NULL,
      "simulate the N that are best by closed forms (16)" },
    { "memory", 0, OPTION_STRING, AT(memory), "BYTES", 0, 0, NULL,
      "of a rank, as in 80GB (the machine's)" },
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
    return network_find(o->network ? network_words[o->network]
                        : m->graph ? "flow" : "loggp");
}

static int capacity(const struct plan_options *o, const struct question *q,
                    double *bytes, struct error *e)
{
    struct error why = { 0 };

    *bytes = question_memory(q->machine, q->ranks);
    if (o->memory && (quantity_parse(o->memory, "B", bytes, &why)
                      || *bytes <= 0))
        return fail_usage(e, "--memory %s: not bytes, as in 80GB", o->memory);
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
    int rc = planner_answer(a, r->question, o->simulate, list, n, e);

    free(list);
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
    struct question q = { &s->job, s->ranks, machine, s->kernel, NULL, 0 };
    struct answer a = { 0 };
    struct sensitivity depends = { 0 };
    struct plan_report r = { s, &q, &a, &depends, 0, o->reserve };

    if (!machine)
        return -1;
    q.network = network_of(o, machine);
    int rc = capacity(o, &q, &r.capacity, e);
    q.memory = r.capacity * (double)(100 - o->reserve) / 100;
    if (!rc)
        rc = find(s, o, machine, &a, &r, e);
    if (!rc)
        rc = tell(s, call, &r, e);
    answer_clear(&a);
    machine_destroy(machine);
    return rc;
}

static int plan_exec(const struct call *call, struct error *e)
{
    const struct plan_options *o = call->options;
    struct scenario *s = question_load(call->operands[0],
                                       (const char *const *)o->sets.items,
                                       (int)o->sets.n, e);
    int rc = -1;

    if (s && !scenario_need_ranks(s, e)
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
