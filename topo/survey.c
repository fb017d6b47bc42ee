/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes by class, and lints. */
#include <config.h>

#include "topo/survey.h"

#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Classes ------------------------------------------------------------- */

static void count_route(struct class_survey *c, const struct route *r)
{
    if (c->pairs++ == 0)
        *c = (struct class_survey){ 1, r->bandwidth, r->bandwidth, r->latency,
                                    r->latency };
    c->slowest = fmin(c->slowest, r->bandwidth);
    c->fastest = fmax(c->fastest, r->bandwidth);
    c->shortest = fmin(c->shortest, r->latency);
    c->longest = fmax(c->longest, r->latency);
}

static int is_first_of_kind(const struct graph *g, int32_t host)
{
    for (int32_t i = 0; i < host; i++)
        if (g->hosts[i].kind == g->hosts[host].kind)
            return 0;
    return 1;
}

/* All pairs of some hundred slots; of more, those from one host of a kind. */
static void survey_classes(struct graph *g, struct survey *s)
{
    enum { ALL = 512 };
    int32_t seen = -1, take = 1;

    for (int32_t a = 0; a < g->n_slots; a++) {
        int32_t host = g->vertices[g->slots[a]].host;
        if (host != seen)
            take = g->n_slots <= ALL || is_first_of_kind(g, host);
        seen = host;
        s->from += take;
        for (int32_t b = 0; take && b < g->n_slots; b++) {
            struct route r;
            if (a != b && graph_route(g, a, b, &r) == 0)
                count_route(&s->classes[r.class], &r);
        }
    }
}

/* ---- Lints --------------------------------------------------------------- */

static void add_lint(struct survey *s, char *text)
{
    ARRAY_PUSH(s->lints, s->n_lints, s->lints_cap, text);
}

static const char *vertex_name(const struct graph *g, int32_t v)
{
    static char text[2][GRAPH_NAME];
    static int which;

    which = !which;
    return graph_name(g, v, text[which], sizeof text[which]);
}

static int crosses_socket(const struct graph *g, const struct route *r)
{
    for (int32_t i = 0; i < r->n; i++)
        if (g->edges[r->links[i] / 2].type == EDGE_SOCKET)
            return 1;
    return 0;
}

/* Marks the interfaces that slots use. */
static void lint_nics(struct graph *g, struct survey *s, int32_t host,
                      char *used)
{
    for (int32_t i = 0; i < g->n_slots; i++) {
        struct route r;
        if (g->vertices[g->slots[i]].host != host)
            continue;
        int32_t nic = graph_nearest_nic(g, i, &r);
        if (nic < 0)
            continue;
        used[nic] = 1;
        if (g->vertices[g->slots[i]].kind == VERTEX_GPU
            && crosses_socket(g, &r))
            add_lint(s, xasprintf("%s: its nearest network interface, %s, is "
                                  "across a socket",
                                  vertex_name(g, g->slots[i]),
                                  vertex_name(g, nic)));
    }
}

static void lint_idle(const struct graph *g, struct survey *s, int32_t host,
                      const char *used)
{
    const struct graph_host *h = &g->hosts[host];

    for (int32_t v = h->first; v < h->first + h->vertices; v++)
        if (g->vertices[v].kind == VERTEX_NIC && !used[v])
            add_lint(s, xasprintf("%s: no slot is nearest to it: it stays "
                                  "idle", vertex_name(g, v)));
}

/* Ends of the same kinds, of hosts of the same kind: such edges are alike. */
static int are_alike(const struct graph *g, const struct edge *a,
                     const struct edge *b)
{
    if (a->type != b->type)
        return 0;
    for (int i = 0; i < 2; i++) {
        const struct vertex *x = &g->vertices[a->end[i]];
        const struct vertex *y = &g->vertices[b->end[i]];
        int32_t kind_x = x->host < 0 ? -1 : g->hosts[x->host].kind;
        int32_t kind_y = y->host < 0 ? -1 : g->hosts[y->host].kind;
        if (x->kind != y->kind || kind_x != kind_y)
            return 0;
    }
    return 1;
}

static int is_shown(const struct graph *g, int32_t vertex)
{
    int32_t host = g->vertices[vertex].host;

    return host < 0 || is_first_of_kind(g, host);
}

static double edge_bandwidth(const struct edge *edge)
{
    return fmin(edge->bandwidth[0], edge->bandwidth[1]);
}

/* Hosts of a kind repeat each other: the edges of the first one speak for all,
 * and of a large fabric the first ones. */
static void lint_slow(const struct graph *g, struct survey *s)
{
    enum { MOST = 4096 };
    int64_t *shown = xcalloc(MOST, sizeof *shown), n = 0;

    for (int64_t i = 0; i < g->n_edges && n < MOST; i++)
        if (is_shown(g, g->edges[i].end[0]) && is_shown(g, g->edges[i].end[1]))
            shown[n++] = i;
    for (int64_t i = 0; i < n; i++) {
        const struct edge *edge = &g->edges[shown[i]];
        double best = 0;
        char own[32], others[32];
        for (int64_t k = 0; k < n; k++)
            if (are_alike(g, edge, &g->edges[shown[k]]))
                best = fmax(best, edge_bandwidth(&g->edges[shown[k]]));
        if (edge_bandwidth(edge) >= 0.95 * best)
            continue;
        quantity_print(edge_bandwidth(edge), "B/s", own, sizeof own);
        quantity_print(best, "B/s", others, sizeof others);
        add_lint(s, xasprintf("%s - %s: %s, slower than others of its kind, "
                              "which have %s", vertex_name(g, edge->end[0]),
                              vertex_name(g, edge->end[1]), own, others));
    }
    free(shown);
}

void survey(struct graph *g, struct survey *s)
{
    char *used = xcalloc((size_t)g->n_vertices, 1);

    *s = (struct survey){ 0 };
    survey_classes(g, s);
    s->bisection = graph_bisection(g);
    for (int32_t h = 0; h < g->n_hosts; h++) {
        if (!is_first_of_kind(g, h))
            continue;
        lint_nics(g, s, h, used);
        lint_idle(g, s, h, used);
    }
    lint_slow(g, s);
    free(used);
}

void survey_clear(struct survey *s)
{
    for (int64_t i = 0; i < s->n_lints; i++)
        free(s->lints[i]);
    free(s->lints);
}
