/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes.  A route within a host comes from a search of that host alone; one
 * between hosts is the best of: a way out of the first, a way into the second,
 * and what the fabric takes between them.  Searches are kept: of a host from
 * and to each of its slots, of the fabric to each switch that hosts hang on. */
#include <config.h>

#include "topo/graph_internal.h"

#include <math.h>
#include <stdlib.h>

/* A link from a host into the fabric; into the host it is link ^ 1. */
struct exit {
    int32_t link;
    int32_t port;               /* number at its switch */
};
/* By place in the host: s from or to the slot, and the link by which that way
 * enters the vertex, or leaves it. */
struct tree {
    double *cost;
    int32_t *link;
};
struct paths {
    int32_t *first, *links;     /* links out of vertex v: first[v] .. */
    int32_t *place;             /* of a vertex in its host or in the fabric */
    int32_t n_fabric, *fabric;  /* vertices */
    int32_t *first_exit;        /* [hosts + 1] */
    struct exit *exits;
    struct tree *from, *to;     /* [slots] */
    double **rows;              /* [n_fabric] s from each fabric vertex to it */
};

/* What decides on routes: a message that is large, but not so large that only
 * the narrowest link counts.  An unknown link counts as a usual one. */
static double link_cost(const struct graph *g, int32_t link)
{
    static const double usual[] = {
        [EDGE_NVLINK] = 100e9, [EDGE_CACHE] = 100e9, [EDGE_MEMORY] = 50e9,
        [EDGE_PCIE] = 12e9, [EDGE_SOCKET] = 10e9, [EDGE_NETWORK] = 10e9,
        [EDGE_FABRIC] = 10e9
    };
    const struct edge *edge = &g->edges[link / 2];
    double bandwidth = link_bandwidth(g, link);

    return edge->latency
        + 1048576 / (isfinite(bandwidth) ? bandwidth : usual[edge->type]);
}

static int is_equal(double a, double b)
{
    return fabs(a - b) <= 1e-9 * a;
}

/* ---- Setting up --------------------------------------------------------- */

static void list_links(struct paths *p, const struct graph *g)
{
    p->first = xcalloc((size_t)g->n_vertices + 1, sizeof *p->first);
    p->links = xcalloc((size_t)g->n_edges * 2 + 1, sizeof *p->links);
    for (int64_t i = 0; i < 2 * g->n_edges; i++)
        p->first[link_from(g, (int32_t)i)]++;
    for (int64_t v = 0; v < g->n_vertices; v++)
        p->first[v + 1] += p->first[v];
    for (int64_t i = 2 * g->n_edges - 1; i >= 0; i--)
        p->links[--p->first[link_from(g, (int32_t)i)]] = (int32_t)i;
}

static void list_fabric(struct paths *p, const struct graph *g)
{
    p->place = xcalloc((size_t)g->n_vertices + 1, sizeof *p->place);
    p->fabric = xcalloc((size_t)g->n_vertices + 1, sizeof *p->fabric);
    for (int32_t v = 0; v < g->n_vertices; v++) {
        int32_t host = g->vertices[v].host;
        p->place[v] = host < 0 ? p->n_fabric : v - g->hosts[host].first;
        if (host < 0)
            p->fabric[p->n_fabric++] = v;
    }
    p->rows = xcalloc((size_t)p->n_fabric + 1, sizeof *p->rows);
}

static int leaves_host(const struct graph *g, int32_t link)
{
    return g->vertices[link_from(g, link)].host >= 0
        && g->vertices[link_to(g, link)].host < 0;
}

static int32_t port_of(const struct paths *p, const struct graph *g,
                       int32_t link)
{
    int32_t at = p->first[link_to(g, link)];

    while (p->links[at] != (link ^ 1))
        at++;
    return at - p->first[link_to(g, link)];
}

static void list_exits(struct paths *p, const struct graph *g)
{
    int32_t n = 0;

    p->first_exit = xcalloc((size_t)g->n_hosts + 1, sizeof *p->first_exit);
    p->exits = xcalloc((size_t)g->n_edges + 1, sizeof *p->exits);
    for (int64_t h = 0; h < g->n_hosts; h++) {
        int32_t end = g->hosts[h].first + g->hosts[h].vertices;
        for (int32_t i = p->first[g->hosts[h].first]; i < p->first[end]; i++)
            if (leaves_host(g, p->links[i]))
                p->exits[n++] = (struct exit){ p->links[i],
                                               port_of(p, g, p->links[i]) };
        p->first_exit[h + 1] = n;
    }
}

