/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/collective.h"

#include "topo/estimate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const collective_words[] = {
    [OF_ALL_GATHER] = "all_gather", [OF_REDUCE_SCATTER] = "reduce_scatter",
    [OF_ALL_TO_ALL] = "all_to_all", [OF_ALL_REDUCE] = "all_reduce",
    [OF_MERGE] = "merge", [OF_SCAN] = "exclusive_scan",
    [OF_SEND_RECV] = "send_recv", [COLLECTIVE_KINDS] = NULL
};
const char *const collective_hows[] = {
    [COLLECTIVE_TABLE] = "table", [COLLECTIVE_CONSTANTS] = "constants",
    [COLLECTIVE_MESSAGES] = "messages", [COLLECTIVE_HOWS] = NULL
};

/* ---- Tables ------------------------------------------------------------- */

double collective_table_seconds(const struct collective_table *t,
                                int64_t bytes)
{
    int64_t i = 0;

    while (i + 1 < t->n && bytes >= t->segments[i].to)
        i++;
    return t->segments[i].latency
        + (double)bytes / t->segments[i].bandwidth;
}

static void fit_segments(struct collective_table *t,
                         const struct link_point *p, int64_t n)
{
    struct link l = { 0 };

    segments_fit(&l, p, n, 3);
    t->n = l.n;
    t->segments = l.segments;
}

/* Each size but the first and the last, from the others. */
static int64_t left_out_sizes(const struct link_point *p, int64_t n,
                              double *ratio)
{
    struct link_point *others = xcalloc((size_t)n, sizeof *others);
    struct collective_table t;

    for (int64_t i = 1; i + 1 < n; i++) {
        memcpy(others, p, (size_t)i * sizeof *p);
        memcpy(others + i, p + i + 1, (size_t)(n - i - 1) * sizeof *p);
        fit_segments(&t, others, n - 1);
        ratio[i - 1] = p[i].seconds / collective_table_seconds(&t, p[i].bytes);
        free(t.segments);
    }
    free(others);
    return max64(0, n - 2);
}

/* No more digits than files should have. */
static double four_digits(double x)
{
    char text[32];

    snprintf(text, sizeof text, "%.4g", x);
    return strtod(text, NULL);
}

static void round_off(struct collective_table *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        struct link_segment *g = &t->segments[i];
        g->latency = four_digits(g->latency);
        g->bandwidth = four_digits(g->bandwidth);
        g->error = four_digits(g->error);
    }
    t->p10 = four_digits(t->p10);
    t->p90 = four_digits(t->p90);
}

void collective_fit(struct collective_table *t, const struct link_point *p,
                    int64_t n)
{
    double *ratio = xcalloc((size_t)n, sizeof *ratio);
    int64_t count = left_out_sizes(p, n, ratio);

    fit_segments(t, p, n);
    t->p10 = t->p90 = 0;
    if (count >= 5) {
        t->p10 = fmin(1, quantile_of(ratio, count, 0.1));
        t->p90 = fmax(1, quantile_of(ratio, count, 0.9));
    }
    free(ratio);
    round_off(t);
}

static int is_of(const struct machine *m, const struct collective_group *t,
                 const struct collective_group *g)
{
    if (t->ranks != g->ranks)
        return 0;
    if (!t->cores)
        return t->hosts == g->hosts && (!g->cores || !m->graph);
    if (!g->cores || t->groups != g->groups)
        return 0;
    return m->graph ? t->hosts == g->hosts && t->class == g->class
        : t->ranks == m->measured_ranks;
}

const struct collective_table *machine_collective(
    const struct machine *m, enum collective_kind kind,
    const struct collective_group *group)
{
    for (int64_t i = 0; i < m->n_collectives; i++) {
        const struct collective_table *t = &m->collectives[i];
        if (t->kind == kind && is_of(m, &t->group, group))
            return t;
    }
    return kind == OF_MERGE ? machine_collective(m, OF_ALL_REDUCE, group)
        : NULL;
}

int64_t collective_payload(enum collective_kind kind, int64_t members,
                           int64_t sent)
{
    int twice = kind == OF_ALL_REDUCE || kind == OF_MERGE;

    return kind == OF_SCAN ? sent
        : sent * members / ((members - 1) * (twice ? 2 : 1));
}

void machine_drop_collectives(struct machine *m)
{
    for (int64_t i = 0; i < m->n_collectives; i++)
        free(m->collectives[i].segments);
    free(m->collectives);
    m->collectives = NULL;
    m->n_collectives = 0;
}

/* ---- Groups ------------------------------------------------------------- */

/* Of the first to the others: farther from each other they cannot be. */
static enum route_class farthest(struct graph *g, const int32_t *slots,
                                 int64_t n)
{
    enum route_class class = CLASS_SELF;
    struct route r;

    for (int64_t i = 1; i < n; i++) {
        graph_route(g, slots[0], slots[i], &r);
        class = r.class > class ? r.class : class;
    }
    return class;
}

void collective_place(const struct machine *m, const int32_t *slots,
                      int64_t ranks, int64_t groups,
                      struct collective_group *g)
{
    const struct graph *graph = m->graph;
    int64_t cores = 0;
    int32_t before = -1;

