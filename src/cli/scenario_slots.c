/* SPDX-License-Identifier: Apache-2.0
 *
 * run.slots: which rank works where. */
#include <config.h>

#include "cli/scenario_internal.h"

#include "base/yaml.h"

#include <stdio.h>

enum { MOST_SLOTS = 1 << 20 };

static int check_slot(struct scenario *s, int node, int64_t i, struct error *e)
{
    char key[32];
    int64_t slot = 0;

    snprintf(key, sizeof key, "run.slots.%lld", (long long)i);
    if (yaml_int(s->yaml, node, key, 0, MOST_SLOTS, &slot, e))
        return -1;
    for (int64_t k = 0; k < i; k++)
        if (s->slots[k] == slot)
            return yaml_fail(s->yaml, node, key, e, "slot %lld is rank %lld's "
                             "already", (long long)slot, (long long)k);
    s->slots[i] = (int32_t)slot;
    return 0;
}

int read_slots(struct scenario *s, int run, struct error *e)
{
    int list = yaml_get(s->yaml, run, "slots");
    int64_t n = yaml_count(s->yaml, list);

    if (yaml_is_null(s->yaml, list))
        return 0;
    if (yaml_type(s->yaml, list) != YAML_LIST || n == 0)
        return yaml_fail(s->yaml, list, "run.slots", e, "a list, the slot of "
                         "each rank, as in [0, 2, 1, 3]");
    if (s->ranks && n != s->ranks)
        return yaml_fail(s->yaml, list, "run.slots", e, "is of %lld ranks, "
                         "run.ranks is %lld", (long long)n,
                         (long long)s->ranks);
    s->ranks = n;
    s->slots = xcalloc((size_t)n, sizeof *s->slots);
    for (int64_t i = 0; i < n; i++)
        if (check_slot(s, yaml_item(s->yaml, list, i), i, e))
            return -1;
    return 0;
}

/* The first rank that has no slot on the machine; -1: none. */
static int64_t find_homeless(const struct scenario *s, const struct machine *m,
                             int64_t *slots)
{
    int64_t n = machine_slots(m);

    *slots = n ? n : s->ranks;
    for (int64_t i = 0; s->slots && i < s->ranks; i++)
        if (s->slots[i] >= *slots)
            return i;
    return -1;
}

const int32_t *scenario_slots(const struct scenario *s,
                              const struct machine *m)
{
    int64_t n;

    return find_homeless(s, m, &n) < 0 ? s->slots : NULL;
}

int scenario_check_slots(struct scenario *s, const struct machine *m,
                         struct error *e)
{
    int64_t n, rank = find_homeless(s, m, &n);
    char key[32];

    if (rank < 0)
        return 0;
    snprintf(key, sizeof key, "run.slots.%lld", (long long)rank);
    return scenario_fail(s, key, e, "there is no slot %d: the machine %s has "
                         "0 .. %lld", s->slots[rank], m->name,
                         (long long)n - 1);
}
