/* SPDX-License-Identifier: Apache-2.0
 *
 * Machine files: reading what has points: surfaces, rates, copies. */
#include <config.h>

#include "topo/collective.h"
#include "topo/machine_reader.h"

#include <stdlib.h>
#include <string.h>

static const char *const surface_ops[] = { "attend", "attend_backward", NULL };
static const char *const dtypes[] = { "fp32", "bf16", "fp16", NULL };

/* ---- Surfaces ----------------------------------------------------------- */

static int read_point(struct yaml *y, int node, const char *key,
                      struct surface_point *p, struct error *e)
{
    if (yaml_type(y, node) != YAML_LIST || yaml_count(y, node) != 3)
        return yaml_fail(y, node, key, e, "needs [rows, keys, seconds]");
    if (yaml_int(y, yaml_item(y, node, 0), key, 1, INT64_C(1) << 40, &p->q, e)
        || yaml_int(y, yaml_item(y, node, 1), key, 1, INT64_C(1) << 40, &p->k,
                    e)
        || machine_read_real(y, yaml_item(y, node, 2), key, "s", &p->seconds,
                             e))
        return -1;
    if (!(p->seconds > 0))
        return yaml_fail(y, node, key, e, "takes no time");
    return 0;
}

/* All squares, or all of one grid: the first points tell which. */
static int by_squares(const struct surface *s)
{
    return s->block == BLOCK_CAUSAL
        || (s->n > 1 && s->points[0].q == s->points[0].k
            && s->points[1].q == s->points[1].k);
}

/* Point i continues the squares or the grid. */
static int in_place(const struct surface *s, int64_t i)
{
    const struct surface_point *p = s->points;
    int64_t width = 1;

    if (by_squares(s))
        return p[i].q == p[i].k && (i == 0 || p[i].q > p[i - 1].q);
    while (width < i && p[width].q == p[0].q)
        width++;
    if (i < width || (i == width && p[i].q == p[0].q))
        return i == 0 || p[i].k > p[i - 1].k;
    return p[i].k == p[i - width].k
        && (i % width ? p[i].q == p[i - 1].q : p[i].q > p[i - 1].q);
}

/* The last row of a grid is whole. */
static int grid_whole(const struct surface *s)
{
    int64_t width = 1;

    while (width < s->n && s->points[width].q == s->points[0].q)
        width++;
    return s->n % width == 0;
}

static int read_points(struct yaml *y, int list, const char *key,
                       struct surface *s, struct error *e)
{
    char full[128];

    s->n = yaml_count(y, list);
    if (yaml_type(y, list) != YAML_LIST || s->n == 0)
        return yaml_fail(y, list, key, e,
                         "needs a list of [rows, keys, seconds]");
    s->points = xcalloc((size_t)s->n, sizeof *s->points);
    for (int64_t i = 0; i < s->n; i++) {
        int node = yaml_item(y, list, i);
        snprintf(full, sizeof full, "%s.%d", key, (int)i);
        if (read_point(y, node, full, &s->points[i], e) != 0)
            return -1;
    }
    for (int64_t i = 0; i < s->n; i++) {
        if (in_place(s, i))
            continue;
        snprintf(full, sizeof full, "%s.%d", key, (int)i);
        return yaml_fail(y, yaml_item(y, list, i), full, e, by_squares(s)
                         ? "out of place: squares, by size"
                         : "out of place: a grid, by rows, then by keys");
    }
    if (!grid_whole(s))
        return yaml_fail(y, list, key, e, "the grid's last row is not whole");
    return 0;
}

/* Both or neither: 0 < p10 <= p90. */
static int read_spread(struct yaml *y, int map, const char *key, double *p10,
                       double *p90, struct error *e)
{
    double *out[] = { p10, p90 };
    char full[96];

    for (int i = 0; spread_fields[i].key != NULL; i++) {
        int node = yaml_get(y, map, spread_fields[i].key);
        machine_join(full, sizeof full, key, spread_fields[i].key);
        if (node && yaml_number(y, node, full, 0.01, 100, out[i], e) != 0)
            return -1;
    }
    if ((*p10 > 0) != (*p90 > 0) || *p10 > *p90)
        return yaml_fail(y, map, key, e, "p10 and p90 go together, "
                         "p10 <= p90");
    return 0;
}

