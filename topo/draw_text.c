/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine as text. */
#include <config.h>

#include "topo/draw.h"

#include "base/units.h"

#include <math.h>
#include <string.h>

const char *draw_bandwidth(double bandwidth, char *text, size_t size)
{
    if (isfinite(bandwidth))
        return quantity_print(bandwidth, "B/s", text, size);
    snprintf(text, size, "unknown");
    return text;
}

const char *draw_rate(const struct edge *edge, char *text, size_t size)
{
    return draw_bandwidth(fmin(edge->bandwidth[0], edge->bandwidth[1]), text,
                          size);
}

double draw_load(const struct drawing *d, int64_t edge)
{
    return fmax(d->bytes[graph_resource(d->g, (int32_t)(2 * edge))],
                d->bytes[graph_resource(d->g, (int32_t)(2 * edge + 1))]);
}

double draw_most(const struct drawing *d)
{
    double most = 0;

    for (int64_t i = 0; i < d->g->n_edges; i++)
        most = fmax(most, draw_load(d, i));
    return most;
}

/* ---- Tree ---------------------------------------------------------------- */

/* The edge to what a vertex hangs on. */
static const struct edge *edge_up(const struct graph *g, int32_t v)
{
    for (int64_t i = 0; i < g->n_edges; i++)
        if (g->edges[i].end[1] == v && g->edges[i].end[0]
            == g->vertices[v].parent)
            return &g->edges[i];
    return NULL;
}

/* Its other edges, each at one of its ends. */
static void print_sideways(const struct graph *g, FILE *out, int32_t v,
                           const struct edge *up)
{
    int any = up != NULL;
    char rate[32];

    for (int64_t i = 0; i < g->n_edges; i++) {
        const struct edge *edge = &g->edges[i];
        if (edge->end[1] == v && edge != up
            && g->vertices[edge->end[0]].parent != v)
            fprintf(out, "%s%s %s to %s", any++ ? ", " : "  ",
                    edge_names[edge->type], draw_rate(edge, rate, sizeof rate),
                    g->vertices[edge->end[0]].name);
    }
}

static void print_vertex(const struct graph *g, FILE *out, int32_t v, int depth)
{
    const struct edge *up = edge_up(g, v);
    char rate[32];

    fprintf(out, "%*s%s", 2 * depth, "", g->vertices[v].name);
    if (g->vertices[v].slot >= 0)
        fprintf(out, " (slot %d)", g->vertices[v].slot);
    if (up != NULL)
        fprintf(out, "  %s %s", edge_names[up->type],
                draw_rate(up, rate, sizeof rate));
    print_sideways(g, out, v, up);
    putc('\n', out);
    int32_t first = g->hosts[g->vertices[v].host].first;
    int32_t end = first + g->hosts[g->vertices[v].host].vertices;
    for (int32_t c = first; c < end; c++)
        if (g->vertices[c].parent == v)
            print_vertex(g, out, c, depth + 1);
}

/* Hosts of a kind are alike: the first one stands for all that follow it. */
static void print_hosts(const struct graph *g, FILE *out)
{
    for (int64_t h = 0; h < g->n_hosts; h++) {
        const struct graph_host *host = &g->hosts[h];
        int64_t alike = 1;
        while (h + alike < g->n_hosts && g->hosts[h + alike].kind == host->kind)
            alike++;
        fputs(host->name, out);
        if (alike > 1)
            fprintf(out, "  and %d more like it", (int)alike - 1);
        putc('\n', out);
        for (int32_t v = host->first; v < host->first + host->vertices; v++)
            if (g->vertices[v].parent < 0)
                print_vertex(g, out, v, 1);
        h += alike - 1;
    }
}

/* Switches of the fabric: how many links to hosts and among each other. */
static void print_fabric(const struct graph *g, FILE *out)
{
    enum { SHOWN = 16 };
    int shown = 0, any = 0;

    for (int32_t v = 0; v < g->n_vertices; v++) {
        int hosts = 0, switches = 0;
        if (g->vertices[v].host >= 0)
            continue;
        if (!any++)
            fputs("fabric\n", out);
        if (shown++ >= SHOWN)
            continue;
        for (int64_t i = 0; i < g->n_edges; i++)
            for (int k = 0; k < 2; k++)
                if (g->edges[i].end[k] == v) {
                    int32_t other = g->edges[i].end[1 - k];
                    hosts += g->vertices[other].host >= 0;
                    switches += g->vertices[other].host < 0;
                }
        fprintf(out, "  %s  %d to hosts, %d to others of the fabric\n",
                g->vertices[v].name, hosts, switches);
    }
    if (any > SHOWN)
        fprintf(out, "  and %d more\n", any - SHOWN);
}

