/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario files: reading.  Completing the job is in scenario_job.c. */
#include <config.h>

#include "base/file.h"
#include "base/yaml.h"
#include "cli/scenario_internal.h"
#include "kernel/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Options of strategies --------------------------------------------------- */

static const char *const later_strategies[] = {
    "rsa", "tree", "star", "lasp",
    "lasp2", "lasp2-scan", "lasp2h", NULL
};

/* Options that later work adds: only their defaults are taken. */
static const struct {
    const char *strategy, *key, *value;
} later_options[] = {
    { "ring", "backward", "kv" }, { "ring", "direction", "1" },
    { "ring", "hops", "all" }, { "allgather", "head_group", "0" },
    { NULL, NULL, NULL }
};

enum { MAX_KEYS = 16 };

/* Keys of an entry of `strategies`: the strategy's options, name, and those to
 * come. */
static void entry_keys(const struct strategy *st, const char *keys[MAX_KEYS])
{
    int n = 0;

    keys[n++] = "name";
    for (int i = 0; st->options[i] && n < MAX_KEYS - 1; i++)
        keys[n++] = st->options[i];
    for (int i = 0; later_options[i].key && n < MAX_KEYS - 1; i++)
        if (!strcmp(later_options[i].strategy, st->name))
            keys[n++] = later_options[i].key;
    keys[n] = NULL;
}

static int later_entry(struct yaml *y, int node, const char *key,
                       const struct strategy *st, struct error *e)
{
    char full[128];

    for (int i = 0; later_options[i].key; i++) {
        int value = yaml_get(y, node, later_options[i].key);
        if (!value || strcmp(later_options[i].strategy, st->name)
            || !strcmp(yaml_text(y, value), later_options[i].value))
            continue;
        snprintf(full, sizeof full, "%s.%s", key, later_options[i].key);
        return yaml_fail(y, value, full, e, "\"%s\" is not available yet; only "
                         "%s is", yaml_text(y, value), later_options[i].value);
    }
    return 0;
}

static int find_strategy(struct yaml *y, int node, const char *key,
                         const struct strategy **st, struct error *e)
{
    const char *names[64];
    int n = 0, name = yaml_get(y, node, "name");
    char full[128];

    snprintf(full, sizeof full, "%s.name", key);
    if (!name)
        return yaml_fail(y, node, full, e, "missing: which strategy?");
    const char *word = yaml_text(y, name);
    if ((*st = strategy_find(word)))
        return 0;
    if (name_index(later_strategies, word) >= 0)
        return yaml_fail(y, name, full, e, "\"%s\" is not available yet", word);
    for (; strategies[n] && n < 63; n++)
        names[n] = strategies[n]->name;
    names[n] = NULL;
    const char *near = name_nearest(names, word);
    return yaml_fail(y, name, full, e, "there is no strategy \"%s\"; %s%s%s",
                     word, near ? "did you mean \"" : "see `spar list`",
                     near ? near : "", near ? "\"?" : "");
}

/* Degrees and placement; which of them a strategy takes was checked. */
static int read_mesh(struct yaml *y, int node, const char *key,
                     struct strategy_options *o, struct error *e)
{
    char head[128], window[128], placement[128], interleaved[128];
    int place = HEAD_FIRST;

    snprintf(head, sizeof head, "%s.head", key);
    snprintf(window, sizeof window, "%s.window", key);
    snprintf(placement, sizeof placement, "%s.placement", key);
    snprintf(interleaved, sizeof interleaved, "%s.interleaved", key);
    if (yaml_int(y, yaml_get(y, node, "head"), head, 1, 1 << 20, &o->head, e)
        || yaml_int(y, yaml_get(y, node, "window"), window, 1, 1 << 20,
                    &o->window, e)
        || yaml_word(y, yaml_get(y, node, "placement"), placement,
                     placement_names, &place, e))
        return -1;
    o->placement = (enum placement)place;
    return yaml_bool(y, yaml_get(y, node, "interleaved"), interleaved,
                     &o->interleaved, e);
}

static int read_entry(struct yaml *y, int node, int64_t i,
                      struct scenario_strategy *out, struct error *e)
{
    char key[64], full[128];
    const char *keys[MAX_KEYS];
    int layout = LAYOUT_CONTIGUOUS, block = yaml_get(y, node, "block");

    snprintf(key, sizeof key, "strategies.%lld", (long long)i);
    if (yaml_type(y, node) != YAML_MAP)
        return yaml_fail(y, node, key, e, "not a mapping like {name: ring}");
    if (find_strategy(y, node, key, &out->strategy, e))
        return -1;
    entry_keys(out->strategy, keys);
    out->options.block = 1;
    snprintf(full, sizeof full, "%s.layout", key);
    if (yaml_check_keys(y, node, key, keys, e)
        || later_entry(y, node, key, out->strategy, e)
        || yaml_word(y, yaml_get(y, node, "layout"), full, layout_names,
                     &layout, e))
        return -1;
    out->options.layout = (enum layout)layout;
    snprintf(full, sizeof full, "%s.block", key);
    if (block && layout != LAYOUT_STRIPED)
        return yaml_fail(y, block, full, e, "only with layout: striped");
    if (yaml_int(y, block, full, 1, (int64_t)1 << 40, &out->options.block, e))
        return -1;
    return read_mesh(y, node, key, &out->options, e);
}