int machine_read_surface(struct yaml *y, int map, const char *key, void *out,
                         struct error *e)
{
    static const char *const others[] = { "op", "dtype", "block", "points",
                                          "p10", "p90", NULL };
    static const char *const needed[] = { "op", "kernel", "head_dim", "points",
                                          NULL };
    struct surface *s = out;
    int op = 0, dtype = DTYPE_FP32, block = BLOCK_FULL;
    char full[96];

    if (machine_read_fields(y, map, key, surface_fields, at_once_fields, others,
                            s, e) != 0)
        return -1;
    for (int i = 0; needed[i] != NULL; i++)
        if (machine_need(y, map, key, needed[i], e) != 0)
            return -1;
    machine_join(full, sizeof full, key, "op");
    if (yaml_word(y, yaml_get(y, map, "op"), full, surface_ops, &op, e) != 0)
        return -1;
    machine_join(full, sizeof full, key, "dtype");
    if (yaml_word(y, yaml_get(y, map, "dtype"), full, dtypes, &dtype, e) != 0)
        return -1;
    machine_join(full, sizeof full, key, "block");
    if (yaml_word(y, yaml_get(y, map, "block"), full, block_names, &block,
                  e) != 0)
        return -1;
    if (read_spread(y, map, key, &s->p10, &s->p90, e) != 0)
        return -1;
    strcpy(s->op, surface_ops[op]);
    s->dtype = (enum dtype)dtype;
    s->block = (enum block_kind)block;
    s->value_dim = s->value_dim ? s->value_dim : s->head_dim;
    s->group = s->group ? s->group : 1;
    machine_join(full, sizeof full, key, "points");
    return read_points(y, yaml_get(y, map, "points"), full, s, e);
}

/* ---- Rates -------------------------------------------------------------- */

/* Item i of a list of [whole number, value], the former ascending; `what` they
 * are. */
static int read_pair(struct yaml *y, int list, int64_t i, const char *key,
                     const char *what, int64_t before, int64_t *at,
                     double *value, struct error *e)
{
    int node = yaml_item(y, list, i);

    if (yaml_type(y, node) != YAML_LIST || yaml_count(y, node) != 2)
        return yaml_fail(y, node, key, e, "needs %s", what);
    if (yaml_int(y, yaml_item(y, node, 0), key, 1, INT64_C(1) << 40, at, e)
        || yaml_number(y, yaml_item(y, node, 1), key, 1, 1e30, value, e))
        return -1;
    if (*at <= before)
        return yaml_fail(y, node, key, e, "out of place: ascending");
    return 0;
}

static int count_pairs(struct yaml *y, int list, const char *key,
                       const char *what, int64_t *n, struct error *e)
{
    *n = yaml_count(y, list);
    if (yaml_type(y, list) != YAML_LIST || *n == 0)
        return yaml_fail(y, list, key, e, "needs a list of %s", what);
    return 0;
}

static int read_rate_points(struct yaml *y, int list, const char *key,
                            struct rate *r, struct error *e)
{
    static const char what[] = "[rows, flop/s]";

    if (count_pairs(y, list, key, what, &r->n, e) != 0)
        return -1;
    r->points = xcalloc((size_t)r->n, sizeof *r->points);
    for (int64_t i = 0; i < r->n; i++) {
        struct rate_point *p = &r->points[i];
        if (read_pair(y, list, i, key, what, i ? p[-1].rows : 0, &p->rows,
                      &p->flops, e) != 0)
            return -1;
    }
    return 0;
}

int machine_read_rate(struct yaml *y, int map, const char *key, void *out,
                      struct error *e)
{
    static const char *const others[] = { "op", "dtype", "points", NULL };
    static const char *const needed[] = { "op", "kernel", "head_dim", "points",
                                          NULL };
    struct rate *r = out;
    int op = 0, dtype = DTYPE_FP32;
    char full[96];

