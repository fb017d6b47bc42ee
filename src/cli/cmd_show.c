/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "cli/planned.h"
#include "cli/progress.h"
#include "models/simulate.h"
#include "schedule/print.h"

#include <inttypes.h>
#include <stdlib.h>

struct show_options {
    struct string_list sets;
    int64_t rank, entry;        /* -1: all */
    int dot, goal, timed, lowered;
};

enum { MOST = 1 << 20 };

static const struct option_row show_rows[] = {
    { "rank", 0, OPTION_INT, offsetof(struct show_options, rank), "R", 0,
      MOST, NULL, "this rank only" },
    { "entry", 0, OPTION_INT, offsetof(struct show_options, entry), "I", 0,
      MOST, NULL, "this entry of `strategies` only" },
    { "dot", 0, OPTION_FLAG, offsetof(struct show_options, dot), NULL, 0, 0,
      NULL, "as a graph, for Graphviz" },
    { "goal", 0, OPTION_FLAG, offsetof(struct show_options, goal), NULL, 0, 0,
      NULL, "as GOAL, for LogGOPSim" },
    { "timed", 0, OPTION_FLAG, offsetof(struct show_options, timed), NULL, 0,
      0, NULL, "with --goal: ns on the scenario's machine, not flops" },
    ROW_LOWERED(show_options),
    ROW_SET(show_options),
    ROW_END
};

static const struct show_options show_initial = { .rank = -1, .entry = -1 };

/* Of the scenario's machine. */
struct clock {
    struct machine *m;
    const char *kernel;
};

static double clock_seconds(void *arg, const struct schedule *s,
                            const struct op *op)
{
    const struct clock *c = arg;

    return op_seconds(c->m, c->kernel, s, op);
}

static int print_timed(FILE *out, struct scenario *s,
                       const struct schedule *const *all, int64_t ranks,
                       struct error *e)
{
    char *text = NULL;
    struct clock c = { scenario_machine(s, &text, e), s->kernel };
    const struct op_timer timer = { clock_seconds, &c };

    free(text);
    if (!c.m)
        return -1;
    int rc = simulate_ready(all, ranks, c.m, c.kernel, e);
    if (!rc)
        print_goal(out, all, ranks, &timer);
    machine_destroy(c.m);
    return rc;
}

static void print_one(FILE *out, const struct planned *n,
                      const struct show_options *o)
{
    struct schedule *one = plan_build(n->plan, (int32_t)o->rank);

    struct schedule *lowered = planned_lower(n, one);

    print_text(out, lowered ? lowered : one);
    schedule_destroy(lowered);
    schedule_destroy(one);
}

static int print_all(FILE *out, struct scenario *s, struct planned *n,
                     const struct show_options *o, struct error *e)
{
    int rc = 0;

    planned_build(n);
    struct schedule **lowered = planned_lower_all(n);
    progress_end();
    const struct schedule *const *all = (const struct schedule *const *)(
        lowered ? lowered : n->schedules);
    if (o->dot)
        print_dot(out, all, n->ranks);
    else if (o->timed)
        rc = print_timed(out, s, all, n->ranks, e);
    else if (o->goal)
        print_goal(out, all, n->ranks, NULL);
    else
        for (int64_t r = 0; r < n->ranks; r++)
            print_text(out, all[r]);
    for (int64_t r = 0; lowered && r < n->ranks; r++)
        schedule_destroy(lowered[r]);
    free(lowered);
    return rc;
}

static int show_entry(struct scenario *s, int64_t i,
                      const struct show_options *o,
                      const struct lowered *lowered, struct error *e)
{
    const char *name = s->strategies[i].strategy->name;
    struct planned n;
    int rc = SPAR_OK;

    planned_open(&n, s, i, s->ranks);
    n.lowered = lowered;
    if (n.plan && o->rank >= 0)
        print_one(stdout, &n, o);
    else if (n.plan)
        rc = print_all(stdout, s, &n, o, e);
    else if (o->entry >= 0)
        rc = fail_usage(e, "%s does not apply: %s", name, n.reason.text);
    else
        fprintf(stderr, "spar: %s does not apply: %s\n", name,
                n.reason.text);
    planned_close(&n);
    return rc;
}

static int check_choice(struct scenario *s, const struct show_options *o,
                        struct error *e)
{
    if (o->dot && o->goal)
        return fail_usage(e, "--dot and --goal: one of them");
    if (o->timed && !o->goal)
        return fail_usage(e, "--timed goes with --goal");
    if (o->timed && !s->machine)
        return scenario_fail(s, "machine", e, "missing, for --timed");
    if (o->rank >= 0 && (o->dot || o->goal))
        return fail_usage(e, "--rank: --dot and --goal print all ranks");
    if (o->rank >= s->ranks)
        return fail_usage(e, "--rank: %" PRId64 " is not below run.ranks, %"
                          PRId64, o->rank, s->ranks);
    if (o->entry >= s->n_strategies)
        return fail_usage(e, "--entry: %" PRId64 " is not below %" PRId64
                          ", the number of strategies", o->entry,
                          s->n_strategies);
    if (o->goal && o->entry < 0 && s->n_strategies > 1)
        return fail_usage(e, "--goal: one entry a file; choose with --entry");
    return 0;
}

static int show_all(struct scenario *s, const struct show_options *o,
                    struct error *e)
{
    int64_t first = o->entry >= 0 ? o->entry : 0;
    int64_t last = o->entry >= 0 ? o->entry + 1 : s->n_strategies;
    struct lowered lowered = { .near = NULL };
    int rc = check_choice(s, o, e);

    if (!rc && o->entry < 0)
        rc = entries_apply(s, s->ranks, e);
    if (!rc)
        rc = lowered_for(&lowered, o->lowered, s, e);
    for (int64_t i = first; i < last && !rc; i++)
        rc = show_entry(s, i, o, &lowered, e);
    lowered_close(&lowered);
    return rc;
}

static int show_exec(const struct call *call, struct error *e)
{
    const struct show_options *o = call->options;
    struct scenario *s = scenario_load(call->operands[0], &o->sets, e);
    int rc = -1;

    if (s && !scenario_need_ranks(s, e))
        rc = show_all(s, o, e);
    scenario_destroy(s);
    return rc;
}

const struct command command_show = {
    "show", "SCENARIO", "Print the schedules of a scenario: what each rank "
    "does, op by op.", show_rows, sizeof(struct show_options), &show_initial,
    1, 1, 0, show_exec
};