static int read_strategies(struct scenario *s, struct error *e)
{
    struct yaml *y = s->yaml;
    int list = yaml_get(y, yaml_root(y), "strategies");

    if (!list)
        return yaml_fail(y, yaml_root(y), "strategies", e, "missing: a list "
                         "such as [{name: ring}]");
    if (yaml_type(y, list) != YAML_LIST || yaml_count(y, list) == 0)
        return yaml_fail(y, list, "strategies", e, "not a list such as "
                         "[{name: ring}]");
    s->n_strategies = yaml_count(y, list);
    s->strategies = xcalloc((size_t)s->n_strategies, sizeof *s->strategies);
    for (int64_t i = 0; i < s->n_strategies; i++)
        if (read_entry(y, yaml_item(y, list, i), i, &s->strategies[i], e))
            return -1;
    return 0;
}

/* ---- run, machine ------------------------------------------------------------ */

static const char *const verify_names[] = { "full", "sampled", "none", NULL };

static int check_kernel(struct yaml *y, int node, const char *name,
                        struct error *e)
{
    const char *names[32] = { "auto" };
    int n = 1;

    for (int i = 0; kernel_backends[i] && n < 31; i++)
        names[n++] = kernel_backends[i]->name;
    if (name_index(names, name) >= 0)
        return 0;
    const char *near = name_nearest(names, name);
    return yaml_fail(y, node, "run.kernel", e, "there is no kernel \"%s\"; %s%s%s",
                     name, near ? "did you mean \"" : "see `spar list`",
                     near ? near : "", near ? "\"?" : "");
}

static int read_run(struct scenario *s, struct error *e)
{
    static const char *const keys[] = { "ranks", "warmups", "repeats", "seed",
                                        "verify", "kernel", "transport",
                                        "deterministic", NULL };
    struct yaml *y = s->yaml;
    int run = yaml_get(y, yaml_root(y), "run"), verify = VERIFY_FULL;
    int kernel = yaml_get(y, run, "kernel");

    if (!yaml_is_null(y, run) && yaml_check_keys(y, run, "run", keys, e))
        return -1;
    if (yaml_int(y, yaml_get(y, run, "ranks"), "run.ranks", 1, 1 << 20,
                 &s->ranks, e)
        || yaml_int(y, yaml_get(y, run, "warmups"), "run.warmups", 0, 1000000,
                    &s->warmups, e)
        || yaml_int(y, yaml_get(y, run, "repeats"), "run.repeats", 1, 1000000,
                    &s->repeats, e)
        || yaml_int(y, yaml_get(y, run, "seed"), "run.seed", 0, INT64_MAX,
                    &s->seed, e)
        || yaml_word(y, yaml_get(y, run, "verify"), "run.verify",
                     verify_names, &verify, e)
        || yaml_string(y, kernel, "run.kernel", &s->kernel, e)
        || check_kernel(y, kernel, s->kernel, e)
        || yaml_string(y, yaml_get(y, run, "transport"), "run.transport",
                       &s->transport, e)
        || yaml_bool(y, yaml_get(y, run, "deterministic"),
                     "run.deterministic", &s->deterministic, e))
        return -1;
    s->verify = (enum verify_mode)verify;
    return 0;
}

static int read_top(struct scenario *s, struct error *e)
{
    static const char *const keys[] = { "job", "run", "strategies", "machine",
                                        NULL };
    struct yaml *y = s->yaml;
    int root = yaml_root(y);

    if (!root)
        return fail_usage(e, "%s:1:1: empty: a scenario has `job` and "
                          "`strategies`", s->path);
    if (yaml_check_keys(y, root, "", keys, e))
        return -1;
    return yaml_is_null(y, yaml_get(y, root, "machine")) ? 0
        : yaml_string(y, yaml_get(y, root, "machine"), "machine", &s->machine,
                      e);
}

/* ---- The whole ---------------------------------------------------------------- */

struct scenario *scenario_parse(const char *path, const char *text,
                                size_t size, const char *const *sets,
                                int n_sets, struct error *e)
{
    struct scenario *s = xcalloc(1, sizeof *s);
    int rc = 0;

    s->path = xstrdup(path);
    s->kernel = xstrdup("auto");
    s->transport = xstrdup("auto");
    s->warmups = 5;
    s->repeats = 20;
    s->seed = 1;
    s->yaml = yaml_parse(path, text, size, e);
    for (int i = 0; s->yaml && i < n_sets && !rc; i++)
        rc = yaml_set(s->yaml, sets[i], e);
    if (!s->yaml || rc || read_top(s, e) || read_run(s, e)
        || read_job(s, e) || read_strategies(s, e)) {
        scenario_destroy(s);
        return NULL;
    }
    s->json = yaml_json(s->yaml);
    return s;
}

void scenario_destroy(struct scenario *s)
{
    if (!s)
        return;
    job_clear(&s->job);
    yaml_destroy(s->yaml);
    free(s->path);
    free(s->kernel);
    free(s->transport);
    free(s->strategies);
    free(s->machine);
    free(s->input);
    free(s->json);
    free(s->lengths);
    free(s);
}

int scenario_fail(struct scenario *s, const char *key, struct error *e,
                  const char *fmt, ...)
{
    char message[512], *path = xstrdup(key), *rest = path, *word;
    int node = yaml_root(s->yaml);
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    while ((word = strsep(&rest, "."))) {
        int next = yaml_get(s->yaml, node, word);
        if (!next)
            next = yaml_item(s->yaml, node, strtoll(word, NULL, 10));
        if (!next)
            break;
        node = next;
    }
    free(path);
    return yaml_fail(s->yaml, node, key, e, "%s", message);
}

int scenario_need_ranks(struct scenario *s, struct error *e)
{
    if (!s->ranks)
        return scenario_fail(s, "run.ranks", e, "missing: how many ranks? (or "
                             "--set run.ranks=N)");
    return 0;
}
