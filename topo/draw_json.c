/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine as JSON and as a graph for Graphviz. */
#include <config.h>

#include "topo/draw.h"

#include "base/json.h"
#include "base/units.h"

#include <math.h>

/* ---- JSON ---------------------------------------------------------------- */

static void json_vertices(struct json *j, const struct graph *g)
{
    char name[GRAPH_NAME];

    json_array(j, "vertices");
    for (int32_t i = 0; i < g->n_vertices; i++) {
        const struct vertex *v = &g->vertices[i];
        json_object(j, NULL);
        json_text(j, "name", graph_name(g, i, name, sizeof name));
        json_text(j, "kind", vertex_names[v->kind]);
        if (v->host < 0)
            json_null(j, "host");
        else
            json_int(j, "host", v->host);
        if (v->slot < 0)
            json_null(j, "slot");
        else
            json_int(j, "slot", v->slot);
        json_end(j);
    }
    json_end(j);
}

static void json_edges(struct json *j, const struct drawing *d)
{
    const struct graph *g = d->g;

    json_array(j, "edges");
    for (int64_t i = 0; i < g->n_edges; i++) {
        const struct edge *edge = &g->edges[i];
        json_object(j, NULL);
        json_text(j, "type", edge_names[edge->type]);
        json_int(j, "from", edge->end[0]);
        json_int(j, "to", edge->end[1]);
        json_real(j, "datasheet", edge->datasheet > 0 ? edge->datasheet : NAN);
        json_real(j, "bandwidth", edge->bandwidth[0]);
        json_real(j, "bandwidth_back", edge->bandwidth[1]);
        json_real(j, "latency", edge->latency);
        json_text(j, "duplex", edge->half ? "half" : "full");
        for (int k = 0; d->bytes && k < 2; k++)
            json_real(j, k ? "bytes_back" : "bytes",
                      d->bytes[graph_resource(g, (int32_t)(2 * i + k))]);
        json_end(j);
    }
    json_end(j);
}

static void json_classes(struct json *j, const struct survey *s)
{
    json_array(j, "classes");
    for (int c = 0; c < ROUTE_CLASSES; c++) {
        const struct class_survey *x = &s->classes[c];
        if (x->pairs == 0)
            continue;
        json_object(j, NULL);
        json_text(j, "class", class_names[c]);
        json_int(j, "pairs", x->pairs);
        json_real(j, "bandwidth_min", x->slowest);
        json_real(j, "bandwidth_max", x->fastest);
        json_real(j, "latency_min", x->shortest);
        json_real(j, "latency_max", x->longest);
        json_end(j);
    }
    json_end(j);
}

/* From slot a: one entry for each slot, null for itself. */
static void json_row(struct json *j, struct graph *g, int32_t a, int what)
{
    json_array(j, NULL);
    for (int32_t b = 0; b < g->n_slots; b++) {
        struct route r;
        if (a == b || graph_route(g, a, b, &r) != 0)
            json_null(j, NULL);
        else if (what == 0)
            json_text(j, NULL, class_names[r.class]);
        else
            json_real(j, NULL, what == 1 ? r.bandwidth : r.latency);
    }
    json_end(j);
}

static void json_matrix(struct json *j, struct graph *g)
{
    enum { MOST = 256 };
    static const char *const keys[] = { "class", "bandwidth", "latency" };

    if (g->n_slots > MOST) {
        json_null(j, "matrix");
        return;
    }
    json_object(j, "matrix");
    for (int what = 0; what < 3; what++) {
        json_array(j, keys[what]);
        for (int32_t a = 0; a < g->n_slots; a++)
            json_row(j, g, a, what);
        json_end(j);
    }
    json_end(j);
}

void draw_json(const struct drawing *d, FILE *out)
{
    struct json j;

    json_begin(&j, out);
    json_object(&j, NULL);
    json_text(&j, "machine", d->g->name);
    json_text(&j, "about", d->g->about);
    if (d->bytes)
        json_text(&j, "traffic", d->traffic);
    json_int(&j, "hosts", d->g->n_hosts);
    json_int(&j, "slots", d->g->n_slots);
    json_vertices(&j, d->g);
    json_edges(&j, d);
    json_classes(&j, d->survey);
    json_matrix(&j, d->g);
    json_real(&j, "bisection", d->survey->bisection);
    json_array(&j, "lints");
    for (int64_t i = 0; i < d->survey->n_lints; i++)
        json_text(&j, NULL, d->survey->lints[i]);
    json_end(&j);
    json_end(&j);
    putc('\n', out);
}

/* ---- What pictures show ------------------------------------------------- */

enum { SHOWN_HOSTS = 4 };

int draw_shows(const struct graph *g, int32_t vertex)
{
    return g->vertices[vertex].host < SHOWN_HOSTS;
}

int64_t draw_left_out(const struct graph *g)
{
    return max64(0, g->n_hosts - SHOWN_HOSTS);
}

/* ---- Graphviz ----------------------------------------------------------- */

static void dot_text(FILE *out, const char *s)
{
    putc('"', out);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            putc('\\', out);
        putc(*s, out);
    }
    putc('"', out);
}

static void dot_vertex(const struct graph *g, FILE *out, int32_t v)
{
    static const char *const shapes[] = {
        [VERTEX_GPU] = "box", [VERTEX_CORE] = "box", [VERTEX_CACHE] = "oval",
        [VERTEX_NUMA] = "house", [VERTEX_PCIE] = "trapezium",
        [VERTEX_NVSWITCH] = "hexagon", [VERTEX_NIC] = "cds",
        [VERTEX_SWITCH] = "diamond"
    };

    fprintf(out, "    v%d [shape=%s, label=", v, shapes[g->vertices[v].kind]);
    dot_text(out, g->vertices[v].name);
    fputs("];\n", out);
}

/* The rate, or what is carried, and the wider the more. */
static void dot_edge(const struct drawing *d, FILE *out, int64_t i)
{
    const struct edge *edge = &d->g->edges[i];
    char text[32];

    fprintf(out, "  v%d -- v%d [label=\"%s\"", edge->end[0], edge->end[1],
            d->bytes ? quantity_print(draw_load(d, i), "B", text, sizeof text)
            : draw_rate(edge, text, sizeof text));
    if (d->bytes)
        fprintf(out, ", penwidth=%.1f",
                0.5 + 6 * draw_load(d, i) / fmax(1, draw_most(d)));
    fputs("];\n", out);
}

void draw_dot(const struct drawing *d, FILE *out)
{
    const struct graph *g = d->g;

    fputs("graph ", out);
    dot_text(out, g->name);
    fputs(" {\n", out);
    if (draw_left_out(g) > 0)
        fprintf(out, "  label=\"%d more hosts are not shown\";\n",
                (int)draw_left_out(g));
    for (int32_t h = -1; h < g->n_hosts && h < SHOWN_HOSTS; h++) {
        fprintf(out, "  subgraph %s%d {\n", h < 0 ? "fabric" : "cluster",
                h < 0 ? 0 : h);
        if (h >= 0) {
            fputs("    label=", out);
            dot_text(out, g->hosts[h].name);
            fputs(";\n", out);
        }
        for (int32_t v = 0; v < g->n_vertices; v++)
            if (g->vertices[v].host == h)
                dot_vertex(g, out, v);
        fputs("  }\n", out);
    }
    for (int64_t i = 0; i < g->n_edges; i++) {
        const struct edge *edge = &g->edges[i];
        if (draw_shows(g, edge->end[0]) && draw_shows(g, edge->end[1]))
            dot_edge(d, out, i);
    }
    fputs("}\n", out);
}
