/* SPDX-License-Identifier: Apache-2.0
 *
 * Scenario files: `jitter`. */
#include <config.h>

#include "base/units.h"
#include "base/yaml.h"
#include "cli/scenario_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A number of seconds, or text such as "50 us". */
static int read_delay(struct yaml *y, int node, const char *key, double *delay,
                      struct error *e)
{
    struct error why = { 0 };
    char *end;

    if (!node)
        return 0;
    const char *text = yaml_text(y, node);
    *delay = text ? strtod(text, &end) : -1;
    if (text && (end == text || *end != '\0')
        && quantity_parse(text, "s", delay, &why))
        return yaml_fail(y, node, key, e, "%s", why.text);
    if (!(*delay >= 0) || isinf(*delay))
        return yaml_fail(y, node, key, e, "not a time of at least 0 s, as in "
                         "\"50 us\"");
    return 0;
}

static int read_rank_number(const struct scenario *s, int map, const char *at,
                            int64_t *rank, struct error *e)
{
    char key[64];

    snprintf(key, sizeof key, "%s.rank", at);
    return yaml_int(s->yaml, yaml_get(s->yaml, map, "rank"), key, 0,
                    s->ranks ? s->ranks - 1 : (1 << 20) - 1, rank, e);
}

static int read_rank(struct scenario *s, int map, const char *at,
                     struct error *e)
{
    static const char *const keys[] = { "rank", "delay", "slow", NULL };
    struct jitter *j = &s->jitter;
    struct jitter_rank *r = &j->ranks[j->n_ranks];
    struct yaml *y = s->yaml;
    char key[64], slow[64];

    *r = (struct jitter_rank){ .rank = -1, .slow = 1 };
    snprintf(key, sizeof key, "%s.delay", at);
    snprintf(slow, sizeof slow, "%s.slow", at);
    if (yaml_check_keys(y, map, at, keys, e)
        || read_rank_number(s, map, at, &r->rank, e)
        || read_delay(y, yaml_get(y, map, "delay"), key, &r->delay, e)
        || yaml_number(y, yaml_get(y, map, "slow"), slow, 1, 1e6, &r->slow, e))
        return -1;
    if (r->rank < 0)
        return yaml_fail(y, map, at, e, "no `rank`");
    j->n_ranks++;
    return 0;
}

static int read_link(struct scenario *s, int map, const char *at,
                     struct error *e)
{
    static const char *const keys[] = { "rank", "from", "to", "bandwidth",
                                        NULL };
    struct jitter *j = &s->jitter;
    struct jitter_link *l = &j->links[j->n_links];
    struct yaml *y = s->yaml;
    char key[3][64];

    *l = (struct jitter_link){ .rank = -1 };
    snprintf(key[0], sizeof key[0], "%s.from", at);
    snprintf(key[1], sizeof key[1], "%s.to", at);
    snprintf(key[2], sizeof key[2], "%s.bandwidth", at);
    j->n_links++;               /* what it has is cleared with the rest */
    if (yaml_check_keys(y, map, at, keys, e)
        || read_rank_number(s, map, at, &l->rank, e)
        || yaml_string(y, yaml_get(y, map, "from"), key[0], &l->from, e)
        || yaml_string(y, yaml_get(y, map, "to"), key[1], &l->to, e)
        || yaml_number(y, yaml_get(y, map, "bandwidth"), key[2], 1e-6, 1,
                       &l->bandwidth, e))
        return -1;
    if ((l->rank < 0) != (l->from != NULL) || !l->from != !l->to)
        return yaml_fail(y, map, at, e, "not of a `rank`, or `from` one vertex "
                         "of the machine `to` another");
    if (l->bandwidth == 0)
        return yaml_fail(y, map, at, e, "no `bandwidth`: the part of it that "
                         "is left, as in 0.5");
    return 0;
}

/* Each item of a list, which may be missing. */
static int read_items(struct scenario *s, int list, const char *key,
                      int (*item)(struct scenario *, int, const char *,
                                  struct error *), struct error *e)
{
    struct yaml *y = s->yaml;
    char at[64];

    if (yaml_is_null(y, list))
        return 0;
    if (yaml_type(y, list) != YAML_LIST)
        return yaml_fail(y, list, key, e, "not a list");
    for (int64_t i = 0; i < yaml_count(y, list); i++) {
        snprintf(at, sizeof at, "%s.%lld", key, (long long)i);
        if (item(s, yaml_item(y, list, i), at, e))
            return -1;
    }
    return 0;
}

int read_jitter(struct scenario *s, struct error *e)
{
    static const char *const keys[] = { "ranks", "links", NULL };
    struct yaml *y = s->yaml;
    int map = yaml_get(y, yaml_root(y), "jitter");

    if (yaml_is_null(y, map))
        return 0;
    if (yaml_check_keys(y, map, "jitter", keys, e))
        return -1;
    int ranks = yaml_get(y, map, "ranks"), links = yaml_get(y, map, "links");
    s->jitter.ranks = xcalloc((size_t)yaml_count(y, ranks) + 1,
                              sizeof *s->jitter.ranks);
    s->jitter.links = xcalloc((size_t)yaml_count(y, links) + 1,
                              sizeof *s->jitter.links);
    return read_items(s, ranks, "jitter.ranks", read_rank, e)
        || read_items(s, links, "jitter.links", read_link, e) ? -1 : 0;
}