    *g = (struct collective_group){ .ranks = ranks, .hosts = 1,
                                    .groups = groups,
                                    .cores = m->shared_core };
    if (!graph)
        return;
    g->hosts = 0;
    for (int64_t i = 0; i < ranks; i++) {
        const struct vertex *v = &graph->vertices[graph->slots[slots[i]]];
        cores += v->kind != VERTEX_GPU;
        g->hosts += v->host != before;
        before = v->host;
    }
    g->cores = cores > 0;
    if (cores && cores < ranks)
        g->hosts = 0;
    else if (cores)
        g->class = farthest(m->graph, slots, ranks);
}

/* ---- Constants ---------------------------------------------------------- */

const double constants_spread[2] = { 0.86, 1.25 };
static const double usable = 0.68;      /* of the datasheet, by all at once */
static const double reduced = 0.58;     /* the same where switches add up */
static const double reduced_start = 72e-6, to_all = 0.8e-6;
static const double tree_hop = 3.75, tree_rate = 0.85;
static const struct protocol {
    double rate, base, hop;     /* f, b, h (s) */
    int nvlink_only;
} protocols[] = {
    { 0.35, 1.0, 1.1e-6, 0 }, { 0.8, 3.1, 0, 1 }, { 1.0, 3.2, 0.9e-6, 0 },
};
enum { PROTOCOLS = sizeof protocols / sizeof *protocols };

static double by_protocol(const struct collective_path *path,
                          const struct protocol *x, enum collective_kind op,
                          double ranks, double sent)
{
    double start = path->start * x->base;
    int reduce = op == OF_ALL_REDUCE || op == OF_MERGE;
    double steps = (reduce ? 2 : 1) * (ranks - 1) - 1;
    double hop = op == OF_ALL_TO_ALL ? to_all : x->hop;
    double ring = start + steps * hop + sent / (path->bandwidth * x->rate);

    if (!reduce)
        return ring;
    return fmin(ring, start + (2 * log2(ranks) - 1) * tree_hop * x->hop
                + sent / (path->bandwidth * x->rate * tree_rate));
}

double collective_constants(const struct collective_path *path,
                            enum collective_kind op, int64_t ranks,
                            int64_t bytes)
{
    double P = (double)ranks, S = (double)bytes;
    int reduce = op == OF_ALL_REDUCE || op == OF_MERGE;
    double sent = op == OF_SEND_RECV ? S : (reduce ? 2 : 1) * (P - 1) / P * S;
    double own = op == OF_SEND_RECV || path->copies <= 0 ? 0
        : 2 * S / P / path->copies;
    double least = INFINITY;

    for (int i = 0; i < PROTOCOLS; i++) {
        int local = path->class == CLASS_NVLINK && op != OF_ALL_TO_ALL
            && op != OF_SEND_RECV;
        if (protocols[i].nvlink_only && !local)
            continue;
        least = fmin(least, own + by_protocol(path, &protocols[i], op, P,
                                              sent));
    }
    if (reduce && path->reduces && ranks > 4)
        least = fmin(least, reduced_start
                     + S * usable / reduced / path->bandwidth);
    return least;
}

/* ---- Paths -------------------------------------------------------------- */

/* What can be had of a link while many use it; where a quantile is asked for, as
 * unsure as the link says it is. */
static double link_usable(const struct machine *m, int32_t link)
{
    const struct edge *e = &m->graph->edges[link / 2];
    double bandwidth = e->bandwidth[link % 2];

    if (e->datasheet > 0)
        bandwidth = fmin(bandwidth, usable * e->datasheet);
    if (m->quantile && e->p10 > 0)
        bandwidth /= m->quantile < 0 ? e->p10 : e->p90;
    return bandwidth;
}

/* One more message over each link of the route; `load` by resource. */
static void add_route(const struct machine *m, int32_t from, int32_t to,
                      double *load, struct collective_path *path)
{
    struct route r;

    graph_route(m->graph, from, to, &r);
    for (int32_t i = 0; i < r.n; i++)
        load[graph_resource(m->graph, r.links[i])] += 1;
    if (r.class >= path->class) {
        path->class = r.class;
        path->start = fmax(path->start, m->graph->start[r.class]);
    }
}

/* A ring, or all pairs of an all-to-all: the fullest link decides. */
void collective_path(const struct machine *m, const int32_t *slots,
                     int64_t ranks, enum collective_kind op,
                     struct collective_path *path)
{
    const struct graph *g = m->graph;
    double *load = xcalloc(2 * (size_t)g->n_edges, sizeof *load);
    int64_t peers = op == OF_ALL_TO_ALL ? ranks - 1 : 1;

    /* A switch adds up where NVLink is of the fourth generation. */
    *path = (struct collective_path){ .class = CLASS_SELF,
                                      .bandwidth = INFINITY,
                                      .copies = m->memory_bandwidth };
    for (int64_t i = 0; i < (op == OF_SEND_RECV ? 1 : ranks); i++)
        add_route(m, slots[i], slots[(i + 1) % ranks], load, path);
    if (path->class >= CLASS_LEAF)      /* no constants for that */
        peers = 1;
    for (int64_t i = 0; i < ranks; i++)
        for (int64_t k = 2; k <= peers; k++)
            add_route(m, slots[i], slots[(i + k) % ranks], load, path);
    for (int32_t i = 0; i < 2 * g->n_edges; i++)
        if (load[i] > 0)
            path->bandwidth = fmin(path->bandwidth, link_usable(m, i)
                                   * (double)peers / load[i]);
    path->reduces = path->class == CLASS_NVLINK
        && path->bandwidth > usable * 400e9;
    free(load);
}
