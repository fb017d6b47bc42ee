/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/loads.h"

#include "topo/draw.h"
#include "topo/machine.h"
#include "topo/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct topo_options {
    int format;
    const char *traffic;
    int64_t entry;
};

static const char *const words[] = { "text", "json", "dot", "svg", NULL };
static void (*const draw[])(const struct drawing *d, FILE *out) = {
    draw_text, draw_json, draw_dot, draw_svg        /* as `words` */
};

static const struct option_row topo_rows[] = {
    { "format", 0, OPTION_WORD, offsetof(struct topo_options, format),
      "text|json|dot|svg", 0, 0, words, "what to print (text)" },
    { "traffic", 0, OPTION_STRING, offsetof(struct topo_options, traffic),
      "SCENARIO", 0, 0, NULL, "what it puts on the links of its machine" },
    { "entry", 0, OPTION_INT, offsetof(struct topo_options, entry), "N", 0,
      1 << 20, NULL, "with --traffic: of the scenario's strategies (0)" },
    ROW_END
};

/* What calibrate wrote, a file, or a preset. */
static char *machine_text(const char *name, char **path, size_t *size,
                          struct error *e)
{
    struct error why = { 0 };
    char *text = NULL;
    int is_file = strpbrk(name, "./") && access(name, R_OK) == 0;

    if (!is_file && strcmp(name, "local") != 0) {
        text = scenario_data("machines", name, "", path, size, &why);
    } else {
        *path = is_file ? xstrdup(name) : machine_local_path();
        text = file_read((const char *const *)path, 1, &(int){ 0 }, size, &why);
    }
    if (!text)
        fail_usage(e, "there is no machine \"%s\" (%s)", name, why.text);
    return text;
}

static struct graph *read_machine(const char *name, struct error *e)
{
    const char *rest;
    const struct topology_reader *r = topology_word(name, &rest);
    char *path = NULL;
    size_t size = 0;

    if (r)
        return r->read(name, rest, strlen(rest), e);
    char *text = machine_text(name, &path, &size, e);
    struct graph *g = text ? topology_read(path, text, size, e) : NULL;
    free(text);
    free(path);
    return g;
}

static int draw_graph(struct graph *g, const char *name, int format,
                      const double *bytes, const char *traffic)
{
    struct survey s;

    if (!*g->name)
        snprintf(g->name, sizeof g->name, "%s", name);
    survey(g, &s);
    draw[format](&(struct drawing){ g, &s, bytes, traffic }, stdout);
    survey_clear(&s);
    return SPAR_OK;
}

static int draw_machine(const char *name, int format, struct error *e)
{
    struct graph *g = read_machine(name, e);

    if (!g)
        return -1;
    int rc = draw_graph(g, name, format, NULL, NULL);
    graph_destroy(g);
    return rc;
}

static int draw_loaded(struct scenario *s, const struct topo_options *o,
                       struct error *e)
{
    struct machine *m = scenario_machine(s, NULL, e);
    double *bytes = m ? scenario_loads(s, m, o->entry, e) : NULL;

    if (bytes) {
        const struct scenario_strategy *x = &s->strategies[o->entry];
        char options[160];
        options_text(x->strategy, &x->options, options, sizeof options);
        char *traffic = xasprintf("%s on %lld ranks%s%s", x->strategy->name,
                                  (long long)s->ranks, *options ? ", " : "",
                                  options);
        draw_graph(m->graph, m->name, o->format, bytes, traffic);
        free(traffic);
    }
    int rc = bytes ? SPAR_OK : -1;
    machine_destroy(m);
    free(bytes);
    return rc;
}

static int draw_traffic(const struct topo_options *o, struct error *e)
{
    struct scenario *s = scenario_load(o->traffic, NULL, e);
    int rc = s && !scenario_need_ranks(s, e) ? draw_loaded(s, o, e) : -1;

    scenario_destroy(s);
    return rc;
}

static int topo_exec(const struct call *call, struct error *e)
{
    const struct topo_options *o = call->options;

    if (o->traffic && call->n_operands)
        return fail_usage(e, "topo: --traffic takes the scenario's machine, no "
                          "other");
    if (o->traffic)
        return draw_traffic(o, e);
    if (call->n_operands)
        return draw_machine(call->operands[0], o->format, e);
    if (o->format != FORMAT_TEXT && o->format != FORMAT_JSON)
        return fail_usage(e, "topo: --format %s needs a machine",
                          words[o->format]);
    return topo_print(o->format == FORMAT_JSON, stdout, e);
}

const struct command command_topo = {
    "topo", "[MACHINE]", "Print what hwloc sees of this node, or a machine: "
    "links, routes, bisection.", topo_rows,
    sizeof(struct topo_options), NULL, 0, 1, 0, topo_exec
};
