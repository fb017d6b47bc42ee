/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "cli/output.h"
#include "cli/planned.h"
#include "cli/records.h"
#include "cli/report.h"
#include "cli/simulated.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ops beyond which intervals are not simulated. */
enum { LARGE = 500000 };

struct sim_options {
    int format, network, lowered, no_fold;
    struct string_list sets;
    const char *output;
};

/* By the names of network_models; main's table of words wants constants. */
static const char *const network_words[] = { "auto", "ideal", "loggp", "flow",
                                             NULL };
static const struct sim_options sim_initial = { 0 };

static const struct option_row sim_rows[] = {
    ROW_OUTPUT(sim_options, "write the trace there (SCENARIO.sim.h5)"),
    { "network", 0, OPTION_WORD, offsetof(struct sim_options, network),
      "auto|ideal|loggp|flow", 0, 0, network_words,
      "model of the network (auto: flow of a cluster, else loggp)" },
    { "no-fold", 0, OPTION_FLAG, offsetof(struct sim_options, no_fold), NULL,
      0, 0, NULL, "simulate every rank, also those that do the same" },
    ROW_LOWERED(sim_options),
    ROW_SET(sim_options),
    ROW_FORMAT(sim_options),
    ROW_END
};

/* All entries of a scenario, simulated. */
struct sim {
    const struct scenario *scenario;
    const struct machine *machine;
    const struct network_model *network;
    struct lowered lowered;     /* schedules are simulated so */
    int fold;
    int64_t n;
    struct planned *entries;      /* [n] */
    struct result_row *rows;    /* [n] */
    struct leans *leans;        /* [n] */
    struct critical_path *paths;        /* [n] */
    struct records records;
    struct trace_entry *traced; /* [n] */
    struct span *spans;
    int64_t n_spans, spans_cap;
    int stuck;
};

static void sim_init(struct sim *m, const struct scenario *s,
                     const struct machine *machine,
                     const struct network_model *network)
{
    *m = (struct sim){ .scenario = s, .machine = machine,
                       .network = network,
                       .n = s->n_strategies };
    m->entries = xcalloc((size_t)m->n, sizeof *m->entries);
    m->rows = xcalloc((size_t)m->n, sizeof *m->rows);
    m->leans = xcalloc((size_t)m->n, sizeof *m->leans);
    m->paths = xcalloc((size_t)m->n, sizeof *m->paths);
    m->traced = xcalloc((size_t)m->n, sizeof *m->traced);
    records_init(&m->records);
}

static void sim_clear(struct sim *m)
{
    for (int64_t i = 0; i < m->n; i++) {
        free((void *)m->rows[i].bytes_sent);
        free((void *)m->rows[i].bytes_expected);
        free((void *)m->rows[i].pairs);
        free((void *)m->rows[i].peak_bytes);
        free(m->leans[i].items);
        records_entry_clear(&m->traced[i]);
        planned_close(&m->entries[i]);
    }
    records_clear(&m->records);
    lowered_close(&m->lowered);
    free(m->entries);
    free(m->rows);
    free(m->leans);
    free(m->paths);
    free(m->traced);
    free(m->spans);
}

/* ---- One entry ----------------------------------------------------------- */

static int bytes_agree(const struct result_row *row)
{
    return memcmp(row->bytes_sent, row->bytes_expected,
                  (size_t)row->ranks * sizeof *row->bytes_sent) == 0;
}

static void fill_row(struct result_row *row, const struct scenario *s,
                     const struct planned *n, const struct simulated *x,
                     const char *network)
{
    row->ranks = n->ranks;
    row->pass = s->job.pass;
    row->dtype = s->job.dtype;
    row->has_lse = job_has_lse(&s->job);
    row->asked = n->asked;
    row->classes = x->period;
    row->network = network;
    row->schedule_hash = simulated_hash(x, n->ranks);
    row->flops = simulated_flops(x, n->ranks);
    row->bytes_sent = simulated_by_rank(x, n->ranks, offsetof(struct rank_facts,
                                                              sent_bytes));
    row->bytes_expected = simulated_bytes_expected(x, n);
    row->pairs = simulated_by_rank(x, n->ranks,
                                   offsetof(struct rank_facts, pairs));
    row->peak_bytes = simulated_by_rank(x, n->ranks,
                                        offsetof(struct rank_facts,
                                                 peak_bytes));
    row->predicted = x->result.seconds;
    memcpy(row->collectives, x->result.collectives, sizeof row->collectives);
    row->overlap = x->result.overlap;
    row->passed = !x->result.deadlock && bytes_agree(row);
}

