/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario files: reading.  `job` and `strategies` have files of their own. */
#include <config.h>

#include "base/file.h"
#include "base/yaml.h"
#include "cli/scenario_internal.h"
#include "kernel/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- run, machine ------------------------------------------------------------ */

static const char *const verify_names[] = { "full", "sampled", "none", NULL };

/* Kernels of some builds, and those of which times are published: what was
 * measured with them is simulated anywhere. */
static int check_kernel(struct yaml *y, int node, const char *name,
                        struct error *e)
{
    const char *names[32] = { "auto", "cuda", "cudnn", "fa2", "fa3", "fa4",
                              "trtllm" };
    int n = 7;

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
    static const char *const keys[] = { "ranks", "slots", "warmups", "repeats", "seed",
                                        "verify", "kernel", "transport",
                                        "deterministic", NULL };
    struct yaml *y = s->yaml;
    int run = yaml_get(y, yaml_root(y), "run"), verify = VERIFY_FULL;
    int kernel = yaml_get(y, run, "kernel");

    if (!yaml_is_null(y, run) && yaml_check_keys(y, run, "run", keys, e))
        return -1;
    if (yaml_int(y, yaml_get(y, run, "ranks"), "run.ranks", 1, 1 << 20,
                 &s->ranks, e)
        || read_slots(s, run, e)
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
                                        "what_if", "jitter", NULL };
    struct yaml *y = s->yaml;
    int root = yaml_root(y);

    if (!root)
        return fail_usage(e, "%s:1:1: empty: a scenario has `job` and "
                          "`strategies`", s->path);
    if (yaml_check_keys(y, root, "", keys, e))
        return -1;
    return read_machine_key(s, e);
}

/* ---- Assignments --------------------------------------------------------------- */

/* `machine: dgx-h100` takes `--set machine.hosts=8`, too. */
static int open_machine(struct yaml *y, const char *set, struct error *e)
{
    int machine = yaml_get(y, yaml_root(y), "machine");

    if (strncmp(set, "machine.", 8) || yaml_type(y, machine) != YAML_SCALAR
        || yaml_is_null(y, machine))
        return 0;
    char *text = xasprintf("machine={name: \"%s\"}", yaml_text(y, machine));
    int rc = yaml_set(y, text, e);
    free(text);
    return rc;
}

int scenario_assign(struct yaml *y, const char *set, struct error *e)
{
    return open_machine(y, set, e) || yaml_set(y, set, e) ? -1 : 0;
}

/* ---- The whole ---------------------------------------------------------------- */

struct scenario *question_parse(const char *path, const char *text,
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
        rc = scenario_assign(s->yaml, sets[i], e);
    if (!s->yaml || rc || read_top(s, e) || read_run(s, e)
        || read_jitter(s, e) || read_job(s, e) || read_strategies(s, e)) {
        scenario_destroy(s);
        return NULL;
    }
    s->json = yaml_json(s->yaml);
    return s;
}

struct scenario *scenario_parse(const char *path, const char *text,
                                size_t size, const char *const *sets,
                                int n_sets, struct error *e)
{
    struct scenario *s = question_parse(path, text, size, sets, n_sets, e);

    if (s && !s->n_strategies) {
        scenario_fail(s, "strategies", e, "missing: a list such as "
                      "[{name: ring}]");
        scenario_destroy(s);
        return NULL;
    }
    return s;
}

void scenario_destroy(struct scenario *s)
{
    if (!s)
        return;
    job_clear(&s->job);
    jitter_clear(&s->jitter);
    yaml_destroy(s->yaml);
    free(s->path);
    free(s->kernel);
    free(s->transport);
    free(s->strategies);
    free(s->slots);
    free(s->machine);
    free(s->input);
    free(s->json);
    free(s->lengths);
    free(s->slopes);
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
