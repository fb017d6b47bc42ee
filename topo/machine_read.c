/* SPDX-License-Identifier: Apache-2.0
 *
 * Machine files: reading. */
#include <config.h>

#include "base/units.h"
#include "base/yaml.h"
#include "topo/cluster.h"
#include "topo/collective.h"
#include "topo/machine_reader.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Reading one field -------------------------------------------------- */

void machine_join(char *out, size_t size, const char *key, const char *last)
{
    snprintf(out, size, "%s%s%s", key, *key ? "." : "", last);
}

/* A plain number in `unit`, or "400 GB/s". */
int machine_read_real(struct yaml *y, int node, const char *key,
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

    if (machine_read_real(y, node, key, unit, &value, e) != 0)
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
        return machine_read_real(y, node, key, f->unit, out, e);
    }
    return 0;
}

const struct field no_fields[] = { { NULL, 0, 0, 0, NULL, NULL } };

/* The fields of a mapping, of two tables; `others`: keys that the caller reads
 * itself. */
int machine_read_fields(struct yaml *y, int map, const char *key,
                        const struct field *fields, const struct field *more,
                        const char *const *others, void *base, struct error *e)
{
    const struct field *all[40];
    const char *known[40];
    char full[128];
    int n = 0, k;

    for (; fields->key != NULL; fields++)
        all[n++] = fields;
    for (; more->key != NULL; more++)
        all[n++] = more;
    for (k = 0; k < n; k++)
        known[k] = all[k]->key;
    for (; *others != NULL; others++)
        known[k++] = *others;
    known[k] = NULL;
    if (yaml_check_keys(y, map, key, known, e) != 0)
        return -1;
    for (int i = 0; i < n; i++) {
        int node = yaml_get(y, map, all[i]->key);
        machine_join(full, sizeof full, key, all[i]->key);
        if (node && read_field(y, node, full, all[i], base, e) != 0)
            return -1;
    }
    return 0;
}

int machine_need(struct yaml *y, int map, const char *key, const char *last,
                 struct error *e)
{
    char full[128];

    if (yaml_get(y, map, last))
        return 0;
    machine_join(full, sizeof full, key, last);
    return yaml_fail(y, map, full, e, "missing");
}

/* ---- Links -------------------------------------------------------------- */

static int read_segment(struct yaml *y, int node, const char *key, int64_t i,
                        struct link_segment *g, struct error *e)
{
    static const char *const none[] = { NULL };

    *g = (struct link_segment){ .to = INT64_MAX };
    if (machine_read_fields(y, node, key, segment_fields, no_fields, none, g,
                            e) != 0
        || machine_need(y, node, key, "bandwidth", e) != 0)
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

int machine_read_segments(struct yaml *y, int map, const char *key,
                          int64_t *n, struct link_segment **out,
                          struct error *e)
{
    char full[112], item[128];

    if (machine_need(y, map, key, "segments", e) != 0)
        return -1;
    int list = yaml_get(y, map, "segments");
    machine_join(full, sizeof full, key, "segments");
    *n = yaml_count(y, list);
    if (yaml_type(y, list) != YAML_LIST || *n == 0)
        return yaml_fail(y, list, full, e, "needs a list of "
                         "{from, latency, bandwidth}");
    *out = xcalloc((size_t)*n, sizeof **out);
    for (int64_t i = 0; i < *n; i++) {
        snprintf(item, sizeof item, "%s.%d", full, (int)i);
        if (read_segment(y, yaml_item(y, list, i), item, i, &(*out)[i], e))
            return -1;
    }
    return 0;
}

/* `others`: keys that the caller reads itself. */
static int read_link(struct yaml *y, int map, const char *key,
                     const char *const *others, struct link *l,
                     struct error *e)
{
    if (machine_read_fields(y, map, key, link_fields, no_fields, others, l, e))
        return -1;
    return machine_read_segments(y, map, key, &l->n, &l->segments, e);
}

int machine_read_class(struct yaml *y, int map, const char *key, int *class,
                       struct error *e)
{
    char full[80];

