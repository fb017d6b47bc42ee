/* SPDX-License-Identifier: Apache-2.0
 *
 * Where scenarios find other files. */
#include <config.h>

#include "base/file.h"
#include "cli/scenario.h"
#include "trace/trace.h"

#include <stdlib.h>
#include <string.h>

static int is_path(const char *name)
{
    size_t n = strlen(name);

    return strchr(name, '/') || (n > 5 && !strcmp(name + n - 5, ".yaml"))
        || (n > 4 && !strcmp(name + n - 4, ".yml"));
}

char *scenario_file(const char *name, const char *from)
{
    char *path = is_path(name) ? file_beside(from, name) : NULL;
    char *whole = path ? realpath(path, NULL) : NULL;

    if (!whole)
        return path;
    free(path);
    return whole;
}

/* ".yaml", or what the name brings itself. */
static const char *ending_of(const char *name)
{
    size_t n = strlen(name);

    return n > 4 && !strcmp(name + n - 4, ".csv") ? "" : ".yaml";
}

/* Candidates in order; returns their number. */
static int candidates(const char *kind, const char *name, const char *from,
                      char *paths[3])
{
    const char *data = getenv("SPAR_DATA"), *ending = ending_of(name);
    int n = 0;

    if (is_path(name)) {
        paths[0] = file_beside(from, name);
        return 1;
    }
    if (data && *data)
        paths[n++] = xasprintf("%s/%s/%s%s", data, kind, name, ending);
    paths[n++] = xasprintf("%s/scenarios/%s/%s%s", SPAR_SOURCE_DIR, kind, name,
                           ending);
    paths[n++] = xasprintf("%s/%s/%s%s", SPAR_DATADIR, kind, name, ending);
    return n;
}

char *scenario_data(const char *kind, const char *name, const char *from,
                    char **found, size_t *size, struct error *e)
{
    char *paths[3];
    int which = 0, n = candidates(kind, name, from, paths);
    char *text = file_read((const char *const *)paths, n, &which, size, e);

    *found = text ? xstrdup(paths[which]) : NULL;
    for (int i = 0; i < n; i++)
        free(paths[i]);
    return text;
}

char *scenario_output(const char *path, const char *ending)
{
    size_t n = strlen(path);

    if (n > 5 && !strcmp(path + n - 5, ".yaml"))
        n -= 5;
    else if (n > 4 && !strcmp(path + n - 4, ".yml"))
        n -= 4;
    return xasprintf("%.*s%s", (int)n, path, ending);
}

/* Shapes of the input file into the job. */
static int load_input(struct scenario *s, struct error *e)
{
    struct tensor_file *f = tensor_file_read(s->input, scenario_input_need(s),
                                             e);

    if (!f)
        return -1;
    int rc = scenario_apply_input(s, f, e);
    tensor_file_destroy(f);
    return rc;
}

typedef struct scenario *(*parse_fn)(const char *path, const char *text,
                                     size_t size, const char *const *sets,
                                     int n_sets, struct error *e);

static struct scenario *load(parse_fn parse, const char *path,
                             const struct string_list *sets, struct error *e)
{
    size_t size;
    int which;
    char *text = file_read(&path, 1, &which, &size, e);
    struct scenario *s = text ? parse(
        path, text, size, sets ? (const char *const *)sets->items : NULL,
        sets ? (int)sets->n : 0, e) : NULL;

    free(text);
    if (s && s->input && load_input(s, e)) {
        scenario_destroy(s);
        return NULL;
    }
    return s;
}

struct scenario *scenario_load(const char *path,
                               const struct string_list *sets,
                               struct error *e)
{
    return load(scenario_parse, path, sets, e);
}

struct scenario *question_load(const char *path,
                               const struct string_list *sets,
                               struct error *e)
{
    return load(question_parse, path, sets, e);
}
