/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/plan_report.h"

#include "base/yaml.h"
#include "cli/output.h"

#include <stdlib.h>

/* KEY=TEXT in the tree, TEXT in YAML. */
static int set(struct scenario *s, const char *key, const char *text,
               struct error *e)
{
    char *assignment = xasprintf("%s=%s", key, text);
    int rc = yaml_set(s->yaml, assignment, e);

    free(assignment);
    return rc;
}

/* A file is named by its whole path, from wherever it is read. */
static int set_file(struct scenario *s, const char *key, char *path,
                    struct error *e)
{
    char *quoted = path ? xasprintf("\"%s\"", path) : NULL;
    int rc = path ? set(s, key, quoted, e) : 0;

    free(quoted);
    free(path);
    return rc;
}

static int set_files(struct scenario *s, struct error *e)
{
    struct yaml *y = s->yaml;
    int job = yaml_get(y, yaml_root(y), "job");
    int transformer = yaml_get(y, job, "transformer");

    if (yaml_type(y, transformer) == YAML_SCALAR
        && set_file(s, "job.transformer",
                    scenario_file(yaml_text(y, transformer), s->path), e))
        return -1;
    if (s->input && set_file(s, "job.input", realpath(s->input, NULL), e))
        return -1;
    int machine = yaml_get(y, yaml_root(y), "machine");
    return s->machine ? set_file(s, yaml_type(y, machine) == YAML_MAP
                                 ? "machine.name" : "machine",
                                 scenario_file(s->machine, s->path), e) : 0;
}

static char *entries_text(const struct answer *a, int64_t entries)
{
    char *text = xstrdup("[");

    for (int64_t i = 0; i < min64(entries, a->n); i++) {
        const struct candidate *c = &a->contenders[i].candidate;
        char options[160];
        options_text(c->strategy, &c->options, options, sizeof options);
        char *longer = xasprintf("%s%s{name: %s%s%s}", text, i ? ", " : "",
                                 c->strategy->name, *options ? ", " : "",
                                 options);
        free(text);
        text = longer;
    }
    char *closed = xasprintf("%s]", text);
    free(text);
    return closed;
}

/* Where the ranks of the choice work best, if it is the only entry. */
static int set_slots(struct scenario *s, const struct answer *a,
                     int64_t entries, struct error *e)
{
    const struct placed *x = answer_placement(a);
    char *list = xstrdup("[");

    for (int64_t r = 0; x && entries == 1 && r < s->ranks; r++) {
        char *longer = xasprintf("%s%s%d", list, r ? ", " : "", x->map[r]);
        free(list);
        list = longer;
    }
    char *closed = xasprintf("%s]", list);
    int rc = x && entries == 1 ? set(s, "run.slots", closed, e) : 0;
    free(closed);
    free(list);
    return rc;
}

static int set_answer(struct scenario *s, const struct answer *a,
                      int64_t entries, struct error *e)
{
    char *list = entries_text(a, entries);
    char *ranks = xasprintf("%lld", (long long)s->ranks);
    int rc = set(s, "run.ranks", ranks, e)
        || set(s, "strategies", list, e) || set_slots(s, a, entries, e)
        ? -1 : 0;

    free(list);
    free(ranks);
    return rc;
}

int plan_emit(const char *path, struct scenario *s, const struct answer *a,
              int64_t entries, const char *line, struct error *e)
{
    return set_answer(s, a, entries, e) ? -1 : scenario_emit(path, s, line, e);
}

int scenario_emit(const char *path, struct scenario *s, const char *line,
                  struct error *e)
{
    if (set_files(s, e))
        return -1;
    struct output o;
    FILE *out = output_begin(&o, path);
    if (out) {
        fprintf(out, "# Written by: %s\n", line);
        yaml_print(s->yaml, out, "what_if");
    }
    return output_finish(&o, 0, e);
}
