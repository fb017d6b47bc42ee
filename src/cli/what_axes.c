/* SPDX-License-Identifier: Apache-2.0
 *
 * `what_if` of a scenario: reading its keys and values. */
#include <config.h>

#include "cli/what_internal.h"

#include "base/yaml.h"
#include "topo/knobs.h"
#include "topo/machine_reader.h"

#include <stdlib.h>
#include <string.h>

static const int64_t most_points = 1000000;

char *what_assignment(const struct what_axis *x, int64_t i)
{
    return xasprintf("%s=%s", x->key, x->texts[i]);
}

struct scenario *what_with(const struct scenario *s, const char *const *sets,
                           int n, struct error *e)
{
    return question_parse(s->path, s->json, strlen(s->json), sets, n, e);
}

/* Each value alone must make a scenario. */
static int check_value(struct scenario *s, const struct what_axis *x,
                       int64_t i, int node, struct error *e)
{
    char *set = what_assignment(x, i), key[160];
    struct error why = { 0 };
    struct scenario *t = what_with(s, (const char *const[]){ set }, 1, &why);

    snprintf(key, sizeof key, "what_if.%s", x->key);
    const char *text = why.text;
    if (!strncmp(text, "--set ", 6) && strlen(text) > strlen(set) + 8)
        text += 6 + strlen(set) + 2;
    int rc = t ? 0 : yaml_fail(s->yaml, node, key, e, "%s", text);
    scenario_destroy(t);
    free(set);
    return rc;
}

static const char *unit_of(const char *key)
{
    const struct knob *k = strncmp(key, "machine.", 8) ? NULL
                                                       : knob_find(key + 8);

    return k ? k->unit : "1";
}

/* All numbers: an axis of numbers. */
static void read_numbers(struct scenario *s, struct what_axis *x, int list)
{
    double *values = xcalloc((size_t)x->n, sizeof *values);
    int64_t i = 0;

    while (i < x->n && yaml_type(s->yaml, yaml_item(s->yaml, list, i))
           == YAML_SCALAR
           && !machine_read_real(s->yaml, yaml_item(s->yaml, list, i), "",
                                 x->unit, &values[i], NULL))
        i++;
    if (i == x->n)
        x->values = values;
    else
        free(values);
}

static int read_axis(struct scenario *s, struct what_axis *x, int list,
                     struct error *e)
{
    char key[160];

    snprintf(key, sizeof key, "what_if.%s", x->key);
    if (yaml_type(s->yaml, list) != YAML_LIST || !yaml_count(s->yaml, list))
        return yaml_fail(s->yaml, list, key, e, "needs a list of values, as in "
                         "[8, 64]");
    x->n = yaml_count(s->yaml, list);
    x->texts = xcalloc((size_t)x->n, sizeof *x->texts);
    x->unit = unit_of(x->key);
    for (int64_t i = 0; i < x->n; i++) {
        int node = yaml_item(s->yaml, list, i);
        x->texts[i] = yaml_flow(s->yaml, node);
        if (check_value(s, x, i, node, e))
            return -1;
        for (int64_t k = 0; k < i; k++)
            if (!strcmp(x->texts[k], x->texts[i]))
                return yaml_fail(s->yaml, node, key, e, "%s stands there twice",
                                 x->texts[i]);
    }
    read_numbers(s, x, list);
    return 0;
}

/* A key may be written out, or in mappings, machine: {hosts: [2, 4]}. */
static int read_map(struct what_if *w, struct scenario *s, int map,
                    const char *before, struct error *e)
{
    const char *name;

    for (int64_t i = 0; i < yaml_count(s->yaml, map); i++) {
        int value = yaml_pair(s->yaml, map, i, &name), rc;
        char *key = xasprintf("%s%s%s", before, *before ? "." : "", name);
        if (yaml_type(s->yaml, value) == YAML_MAP) {
            rc = read_map(w, s, value, key, e);
            free(key);
        } else if (w->n_axes == SWEEP_AXES) {
            rc = yaml_fail(s->yaml, value, "what_if", e, "more than %d keys",
                           SWEEP_AXES);
            free(key);
        } else {
            struct what_axis *x = &w->axes[w->n_axes++];
            x->key = key;
            rc = read_axis(s, x, value, e);
        }
        if (rc)
            return -1;
    }
    return 0;
}

int what_if_read(struct what_if *w, struct scenario *s, struct error *e)
{
    int map = yaml_get(s->yaml, yaml_root(s->yaml), "what_if");

    *w = (struct what_if){ .points = 1 };
    if (yaml_type(s->yaml, map) != YAML_MAP || !yaml_count(s->yaml, map))
        return yaml_fail(s->yaml, map, "what_if", e, "needs keys with lists of "
                         "values, as in {run.ranks: [8, 64]}");
    if (read_map(w, s, map, "", e))
        return -1;
    for (int i = 0; i < w->n_axes; i++)
        if (w->axes[i].n > most_points / w->points)
            return yaml_fail(s->yaml, map, "what_if", e, "more than %lld "
                             "points", (long long)most_points);
        else
            w->points *= w->axes[i].n;
    return 0;
}

void what_if_clear(struct what_if *w)
{
    for (int i = 0; i < w->n_axes; i++) {
        struct what_axis *x = &w->axes[i];
        for (int64_t k = 0; x->texts && k < x->n; k++)
            free(x->texts[k]);
        free(x->texts);
        free(x->values);
        free(x->key);
    }
    *w = (struct what_if){ 0 };
}

int64_t what_stride(const struct what_if *w, int axis)
{
    int64_t stride = 1;

    for (int i = axis + 1; i < w->n_axes; i++)
        stride *= w->axes[i].n;
    return stride;
}

int64_t what_index(const struct what_if *w, int64_t point, int axis)
{
    return point / what_stride(w, axis) % w->axes[axis].n;
}
