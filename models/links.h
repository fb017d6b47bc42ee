/* SPDX-License-Identifier: Apache-2.0
 *
 * Links that messages take and share, and the ways over them: what network
 * models know of a machine.  Bytes, seconds, B/s.
 *
 * A place is where a rank is: itself, or the device, core or slot that ranks
 * share. */
/* Quantiles (machine.quantile): a link or class of routes that was measured is
 * as sure as its fit; else an edge may say how sure it is (p10, p90), as those
 * of boxes do that are not known; one that does not has links_stated, P10 and
 * P90 of true / told: rings of NCCL on A100, H100, H200, B200 as messages of
 * 512 KiB and more over the links of the presets (`spar validate`). */
#ifndef SPAR_LINKS_H
#define SPAR_LINKS_H

#include "topo/machine.h"

/* From one place to another: alone, a message takes latency + bytes /
 * bandwidth. */
struct way {
    double latency;             /* s */
    double bandwidth;           /* B/s at most; INFINITY: as the links let it */
    int32_t n;
    int32_t links[ROUTE_LONGEST];       /* each once; none within a place */
};

/* A link carries one direction, or where both share it, both. */
struct links {
    const struct machine *m;    /* borrowed */
    int64_t places, n;
    int64_t period;             /* ports: those of place i + period, too, are
                                   i's; 0: each its own */
    double *capacity;           /* [n] B/s */
    char *derated;              /* [n] links that jitter slows; NULL: none */
    int even;                   /* a message takes as long between any two */
    void (*way)(const struct links *l, int64_t from, int64_t to,
                int64_t bytes, struct way *w);
    struct kept_ways *kept;     /* of a graph */
};

/* Of the machine's graph, where it has one: its links by graph_resource(), its
 * routes, place i being slot i.  Else every place has a port out and a port in,
 * of the bandwidth that the longest messages of the machine's link have; link i
 * is the way out of place i, link places + i the way in. */
extern const double links_stated[2];
/* How many times as long as told where m is asked for a quantile, else 1: of
 * something with that P10 and P90 (0: not known, 1), of a segment, an edge, a
 * route, which is as unsure as its least sure edge. */
double spread_slower(const struct machine *m, const double spread[2]);
double segment_slower(const struct machine *m, const struct link_segment *s);
double edge_slower(const struct machine *m, const struct edge *e);
double route_slower(const struct machine *m, const struct route *r);

struct links *links_create(const struct machine *m, int64_t places);
void links_destroy(struct links *l);

#endif