    if (machine_read_fields(y, map, key, rate_fields, rate_at_once_fields,
                            others, r, e) != 0)
        return -1;
    for (int i = 0; needed[i] != NULL; i++)
        if (machine_need(y, map, key, needed[i], e) != 0)
            return -1;
    machine_join(full, sizeof full, key, "op");
    if (yaml_word(y, yaml_get(y, map, "op"), full, rate_ops, &op, e) != 0)
        return -1;
    machine_join(full, sizeof full, key, "dtype");
    if (yaml_word(y, yaml_get(y, map, "dtype"), full, dtypes, &dtype, e) != 0)
        return -1;
    strcpy(r->op, rate_ops[op]);
    r->dtype = (enum dtype)dtype;
    r->value_dim = r->value_dim ? r->value_dim : r->head_dim;
    machine_join(full, sizeof full, key, "points");
    return read_rate_points(y, yaml_get(y, map, "points"), full, r, e);
}

/* ---- Copies ------------------------------------------------------------- */

static int read_copy_points(struct yaml *y, int list, const char *key,
                            struct copy *c, struct error *e)
{
    static const char what[] = "[bytes of a block, B/s]";

    if (count_pairs(y, list, key, what, &c->n, e) != 0)
        return -1;
    c->points = xcalloc((size_t)c->n, sizeof *c->points);
    for (int64_t i = 0; i < c->n; i++) {
        struct copy_point *p = &c->points[i];
        if (read_pair(y, list, i, key, what, i ? p[-1].block : 0, &p->block,
                      &p->bandwidth, e) != 0)
            return -1;
    }
    return 0;
}

int machine_read_copy(struct yaml *y, int map, const char *key, void *out,
                      struct error *e)
{
    static const char *const others[] = { "path", "points", NULL };
    struct copy *c = out;
    int path = 0;
    char full[96];

    if (machine_read_fields(y, map, key, no_fields, no_fields, others, c,
                            e) != 0
        || machine_need(y, map, key, "path", e) != 0
        || machine_need(y, map, key, "points", e) != 0)
        return -1;
    machine_join(full, sizeof full, key, "path");
    if (yaml_word(y, yaml_get(y, map, "path"), full, copy_names, &path,
                  e) != 0)
        return -1;
    c->path = (enum copy_path)path;
    machine_join(full, sizeof full, key, "points");
    return read_copy_points(y, yaml_get(y, map, "points"), full, c, e);
}

/* ---- Collectives -------------------------------------------------------- */

/* Of cores: class and groups, both or neither. */
static int read_group(struct yaml *y, int map, const char *key,
                      struct collective_group *g, struct error *e)
{
    int class = CLASS_SELF;

    g->cores = yaml_get(y, map, "class") || g->groups;
    if (!g->cores)
        return 0;
    if (machine_need(y, map, key, "groups", e) != 0
        || machine_read_class(y, map, key, &class, e) != 0)
        return -1;
    g->class = (enum route_class)class;
    return 0;
}

int machine_read_collective(struct yaml *y, int map, const char *key,
                            void *out, struct error *e)
{
    static const char *const others[] = { "op", "class", "segments", "p10",
                                          "p90", NULL };
    struct collective_table *t = out;
    int op = 0;
    char full[96];

    t->group.hosts = 1;
    if (machine_read_fields(y, map, key, collective_fields,
                            collective_group_fields, others, t, e) != 0
        || machine_need(y, map, key, "op", e) != 0
        || machine_need(y, map, key, "ranks", e) != 0
        || read_group(y, map, key, &t->group, e) != 0)
        return -1;
    machine_join(full, sizeof full, key, "op");
    if (yaml_word(y, yaml_get(y, map, "op"), full, collective_words, &op,
                  e) != 0
        || read_spread(y, map, key, &t->p10, &t->p90, e) != 0)
        return -1;
    t->kind = (enum collective_kind)op;
    return machine_read_segments(y, map, key, &t->n, &t->segments, e);
}