    machine_join(full, sizeof full, key, "class");
    return machine_need(y, map, key, "class", e) != 0
        ? -1 : yaml_word(y, yaml_get(y, map, "class"), full, class_names,
                         class, e);
}

/* Those of routes of one class. */
static int read_classes(struct yaml *y, int list, struct machine *m,
                        struct error *e)
{
    static const char *const others[] = { "class", "segments", NULL };
    char key[64];
    int class = 0;

    if (yaml_is_null(y, list))
        return 0;
    if (yaml_type(y, list) != YAML_LIST)
        return yaml_fail(y, list, "classes", e, "needs a list");
    for (int64_t i = 0; i < yaml_count(y, list); i++) {
        int map = yaml_item(y, list, i);
        snprintf(key, sizeof key, "classes.%d", (int)i);
        if (machine_read_class(y, map, key, &class, e) != 0)
            return -1;
        if (m->classes[class].n)
            return yaml_fail(y, map, key, e, "%s is there twice",
                             class_names[class]);
        if (read_link(y, map, key, others, &m->classes[class], e) != 0)
            return -1;
    }
    return 0;
}

static int read_contention(struct yaml *y, int map, const char *key,
                           void *out, struct error *e)
{
    static const char *const others[] = { "class", NULL };
    struct contention *c = out;
    int class = 0;

    *c = (struct contention){ .pairs = 1 };
    if (machine_read_fields(y, map, key, contention_fields, no_fields, others,
                            c, e) != 0
        || machine_read_class(y, map, key, &class, e) != 0)
        return -1;
    c->class = (enum route_class)class;
    return c->bandwidth > 0 ? 0 : yaml_fail(y, map, key, e,
                                            "a bandwidth of 0");
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

/* ---- Cluster ------------------------------------------------------------ */

static int read_cluster(struct yaml *y, int map, struct machine *m,
                        struct error *e)
{
    struct error why = { 0 };

    if (yaml_is_null(y, map))
        return 0;
    m->cluster = xcalloc(1, sizeof *m->cluster);
    if (cluster_read(y, map, m->cluster, e) != 0)
        return -1;
    if (!(m->graph = cluster_graph(m->cluster, &why)))
        return yaml_fail(y, map, "cluster", e, "%s", why.text);
    if (m->cores == 0)
        m->cores = m->graph->n_slots;
    snprintf(m->graph->name, sizeof m->graph->name, "%s", m->name);
    snprintf(m->graph->about, sizeof m->graph->about, "%s", m->processor);
    return 0;
}

/* ---- Reading ------------------------------------------------------------ */

static int read_links(struct yaml *y, int root, struct machine *m,
                      struct error *e)
{
    static const char *const others[] = { "segments", NULL };
    int link = yaml_get(y, root, "link");

    if (!yaml_is_null(y, link)
        && read_link(y, link, "link", others, &m->link, e) != 0)
        return -1;
    return read_classes(y, yaml_get(y, root, "classes"), m, e);
}

static int read_lists(struct yaml *y, int root, struct machine *m,
                      struct error *e)
{
    struct {
        const char *key;
        read_fn read;
        size_t size;
        int64_t *n;
        void *items;
    } lists[] = {
        { "surfaces", machine_read_surface, sizeof *m->surfaces,
          &m->n_surfaces, NULL },
        { "rates", machine_read_rate, sizeof *m->rates, &m->n_rates, NULL },
        { "copies", machine_read_copy, sizeof *m->copies, &m->n_copies, NULL },
        { "contention", read_contention, sizeof *m->contention,
          &m->n_contention, NULL },
        { "collectives", machine_read_collective, sizeof *m->collectives,
          &m->n_collectives, NULL },
    };
    int rc = 0;

    for (int i = 0; i < 5 && rc == 0; i++)
        rc = read_list(y, yaml_get(y, root, lists[i].key), lists[i].key,
                       lists[i].read, lists[i].size, lists[i].n,
                       &lists[i].items, e);
    m->surfaces = lists[0].items;
    m->rates = lists[1].items;
    m->copies = lists[2].items;
    m->contention = lists[3].items;
    m->collectives = lists[4].items;
    return rc;
}

static int read_machine(struct yaml *y, struct machine *m, struct error *e)
{
    static const char *const others[] = {
        "link", "classes", "contention", "surfaces", "rates", "copies",
        "collectives", "cluster", NULL };
    int root = yaml_root(y);

    if (machine_read_fields(y, root, "", machine_fields, device_fields, others,
                            m, e) != 0
        || machine_need(y, root, "", "name", e) != 0
        || read_cluster(y, yaml_get(y, root, "cluster"), m, e) != 0
        || (!m->graph && machine_need(y, root, "", "cores", e) != 0))
        return -1;
    if (m->cores < 1)
        return yaml_fail(y, yaml_get(y, root, "cores"), "cores", e,
                         "a machine needs a core");
    return read_links(y, root, m, e) != 0 ? -1 : read_lists(y, root, m, e);
}

/* So many hosts of the first kind. */
static int set_hosts(struct yaml *y, int64_t hosts, struct error *e)
{
    int cluster = yaml_get(y, yaml_root(y), "cluster");
    char text[64];

    if (yaml_count(y, yaml_get(y, cluster, "hosts")) == 0)
        return fail_usage(e, "it has no cluster with hosts");
    snprintf(text, sizeof text, "cluster.hosts.0.count=%lld",
             (long long)hosts);
    return yaml_set(y, text, e);
}

struct machine *machine_parse_hosts(const char *path, const char *text,
                                    size_t size, int64_t hosts,
                                    struct error *e)
{
    struct yaml *y = yaml_parse(path, text, size, e);

    if (y == NULL)
        return NULL;
    struct machine *m = xcalloc(1, sizeof *m);
    int rc = hosts ? set_hosts(y, hosts, e) : 0;
    if (rc == 0)
        rc = read_machine(y, m, e);
    yaml_destroy(y);
    if (rc != 0) {
        machine_destroy(m);
        return NULL;
    }
    m->versions = m->versions ? m->versions : xstrdup("");
    m->created = m->created ? m->created : xstrdup("");
    return m;
}

struct machine *machine_parse(const char *path, const char *text, size_t size,
                              struct error *e)
{
    return machine_parse_hosts(path, text, size, 0, e);
}

/* ---- Kernels ------------------------------------------------------------ */

static int read_kernels(struct yaml *y, struct machine *m, struct error *e)
{
    static const char *const keys[] = { "name", "versions", "surfaces", NULL };
    int root = yaml_root(y);
    void *list = NULL;
    int64_t n = 0;

    /* Also another machine's file, of which these are all that counts. */
    if ((!yaml_get(y, root, "cores")
         && yaml_check_keys(y, root, "", keys, e) != 0)
        || machine_need(y, root, "", "surfaces", e) != 0)
        return -1;
    int rc = read_list(y, yaml_get(y, root, "surfaces"), "surfaces",
                       machine_read_surface, sizeof *m->surfaces, &n, &list,
                       e);
    struct surface *added = list;
    m->surfaces = xrealloc(m->surfaces, (size_t)(m->n_surfaces + n)
                           * sizeof *m->surfaces);
    for (int64_t i = 0; i < n; i++) {
        added[i].published = !yaml_get(y, root, "cores");
        m->surfaces[m->n_surfaces++] = added[i];
    }
    free(list);
    return rc;
}

int machine_add_kernels(struct machine *m, const char *path, const char *text,
                        size_t size, struct error *e)
{
    struct yaml *y = yaml_parse(path, text, size, e);

    if (y == NULL)
        return -1;
    int rc = read_kernels(y, m, e);
    yaml_destroy(y);
    return rc;
}
