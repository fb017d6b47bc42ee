/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster as machine files state it (`cluster:`, explained in
 * scenarios/machines/unit-cluster.yaml), and the graph of it. */
#ifndef SPAR_CLUSTER_H
#define SPAR_CLUSTER_H

#include "base/yaml.h"
#include "topo/graph.h"
#include "topo/hostlist.h"

#include <stdio.h>

/* One direction of one link of a type. */
struct cluster_link {
    int given;
    double datasheet, usable;   /* B/s; datasheet 0: not stated */
    double latency;             /* s */
    double p10, p90;            /* of a message's true time / told; 0: not
                                   stated */
    int half;                   /* half duplex */
};

/* What hangs on `on`: a switch, or `count` GPUs or network interfaces. */
struct cluster_item {
    char name[24], on[24];      /* on "": on nothing */
    int64_t count;
    int64_t rail;               /* of the first; -1: as counted in the host */
    double usable;              /* B/s, of its link to `on`; 0: as all */
};
struct cluster_items {
    int64_t n;
    struct cluster_item *items;
};

/* How GPUs of a host are connected besides PCIe: not; in pairs by bridges;
 * everyone with everyone; by NVSwitches. */
enum nvlink { NVLINK_NONE, NVLINK_PAIRS, NVLINK_MESH, NVLINK_SWITCH };

struct cluster_host {
    char name[24];
    int64_t count;
    struct names names;         /* of its hosts; none: name and number */
    int sockets;
    int cores, caches;          /* of a socket */
    int nvlink;                 /* enum nvlink */
    int64_t nvlink_hosts;       /* that share the NVSwitches */
    struct cluster_items switches, gpus, nics;
    struct cluster_link links[EDGE_TYPES];      /* the cluster's, or its own */
};

/* How hosts are connected: not; by one switch; by leaves of hosts_per_leaf
 * hosts and spines; the same with a leaf for each rail; as a torus. */
enum fabric_kind { FABRIC_NONE, FABRIC_SWITCH, FABRIC_LEAF_SPINE, FABRIC_RAIL,
                   FABRIC_TORUS };
struct cluster_fabric {
    int kind;                   /* enum fabric_kind */
    int64_t hosts_per_leaf;     /* 0: all */
    int spines;
    double taper;               /* bandwidth of a leaf down / up */
    int64_t size[3];            /* of a torus; 1 where it has no dimension */
};

struct cluster {
    struct cluster_link links[EDGE_TYPES];
    double start[ROUTE_CLASSES];        /* s */
    int64_t n_hosts;            /* kinds of host */
    struct cluster_host *hosts;
    struct cluster_fabric fabric;
};

extern const char *const nvlink_words[], *const fabric_words[];

/* Of the node `map` of a machine file. 0, or -1 and *e; clear it either way. */
int cluster_read(struct yaml *y, int map, struct cluster *c, struct error *e);
void cluster_clear(struct cluster *c);
/* `cluster:` of a machine file. */
void cluster_write(const struct cluster *c, FILE *out);
/* NULL and *e: something hangs on what is not there, a link is of a type that
 * has no bandwidth, a pair of slots has no way between. */
struct graph *cluster_graph(const struct cluster *c, struct error *e);

#endif
