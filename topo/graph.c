/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs of machines: building, names. */
#include <config.h>

#include "topo/graph_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const vertex_names[] = {
    [VERTEX_GPU] = "gpu", [VERTEX_CORE] = "core", [VERTEX_CACHE] = "cache",
    [VERTEX_NUMA] = "numa", [VERTEX_PCIE] = "pcie",
    [VERTEX_NVSWITCH] = "nvswitch", [VERTEX_NIC] = "nic",
    [VERTEX_SWITCH] = "switch", [VERTEX_KINDS] = NULL
};
const char *const edge_names[] = {
    [EDGE_NVLINK] = "nvlink", [EDGE_CACHE] = "cache",
    [EDGE_MEMORY] = "memory", [EDGE_PCIE] = "pcie", [EDGE_SOCKET] = "socket",
    [EDGE_NETWORK] = "network", [EDGE_FABRIC] = "fabric", [EDGE_TYPES] = NULL
};
const char *const class_names[] = {
    [CLASS_SELF] = "self", [CLASS_CACHE] = "cache", [CLASS_NVLINK] = "nvlink",
    [CLASS_PCIE] = "pcie", [CLASS_NUMA] = "numa", [CLASS_SOCKET] = "socket",
    [CLASS_LEAF] = "leaf", [CLASS_FABRIC] = "fabric", [ROUTE_CLASSES] = NULL
};

struct graph *graph_create(void)
{
    return xcalloc(1, sizeof(struct graph));
}

void graph_destroy(struct graph *g)
{
    if (g == NULL)
        return;
    paths_destroy(g->paths, g);
    free(g->vertices);
    free(g->edges);
    free(g->hosts);
    free(g->slots);
    free(g);
}

int32_t graph_host(struct graph *g, const char *name, int32_t kind)
{
    struct graph_host h = { .first = (int32_t)g->n_vertices, .kind = kind };

    snprintf(h.name, sizeof h.name, "%s", name);
    ARRAY_PUSH(g->hosts, g->n_hosts, g->hosts_cap, h);
    return (int32_t)g->n_hosts - 1;
}

/* Number of vertices of a kind that a host, or the fabric, has so far. */
static int32_t count_kind(const struct graph *g, enum vertex_kind kind,
                          int32_t host)
{
    for (int64_t i = g->n_vertices - 1; i >= 0; i--) {
        if (g->vertices[i].host != host)
            break;
        if (g->vertices[i].kind == kind)
            return g->vertices[i].index + 1;
    }
    return 0;
}

int32_t graph_vertex(struct graph *g, enum vertex_kind kind, int32_t host,
                     const char *name)
{
    struct vertex v = { .kind = kind, .host = host, .parent = -1, .slot = -1 };

    v.index = count_kind(g, kind, host);
    if (name != NULL)
        snprintf(v.name, sizeof v.name, "%s", name);
    else
        snprintf(v.name, sizeof v.name, "%s%d", vertex_names[kind], v.index);
    ARRAY_PUSH(g->vertices, g->n_vertices, g->vertices_cap, v);
    if (host >= 0)
        g->hosts[host].vertices = (int32_t)g->n_vertices
            - g->hosts[host].first;
    return (int32_t)g->n_vertices - 1;
}

int32_t graph_edge(struct graph *g, int32_t a, int32_t b,
                   const struct edge *like)
{
    struct edge edge = *like;
    struct vertex *from = &g->vertices[a], *to = &g->vertices[b];

    edge.end[0] = a;
    edge.end[1] = b;
    if (to->parent < 0 && to->host == from->host && edge.type != EDGE_SOCKET)
        to->parent = a;
    ARRAY_PUSH(g->edges, g->n_edges, g->edges_cap, edge);
    return (int32_t)g->n_edges - 1;
}

static int32_t number_slots(struct graph *g, enum vertex_kind kind)
{
    int32_t n = 0;

    for (int64_t i = 0; i < g->n_vertices; i++)
        if (g->vertices[i].kind == kind)
            n++;
    g->slots = xcalloc((size_t)n + 1, sizeof *g->slots);
    n = 0;
    for (int64_t i = 0; i < g->n_vertices; i++) {
        if (g->vertices[i].kind != kind)
            continue;
        g->vertices[i].slot = n;
        g->slots[n++] = (int32_t)i;
    }
    return n;
}

static int check_pair(struct graph *g, int32_t a, int32_t b, struct error *e)
{
    struct route r;
    char from[GRAPH_NAME], to[GRAPH_NAME];

    if (graph_route(g, a, b, &r) == 0 && graph_route(g, b, a, &r) == 0)
        return 0;
    return fail_usage(e, "there is no way from %s to %s: %s",
                      graph_name(g, g->slots[a], from, sizeof from),
                      graph_name(g, g->slots[b], to, sizeof to),
                      g->vertices[g->slots[a]].host
                      == g->vertices[g->slots[b]].host
                      ? "a link is missing, or they hang on nothing"
                      : "both hosts must hang on one fabric");
}

/* All pairs of small machines; of large ones, which are regular, every slot
 * with the first, the last and its neighbour. */
static int check_routes(struct graph *g, struct error *e)
{
    enum { SMALL = 128 };
    int32_t n = g->n_slots, all = n <= SMALL;

    for (int32_t a = 0; a < n; a++) {
        int32_t with[] = { 0, a + 1 < n ? a + 1 : 0, n - 1 };
        for (int32_t i = all ? a + 1 : 0; i < (all ? n : 3); i++)
            if (check_pair(g, a, all ? i : with[i], e) != 0)
                return -1;
    }
    return 0;
}

int graph_freeze(struct graph *g, struct error *e)
{
    g->n_slots = number_slots(g, VERTEX_GPU);
    if (g->n_slots == 0) {
        free(g->slots);
        g->n_slots = number_slots(g, VERTEX_CORE);
    }
    if (g->n_slots == 0)
        return fail_usage(e, "no slot: hosts have neither gpus nor cores");
    g->paths = paths_create(g);
    return check_routes(g, e);
}

void graph_scale(struct graph *g, enum edge_type type, double factor)
{
    for (int64_t i = 0; i < g->n_edges; i++)
        for (int k = 0; g->edges[i].type == type && k < 2; k++)
            g->edges[i].bandwidth[k] *= factor;
    paths_destroy(g->paths, g);
    g->paths = paths_create(g);
}

double route_seconds(const struct route *r, int64_t bytes)
{
    return r->latency + (double)bytes / r->bandwidth;
}

int32_t graph_resource(const struct graph *g, int32_t link)
{
    return g->edges[link / 2].half ? link & ~1 : link;
}

const char *graph_name(const struct graph *g, int32_t vertex, char *text,
                       size_t size)
{
    const struct vertex *v = &g->vertices[vertex];

    if (v->host < 0)
        snprintf(text, size, "%s", v->name);
    else
        snprintf(text, size, "%s.%s", g->hosts[v->host].name, v->name);
    return text;
}