struct paths *paths_create(const struct graph *g)
{
    struct paths *p = xcalloc(1, sizeof *p);

    list_links(p, g);
    list_fabric(p, g);
    list_exits(p, g);
    p->from = xcalloc((size_t)g->n_slots + 1, sizeof *p->from);
    p->to = xcalloc((size_t)g->n_slots + 1, sizeof *p->to);
    return p;
}

static void trees_free(struct tree *t, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        free(t[i].cost);
        free(t[i].link);
    }
    free(t);
}

void paths_destroy(struct paths *p, const struct graph *g)
{
    if (p == NULL)
        return;
    trees_free(p->from, g->n_slots);
    trees_free(p->to, g->n_slots);
    for (int32_t i = 0; i < p->n_fabric; i++)
        free(p->rows[i]);
    free(p->rows);
    free(p->first);
    free(p->links);
    free(p->place);
    free(p->fabric);
    free(p->first_exit);
    free(p->exits);
    free(p);
}

/* ---- Searching a host or the fabric (Dijkstra) --------------------------- */

struct reached {
    double cost;
    int32_t vertex;
};
struct search {
    const struct graph *g;
    const struct paths *p;
    int back;                   /* ways to the vertex, not from it */
    double *cost;               /* by place */
    int32_t *link;              /* by place; NULL: not asked for */
    struct reached *heap;
    int64_t n, cap;
};

static void heap_push(struct search *s, struct reached r)
{
    ARRAY_PUSH(s->heap, s->n, s->cap, r);
    for (int64_t i = s->n - 1; i > 0; i = (i - 1) / 2) {
        struct reached *up = &s->heap[(i - 1) / 2], *at = &s->heap[i];
        if (up->cost <= at->cost)
            break;
        r = *up;
        *up = *at;
        *at = r;
    }
}

static struct reached heap_pop(struct search *s)
{
    struct reached top = s->heap[0], last = s->heap[--s->n];
    int64_t i = 0;

    for (;;) {
        int64_t c = 2 * i + 1;
        if (c + 1 < s->n && s->heap[c + 1].cost < s->heap[c].cost)
            c++;
        if (c >= s->n || last.cost <= s->heap[c].cost)
            break;
        s->heap[i] = s->heap[c];
        i = c;
    }
    s->heap[i] = last;
    return top;
}

static int passes_on(enum vertex_kind kind)
{
    return kind != VERTEX_GPU && kind != VERTEX_CORE && kind != VERTEX_NIC;
}

static void reach(struct search *s, struct reached at)
{
    const struct graph *g = s->g;
    const struct paths *p = s->p;

    for (int32_t i = p->first[at.vertex]; i < p->first[at.vertex + 1]; i++) {
        int32_t next = link_to(g, p->links[i]);
        int32_t link = s->back ? p->links[i] ^ 1 : p->links[i];
        double cost = at.cost + link_cost(g, link);
        if (g->vertices[next].host != g->vertices[at.vertex].host
            || cost >= s->cost[p->place[next]])
            continue;
        s->cost[p->place[next]] = cost;
        if (s->link)
            s->link[p->place[next]] = link;
        heap_push(s, (struct reached){ cost, next });
    }
}

static void search(struct search *s, int32_t from, int32_t places)
{
    for (int32_t i = 0; i < places; i++)
        s->cost[i] = INFINITY;
    s->cost[s->p->place[from]] = 0;
    heap_push(s, (struct reached){ 0, from });
    while (s->n > 0) {
        struct reached at = heap_pop(s);
        if (at.cost > s->cost[s->p->place[at.vertex]])
            continue;
        if (at.vertex == from || passes_on(s->g->vertices[at.vertex].kind))
            reach(s, at);
    }
    free(s->heap);
}

static const struct tree *host_tree(struct graph *g, int32_t slot, int back)
{
    struct tree *t = &(back ? g->paths->to : g->paths->from)[slot];
    int32_t v = g->slots[slot];
    int32_t n = g->hosts[g->vertices[v].host].vertices;

    if (t->cost == NULL) {
        t->cost = xcalloc((size_t)n, sizeof *t->cost);
        t->link = xcalloc((size_t)n, sizeof *t->link);
        struct search s = { g, g->paths, back, t->cost, t->link, NULL, 0, 0 };
        search(&s, v, n);
    }
    return t;
}

