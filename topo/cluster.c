/* SPDX-License-Identifier: Apache-2.0
 *
 * Clusters: the graph of what a machine file states. */
#include <config.h>

#include "topo/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A network interface, to be plugged into the fabric. */
struct port {
    int32_t nic, host;
    int64_t rail;
    const struct cluster_link *link;
};
/* Where building is. */
struct site {
    const struct cluster *c;
    struct graph *g;
    const struct cluster_host *h;       /* of the host at work */
    int32_t host, first;                /* its number, its first vertex */
    int64_t n_ports, ports_cap;
    struct port *ports;
    struct error *e;
};

static const struct cluster_link *need_link(struct site *s,
                                            const struct cluster_link *links,
                                            enum edge_type type)
{
    if (links[type].given)
        return &links[type];
    fail_usage(s->e, "the links of type %s need a bandwidth: "
               "cluster.links.%s is missing", edge_names[type],
               edge_names[type]);
    return NULL;
}

/* `wide` links side by side. */
static int connect(struct site *s, int32_t a, int32_t b, enum edge_type type,
                   const struct cluster_link *l, double wide)
{
    if (l == NULL)
        return -1;
    struct edge like = {
        .type = type, .half = l->half, .datasheet = wide * l->datasheet,
        .bandwidth = { wide * l->usable, wide * l->usable },
        .latency = l->latency, .p10 = l->p10, .p90 = l->p90
    };
    graph_edge(s->g, a, b, &like);
    return 0;
}

static int join(struct site *s, int32_t a, int32_t b, enum edge_type type)
{
    return connect(s, a, b, type, need_link(s, s->h->links, type), 1);
}

/* ---- A host -------------------------------------------------------------- */

/* Sockets come first in a host, switches behind them and what these have. */
static int32_t find_vertex(const struct site *s, const char *on)
{
    for (int64_t v = s->first; v < s->g->n_vertices; v++) {
        const struct vertex *x = &s->g->vertices[v];
        if ((x->kind == VERTEX_NUMA || x->kind == VERTEX_PCIE)
            && strcmp(x->name, on) == 0)
            return (int32_t)v;
    }
    return -1;
}

static int make_cores(struct site *s, int32_t socket)
{
    const struct cluster_host *h = s->h;
    int32_t cache = socket;
    int at = -1;

    for (int i = 0; i < h->cores; i++) {
        enum edge_type type = h->caches ? EDGE_CACHE : EDGE_MEMORY;
        int own = h->caches ? (int)((int64_t)i * h->caches / h->cores) : at;
        if (own != at) {
            at = own;
            cache = graph_vertex(s->g, VERTEX_CACHE, s->host, NULL);
            if (join(s, socket, cache, EDGE_MEMORY) != 0)
                return -1;
        }
        int32_t core = graph_vertex(s->g, VERTEX_CORE, s->host, NULL);
        if (join(s, cache, core, type) != 0)
            return -1;
    }
    return 0;
}

/* Each with each: two are the rule, four are fully connected. */
static int make_sockets(struct site *s)
{
    char name[24];

    for (int i = 0; i < s->h->sockets; i++) {
        snprintf(name, sizeof name, "socket%d", i);
        int32_t socket = graph_vertex(s->g, VERTEX_NUMA, s->host, name);
        for (int k = 0; k < i; k++)
            if (join(s, s->first + k, socket, EDGE_SOCKET) != 0)
                return -1;
    }
    for (int i = 0; i < s->h->sockets; i++)
        if (make_cores(s, s->first + i) != 0)
            return -1;
    return 0;
}

/* What an item hangs on. */
static int hang(struct site *s, const struct cluster_item *item, int32_t v)
{
    const struct cluster_link *l = need_link(s, s->h->links, EDGE_PCIE);

    if (l == NULL)
        return -1;
    struct cluster_link own = *l;
    if (item->usable > 0)
        own.usable = item->usable;
    return connect(s, find_vertex(s, item->on), v, EDGE_PCIE, &own, 1);
}

static int make_switches(struct site *s)
{
    for (int64_t i = 0; i < s->h->switches.n; i++) {
        const struct cluster_item *item = &s->h->switches.items[i];
        int32_t v = graph_vertex(s->g, VERTEX_PCIE, s->host, item->name);
        if (*item->on && hang(s, item, v) != 0)
            return -1;
    }
    return 0;
}

