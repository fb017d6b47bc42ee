/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "base/yaml.h"
#include "cli/loads.h"
#include "cli/output.h"
#include "cli/place_report.h"
#include "topo/hostlist.h"

#include <stdlib.h>
#include <string.h>

struct place_options {
    int format, network;
    struct string_list sets;
    int64_t entry, effort;
    const char *nodes, *tasks, *hostfile, *emit;
};

static const char *const network_words[] = { "ideal", "loggp", "flow",
                                             NULL };
static const struct place_options place_initial = { .network = 2,
                                                    .effort = 20 };

#define AT(member) offsetof(struct place_options, member)
static const struct option_row place_rows[] = {
    { "entry", 0, OPTION_INT, AT(entry), "N", 0, 1 << 20, NULL,
      "of the scenario's strategies (0)" },
    { "nodes", 0, OPTION_STRING, AT(nodes), "LIST", 0, 0, NULL,
      "hosts to use, in the launcher's order, as in $SLURM_JOB_NODELIST" },
    { "tasks", 0, OPTION_STRING, AT(tasks), "LIST", 0, 0, NULL,
      "ranks on each of --nodes, as in $SLURM_TASKS_PER_NODE (its slots)" },
    { "hostfile", 0, OPTION_STRING, AT(hostfile), "FILE", 0, 0, NULL,
      "write the host of each rank, for mpiexec -f or $SLURM_HOSTFILE" },
    { "emit", 0, OPTION_STRING, AT(emit), "FILE", 0, 0, NULL,
      "write the scenario with run.slots, for run and sim" },
    { "effort", 0, OPTION_INT, AT(effort), "N", 0, 1000000, NULL,
      "simulate about N million ops (20)" },
    { "network", 0, OPTION_WORD, AT(network), "ideal|loggp|flow", 0, 0,
      network_words, "model of the network (flow)" },
    ROW_SET(place_options),
    ROW_FORMAT(place_options),
    ROW_END
};
#undef AT

/* ---- Slots --------------------------------------------------------------- */

static int32_t find_host(const struct graph *g, const char *name)
{
    for (int32_t h = 0; h < g->n_hosts; h++)
        if (strcmp(g->hosts[h].name, name) == 0)
            return h;
    return -1;
}

/* So many of a host; -1: all. */
static int add_host_slots(const struct graph *g, const char *name,
                          int64_t tasks, int32_t *slots, int64_t *n,
                          int64_t most, struct error *e)
{
    int32_t host = find_host(g, name);
    int64_t left = tasks;

    if (host < 0)
        return fail_usage(e, "--nodes: the machine has no host \"%s\", its "
                          "first is \"%s\"", name, g->hosts[0].name);
    for (int32_t s = 0; s < g->n_slots && *n < most && left; s++)
        if (g->vertices[g->slots[s]].host == host) {
            slots[(*n)++] = s;
            left--;
        }
    return left <= 0 || *n == most ? 0
        : fail_usage(e, "--tasks: %lld on \"%s\", which has %lld slots",
                     (long long)tasks, name, (long long)(tasks - left));
}

/* The hosts of --nodes, and how many ranks each; counts NULL: all its slots. */
struct listed {
    struct names hosts;
    int64_t *counts;
};

static int read_listed(const struct place_options *o, struct listed *l,
                       struct error *e)
{
    struct error why = { 0 };
    int64_t n = 0;

    if (hostlist_expand(o->nodes, &l->hosts, &why))
        return fail_usage(e, "--nodes: %s", why.text);
    if (!o->tasks)
        return 0;
    if (tasks_expand(o->tasks, &l->counts, &n, &why))
        return fail_usage(e, "--tasks: %s", why.text);
    if (n != l->hosts.n)
        return fail_usage(e, "--tasks is of %lld nodes, --nodes of %lld",
                          (long long)n, (long long)l->hosts.n);
    return 0;
}

/* Those of the hosts listed, in that order. */
static int listed_slots(const struct graph *g, const struct place_options *o,
                        int32_t *slots, int64_t ranks, struct error *e)
{
    struct listed l = { 0 };
    int64_t n = 0;
    int rc = read_listed(o, &l, e);

    for (int64_t i = 0; i < l.hosts.n && !rc; i++)
        rc = names_find(&l.hosts, l.hosts.items[i]) < i
            ? fail_usage(e, "--nodes has \"%s\" twice", l.hosts.items[i])
            : add_host_slots(g, l.hosts.items[i], l.counts ? l.counts[i] : -1,
                             slots, &n, ranks, e);
    if (!rc && n < ranks)
        rc = fail_usage(e, "--nodes: %lld slots for %lld ranks", (long long)n,
                        (long long)ranks);
    names_clear(&l.hosts);
    free(l.counts);
    return rc;
}

