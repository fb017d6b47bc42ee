/* SPDX-License-Identifier: Apache-2.0
 *
 * Machine files: reading a cluster. */
#include <config.h>

#include "topo/cluster.h"
#include "topo/machine_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const nvlink_words[] = {
    [NVLINK_NONE] = "none", [NVLINK_PAIRS] = "pairs", [NVLINK_MESH] = "mesh",
    [NVLINK_SWITCH] = "switch", NULL
};
const char *const fabric_words[] = {
    [FABRIC_NONE] = "none", [FABRIC_SWITCH] = "switch",
    [FABRIC_LEAF_SPINE] = "leaf-spine", [FABRIC_RAIL] = "rail",
    [FABRIC_TORUS] = "torus", NULL
};

/* ---- Links --------------------------------------------------------------- */

static int read_link(struct yaml *y, int map, const char *key,
                     struct cluster_link *l, struct error *e)
{
    static const char *const others[] = { "duplex", NULL };
    static const char *const duplex[] = { "full", "half", NULL };
    char full[160];

    *l = (struct cluster_link){ .given = 1 };
    machine_join(full, sizeof full, key, "duplex");
    if (machine_read_fields(y, map, key, cluster_link_fields,
                            cluster_link_spread_fields, others, l, e)
        || yaml_word(y, yaml_get(y, map, "duplex"), full, duplex, &l->half, e))
        return -1;
    if (!yaml_get(y, map, "usable"))
        l->usable = l->datasheet;
    if (!(l->usable > 0))
        return yaml_fail(y, map, key, e, "a link needs a bandwidth above 0: "
                         "usable, or datasheet where nothing is known");
    if ((l->p10 > 0) != (l->p90 > 0) || l->p10 > l->p90)
        return yaml_fail(y, map, key, e, "p10 and p90 go together, "
                         "p10 <= p90");
    if (l->datasheet > 0 && l->usable > l->datasheet)
        return yaml_fail(y, map, key, e, "usable is more than datasheet says");
    return 0;
}

/* A mapping of edge types, on top of what *links has. */
static int read_links(struct yaml *y, int map, const char *key,
                      struct cluster_link *links, struct error *e)
{
    char full[160];

    if (yaml_is_null(y, map))
        return 0;
    if (yaml_check_keys(y, map, key, edge_names, e) != 0)
        return -1;
    for (int t = 0; t < EDGE_TYPES; t++) {
        int node = yaml_get(y, map, edge_names[t]);
        machine_join(full, sizeof full, key, edge_names[t]);
        if (node && read_link(y, node, full, &links[t], e) != 0)
            return -1;
    }
    return 0;
}

static int read_starts(struct yaml *y, int map, double *start, struct error *e)
{
    static const char key[] = "cluster.start";
    char full[160];

    if (yaml_is_null(y, map))
        return 0;
    if (yaml_check_keys(y, map, key, class_names, e) != 0)
        return -1;
    for (int c = 0; c < ROUTE_CLASSES; c++) {
        machine_join(full, sizeof full, key, class_names[c]);
        int node = yaml_get(y, map, class_names[c]);
        if (node && machine_read_real(y, node, full, "s", &start[c], e) != 0)
            return -1;
    }
    return 0;
}

/* ---- Hosts --------------------------------------------------------------- */

/* A list of items; `others`: keys that only these have, read here. */
static int read_items(struct yaml *y, int list, const char *key,
                      const struct field *rows, const char *const *others,
                      struct cluster_items *all, struct error *e)
{
    char full[160];

    if (yaml_is_null(y, list))
        return 0;
    if (yaml_type(y, list) != YAML_LIST)
        return yaml_fail(y, list, key, e, "needs a list");
    all->n = yaml_count(y, list);
    all->items = xcalloc((size_t)all->n, sizeof *all->items);
    for (int64_t i = 0; i < all->n; i++) {
        int node = yaml_item(y, list, i);
        struct cluster_item *item = &all->items[i];
        *item = (struct cluster_item){ .count = 1, .rail = -1 };
        snprintf(full, sizeof full, "%s.%d", key, (int)i);
        if (machine_read_fields(y, node, full, rows, no_fields, others, item,
                                e) != 0)
            return -1;
        if (yaml_get(y, node, "usable") && !(item->usable > 0))
            return yaml_fail(y, yaml_get(y, node, "usable"), full, e,
                             "a bandwidth of 0");
        if (yaml_int(y, yaml_get(y, node, "rail"), full, 0, 1023, &item->rail,
                     e) != 0)
            return -1;
    }
    return 0;
}

/* sN or a name of a switch before it: what hangs on itself, or on what hangs on
 * it, is found so. */
