/* SPDX-License-Identifier: Apache-2.0
 *
 * What connects the slots of a machine: a graph of GPUs or cores, memory
 * domains, PCIe switches, NVSwitches, network interfaces and switches, whose
 * edges have a bandwidth per direction, a latency and a duplex; and the route
 * of every pair of slots.  Bytes, seconds, B/s.
 *
 * A vertex is of a host, or of the fabric (host -1) that connects hosts:
 * switches of the network, and NVSwitches of a rack.  Hosts carry no traffic of
 * others, GPUs, cores and network interfaces none that is not their own. */
#ifndef SPAR_GRAPH_H
#define SPAR_GRAPH_H

#include "base/base.h"

enum vertex_kind {
    VERTEX_GPU, VERTEX_CORE, VERTEX_CACHE, VERTEX_NUMA, VERTEX_PCIE,
    VERTEX_NVSWITCH, VERTEX_NIC, VERTEX_SWITCH, VERTEX_KINDS
};
enum edge_type {
    EDGE_NVLINK, EDGE_CACHE, EDGE_MEMORY, EDGE_PCIE, EDGE_SOCKET, EDGE_NETWORK,
    EDGE_FABRIC, EDGE_TYPES
};
/* What the route of a pair goes through, the farthest: the slot itself; a cache
 * that cores share; NVLink; PCIe switches only; one memory domain; the link
 * between sockets; one switch of the network; several. */
enum route_class {
    CLASS_SELF, CLASS_CACHE, CLASS_NVLINK, CLASS_PCIE, CLASS_NUMA,
    CLASS_SOCKET, CLASS_LEAF, CLASS_FABRIC, ROUTE_CLASSES
};
extern const char *const vertex_names[], *const edge_names[],
    *const class_names[];               /* NULL last */

struct vertex {
    enum vertex_kind kind;
    int32_t host;               /* -1: of the fabric */
    int32_t index;              /* among its kind in its host or the fabric */
    int32_t level;              /* of a switch: 0 next to hosts */
    int32_t parent;             /* what it hangs on in the printed tree; -1 */
    int32_t slot;               /* -1: none */
    /* Traffic leaves a switch by all equally good ways, by destination; else by
     * the first of them (dimension order). */
    int8_t spreads;
    char name[31];
};
enum { GRAPH_NAME = 80 };       /* room for the name of a vertex, host first */

/* One link or several side by side. */
struct edge {
    int32_t end[2];             /* vertices */
    enum edge_type type;
    int half;                   /* half duplex: both directions share it */
    double datasheet;           /* B/s, one direction; 0: unknown */
    double bandwidth[2];        /* B/s that can be had, from end[0], end[1];
                                   INFINITY: unknown */
    double latency;             /* s */
    double p10, p90;            /* of a message's true time / told; 0: not
                                   stated */
};

/* A link is an edge in one direction, number 2 * edge + (0 from end[0]). */
enum { ROUTE_LONGEST = 128 };
struct route {
    enum route_class class;
    double latency;             /* s, start-up of its class included */
    double bandwidth;           /* B/s of the narrowest link; INFINITY: self, or
                                   nothing is known */
    int32_t n;
    int32_t links[ROUTE_LONGEST];
};

struct graph_host {
    char name[40];
    int32_t first, vertices;    /* numbers of its vertices */
    int32_t kind;               /* hosts of the same kind are alike */
};

struct graph {
    char name[64];              /* of the machine, "" unknown */
    char about[96];             /* what it is; "" unknown */
    int64_t n_vertices, vertices_cap, n_edges, edges_cap, n_hosts, hosts_cap;
    struct vertex *vertices;
    struct edge *edges;
    struct graph_host *hosts;
    int32_t n_slots;
    int32_t *slots;             /* [n_slots] vertex */
    /* s that a message of a class takes besides its links and bytes. */
    double start[ROUTE_CLASSES];
    struct paths *paths;        /* route.c; made when frozen */
};

/* ---- Building ----------------------------------------------------------- */

struct graph *graph_create(void);
void graph_destroy(struct graph *g);
/* Its number. All vertices of a host are made before the next host, those of
 * the fabric (host -1) last; without a name they get one of kind and index. */
int32_t graph_host(struct graph *g, const char *name, int32_t kind);
int32_t graph_vertex(struct graph *g, enum vertex_kind kind, int32_t host,
                     const char *name);
/* In the printed tree b hangs on a, if it is of the same host and hangs on
 * nothing yet. */
int32_t graph_edge(struct graph *g, int32_t a, int32_t b,
                   const struct edge *like);
/* Number the slots (GPUs, or cores where there are none) in the order of
 * vertices and get ready for routes.  -1 and *e (usage): no slot, or a pair
 * between which there is no way. */
int graph_freeze(struct graph *g, struct error *e);
/* Of a frozen graph: the bandwidth of all links of a type; routes follow. */
void graph_scale(struct graph *g, enum edge_type type, double factor);

/* ---- Asking a frozen graph ----------------------------------------------- */

/* The way to the network interface of its host that is nearest to a slot, and
 * that interface; -1: there is none.  Start-up is not counted. */
int32_t graph_nearest_nic(struct graph *g, int32_t slot, struct route *r);
/* The way from slot a to slot b on which a mebibyte, handed on from link to
 * link, arrives first.  What is equally good is chosen by the destination, so a
 * pair always takes the same way. 0, or -1: there is none. */
int graph_route(struct graph *g, int32_t a, int32_t b, struct route *r);
/* T = latency + bytes / bandwidth, alone. */
double route_seconds(const struct route *r, int64_t bytes);
/* Links that take from the same capacity have the same number. */
int32_t graph_resource(const struct graph *g, int32_t link);
/* "host0.gpu3", or "leaf0". */
const char *graph_name(const struct graph *g, int32_t vertex, char *text,
                       size_t size);
static inline int32_t link_from(const struct graph *g, int32_t link)
{
    return g->edges[link / 2].end[link % 2];
}
static inline int32_t link_to(const struct graph *g, int32_t link)
{
    return g->edges[link / 2].end[1 - link % 2];
}
static inline double link_bandwidth(const struct graph *g, int32_t link)
{
    return g->edges[link / 2].bandwidth[link % 2];
}

#endif