/* ---- Links and classes --------------------------------------------------- */

static const char *range(double low, double high, const char *unit, char *text,
                         size_t size)
{
    char a[32], b[32];

    if (*unit == 'B') {
        draw_bandwidth(low, a, sizeof a);
        draw_bandwidth(high, b, sizeof b);
    } else {
        quantity_print(low, unit, a, sizeof a);
        quantity_print(high, unit, b, sizeof b);
    }
    if (strcmp(a, b) == 0)
        snprintf(text, size, "%s", a);
    else
        snprintf(text, size, "%s - %s", a, b);
    return text;
}

static void print_links(const struct graph *g, FILE *out)
{
    fprintf(out, "\n%-9s %6s  %-12s %-25s %-9s duplex\n", "links", "count",
            "datasheet", "usable, one direction", "latency");
    for (int t = 0; t < EDGE_TYPES; t++) {
        int64_t n = 0;
        double low = INFINITY, high = 0, sheet = 0, latency = 0;
        int half = 0;
        char text[80], top[32], late[32];
        for (int64_t i = 0; i < g->n_edges; i++) {
            const struct edge *edge = &g->edges[i];
            if ((int)edge->type != t)
                continue;
            n++;
            low = fmin(low, fmin(edge->bandwidth[0], edge->bandwidth[1]));
            high = fmax(high, fmax(edge->bandwidth[0], edge->bandwidth[1]));
            sheet = fmax(sheet, edge->datasheet);
            latency = fmax(latency, edge->latency);
            half |= edge->half;
        }
        if (n > 0)
            fprintf(out, "%-9s %6d  %-12s %-25s %-9s %s\n", edge_names[t],
                    (int)n, sheet > 0
                    ? quantity_print(sheet, "B/s", top, sizeof top) : "-",
                    range(low, high, "B/s", text, sizeof text),
                    quantity_print(latency, "s", late, sizeof late),
                    half ? "half" : "full");
    }
}

static void print_classes(const struct drawing *d, FILE *out)
{
    const struct survey *s = d->survey;
    char rate[80], late[80];

    fprintf(out, "\n%-9s %9s  %-25s latency of a message\n", "classes",
            "pairs", "bandwidth of one alone");
    for (int c = 0; c < ROUTE_CLASSES; c++) {
        const struct class_survey *x = &s->classes[c];
        if (x->pairs > 0)
            fprintf(out, "%-9s %9lld  %-25s %s\n", class_names[c],
                    (long long)x->pairs,
                    range(x->slowest, x->fastest, "B/s", rate, sizeof rate),
                    range(x->shortest, x->longest, "s", late, sizeof late));
    }
    if (s->from < d->g->n_slots)
        fprintf(out, "(pairs from the %d slots of the first host of each "
                "kind)\n", (int)s->from);
}

static int is_known(const struct survey *s)
{
    for (int c = 0; c < ROUTE_CLASSES; c++)
        if (s->classes[c].pairs && isfinite(s->classes[c].slowest))
            return 1;
    return 0;
}

/* The class, below it GB/s and us where bandwidths are known. */
static void print_matrix(const struct drawing *d, FILE *out)
{
    enum { MOST = 16 };
    int32_t n = d->g->n_slots;
    int lines = is_known(d->survey) ? 3 : 1;

    if (n > MOST || n < 2)
        return;
    fprintf(out, "\nclass%s from slot to slot\n    ",
            lines > 1 ? ", GB/s, us" : "");
    for (int32_t b = 0; b < n; b++)
        fprintf(out, " %7d", b);
    putc('\n', out);
    for (int32_t a = 0; a < n; a++)
        for (int line = 0; line < lines; line++) {
            fprintf(out, line ? "    " : "%3d ", a);
            for (int32_t b = 0; b < n; b++) {
                struct route r;
                if (a == b || graph_route(d->g, a, b, &r) != 0)
                    fputs("       -", out);
                else if (line == 0)
                    fprintf(out, " %7s", class_names[r.class]);
                else if (line == 1 && !isfinite(r.bandwidth))
                    fprintf(out, " %7s", "?");
                else
                    fprintf(out, " %7.4g", line == 1 ? r.bandwidth / 1e9
                            : r.latency * 1e6);
            }
            putc('\n', out);
        }
}

