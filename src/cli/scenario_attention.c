/* SPDX-License-Identifier: Apache-2.0
 *
 * Of the `job` mapping: attention, pattern, queries, decode. */
#include <config.h>

#include "base/yaml.h"
#include "cli/scenario_internal.h"

#include <stdlib.h>
#include <string.h>

static const char attention_key[] = "job.attention.linear";
static const char decay_key[] = "job.attention.linear.decay";

enum { MOST_LAYERS = 1024, MOST_STEPS = 1 << 20, MOST_PAGE = 1 << 30 };
static const int64_t most_queries = (int64_t)1 << 40;

/* A value in a message. */
static const char *shown(struct yaml *y, int node)
{
    switch (yaml_type(y, node)) {
    case YAML_LIST:
        return "[...]";
    case YAML_MAP:
        return "{...}";
    case YAML_NONE:
    case YAML_SCALAR:
        break;
    }
    return yaml_text(y, node);
}

/* ---- Linear attention --------------------------------------------------- */

static int read_slopes(struct scenario *s, int list, struct error *e)
{
    s->n_slopes = yaml_count(s->yaml, list);
    s->slopes = xcalloc((size_t)s->n_slopes, sizeof *s->slopes);
    for (int64_t i = 0; i < s->n_slopes; i++)
        if (yaml_number(s->yaml, yaml_item(s->yaml, list, i), decay_key, 0,
                        1e6, &s->slopes[i], e))
            return -1;
    return 0;
}

static int read_decay(struct scenario *s, int node, struct error *e)
{
    static const char *const words[] = { "none", "alibi", NULL };
    struct yaml *y = s->yaml;
    int i = DECAY_NONE;

    if (yaml_type(y, node) == YAML_LIST) {
        s->decay = DECAY_SLOPES;
        return read_slopes(s, node, e);
    }
    if (node)
        i = name_index(words, yaml_text(y, node));
    if (i < 0 || yaml_type(y, node) == YAML_MAP)
        return yaml_fail(y, node, decay_key, e, "\"%s\" is not none, alibi or "
                         "a list of slopes, one a query head",
                         shown(y, node));
    s->decay = (enum decay)i;
    return 0;
}

static int read_linear(struct scenario *s, int node, struct error *e)
{
    static const char *const keys[] = { "decay", "feature", NULL };
    struct yaml *y = s->yaml;
    int feature = FEATURE_IDENTITY;

    s->job.attention = ATTENTION_LINEAR;
    if (yaml_is_null(y, node))
        return 0;
    if (yaml_check_keys(y, node, attention_key, keys, e)
        || yaml_word(y, yaml_get(y, node, "feature"),
                     "job.attention.linear.feature", feature_names, &feature,
                     e))
        return -1;
    s->job.linear.feature = (enum feature)feature;
    return read_decay(s, yaml_get(y, node, "decay"), e);
}

static int read_attention(struct scenario *s, int node, struct error *e)
{
    static const char *const keys[] = { "linear", NULL };
    struct yaml *y = s->yaml;

    if (yaml_is_null(y, node))
        return 0;
    if (yaml_type(y, node) == YAML_MAP) {
        int linear = yaml_get(y, node, "linear");
        if (yaml_check_keys(y, node, "job.attention", keys, e))
            return -1;
        return linear ? read_linear(s, linear, e)
            : yaml_fail(y, node, "job.attention", e, "empty: softmax, or "
                        "{linear: {decay: ..., feature: ...}}");
    }
    if (yaml_type(y, node) == YAML_SCALAR
        && !strcmp(yaml_text(y, node), attention_names[ATTENTION_SOFTMAX]))
        return 0;
    return yaml_fail(y, node, "job.attention", e, "\"%s\" is not softmax or "
                     "{linear: {decay: ..., feature: ...}}", shown(y, node));
}

/* ---- Layers, decode ----------------------------------------------------- */

static int read_pattern(struct scenario *s, int node, struct error *e)
{
    const char *text = yaml_text(s->yaml, node);

    if (yaml_is_null(s->yaml, node))
        return 0;
    if (yaml_type(s->yaml, node) != YAML_SCALAR || !*text
        || text[strspn(text, "LS")])
        return yaml_fail(s->yaml, node, "job.pattern", e, "\"%.60s\" is not "
                         "letters L (linear) and S (softmax), one a layer",
                         shown(s->yaml, node));
    if (strlen(text) > MOST_LAYERS)
        return yaml_fail(s->yaml, node, "job.pattern", e, "%zu layers are "
                         "more than %d", strlen(text), MOST_LAYERS);
    s->job.pattern = xstrdup(text);
    return 0;
}

static int read_queries(struct scenario *s, int node, struct error *e)
{
    if (yaml_is_null(s->yaml, node))
        return 0;
    return yaml_int(s->yaml, node, "job.queries", 1,
                    s->job.pass == PASS_DECODE ? MAX_QUERIES : most_queries,
                    &s->job.queries, e);
}

static int read_decode(struct scenario *s, int node, struct error *e)
{
    static const char *const keys[] = { "steps", "page", NULL };
    struct yaml *y = s->yaml;

    s->job.decode_page = 16;
    if (yaml_is_null(y, node))
        return 0;
    if (yaml_check_keys(y, node, "job.decode", keys, e)
        || yaml_int(y, yaml_get(y, node, "steps"), "job.decode.steps", 0,
                    MOST_STEPS, &s->job.decode_steps, e)
        || yaml_int(y, yaml_get(y, node, "page"), "job.decode.page", 1,
                    MOST_PAGE, &s->job.decode_page, e))
        return -1;
    if (s->job.decode_steps && s->job.pass != PASS_DECODE)
        return yaml_fail(y, yaml_get(y, node, "steps"), "job.decode.steps", e,
                         "only with pass: decode");
    return 0;
}

int read_attention_keys(struct scenario *s, int job, struct error *e)
{
    struct yaml *y = s->yaml;

    if (read_attention(s, yaml_get(y, job, "attention"), e)
        || read_pattern(s, yaml_get(y, job, "pattern"), e)
        || read_queries(s, yaml_get(y, job, "queries"), e))
        return -1;
    return read_decode(s, yaml_get(y, job, "decode"), e);
}

int finish_slopes(struct scenario *s, struct error *e)
{
    int64_t heads = s->job.transformer.heads;

    if (s->decay == DECAY_NONE)
        return 0;
    if (s->decay == DECAY_SLOPES && s->n_slopes != heads)
        return scenario_fail(s, decay_key, e, "%lld slopes, but there are %lld "
                             "query heads", (long long)s->n_slopes,
                             (long long)heads);
    s->job.linear.slopes = xcalloc((size_t)heads, sizeof *s->slopes);
    if (s->decay == DECAY_ALIBI)
        alibi_slopes(heads, s->job.linear.slopes);
    else
        memcpy(s->job.linear.slopes, s->slopes,
               (size_t)heads * sizeof *s->slopes);
    return 0;
}