/* GPUs or network interfaces, on what they hang on. */
static int make_devices(struct site *s, enum vertex_kind kind,
                        const struct cluster_items *all)
{
    int64_t rail = 0;

    for (int64_t i = 0; i < all->n; i++) {
        const struct cluster_item *item = &all->items[i];
        for (int64_t k = 0; k < item->count; k++, rail++) {
            int32_t v = graph_vertex(s->g, kind, s->host, NULL);
            if (*item->on && hang(s, item, v) != 0)
                return -1;
            if (kind != VERTEX_NIC)
                continue;
            struct port p = { v, s->host, item->rail < 0 ? rail
                              : item->rail + k,
                              &s->h->links[EDGE_NETWORK] };
            ARRAY_PUSH(s->ports, s->n_ports, s->ports_cap, p);
        }
    }
    return 0;
}

/* Within one host. */
static int make_nvlinks(struct site *s)
{
    int64_t end = s->g->n_vertices;
    int32_t hub = -1;

    if (s->h->nvlink == NVLINK_NONE || s->h->nvlink_hosts > 1)
        return 0;
    if (s->h->nvlink == NVLINK_SWITCH)
        hub = graph_vertex(s->g, VERTEX_NVSWITCH, s->host, "nvswitch");
    for (int32_t b = s->first; b < end; b++) {
        if (s->g->vertices[b].kind != VERTEX_GPU)
            continue;
        int32_t index = s->g->vertices[b].index;
        if (hub >= 0 && join(s, hub, b, EDGE_NVLINK) != 0)
            return -1;
        for (int32_t a = b - index; hub < 0 && a < b; a++)
            if ((s->h->nvlink == NVLINK_MESH || (index % 2 && a == b - 1))
                && join(s, a, b, EDGE_NVLINK) != 0)
                return -1;
    }
    return 0;
}

static int make_host(struct site *s)
{
    s->first = (int32_t)s->g->n_vertices;
    if (make_sockets(s) || make_switches(s)
        || make_devices(s, VERTEX_GPU, &s->h->gpus)
        || make_devices(s, VERTEX_NIC, &s->h->nics))
        return -1;
    return make_nvlinks(s);
}

static int make_hosts(struct site *s)
{
    char name[24];

    for (int64_t k = 0; k < s->c->n_hosts; k++) {
        const struct names *names = &s->c->hosts[k].names;
        s->h = &s->c->hosts[k];
        for (int64_t i = 0; i < s->h->count; i++) {
            snprintf(name, sizeof name, "%.15s%d", s->h->name, (int)i);
            s->host = graph_host(s->g, i < names->n ? names->items[i] : name,
                                 (int32_t)k);
            if (make_host(s) != 0)
                return -1;
        }
    }
    return 0;
}

/* NVSwitches that hosts of a kind share, so many hosts each. */
static int make_racks(struct site *s)
{
    int32_t hub = -1, count = 0;

    for (int64_t i = 0; i < s->g->n_hosts; i++) {
        struct graph_host host = s->g->hosts[i];
        s->h = &s->c->hosts[host.kind];
        if (i > 0 && host.kind != s->g->hosts[i - 1].kind)
            count = 0;
        if (s->h->nvlink_hosts < 2)
            continue;
        if (count++ % s->h->nvlink_hosts == 0)
            hub = graph_vertex(s->g, VERTEX_NVSWITCH, -1, NULL);
        for (int32_t v = 0; v < host.vertices; v++)
            if (s->g->vertices[host.first + v].kind == VERTEX_GPU
                && join(s, hub, host.first + v, EDGE_NVLINK) != 0)
                return -1;
    }
    return 0;
}

/* ---- Fabrics ------------------------------------------------------------- */

static int32_t make_switch(struct site *s, const char *name, int64_t number,
                           int32_t level, int spreads)
{
    char text[24];

    snprintf(text, sizeof text, "%s%d", name, (int)number);
    int32_t v = graph_vertex(s->g, VERTEX_SWITCH, -1, text);
    s->g->vertices[v].level = level;
    s->g->vertices[v].spreads = (int8_t)spreads;
    return v;
}

static int plug(struct site *s, int32_t into, const struct port *p)
{
    s->h = &s->c->hosts[s->g->hosts[p->host].kind];
    return join(s, into, p->nic, EDGE_NETWORK);
}

static int no_fabric(struct site *s)
{
    (void)s;
    return 0;
}

static int one_switch(struct site *s)
{
    int32_t v = make_switch(s, "switch", 0, 0, 0);

    for (int64_t i = 0; i < s->n_ports; i++)
        if (plug(s, v, &s->ports[i]) != 0)
            return -1;
    return 0;
}

/* Leaves, and what their hosts can send together. */
struct leaf {
    int32_t vertex, last;       /* host plugged in */
    int64_t hosts;
    double usable, datasheet;
};