/* ---- Traffic ------------------------------------------------------------- */

/* Bytes of an edge from its ends: of a network interface, out and in. */
static void print_bytes(const struct drawing *d, FILE *out, int64_t edge)
{
    const struct edge *x = &d->g->edges[edge];
    int out_of = d->g->vertices[x->end[1]].kind == VERTEX_NIC;
    char a[32], b[32];
    double ways[2];

    for (int k = 0; k < 2; k++)
        ways[k] = d->bytes[graph_resource(d->g, (int32_t)(2 * edge + k))];
    quantity_print(ways[out_of], "B", a, sizeof a);
    quantity_print(ways[!out_of], "B", b, sizeof b);
    if (strcmp(a, b) == 0)
        fprintf(out, "  %s", a);
    else
        fprintf(out, "  %s/%s", a, b);
}

/* Each host's network interfaces in a line. */
static void print_interfaces(const struct drawing *d, FILE *out)
{
    const struct graph *g = d->g;
    int64_t n = 0;

    for (int64_t i = 0; i < g->n_edges; i++)
        n += g->edges[i].type == EDGE_NETWORK;
    if (n > 0)
        fputs("network interfaces, out/in where these differ:\n", out);
    for (int32_t h = 0; h < g->n_hosts; h++) {
        int any = 0;
        for (int64_t i = 0; i < g->n_edges; i++) {
            const struct edge *x = &g->edges[i];
            if (x->type != EDGE_NETWORK || (g->vertices[x->end[0]].host != h
                                            && g->vertices[x->end[1]].host
                                            != h))
                continue;
            if (!any++)
                fprintf(out, "  %-8s", g->hosts[h].name);
            print_bytes(d, out, i);
        }
        if (any)
            putc('\n', out);
    }
}

static void print_traffic(const struct drawing *d, FILE *out)
{
    fprintf(out, "\n%-9s %12s %12s %12s  of links, the busier direction: %s\n",
            "traffic", "all", "mean", "most", d->traffic);
    for (int t = 0; t < EDGE_TYPES; t++) {
        double sum = 0, most = 0;
        int64_t n = 0;
        char a[32], b[32], c[32];
        for (int64_t i = 0; i < d->g->n_edges; i++)
            if ((int)d->g->edges[i].type == t) {
                sum += draw_load(d, i);
                most = fmax(most, draw_load(d, i));
                n++;
            }
        if (n > 0)
            fprintf(out, "%-9s %12s %12s %12s\n", edge_names[t],
                    quantity_print(sum, "B", a, sizeof a),
                    quantity_print(sum / (double)n, "B", b, sizeof b),
                    quantity_print(most, "B", c, sizeof c));
    }
    print_interfaces(d, out);
}

void draw_text(const struct drawing *d, FILE *out)
{
    const struct survey *s = d->survey;
    char rate[32];

    fprintf(out, "%s", d->g->name);
    if (*d->g->about)
        fprintf(out, ": %s", d->g->about);
    fprintf(out, "; %d slots on %d host%s\n\n", d->g->n_slots,
            (int)d->g->n_hosts, d->g->n_hosts == 1 ? "" : "s");
    print_hosts(d->g, out);
    print_fabric(d->g, out);
    print_links(d->g, out);
    if (d->bytes)
        print_traffic(d, out);
    print_classes(d, out);
    print_matrix(d, out);
    if (d->g->n_slots > 1)
        fprintf(out, "\nbisection: %s one way, from slots 0 .. %d to the "
                "others\n", draw_bandwidth(s->bisection, rate, sizeof rate),
                d->g->n_slots / 2 - 1);
    for (int64_t i = 0; i < s->n_lints; i++)
        fprintf(out, "%slint: %s\n", i ? "" : "\n", s->lints[i]);
}