static int check_on(struct yaml *y, int list, int64_t i, const char *key,
                    const struct cluster_host *h, int64_t switches,
                    const char *on, struct error *e)
{
    int socket = -1, end = 0;

    if (*on == '\0')
        return 0;
    if (sscanf(on, "socket%d%n", &socket, &end) == 1 && on[end] == '\0'
        && socket >= 0 && socket < h->sockets)
        return 0;
    for (int64_t k = 0; k < switches; k++)
        if (strcmp(h->switches.items[k].name, on) == 0)
            return 0;
    for (int64_t k = switches; k < h->switches.n; k++)
        if (strcmp(h->switches.items[k].name, on) == 0)
            return yaml_fail(y, yaml_item(y, list, i), key, e, "on \"%s\", "
                             "which is not above it: a cycle, or in the wrong "
                             "order", on);
    return yaml_fail(y, yaml_item(y, list, i), key, e, "on \"%s\": this host "
                     "has neither such a socket nor such a switch", on);
}

static int check_items(struct yaml *y, int map, const char *key,
                       const char *what, const struct cluster_host *h,
                       const struct cluster_items *all, struct error *e)
{
    int list = yaml_get(y, map, what);
    char full[160];

    for (int64_t i = 0; i < all->n; i++) {
        snprintf(full, sizeof full, "%s.%s.%d", key, what, (int)i);
        if (check_on(y, list, i, full, h, all == &h->switches ? i
                     : h->switches.n, all->items[i].on, e) != 0)
            return -1;
    }
    return 0;
}

static int check_names(struct yaml *y, int map, const char *key,
                       const struct cluster_items *all, struct error *e)
{
    int list = yaml_get(y, map, "switches");
    char full[160];

    for (int64_t i = 0; i < all->n; i++) {
        snprintf(full, sizeof full, "%s.switches.%d.name", key, (int)i);
        if (all->items[i].name[0] == '\0')
            return yaml_fail(y, yaml_item(y, list, i), full, e, "missing");
        for (int64_t k = 0; k < i; k++)
            if (strcmp(all->items[i].name, all->items[k].name) == 0)
                return yaml_fail(y, yaml_item(y, list, i), full, e,
                                 "\"%s\" is there twice", all->items[i].name);
    }
    return 0;
}

static int read_tree(struct yaml *y, int map, const char *key,
                     struct cluster_host *h, struct error *e)
{
    static const char *const none[] = { NULL };
    static const char *const rail[] = { "rail", NULL };
    const struct {
        const char *key;
        const struct field *rows;
        const char *const *others;
        struct cluster_items *all;
    } lists[] = {
        { "switches", cluster_switch_fields, none, &h->switches },
        { "gpus", cluster_gpu_fields, none, &h->gpus },
        { "nics", cluster_gpu_fields, rail, &h->nics },
    };
    char full[96];

    for (int i = 0; i < 3; i++) {
        machine_join(full, sizeof full, key, lists[i].key);
        if (read_items(y, yaml_get(y, map, lists[i].key), full, lists[i].rows,
                       lists[i].others, lists[i].all, e) != 0)
            return -1;
    }
    if (check_names(y, map, key, &h->switches, e) != 0)
        return -1;
    for (int i = 0; i < 3; i++)
        if (check_items(y, map, key, lists[i].key, h, lists[i].all, e) != 0)
            return -1;
    return 0;
}

/* names, in Slurm's way, give the number, too. */
static int read_names(struct yaml *y, int map, const char *key,
                      struct cluster_host *h, struct error *e)
{
    int node = yaml_get(y, map, "names");
    struct error why = { 0 };
    char *list = NULL, full[160];

    machine_join(full, sizeof full, key, "names");
    int rc = yaml_string(y, node, full, &list, e);
    if (rc == 0 && list && hostlist_expand(list, &h->names, &why) != 0)
        rc = yaml_fail(y, node, full, e, "%s", why.text);
    free(list);
    if (rc != 0 || h->names.n == 0)
        return rc;
    if (yaml_get(y, map, "count") && h->count != h->names.n)
        return yaml_fail(y, node, full, e, "of %d hosts, count is %d",
                         (int)h->names.n, (int)h->count);
    h->count = h->names.n;
    for (int64_t i = 0; i < h->names.n; i++)
        if (strlen(h->names.items[i]) >= sizeof ((struct graph_host *)0)->name)
            return yaml_fail(y, node, full, e, "\"%s\" is too long",
                             h->names.items[i]);
    return 0;
}

static int read_host(struct yaml *y, int map, const char *key,
                     const struct cluster *c, struct cluster_host *h,
                     struct error *e)
{
    static const char *const others[] = { "names", "nvlink", "switches",
                                          "gpus", "nics", "links", NULL };
    char full[160];

