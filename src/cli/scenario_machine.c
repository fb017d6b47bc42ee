/* SPDX-License-Identifier: Apache-2.0
 *
 * `machine` of a scenario: a name, or a name and what differs. */
#include <config.h>

#include "base/file.h"
#include "cli/planned.h"
#include "cli/scenario_internal.h"
#include "topo/knobs.h"
#include "topo/machine_reader.h"

#include <stdlib.h>
#include <string.h>

/* ---- Changes ------------------------------------------------------------- */

/* Numbers by name, as topo/knobs.h has them: `nic: {bandwidth: 25 GB/s}`.
 * Onto m, or without one only read. */
static int change(struct scenario *s, struct machine *m, int node,
                  const char *name, struct error *e)
{
    const struct knob *k = knob_find(name);
    struct error why = { 0 };
    char key[128];
    double value = 0;

    snprintf(key, sizeof key, "machine.%s", name);
    if (!k)
        return yaml_fail(s->yaml, node, key, e, "no such number of a machine; "
                         "see `machine` in spar-scenario(5)");
    if (machine_read_real(s->yaml, node, key, k->unit, &value, e))
        return -1;
    if (!(value > 0))
        return yaml_fail(s->yaml, node, key, e, "must be more than 0");
    if (m && knob_set(k, m, value, &why))
        return yaml_fail(s->yaml, node, key, e, "%s", why.text);
    return 0;
}

static int change_group(struct scenario *s, struct machine *m, int map,
                        const char *name, struct error *e)
{
    const char *last;
    char key[96];

    for (int64_t i = 0; i < yaml_count(s->yaml, map); i++) {
        int node = yaml_pair(s->yaml, map, i, &last);
        snprintf(key, sizeof key, "%s.%s", name, last);
        if (change(s, m, node, key, e))
            return -1;
    }
    return 0;
}

static int changes(struct scenario *s, struct machine *m, struct error *e)
{
    struct yaml *y = s->yaml;
    int map = yaml_get(y, yaml_root(y), "machine");
    const char *name;

    if (yaml_type(y, map) != YAML_MAP)
        return 0;
    for (int64_t i = 0; i < yaml_count(y, map); i++) {
        int node = yaml_pair(y, map, i, &name);
        if (!strcmp(name, "name") || !strcmp(name, "hosts"))
            continue;
        if ((yaml_type(y, node) == YAML_MAP ? change_group : change)(
                s, m, node, name, e))
            return -1;
    }
    return 0;
}

int read_machine_key(struct scenario *s, struct error *e)
{
    struct yaml *y = s->yaml;
    int node = yaml_get(y, yaml_root(y), "machine");

    if (yaml_is_null(y, node))
        return 0;
    if (yaml_type(y, node) != YAML_MAP)
        return yaml_string(y, node, "machine", &s->machine, e);
    if (!yaml_get(y, node, "name"))
        return yaml_fail(y, node, "machine.name", e, "missing: local, a preset "
                         "or a file");
    if (yaml_string(y, yaml_get(y, node, "name"), "machine.name", &s->machine,
                    e)
        || yaml_int(y, yaml_get(y, node, "hosts"), "machine.hosts", 1, 65536,
                    &s->hosts, e))
        return -1;
    return changes(s, NULL, e);
}

/* ---- The machine --------------------------------------------------------- */

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

/* One of the files that a machine file names. */
static int add_kernels(struct machine *m, const char *name, const char *from,
                       char **text, struct error *e)
{
    char *path = NULL, *both;
    size_t size = 0;
    char *bytes = scenario_data("machines/kernels", name, from, &path, &size,
                                e);

    int rc = bytes ? machine_add_kernels(m, path, bytes, size, e) : -1;
    if (rc == 0 && text) {
        both = xasprintf("%s---\n%s", *text, bytes);
        free(*text);
        *text = both;
    }
    free(bytes);
    free(path);
    return rc;
}

int machine_find_kernels(struct machine *m, const char *from, char **text,
                         struct error *e)
{
    char names[sizeof m->kernels], *at = names;

    memcpy(names, m->kernels, sizeof names);
    for (char *name; (name = strtok_r(at, " ,", &at)) != NULL;)
        if (add_kernels(m, name, from, text, e) != 0)
            return -1;
    m->kernels[0] = '\0';               /* they are in it now */
    return 0;
}

static struct machine *changed_machine(struct scenario *s, const char *path,
                                       char **text, size_t size,
                                       struct error *e)
{
    struct machine *m = machine_parse_hosts(path, *text, size, s->hosts, e);

    if (!m && s->hosts) {
        struct error why = *e;
        scenario_fail(s, "machine.hosts", e, "%s", why.text);
    }
    if (m && (machine_find_kernels(m, path, text, e) || changes(s, m, e))) {
        machine_destroy(m);
        return NULL;
    }
    return m;
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
    struct machine *m = bytes ? changed_machine(s, path, &bytes, size, e)
                              : NULL;
    free(path);
    if (m && text)
        *text = bytes;
    else
        free(bytes);
    return m;
}