/* Every leaf has the uplinks of a full one, of `per` hosts. */
static int make_spines(struct site *s, const struct leaf *leaves, int64_t n,
                       int64_t per)
{
    const struct cluster_fabric *f = &s->c->fabric;
    struct cluster_link up = s->c->links[s->c->links[EDGE_FABRIC].given
                                         ? EDGE_FABRIC : EDGE_NETWORK];

    up.usable = up.datasheet = 0;
    for (int64_t i = 0; i < n; i++) {
        double full = (double)per / (double)max64(1, leaves[i].hosts);
        if (leaves[i].usable * full <= up.usable)
            continue;
        up.usable = leaves[i].usable * full;
        up.datasheet = leaves[i].datasheet * full;
    }
    for (int k = 0; n > 1 && k < f->spines; k++) {
        int32_t spine = make_switch(s, "spine", k, 1, 0);
        for (int64_t i = 0; i < n; i++)
            if (connect(s, spine, leaves[i].vertex, EDGE_FABRIC, &up,
                        1 / (f->taper * f->spines)) != 0)
                return -1;
    }
    return 0;
}

static int tree_of(struct site *s, int64_t rails)
{
    const struct cluster_fabric *f = &s->c->fabric;
    int64_t per = f->hosts_per_leaf ? f->hosts_per_leaf : s->g->n_hosts;
    int64_t n = ceil_div(s->g->n_hosts, per) * rails;
    struct leaf *leaves = xcalloc((size_t)n, sizeof *leaves);
    int rc = 0;

    for (int64_t i = 0; i < n; i++)
        leaves[i].vertex = make_switch(s, "leaf", i, 0, 1);
    for (int64_t i = 0; i < s->n_ports && rc == 0; i++) {
        const struct port *p = &s->ports[i];
        struct leaf *l = &leaves[p->host / per * rails
                                 + (rails > 1 ? p->rail : 0)];
        l->hosts += l->hosts == 0 || l->last != p->host;
        l->last = p->host;
        l->usable += p->link->usable;
        l->datasheet += p->link->datasheet;
        rc = plug(s, l->vertex, p);
    }
    if (rc == 0)
        rc = make_spines(s, leaves, n, per);
    free(leaves);
    return rc;
}

static int leaf_spine(struct site *s)
{
    return tree_of(s, 1);
}

static int rail_optimised(struct site *s)
{
    int64_t rails = 1;

    for (int64_t i = 0; i < s->n_ports; i++)
        rails = max64(rails, s->ports[i].rail + 1);
    return tree_of(s, rails);
}

/* Router of host x + X (y + Y z); dimension by dimension, which is the order in
 * which routes take them. */
static int torus(struct site *s)
{
    const int64_t *size = s->c->fabric.size;
    const struct cluster_link *l = &s->c->links[
        s->c->links[EDGE_FABRIC].given ? EDGE_FABRIC : EDGE_NETWORK];
    int32_t first = (int32_t)s->g->n_vertices;
    int64_t stride = 1;

    if (!l->given)
        l = need_link(s, s->c->links, EDGE_NETWORK);
    for (int64_t i = 0; i < s->g->n_hosts; i++)
        make_switch(s, "router", i, 0, 0);
    for (int64_t i = 0; i < s->n_ports; i++)
        if (plug(s, first + s->ports[i].host, &s->ports[i]) != 0)
            return -1;
    for (int d = 0; d < 3; stride *= size[d++])
        for (int64_t i = 0; i < s->g->n_hosts; i++) {
            int64_t at = i / stride % size[d], next = (at + 1) % size[d];
            if (next == at || (size[d] == 2 && at == 1))
                continue;
            if (connect(s, first + (int32_t)i,
                        first + (int32_t)(i + (next - at) * stride),
                        EDGE_FABRIC, l, 1) != 0)
                return -1;
        }
    return 0;
}

static int (*const fabrics[])(struct site *) = {
    [FABRIC_NONE] = no_fabric, [FABRIC_SWITCH] = one_switch,
    [FABRIC_LEAF_SPINE] = leaf_spine, [FABRIC_RAIL] = rail_optimised,
    [FABRIC_TORUS] = torus
};

struct graph *cluster_graph(const struct cluster *c, struct error *e)
{
    struct site s = { .c = c, .g = graph_create(), .e = e };

    memcpy(s.g->start, c->start, sizeof c->start);
    int rc = make_hosts(&s) || make_racks(&s);
    if (!rc && s.g->n_hosts > 1)        /* one needs none */
        rc = fabrics[c->fabric.kind](&s);
    if (!rc)
        rc = graph_freeze(s.g, e);
    free(s.ports);
    if (rc == 0)
        return s.g;
    graph_destroy(s.g);
    return NULL;
}