static const double *fabric_row(struct graph *g, int32_t to)
{
    struct paths *p = g->paths;
    double **row = &p->rows[p->place[to]];

    if (*row == NULL) {
        *row = xcalloc((size_t)p->n_fabric, sizeof **row);
        struct search s = { g, p, 1, *row, NULL, NULL, 0, 0 };
        search(&s, to, p->n_fabric);
    }
    return *row;
}

/* ---- Between hosts ------------------------------------------------------- */

/* Two slots, and a way out of one host and into the other. */
struct pair {
    int32_t a, b;               /* slots */
    const struct tree *from, *to;
    const struct exit *out, *in;
};

static int32_t slot_host(const struct graph *g, int32_t slot)
{
    return g->vertices[g->slots[slot]].host;
}

/* Within a host only NVLink goes round by the fabric. */
static int may_take(const struct graph *g, const struct pair *x,
                    const struct exit *way)
{
    return slot_host(g, x->a) != slot_host(g, x->b)
        || g->edges[way->link / 2].type == EDGE_NVLINK;
}

static double way_cost(struct graph *g, const struct pair *x,
                       const struct exit *out, const struct exit *in)
{
    const struct paths *p = g->paths;
    int32_t leaves = link_from(g, out->link), enters = link_from(g, in->link);

    if (!may_take(g, x, out) || !may_take(g, x, in))
        return INFINITY;
    double ends = x->from->cost[p->place[leaves]]
        + x->to->cost[p->place[enters]];
    if (!isfinite(ends))
        return INFINITY;
    return ends + link_cost(g, out->link) + link_cost(g, in->link ^ 1)
        + fabric_row(g, link_to(g, in->link))[p->place[link_to(g, out->link)]];
}

/* Ways out that are as good as the best, by number; slots of a host take them
 * in turn, so that each GPU has its rail. */
static const struct exit *choose_out(struct graph *g, const struct pair *x,
                                     double best, int32_t take)
{
    const struct paths *p = g->paths;
    int32_t a = slot_host(g, x->a), b = slot_host(g, x->b), n = 0;

    for (int32_t i = p->first_exit[a]; i < p->first_exit[a + 1]; i++)
        for (int32_t k = p->first_exit[b]; k < p->first_exit[b + 1]; k++) {
            if (!is_equal(best, way_cost(g, x, &p->exits[i], &p->exits[k])))
                continue;
            if (n++ == take)
                return &p->exits[i];
            break;
        }
    return n > 0 ? choose_out(g, x, best, take % n) : NULL;
}

static const struct exit *choose_in(struct graph *g, const struct pair *x,
                                    double best, int32_t take)
{
    const struct paths *p = g->paths;
    int32_t b = slot_host(g, x->b), n = 0;

    for (int32_t k = p->first_exit[b]; k < p->first_exit[b + 1]; k++)
        if (is_equal(best, way_cost(g, x, x->out, &p->exits[k]))
            && n++ == take)
            return &p->exits[k];
    return n > 0 ? choose_in(g, x, best, take % n) : NULL;
}

/* Seconds of the best way by the fabric, which is put into *x. */
static double find_way(struct graph *g, struct pair *x)
{
    const struct paths *p = g->paths;
    int32_t a = slot_host(g, x->a), b = slot_host(g, x->b);
    double best = INFINITY;

    for (int32_t i = p->first_exit[a]; i < p->first_exit[a + 1]; i++)
        for (int32_t k = p->first_exit[b]; k < p->first_exit[b + 1]; k++)
            best = fmin(best, way_cost(g, x, &p->exits[i], &p->exits[k]));
    if (isfinite(best)) {
        x->out = choose_out(g, x, best, g->vertices[g->slots[x->a]].index);
        x->in = choose_in(g, x, best, g->vertices[g->slots[x->b]].index);
    }
    return best;
}

/* ---- Routes -------------------------------------------------------------- */

static const enum route_class edge_class[] = {
    [EDGE_NVLINK] = CLASS_NVLINK, [EDGE_CACHE] = CLASS_CACHE,
    [EDGE_MEMORY] = CLASS_NUMA, [EDGE_PCIE] = CLASS_PCIE,
    [EDGE_SOCKET] = CLASS_SOCKET, [EDGE_NETWORK] = CLASS_LEAF,
    [EDGE_FABRIC] = CLASS_FABRIC
};