static int find_slots(struct scenario *s, const struct machine *m,
                      const struct place_options *o, int32_t *slots,
                      struct error *e)
{
    if (o->nodes)
        return listed_slots(m->graph, o, slots, s->ranks, e);
    if (o->tasks)
        return fail_usage(e, "--tasks needs --nodes");
    if (s->ranks > m->graph->n_slots)
        return scenario_fail(s, "run.ranks", e, "is %lld, the machine %s has "
                             "%d slots", (long long)s->ranks, m->name,
                             m->graph->n_slots);
    for (int64_t r = 0; r < s->ranks; r++)
        slots[r] = (int32_t)r;
    return 0;
}

/* ---- Files --------------------------------------------------------------- */

static int write_hosts(const char *path, const struct place_report *r,
                       struct error *e)
{
    struct output o;
    FILE *out = output_begin(&o, path);

    if (out)
        place_hosts(out, r);
    return output_finish(&o, 0, e);
}

/* ---- All of it ----------------------------------------------------------- */

static int emit(const char *path, struct scenario *s,
                const struct place_report *r, const char *line,
                struct error *e)
{
    char *slots = place_slots(r);
    char *assignment = xasprintf("run.slots=%s", slots);
    int rc = yaml_set(s->yaml, assignment, e)
        || scenario_emit(path, s, line, e) ? -1 : 0;

    free(assignment);
    free(slots);
    return rc;
}

static int report(struct scenario *s, const struct place_report *r,
                  const struct call *call, struct error *e)
{
    const struct place_options *o = call->options;

    if (o->format == FORMAT_JSON)
        place_json(stdout, r);
    else
        place_text(stdout, r);
    if (o->hostfile && write_hosts(o->hostfile, r, e))
        return -1;
    return o->emit ? emit(o->emit, s, r, call->line, e) : 0;
}

static int place_entry(struct scenario *s, const struct call *call,
                       struct placement_problem *p, struct error *e)
{
    const struct place_options *o = call->options;
    struct simulate_options how = {
        .network = network_find(network_words[o->network]), .kernel = s->kernel
    };
    struct planned entry;
    struct traffic traffic = { 0 };
    struct placements c = { 0 };

    planned_open(&entry, s, o->entry, s->ranks);
    planned_build(&entry);
    const struct schedule *const *all =
        (const struct schedule *const *)entry.schedules;
    int rc = entry.plan ? 0 : fail_usage(e, "%s does not apply: %s",
                                         entry.asked->strategy->name,
                                         entry.reason.text);
    if (!rc) {
        traffic_of(&traffic, all, s->ranks);
        p->traffic = &traffic;
        rc = placement_choose(&c, p, all, &how, 1e6 * (double)o->effort, e);
    }
    if (!rc)
        rc = report(s, &(struct place_report){ &entry, p, &c }, call, e);
    placement_clear(&c);
    traffic_clear(&traffic);
    planned_close(&entry);
    return rc;
}

static int place_scenario(struct scenario *s, const struct call *call,
                          struct error *e)
{
    const struct place_options *o = call->options;
    struct machine *m = scenario_machine(s, NULL, e);
    int32_t *slots = xcalloc((size_t)s->ranks, sizeof *slots);
    int rc = m ? scenario_check_graph(s, m, e) : -1;

    if (!rc)
        rc = find_slots(s, m, o, slots, e);
    if (!rc) {
        struct links *links = links_create(m, m->graph->n_slots);
        struct placement_problem p = { .machine = m, .links = links,
                                       .slots = slots };
        rc = place_entry(s, call, &p, e);
        links_destroy(links);
    }
    free(slots);
    machine_destroy(m);
    return rc;
}

static int check_files(const struct scenario *s, const struct place_options *o,
                       struct error *e)
{
    const char *const taken[] = { s->path, s->input, o->hostfile };

    return (o->hostfile && output_check(o->hostfile, taken, 2, e))
        || (o->emit && output_check(o->emit, taken, 3, e)) ? -1 : 0;
}

static int place_exec(const struct call *call, struct error *e)
{
    const struct place_options *o = call->options;
    struct scenario *s = scenario_load(call->operands[0], &o->sets, e);
    int rc = -1;

    if (s && !scenario_check_entry(s, o->entry, e)
        && !scenario_need_ranks(s, e) && !check_files(s, o, e))
        rc = place_scenario(s, call, e);
    scenario_destroy(s);
    return rc;
}

const struct command command_place = {
    "place", "SCENARIO", "Choose which rank of a strategy works on which slot "
    "of a machine.", place_rows, sizeof(struct place_options), &place_initial,
    1, 1, 0, place_exec
};