static void keep_trace(struct sim *m, int64_t i,
                       const struct simulate_result *r)
{
    const struct planned *n = &m->entries[i];
    struct trace_entry *x = &m->traced[i];

    *x = records_entry(&m->records, n->asked->strategy->name, planned_layout(n),
                       (const struct schedule *const *)n->schedules, n->ranks);
    x->repeats = 1;
    x->repeat_ns = xcalloc(1, sizeof *x->repeat_ns);
    x->repeat_ns[0] = x->spans_ns = llround(r->seconds * 1e9);
    if (r->n_spans == 0)
        return;
    m->spans = array_grow(m->spans, m->n_spans + r->n_spans, &m->spans_cap,
                          sizeof *m->spans);
    memcpy(m->spans + m->n_spans, r->spans,
           (size_t)r->n_spans * sizeof *r->spans);
    m->n_spans += r->n_spans;
}

/* What links carried, memory over time, the critical path: the last two where
 * there are spans of all ranks. */
static void find_history(struct sim *m, int64_t i, const struct simulated *x)
{
    const struct planned *n = &m->entries[i];
    const struct simulate_result *r = &x->result;
    const struct schedule *const *s =
        (const struct schedule *const *)n->schedules;
    struct trace_entry *t = &m->traced[i];
    int64_t at = 0, to = 0, cap = 0;

    t->links = history_links(m->machine, r, &t->n_links);
    m->rows[i].links = t->links;
    m->rows[i].n_links = t->n_links;
    if (!x->whole || r->n_spans == 0)
        return;
    for (int32_t k = 0; k < n->ranks; k++, at = to) {
        while (to < r->n_spans && r->spans[to].rank == k)
            to++;
        history_memory(s[k], r->spans + at, to - at, &t->memory, &t->n_memory,
                       &cap);
    }
    m->paths[i] = history_path(s, n->ranks, r->spans, r->n_spans);
    m->rows[i].path = &m->paths[i];
}

/* What the rank with the most pairs leans on. */
static void find_leans(struct sim *m, int64_t i)
{
    struct planned *n = &m->entries[i];
    const struct result_row *row = &m->rows[i];
    int64_t most = 0;

    for (int64_t r = 1; r < n->ranks; r++)
        if (row->pairs[r] > row->pairs[most])
            most = r;
    struct schedule *s = plan_build(n->plan, (int32_t)most);
    cost_leans(m->machine, m->scenario->kernel, s, &m->leans[i]);
    schedule_destroy(s);
    m->rows[i].leans = &m->leans[i];
}

/* P10 and P90: all tables and links are as wrong as each other, at once.  Large
 * schedules are not simulated again: as if all of it were attention. */
static void find_interval(struct sim *m, int64_t i, const struct simulated *x,
                          const struct simulate_options *o)
{
    struct result_row *row = &m->rows[i];
    int64_t ops = 0;

    for (int64_t r = 0; r < row->ranks; r++)
        ops += x->facts[r].ops;
    for (int k = 0; k < 2; k++) {
        struct machine moved = *m->machine;
        moved.quantile = k ? 1 : -1;
        if (x->whole && ops <= LARGE) {
            row->interval[k] = simulated_again(x, &m->entries[i], &moved,
                                               *o);
        } else if (m->leans[i].n > 0) {
            const struct lean *l = &m->leans[i].items[0];
            row->interval[k] = row->predicted * (k ? l->high : l->low);
        }
    }
}

static int sim_entry(struct sim *m, int64_t i, struct error *e)
{
    struct planned *n = &m->entries[i];
    struct simulate_options o = { .network = m->network,
                                  .kernel = m->scenario->kernel,
                                  .slots = m->scenario->slots,
                                  .entry = (int32_t)i,
                                  .jitter = &m->scenario->jitter };
    struct result_row *row = &m->rows[i];
    struct simulated x;

    planned_open(n, m->scenario, i, m->scenario->ranks);
    n->lowered = &m->lowered;
    *row = result_unknown();
    row->strategy = n->asked->strategy->name;
    row->layout = planned_layout(n);
    if (!n->plan) {             /* the trace has a place for it */
        row->reason = n->reason.text;
        m->traced[i] = records_entry(&m->records, row->strategy, row->layout,
                                     NULL, 0);
        return 0;
    }
    if (simulated_run(&x, n, m->fold, m->machine, o, e))
        return -1;
    fill_row(row, m->scenario, n, &x, m->network->name);
    find_leans(m, i);
    find_interval(m, i, &x, &o);
    if (x.result.deadlock) {
        fprintf(stderr, "spar: %s: %s\n", row->strategy, x.result.stuck.text);
        m->stuck = 1;
    } else {
        keep_trace(m, i, &x.result);
        find_history(m, i, &x);
    }
    simulated_clear(&x);
    return 0;
}

