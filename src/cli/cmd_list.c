/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "base/json.h"
#include "cli/list.h"
#include "kernel/kernel.h"
#include "models/simulate.h"
#include "mpi/transport_list.h"
#include "strategy/strategy.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

struct list_options {
    int format, costs, support;
    struct string_list sets;
};

static const struct option_row list_rows[] = {
    { "costs", 0, OPTION_FLAG, offsetof(struct list_options, costs), NULL, 0,
      0, NULL, "what each strategy sends, for SCENARIO or in general" },
    { "support", 0, OPTION_FLAG, offsetof(struct list_options, support), NULL,
      0, 0, NULL, "which strategy takes which mask, pass, layout, ..." },
    ROW_SET(list_options),
    ROW_FORMAT(list_options),
    ROW_END
};

static void list_json(FILE *out)
{
    struct json j;

    json_begin(&j, out);
    json_array(&j, NULL);
    for (int i = 0; strategies[i]; i++) {
        const struct strategy *s = strategies[i];
        json_object(&j, NULL);
        json_text(&j, "name", s->name);
        json_text(&j, "family", s->family);
        json_text(&j, "summary", s->summary);
        json_array(&j, "options");
        for (int k = 0; s->options[k]; k++)
            json_text(&j, NULL, s->options[k]);
        json_end(&j);
        json_end(&j);
    }
    json_end(&j);
}

static void list_strategies(FILE *out)
{
    fputs("strategies\n", out);
    for (int i = 0; strategies[i]; i++) {
        const struct strategy *s = strategies[i];
        fprintf(out, "  %-12s %-8s %s (", s->name, s->family, s->summary);
        for (int k = 0; s->options[k]; k++)
            fprintf(out, "%s%s", k ? ", " : "", s->options[k]);
        fputs(")\n", out);
    }
}

static void list_kernels(FILE *out)
{
    fputs("kernels (run.kernel; auto: the fastest that runs here)\n", out);
    for (int i = 0; kernel_backends[i]; i++) {
        const struct kernel_backend *k = kernel_backends[i];
        struct error why = { 0 };
        int missing = k->available && k->available(&why);
        fprintf(out, "  %-12s %s%s%s\n", k->name, k->summary,
                missing ? "; not here: " : "", missing ? why.text : "");
    }
}

/* A line with the names of FOLDER/KIND/NAME.yaml; their number. */
static size_t list_folder(FILE *out, const char *folder, const char *kind)
{
    char *pattern = xasprintf("%s/%s/*.yaml", folder, kind);
    glob_t found;
    size_t n = glob(pattern, 0, NULL, &found) ? 0 : found.gl_pathc;

    for (size_t i = 0; i < n; i++) {
        const char *name = strrchr(found.gl_pathv[i], '/') + 1;
        int length = (int)strlen(name) - (int)strlen(".yaml");
        fprintf(out, "%s%.*s", i ? ", " : "  ", length, name);
    }
    if (n) {
        fputc('\n', out);
        globfree(&found);
    }
    free(pattern);
    return n;
}

/* Where scenarios find them: the source tree hides what is installed. */
static void list_presets(FILE *out, const char *kind, const char *key)
{
    const char *data = getenv("SPAR_DATA");

    fprintf(out, "%s (%s)\n", kind, key);
    if (data && *data)
        list_folder(out, data, kind);
    if (!list_folder(out, SPAR_SOURCE_DIR "/scenarios", kind))
        list_folder(out, SPAR_DATADIR, kind);
}

static void list_text(FILE *out)
{
    list_strategies(out);
    list_kernels(out);
    fputs("transports (run.transport; auto: the first)\n", out);
    transport_list(out);
    fputs("network models (sim --network)\n", out);
    for (int i = 0; network_models[i]; i++)
        fprintf(out, "  %-12s %s\n", network_models[i]->name,
                network_models[i]->summary);
    list_presets(out, "transformers", "job.transformer");
    list_presets(out, "machines", "machine; local: what calibrate wrote");
}

static int list_costs_of(const struct call *call, struct error *e)
{
    const struct list_options *o = call->options;
    struct scenario *s = NULL;

    if (call->n_operands) {
        s = scenario_load(call->operands[0], &o->sets, e);
        if (!s)
            return -1;
    }
    list_costs(stdout, s, o->format == FORMAT_JSON);
    scenario_destroy(s);
    return SPAR_OK;
}

static int list_exec(const struct call *call, struct error *e)
{
    const struct list_options *o = call->options;
    int json = o->format == FORMAT_JSON;

    if (o->costs && o->support)
        return fail_usage(e, "--costs and --support: one of them");
    if (call->n_operands && !o->costs)
        return fail_usage(e, "list takes a scenario with --costs only");
    if (o->sets.n && !call->n_operands)
        return fail_usage(e, "--set: there is no scenario to set it in");
    if (o->costs)
        return list_costs_of(call, e);
    if (o->support)
        list_support(stdout, json);
    else
        (json ? list_json : list_text)(stdout);
    return SPAR_OK;
}

const struct command command_list = {
    "list", "[SCENARIO]", "List strategies, kernels, transports, network "
    "models and presets.", list_rows, sizeof(struct list_options), NULL, 0, 1,
    0, list_exec
};
