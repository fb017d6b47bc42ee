/* SPDX-License-Identifier: Apache-2.0
 *
 * Machine files: reading. */
#include <config.h>

#include "base/units.h"
#include "base/yaml.h"
#include "topo/machine_fields.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const surface_ops[] = { "attend", "attend_backward", NULL };
static const char *const dtypes[] = { "fp32", "bf16", "fp16", NULL };

/* ---- Reading one field -------------------------------------------------- */

static void join(char *out, size_t size, const char *key, const char *last)
{
    snprintf(out, size, "%s%s%s", key, *key ? "." : "", last);
}

/* A plain number in `unit`, or "400 GB/s". */
static int read_real(struct yaml *y, int node, const char *key,
                     const char *unit, double *out, struct error *e)
{
    const char *text = yaml_text(y, node);
    struct error inner = { 0 };
    char *end;
    double value = strtod(text, &end);

    if (yaml_type(y, node) == YAML_SCALAR && *text && *end
        && strcmp(unit, "1") != 0) {
        if (quantity_parse(text, unit, &value, &inner) != 0)
            return yaml_fail(y, node, key, e, "%s", inner.text);
        if (!(value >= 0 && value <= 1e30))
            return yaml_fail(y, node, key, e, "%s is negative or absurd",
                             text);
        *out = value;
        return 0;
    }
    return yaml_number(y, node, key, 0, 1e30, out, e);
}

static int read_bytes(struct yaml *y, int node, const char *key,
                      const char *unit, int64_t *out, struct error *e)
{
    double value = 0;

    if (read_real(y, node, key, unit, &value, e) != 0)
        return -1;
    if (value > 9e18)
        return yaml_fail(y, node, key, e, "%g B is absurd", value);
    *out = llround(value);
    return 0;
}

static int read_text(struct yaml *y, int node, const char *key,
                     const struct field *f, void *out, struct error *e)
{
    char *text = NULL;

    if (yaml_is_null(y, node))
        return 0;
    if (f->size == 0)
        return yaml_string(y, node, key, (char **)out, e);
    if (yaml_string(y, node, key, &text, e) != 0)
        return -1;
    int rc = 0;
    if (strlen(text) >= f->size)
        rc = yaml_fail(y, node, key, e, "longer than %zu characters",
                       f->size - 1);
    else
        strcpy(out, text);
    free(text);
    return rc;
}

static int read_field(struct yaml *y, int node, const char *key,
                      const struct field *f, void *base, struct error *e)
{
    void *out = (char *)base + f->offset;
    int64_t value = 0;

    switch (f->kind) {
    case FIELD_TEXT:
        return read_text(y, node, key, f, out, e);
    case FIELD_INT:
        if (yaml_int(y, node, key, 0, INT_MAX, &value, e) != 0)
            return -1;
        *(int *)out = (int)value;
        return 0;
    case FIELD_COUNT:
        return yaml_int(y, node, key, 1, INT32_MAX, out, e);
    case FIELD_BYTES:
        return read_bytes(y, node, key, f->unit, out, e);
    case FIELD_BOOL:
        return yaml_bool(y, node, key, out, e);
    case FIELD_REAL:
        return read_real(y, node, key, f->unit, out, e);
    }
    return 0;
}

/* The fields of a mapping; `others`: keys that the caller reads itself. */
static int read_fields(struct yaml *y, int map, const char *key,
                       const struct field *fields, const char *const *others,
                       void *base, struct error *e)
{
    const char *known[32];
    char full[128];
    int n = 0;

    for (int i = 0; fields[i].key != NULL; i++)
        known[n++] = fields[i].key;
    for (int i = 0; others[i] != NULL; i++)
        known[n++] = others[i];
    known[n] = NULL;
    if (yaml_check_keys(y, map, key, known, e) != 0)
        return -1;
    for (int i = 0; fields[i].key != NULL; i++) {
        int node = yaml_get(y, map, fields[i].key);
        join(full, sizeof full, key, fields[i].key);
        if (node && read_field(y, node, full, &fields[i], base, e) != 0)
            return -1;
    }
    return 0;
}

static int need(struct yaml *y, int map, const char *key, const char *last,
                struct error *e)
{
    char full[128];

    if (yaml_get(y, map, last))
        return 0;
    join(full, sizeof full, key, last);
    return yaml_fail(y, map, full, e, "missing");
}

/* ---- Links -------------------------------------------------------------- */