/* ---- All of them --------------------------------------------------------- */

static int write_trace(struct sim *m, const char *path, const char *machine,
                       const char *line, struct error *e)
{
    int32_t ranks = (int32_t)m->scenario->ranks;
    const char **hosts = xcalloc((size_t)ranks, sizeof *hosts);
    struct trace_clock *clocks = xcalloc((size_t)ranks, sizeof *clocks);
    char *versions = xasprintf("%s; machine: %s", PACKAGE_STRING,
                               m->machine->versions);
    struct trace t = {
        .simulated = 1, .scenario_json = m->scenario->json, .command = line,
        .machine = machine, .versions = versions, .ranks = ranks,
        .hosts = hosts, .clocks = clocks, .n_entries = m->n,
        .entries = m->traced, .n_spans = m->n_spans, .spans = m->spans
    };

    for (int32_t r = 0; r < ranks; r++)
        hosts[r] = m->machine->name;
    records_describe(&m->records, &t);
    int rc = trace_write(path, &t, e);
    free(versions);
    free(clocks);
    free(hosts);
    return rc;
}

/* What was simulated is printed even if its trace cannot be written. */
static int sim_report(struct sim *m, const struct call *call,
                      const char *path, const char *machine, struct error *e)
{
    const struct sim_options *o = call->options;
    int rc = m->stuck ? SPAR_FAILED
        : write_trace(m, path, machine, call->line, e);

    if (o->format == FORMAT_JSON)
        results_json(stdout, m->rows, m->n);
    else
        results_text(stdout, m->rows, m->n);
    if (!rc && o->format == FORMAT_TEXT)
        fprintf(stderr, "trace: %s\n", path);
    for (int64_t i = 0; i < m->n && !rc; i++)
        if (!m->rows[i].reason && !m->rows[i].passed)
            rc = SPAR_FAILED;
    return rc;
}

static int sim_scenario(struct scenario *s, const struct call *call,
                        const char *path, struct error *e)
{
    const struct sim_options *o = call->options;
    char *text = NULL;
    struct machine *machine = scenario_machine(s, &text, e);
    struct error why = { 0 };
    struct sim m;
    int rc = 0;

    if (!machine || scenario_check_slots(s, machine, e)) {
        machine_destroy(machine);
        free(text);
        return -1;
    }
    const struct network_model *network = o->network
        ? network_find(network_words[o->network]) : network_default(machine);
    if (simulate_jitter(machine, &s->jitter, network, &why)) {
        machine_destroy(machine);
        free(text);
        return scenario_fail(s, "jitter.links", e, "%s", why.text);
    }
    sim_init(&m, s, machine, network);
    m.fold = !o->no_fold;
    rc = lowered_open(&m.lowered, o->lowered, s, machine, e);
    for (int64_t i = 0; i < m.n && !rc; i++)
        rc = sim_entry(&m, i, e);
    if (!rc)
        rc = sim_report(&m, call, path, text, e);
    sim_clear(&m);
    machine_destroy(machine);
    free(text);
    return rc;
}

static int sim_exec(const struct call *call, struct error *e)
{
    const struct sim_options *o = call->options;
    struct scenario *s = scenario_load(call->operands[0], &o->sets, e);
    int rc = -1;

    if (!s)
        return -1;
    char *path = o->output ? xstrdup(o->output)
        : scenario_output(s->path, ".sim.h5");
    if (!scenario_need_ranks(s, e) && !entries_apply(s, s->ranks, e)
        && !output_check(path, (const char *const[]){ s->path, s->input }, 2,
                         e))
        rc = sim_scenario(s, call, path, e);
    free(path);
    scenario_destroy(s);
    return rc;
}

const struct command command_sim = {
    "sim", "SCENARIO", "Simulate the strategies of a scenario on a model of a "
    "machine.", sim_rows, sizeof(struct sim_options), &sim_initial, 1, 1, 0,
    sim_exec
};