static void add_link(const struct graph *g, struct route *r, int32_t link)
{
    enum route_class class = edge_class[g->edges[link / 2].type];

    if (g->vertices[link_to(g, link)].kind == VERTEX_NUMA && class < CLASS_NUMA)
        class = CLASS_NUMA;
    if (class > r->class)
        r->class = class;
    r->latency += g->edges[link / 2].latency;
    r->bandwidth = fmin(r->bandwidth, link_bandwidth(g, link));
    if (r->n < ROUTE_LONGEST)
        r->links[r->n] = link;
    r->n++;
}

/* From a slot to a vertex of its host. */
static void add_from(const struct graph *g, struct route *r,
                     const struct tree *t, int32_t slot, int32_t vertex)
{
    int32_t first = r->n;

    while (vertex != g->slots[slot]) {
        int32_t link = t->link[g->paths->place[vertex]];
        add_link(g, r, link);
        vertex = link_from(g, link);
    }
    for (int32_t i = first, k = (int32_t)min64(r->n, ROUTE_LONGEST) - 1; i < k;
         i++, k--) {
        int32_t link = r->links[i];
        r->links[i] = r->links[k];
        r->links[k] = link;
    }
}

static void add_to(const struct graph *g, struct route *r,
                   const struct tree *t, int32_t slot, int32_t vertex)
{
    while (vertex != g->slots[slot]) {
        int32_t link = t->link[g->paths->place[vertex]];
        add_link(g, r, link);
        vertex = link_to(g, link);
    }
}

/* The link out of a switch towards `row`'s, of those equally good. */
static int32_t next_link(const struct graph *g, const double *row, int32_t v,
                         int32_t take)
{
    const struct paths *p = g->paths;
    int32_t good[256], n = 0;

    for (int32_t i = p->first[v]; i < p->first[v + 1] && n < 256; i++) {
        int32_t next = link_to(g, p->links[i]);
        if (g->vertices[next].host < 0
            && is_equal(row[p->place[v]],
                        link_cost(g, p->links[i]) + row[p->place[next]]))
            good[n++] = p->links[i];
    }
    return good[g->vertices[v].spreads ? take % n : 0];
}

static void add_way(struct graph *g, struct route *r, const struct pair *x)
{
    int32_t end = link_to(g, x->in->link), at = link_to(g, x->out->link);
    const double *row = fabric_row(g, end);

    add_from(g, r, x->from, x->a, link_from(g, x->out->link));
    add_link(g, r, x->out->link);
    while (at != end) {
        int32_t link = next_link(g, row, at, x->in->port);
        add_link(g, r, link);
        at = link_to(g, link);
    }
    add_link(g, r, x->in->link ^ 1);
    add_to(g, r, x->to, x->b, link_from(g, x->in->link));
}

int graph_route(struct graph *g, int32_t a, int32_t b, struct route *r)
{
    struct pair x = { .a = a, .b = b };
    double inside = INFINITY;

    *r = (struct route){ .class = CLASS_SELF, .bandwidth = INFINITY };
    r->latency = g->start[CLASS_SELF];
    if (a == b)
        return 0;
    x.from = host_tree(g, a, 0);
    x.to = host_tree(g, b, 1);
    if (slot_host(g, a) == slot_host(g, b))
        inside = x.from->cost[g->paths->place[g->slots[b]]];
    double outside = find_way(g, &x);
    if (!isfinite(inside) && !isfinite(outside))
        return -1;
    r->latency = 0;
    if (inside <= outside)
        add_from(g, r, x.from, a, g->slots[b]);
    else
        add_way(g, r, &x);
    r->latency += g->start[r->class];
    return r->n <= ROUTE_LONGEST ? 0 : -1;
}

int32_t graph_nearest_nic(struct graph *g, int32_t slot, struct route *r)
{
    const struct tree *t = host_tree(g, slot, 0);
    const struct graph_host *h = &g->hosts[slot_host(g, slot)];
    int32_t take = g->vertices[g->slots[slot]].index, n = 0, best = -1;
    double cost = INFINITY;

    for (int32_t v = h->first; v < h->first + h->vertices; v++)
        if (g->vertices[v].kind == VERTEX_NIC)
            cost = fmin(cost, t->cost[v - h->first]);
    /* Those equally near in turn, as routes do. */
    for (int round = 0; round < 2 && isfinite(cost); round++, take %= n, n = 0)
        for (int32_t v = h->first; v < h->first + h->vertices; v++)
            if (g->vertices[v].kind == VERTEX_NIC
                && is_equal(cost, t->cost[v - h->first]) && n++ == take)
                best = v;
    *r = (struct route){ .class = CLASS_SELF, .bandwidth = INFINITY };
    if (best >= 0)
        add_from(g, r, t, slot, best);
    return best;
}
