/* SPDX-License-Identifier: Apache-2.0
 *
 * The `strategies` list of a scenario. */
#include <config.h>

#include "base/yaml.h"
#include "cli/scenario_internal.h"

#include <stdio.h>
#include <string.h>

static const char *const direction_names[] = { "1", "-1", NULL };
static const char *const hops_names[] = { "all", "needed", NULL };

enum option_kind { OPTION_COUNT, OPTION_NAME, OPTION_BOOLEAN };

/* An option: a count from `least` on, one of `words`, or a boolean. */
struct option_key {
    const char *key;
    enum option_kind kind;
    size_t offset;              /* in struct strategy_options */
    int64_t least;
    const char *const *words;
};

#define AT(member) offsetof(struct strategy_options, member)
static const struct option_key option_keys[] = {
    { "layout", OPTION_NAME, AT(layout), 0, layout_names },
    { "block", OPTION_COUNT, AT(block), 1, NULL },
    { "window", OPTION_COUNT, AT(window), 1, NULL },
    { "head", OPTION_COUNT, AT(head), 1, NULL },
    { "placement", OPTION_NAME, AT(placement), 0, placement_names },
    { "interleaved", OPTION_BOOLEAN, AT(interleaved), 0, NULL },
    { "backward", OPTION_NAME, AT(backward), 0, circulate_names },
    { "direction", OPTION_NAME, AT(reverse), 0, direction_names },
    { "hops", OPTION_NAME, AT(needed), 0, hops_names },
    { "head_group", OPTION_COUNT, AT(head_group), 0, NULL },
    { "reduce", OPTION_NAME, AT(reduce), 0, reduction_names },
    { "anchor", OPTION_COUNT, AT(anchor), 1, NULL },
    { NULL, OPTION_COUNT, 0, 0, NULL }
};
#undef AT

enum { MOST_KEYS = 16 };
static const int64_t most_count = (int64_t)1 << 40;

/* The enums are read as int. */
_Static_assert(sizeof(enum layout) == sizeof(int)
               && sizeof(enum reduction) == sizeof(int), "enums are ints");

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
    for (; strategies[n] && n < 63; n++)
        names[n] = strategies[n]->name;
    names[n] = NULL;
    const char *near = name_nearest(names, word);
    return yaml_fail(y, name, full, e, "there is no strategy \"%s\"; %s%s%s",
                     word, near ? "did you mean \"" : "see `spar list`",
                     near ? near : "", near ? "\"?" : "");
}

static int read_option(struct yaml *y, int entry, const char *key,
                       const struct option_key *k, struct strategy_options *o,
                       struct error *e)
{
    int node = yaml_get(y, entry, k->key);
    void *out = (char *)o + k->offset;
    char full[128];

    snprintf(full, sizeof full, "%s.%s", key, k->key);
    switch (k->kind) {
    case OPTION_COUNT:
        return yaml_int(y, node, full, k->least, most_count, out, e);
    case OPTION_NAME:
        return yaml_word(y, node, full, k->words, out, e);
    case OPTION_BOOLEAN:
        return yaml_bool(y, node, full, out, e);
    }
    return 0;
}

/* Options that mean something only beside a value of another. */
static int check_together(struct yaml *y, int entry, const char *key,
                          const struct scenario_strategy *s, struct error *e)
{
    const char *const *takes = s->strategy->options;
    int block = yaml_get(y, entry, "block");
    int window = yaml_get(y, entry, "window");
    char full[128];

    if (block && name_index(takes, "layout") >= 0
        && s->options.layout != LAYOUT_STRIPED) {
        snprintf(full, sizeof full, "%s.block", key);
        return yaml_fail(y, block, full, e, "only with layout: striped");
    }
    if (window && name_index(takes, "reduce") >= 0
        && s->options.reduce != REDUCE_TWO_LEVEL) {
        snprintf(full, sizeof full, "%s.window", key);
        return yaml_fail(y, window, full, e, "only with reduce: two-level");
    }
    return 0;
}

/* Keys of an entry: name, and the strategy's options. */
static int check_keys(struct yaml *y, int entry, const char *key,
                      const struct strategy *st, struct error *e)
{
    const char *keys[MOST_KEYS] = { "name" };
    int n = 1;

    for (int i = 0; st->options[i] && n < MOST_KEYS - 1; i++)
        keys[n++] = st->options[i];
    keys[n] = NULL;
    return yaml_check_keys(y, entry, key, keys, e);
}

static int read_entry(struct yaml *y, int node, int64_t i,
                      struct scenario_strategy *out, struct error *e)
{
    char key[64];

    snprintf(key, sizeof key, "strategies.%lld", (long long)i);
    if (yaml_type(y, node) != YAML_MAP)
        return yaml_fail(y, node, key, e, "not a mapping like {name: ring}");
    if (find_strategy(y, node, key, &out->strategy, e)
        || check_keys(y, node, key, out->strategy, e))
        return -1;
    for (int k = 0; option_keys[k].key; k++)
        if (read_option(y, node, key, &option_keys[k], &out->options, e))
            return -1;
    return check_together(y, node, key, out, e);
}

/* The value as the scenario has it, or NULL where it is the default. */
static const char *option_value(const struct option_key *k,
                                const struct strategy_options *o,
                                char number[24])
{
    const void *at = (const char *)o + k->offset;
    int64_t count;

    switch (k->kind) {
    case OPTION_COUNT:
        count = *(const int64_t *)at;
        snprintf(number, 24, "%lld", (long long)count);
        return count ? number : NULL;
    case OPTION_NAME:
        return *(const int *)at ? k->words[*(const int *)at] : NULL;
    case OPTION_BOOLEAN:
        return *(const int *)at ? "true" : NULL;
    }
    return NULL;
}

void options_text(const struct strategy *st, const struct strategy_options *o,
                  char *text, size_t size)
{
    char number[24];
    size_t n = 0;

    snprintf(text, size, "%s", "");
    for (int i = 0; option_keys[i].key; i++) {
        const struct option_key *k = &option_keys[i];
        const char *value = option_value(k, o, number);
        if (value && name_index(st->options, k->key) >= 0 && n < size)
            n += (size_t)snprintf(text + n, size - n, "%s%s: %s",
                                  n ? ", " : "", k->key, value);
    }
}

void print_variant(FILE *out, const struct scenario_strategy *s)
{
    struct strategy_options o = s->options;
    char text[128];

    o.layout = LAYOUT_CONTIGUOUS;       /* has a column of its own */
    options_text(s->strategy, &o, text, sizeof text);
    fprintf(out, "%s%s", *text ? "  " : "", text);
}

int read_strategies(struct scenario *s, struct error *e)
{
    struct yaml *y = s->yaml;
    int list = yaml_get(y, yaml_root(y), "strategies");

    if (!list)
        return 0;               /* a question: scenario_parse() */
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