static int read_segment(struct yaml *y, int list, int64_t i, struct link *l,
                        struct error *e)
{
    static const char *const none[] = { NULL };
    struct link_segment *g = &l->segments[i];
    int node = yaml_item(y, list, i);
    char key[64];

    snprintf(key, sizeof key, "link.segments.%d", (int)i);
    *g = (struct link_segment){ .to = INT64_MAX };
    if (read_fields(y, node, key, segment_fields, none, g, e) != 0
        || need(y, node, key, "bandwidth", e) != 0)
        return -1;
    if (!(g->bandwidth > 0))
        return yaml_fail(y, yaml_get(y, node, "bandwidth"), key, e,
                         "a bandwidth of 0");
    if (i == 0 ? g->from != 0 : g->from <= g[-1].from)
        return yaml_fail(y, node, key, e, "segments go from 0 B upwards");
    if (i > 0)
        g[-1].to = g->from;
    return 0;
}

static int read_link(struct yaml *y, int map, struct link *l, struct error *e)
{
    static const char *const others[] = { "segments", NULL };

    if (yaml_is_null(y, map))
        return 0;
    if (read_fields(y, map, "link", link_fields, others, l, e) != 0
        || need(y, map, "link", "segments", e) != 0)
        return -1;
    int list = yaml_get(y, map, "segments");
    l->n = yaml_count(y, list);
    if (yaml_type(y, list) != YAML_LIST || l->n == 0)
        return yaml_fail(y, list, "link.segments", e, "needs a list of "
                         "{from, latency, bandwidth}");
    l->segments = xcalloc((size_t)l->n, sizeof *l->segments);
    for (int64_t i = 0; i < l->n; i++)
        if (read_segment(y, list, i, l, e) != 0)
            return -1;
    return 0;
}

/* ---- Surfaces ----------------------------------------------------------- */

static int read_point(struct yaml *y, int node, const char *key,
                      struct surface_point *p, struct error *e)
{
    if (yaml_type(y, node) != YAML_LIST || yaml_count(y, node) != 3)
        return yaml_fail(y, node, key, e, "needs [rows, keys, seconds]");
    if (yaml_int(y, yaml_item(y, node, 0), key, 1, INT64_C(1) << 40, &p->q, e)
        || yaml_int(y, yaml_item(y, node, 1), key, 1, INT64_C(1) << 40, &p->k,
                    e)
        || read_real(y, yaml_item(y, node, 2), key, "s", &p->seconds, e))
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

static int read_surface(struct yaml *y, int map, const char *key, void *out,
                        struct error *e)
{
    static const char *const others[] = { "op", "dtype", "block", "points",
                                          NULL };
    static const char *const needed[] = { "op", "kernel", "head_dim", "points",
                                          NULL };
    struct surface *s = out;
    int op = 0, dtype = DTYPE_FP32, block = BLOCK_FULL;
    char full[96];

    if (read_fields(y, map, key, surface_fields, others, s, e) != 0)
        return -1;
    for (int i = 0; needed[i] != NULL; i++)
        if (need(y, map, key, needed[i], e) != 0)
            return -1;
    join(full, sizeof full, key, "op");
    if (yaml_word(y, yaml_get(y, map, "op"), full, surface_ops, &op, e) != 0)
        return -1;
    join(full, sizeof full, key, "dtype");
    if (yaml_word(y, yaml_get(y, map, "dtype"), full, dtypes, &dtype, e) != 0)
        return -1;
    join(full, sizeof full, key, "block");
    if (yaml_word(y, yaml_get(y, map, "block"), full, block_names, &block,
                  e) != 0)
        return -1;
    strcpy(s->op, surface_ops[op]);
    s->dtype = (enum dtype)dtype;
    s->block = (enum block_kind)block;
    s->value_dim = s->value_dim ? s->value_dim : s->head_dim;
    s->group = s->group ? s->group : 1;
    join(full, sizeof full, key, "points");
    return read_points(y, yaml_get(y, map, "points"), full, s, e);
}

/* ---- Rates -------------------------------------------------------------- */

static int read_rate_points(struct yaml *y, int list, const char *key,
                            struct rate *r, struct error *e)
{
    r->n = yaml_count(y, list);
    if (yaml_type(y, list) != YAML_LIST || r->n == 0)
        return yaml_fail(y, list, key, e, "needs a list of [rows, flop/s]");
    r->points = xcalloc((size_t)r->n, sizeof *r->points);
    for (int64_t i = 0; i < r->n; i++) {
        struct rate_point *p = &r->points[i];
        int node = yaml_item(y, list, i);
        if (yaml_type(y, node) != YAML_LIST || yaml_count(y, node) != 2)
            return yaml_fail(y, node, key, e, "needs [rows, flop/s]");
        if (yaml_int(y, yaml_item(y, node, 0), key, 1, INT64_C(1) << 40,
                     &p->rows, e)
            || yaml_number(y, yaml_item(y, node, 1), key, 1, 1e30, &p->flops,
                           e))
            return -1;
        if (i && p->rows <= p[-1].rows)
            return yaml_fail(y, node, key, e, "out of place: by rows");
    }
    return 0;
}

static int read_rate(struct yaml *y, int map, const char *key, void *out,
                     struct error *e)
{
    static const char *const others[] = { "op", "dtype", "points", NULL };
    static const char *const needed[] = { "op", "kernel", "head_dim", "points",
                                          NULL };
    struct rate *r = out;
    int op = 0, dtype = DTYPE_FP32;
    char full[96];

