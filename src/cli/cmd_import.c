/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/file.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/scenario.h"

#include "topo/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct import_options {
    const char *machine, *output, *host, *gpu, *op;
    int64_t ranks;
    int replace;
};

static const struct option_row import_rows[] = {
    ROW_OUTPUT(import_options, "the machine file to write; else the tables are "
               "printed"),
    { "machine", 0, OPTION_STRING, offsetof(struct import_options, machine),
      "NAME", 0, 0, NULL, "a preset or file to add them to (a new machine)" },
    { "replace", 0, OPTION_FLAG, offsetof(struct import_options, replace),
      NULL, 0, 0, NULL, "drop the tables that the machine has" },
    { "ranks", 0, OPTION_INT, offsetof(struct import_options, ranks), "N", 2,
      1 << 20, NULL, "ranks of a collective of OSU, which does not say so" },
    { "op", 0, OPTION_STRING, offsetof(struct import_options, op), "NAME", 0,
      0, NULL, "what was measured, if nccl-tests is too old to say so" },
    { "host", 0, OPTION_STRING, offsetof(struct import_options, host), "NAME",
      0, 0, NULL, "host that a file of OSU or CSV is of" },
    { "gpu", 0, OPTION_STRING, offsetof(struct import_options, gpu), "NAME", 0,
      0, NULL, "rows of a CSV file to take" },
    ROW_END
};

static int read_file(struct import *in, const char *path,
                     const struct import_options *o, struct error *e)
{
    const struct import_asked asked = { o->ranks, o->op, o->host, o->gpu };
    size_t size = 0;
    char *text = file_read_local(path, &size, e);

    if (!text)
        return -1;
    int rc = memchr(text, '\0', size)
        ? fail_usage(e, "%s: a binary file", path)
        : import_file(in, path, text, size, &asked, e);
    free(text);
    return rc;
}

/* A preset or file, or a new machine of the host that measured. */
static struct machine *base_machine(const char *name, const struct import *in,
                                    struct error *e)
{
    struct error why = { 0 };
    char *path = NULL;
    size_t size = 0;

    if (!name) {
        struct machine *m = xcalloc(1, sizeof *m);
        snprintf(m->name, sizeof m->name, "%s",
                 *in->host ? in->host : "imported");
        snprintf(m->processor, sizeof m->processor, "%s", in->processor);
        for (int64_t i = 0; i < in->n; i++)
            m->cores = (int)max64(m->cores, in->runs[i].ranks);
        m->versions = xstrdup(in->versions);
        m->created = xstrdup("");
        return m;
    }
    char *text = scenario_data("machines", name, "", &path, &size, &why);
    struct machine *m = NULL;
    if (text)
        m = machine_parse(path, text, size, e);
    else
        fail_usage(e, "there is no machine \"%s\" (%s)", name, why.text);
    free(text);
    free(path);
    return m;
}

/* Whole or not at all. */
static int write_file(const struct machine *m, const struct call *call,
                      const char *path, struct error *e)
{
    struct output o;
    FILE *out = output_begin(&o, path);
    int rc = 0;

    if (out) {
        fprintf(out, "# Written by: %s\n", call->line);
        rc = machine_write(m, out);
    }
    return output_finish(&o, rc, e);
}

static int write_machine(const struct import *in, const struct call *call,
                         struct error *e)
{
    const struct import_options *o = call->options;
    struct machine *m = base_machine(o->machine, in, e);

    if (!m)
        return -1;
    if (o->replace)
        machine_drop_collectives(m);
    int rc = import_into(in, m, e);
    if (!rc && o->output)
        rc = write_file(m, call, o->output, e);
    for (int64_t i = 0; i < m->n_collectives && !rc && !o->output; i++) {
        if (i == 0)
            fputs(collectives_head, stdout);
        machine_write_collective(stdout, &m->collectives[i]);
    }
    machine_destroy(m);
    return rc;
}

static int import_exec(const struct call *call, struct error *e)
{
    const struct import_options *o = call->options;
    struct import in = { .n = 0 };
    int rc = 0;

    if (o->output)
        rc = output_check(o->output, (const char *const *)call->operands,
                          call->n_operands, e);
    for (int i = 0; i < call->n_operands && !rc; i++)
        rc = read_file(&in, call->operands[i], o, e);
    if (!rc)
        rc = write_machine(&in, call, e);
    import_clear(&in);
    return rc;
}

const struct command command_import = {
    "import", "FILE...", "Collectives that nccl-tests or the OSU "
    "micro-benchmarks measured, into a machine file.", import_rows,
    sizeof(struct import_options), NULL, 1, 1 << 20, 0, import_exec
};