    *h = (struct cluster_host){ .name = "host", .count = 1,
                                .nvlink_hosts = 1 };
    memcpy(h->links, c->links, sizeof h->links);
    if (machine_read_fields(y, map, key, cluster_host_fields, no_fields,
                            others, h, e) != 0
        || read_names(y, map, key, h, e) != 0)
        return -1;
    machine_join(full, sizeof full, key, "nvlink");
    if (yaml_word(y, yaml_get(y, map, "nvlink"), full, nvlink_words,
                  &h->nvlink, e) != 0)
        return -1;
    machine_join(full, sizeof full, key, "links");
    if (read_links(y, yaml_get(y, map, "links"), full, h->links, e) != 0)
        return -1;
    if (h->nvlink_hosts > 1 && h->nvlink != NVLINK_SWITCH)
        return yaml_fail(y, yaml_get(y, map, "nvlink_hosts"), key, e,
                         "hosts share NVSwitches: nvlink must be switch");
    return read_tree(y, map, key, h, e);
}

/* ---- Fabric -------------------------------------------------------------- */

static int64_t host_count(const struct cluster *c)
{
    int64_t n = 0;

    for (int64_t i = 0; i < c->n_hosts; i++)
        n += c->hosts[i].count;
    return n;
}

static int read_size(struct yaml *y, int list, struct cluster *c,
                     struct error *e)
{
    static const char key[] = "cluster.fabric.size";
    int64_t *size = c->fabric.size, n = yaml_count(y, list);

    if (yaml_type(y, list) != YAML_LIST || n < 1 || n > 3)
        return yaml_fail(y, list, key, e, "needs a list of 1 to 3 numbers");
    for (int64_t i = 0; i < n; i++)
        if (yaml_int(y, yaml_item(y, list, i), key, 1, 64, &size[i], e) != 0)
            return -1;
    if (size[0] * size[1] * size[2] != host_count(c))
        return yaml_fail(y, list, key, e, "%d x %d x %d is not the number of "
                         "hosts, %d", (int)size[0], (int)size[1],
                         (int)size[2], (int)host_count(c));
    return 0;
}

static int read_fabric(struct yaml *y, int map, struct cluster *c,
                       struct error *e)
{
    static const char *const others[] = { "kind", "size", NULL };
    struct cluster_fabric *f = &c->fabric;

    *f = (struct cluster_fabric){ .spines = 1, .taper = 1,
                                  .size = { 1, 1, 1 } };
    if (yaml_is_null(y, map))
        return 0;
    if (machine_read_fields(y, map, "cluster.fabric", cluster_fabric_fields,
                            no_fields, others, f, e)
        || machine_need(y, map, "cluster.fabric", "kind", e)
        || yaml_word(y, yaml_get(y, map, "kind"), "cluster.fabric.kind",
                     fabric_words, &f->kind, e))
        return -1;
    if (!(f->taper > 0))
        return yaml_fail(y, yaml_get(y, map, "taper"), "cluster.fabric.taper",
                         e, "0: the uplinks would have no end of bandwidth");
    if (f->kind != FABRIC_TORUS)
        return 0;
    if (machine_need(y, map, "cluster.fabric", "size", e) != 0)
        return -1;
    return read_size(y, yaml_get(y, map, "size"), c, e);
}

/* ---- All of it ----------------------------------------------------------- */

static int read_hosts(struct yaml *y, int list, struct cluster *c,
                      struct error *e)
{
    enum { MOST = 65536 };
    char key[64];

    if (yaml_type(y, list) != YAML_LIST || yaml_count(y, list) == 0)
        return yaml_fail(y, list, "cluster.hosts", e, "needs a list of kinds "
                         "of host");
    c->hosts = xcalloc((size_t)yaml_count(y, list), sizeof *c->hosts);
    for (int64_t i = 0; i < yaml_count(y, list); i++) {
        snprintf(key, sizeof key, "cluster.hosts.%d", (int)i);
        c->n_hosts = i + 1;
        if (read_host(y, yaml_item(y, list, i), key, c, &c->hosts[i], e) != 0)
            return -1;
    }
    if (host_count(c) > MOST)
        return yaml_fail(y, list, "cluster.hosts", e, "%lld hosts: at most %d",
                         (long long)host_count(c), MOST);
    return 0;
}

int cluster_read(struct yaml *y, int map, struct cluster *c, struct error *e)
{
    static const char *const keys[] = { "links", "start", "hosts", "fabric",
                                        NULL };

    *c = (struct cluster){ 0 };
    if (yaml_check_keys(y, map, "cluster", keys, e)
        || machine_need(y, map, "cluster", "hosts", e)
        || read_links(y, yaml_get(y, map, "links"), "cluster.links", c->links,
                      e)
        || read_starts(y, yaml_get(y, map, "start"), c->start, e)
        || read_hosts(y, yaml_get(y, map, "hosts"), c, e))
        return -1;
    return read_fabric(y, yaml_get(y, map, "fabric"), c, e);
}

void cluster_clear(struct cluster *c)
{
    for (int64_t i = 0; i < c->n_hosts; i++) {
        free(c->hosts[i].switches.items);
        free(c->hosts[i].gpus.items);
        free(c->hosts[i].nics.items);
        names_clear(&c->hosts[i].names);
    }
    free(c->hosts);
}