    if (read_fields(y, map, key, rate_fields, others, r, e) != 0)
        return -1;
    for (int i = 0; needed[i] != NULL; i++)
        if (need(y, map, key, needed[i], e) != 0)
            return -1;
    join(full, sizeof full, key, "op");
    if (yaml_word(y, yaml_get(y, map, "op"), full, rate_ops, &op, e) != 0)
        return -1;
    join(full, sizeof full, key, "dtype");
    if (yaml_word(y, yaml_get(y, map, "dtype"), full, dtypes, &dtype, e) != 0)
        return -1;
    strcpy(r->op, rate_ops[op]);
    r->dtype = (enum dtype)dtype;
    r->value_dim = r->value_dim ? r->value_dim : r->head_dim;
    join(full, sizeof full, key, "points");
    return read_rate_points(y, yaml_get(y, map, "points"), full, r, e);
}

/* ---- Lists of them ------------------------------------------------------ */

typedef int (*read_fn)(struct yaml *y, int map, const char *key, void *out,
                       struct error *e);

/* A list of mappings, each read into `size` bytes of *out. */
static int read_list(struct yaml *y, int list, const char *name, read_fn read,
                     size_t size, int64_t *n, void **out, struct error *e)
{
    char key[64];

    if (yaml_is_null(y, list))
        return 0;
    if (yaml_type(y, list) != YAML_LIST)
        return yaml_fail(y, list, name, e, "needs a list");
    *n = yaml_count(y, list);
    char *at = *out = xcalloc((size_t)*n, size);
    for (int64_t i = 0; i < *n; i++, at += size) {
        snprintf(key, sizeof key, "%s.%d", name, (int)i);
        if (read(y, yaml_item(y, list, i), key, at, e) != 0)
            return -1;
    }
    return 0;
}

/* ---- Reading ------------------------------------------------------------ */

static int read_machine(struct yaml *y, struct machine *m, struct error *e)
{
    static const char *const others[] = { "link", "surfaces", "rates", NULL };
    int root = yaml_root(y);
    void *surfaces = NULL, *rates = NULL;

    if (read_fields(y, root, "", machine_fields, others, m, e) != 0
        || need(y, root, "", "name", e) != 0
        || need(y, root, "", "cores", e) != 0)
        return -1;
    if (m->cores < 1)
        return yaml_fail(y, yaml_get(y, root, "cores"), "cores", e,
                         "a machine needs a core");
    if (read_link(y, yaml_get(y, root, "link"), &m->link, e) != 0)
        return -1;
    int rc = read_list(y, yaml_get(y, root, "surfaces"), "surfaces",
                       read_surface, sizeof *m->surfaces, &m->n_surfaces,
                       &surfaces, e);
    m->surfaces = surfaces;
    if (rc != 0)
        return -1;
    rc = read_list(y, yaml_get(y, root, "rates"), "rates", read_rate,
                   sizeof *m->rates, &m->n_rates, &rates, e);
    m->rates = rates;
    return rc;
}

struct machine *machine_parse(const char *path, const char *text, size_t size,
                              struct error *e)
{
    struct yaml *y = yaml_parse(path, text, size, e);

    if (y == NULL)
        return NULL;
    struct machine *m = xcalloc(1, sizeof *m);
    int rc = read_machine(y, m, e);
    yaml_destroy(y);
    if (rc != 0) {
        machine_destroy(m);
        return NULL;
    }
    m->versions = m->versions ? m->versions : xstrdup("");
    m->created = m->created ? m->created : xstrdup("");
    return m;
}
