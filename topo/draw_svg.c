/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine as a picture: hosts side by side, the fabric above them, rows from
 * network interfaces down to GPUs or cores and their NVSwitches. */
#include <config.h>

#include "topo/draw.h"

#include "base/units.h"

#include <math.h>
#include <stdlib.h>

enum { BOX_W = 62, BOX_H = 22, CELL = 72, ROW = 64, MARGIN = 20, ROWS = 128 };

struct layout {
    const struct graph *g;
    const struct drawing *d;
    FILE *out;
    double most;                /* B of a link; 0: nothing is carried */
    int32_t *row;               /* [vertices]; -1: not shown */
    double *x;                  /* [vertices] of the centre */
    int line[ROWS];             /* of a row, among those that are not empty */
    int lines;
    double width;
};

static void put_escaped(FILE *out, const char *s)
{
    for (; *s; s++) {
        if (*s == '<' || *s == '&')
            fputs(*s == '<' ? "&lt;" : "&amp;", out);
        else
            putc(*s, out);
    }
}

/* ---- Where things are ---------------------------------------------------- */

static int depth_of(const struct graph *g, int32_t v)
{
    int depth = 0;

    for (; g->vertices[v].parent >= 0; v = g->vertices[v].parent)
        depth++;
    return depth;
}

/* Switches by level, the highest first, then the host's; NVSwitches last. */
static int32_t row_of(const struct graph *g, int32_t v)
{
    enum { HOST = 8, DEEPEST = ROWS - 3 };
    static const int32_t rows[] = {
        [VERTEX_SWITCH] = HOST - 1, [VERTEX_NIC] = HOST,
        [VERTEX_NUMA] = HOST + 1, [VERTEX_PCIE] = HOST + 1,
        [VERTEX_CACHE] = HOST + 1, [VERTEX_CORE] = ROWS - 2,
        [VERTEX_GPU] = ROWS - 2, [VERTEX_NVSWITCH] = ROWS - 1
    };
    const struct vertex *x = &g->vertices[v];
    int32_t row = rows[x->kind];

    if (x->kind == VERTEX_SWITCH)
        return row - (int32_t)min64(x->level, HOST - 1);
    if (x->kind == VERTEX_PCIE || x->kind == VERTEX_CACHE)
        return (int32_t)min64(row + depth_of(g, v), DEEPEST);
    return row;
}

/* Vertices of a host, or of the fabric, in a row: evenly from `left` on. */
static void place_row(struct layout *l, int32_t host, int32_t row, double left,
                      double width)
{
    int n = 0, i = 0;

    for (int32_t v = 0; v < l->g->n_vertices; v++)
        n += l->row[v] == row && l->g->vertices[v].host == host;
    for (int32_t v = 0; v < l->g->n_vertices; v++)
        if (l->row[v] == row && l->g->vertices[v].host == host)
            l->x[v] = left + (i++ + 0.5) * width / n;
}

static int widest(const struct layout *l, int32_t host)
{
    int count[ROWS] = { 0 }, most = 0;

    for (int32_t v = 0; v < l->g->n_vertices; v++)
        if (l->row[v] >= 0 && l->g->vertices[v].host == host
            && ++count[l->row[v]] > most)
            most = count[l->row[v]];
    return most;
}

static void place(struct layout *l)
{
    const struct graph *g = l->g;
    double left = MARGIN, used[ROWS] = { 0 };

    for (int32_t v = 0; v < g->n_vertices; v++) {
        l->row[v] = draw_shows(g, v) ? row_of(g, v) : -1;
        if (l->row[v] >= 0)
            used[l->row[v]] = 1;
    }
    for (int r = 0; r < ROWS; r++)
        l->line[r] = used[r] > 0 ? l->lines++ : 0;
    for (int32_t h = 0; h < g->n_hosts - draw_left_out(g); h++) {
        double width = widest(l, h) * CELL;
        for (int32_t r = 0; r < ROWS; r++)
            place_row(l, h, r, left, width);
        left += width + MARGIN;
    }
    l->width = fmax(left, widest(l, -1) * CELL + 2 * MARGIN);
    for (int32_t r = 0; r < ROWS; r++)
        place_row(l, -1, r, MARGIN, l->width - 2 * MARGIN);
}

static double y_of(const struct layout *l, int32_t v)
{
    return 2 * MARGIN + l->line[l->row[v]] * ROW + BOX_H;
}

/* ---- Drawing ------------------------------------------------------------- */

/* By what is carried, else by the order of magnitude; 4 of what is unknown. */
static double stroke(const struct layout *l, int64_t i)
{
    const struct edge *edge = &l->g->edges[i];

    if (l->d->bytes)
        return 0.5 + 7 * draw_load(l->d, i) / fmax(1, l->most);
    return 0.5 + fmin(4, fmax(0, log10(edge->bandwidth[0] / 1e9)));
}

/* What a network interface carries, below its box. */
static void draw_label(const struct layout *l, int64_t i)
{
    const struct edge *edge = &l->g->edges[i];
    int k = l->g->vertices[edge->end[1]].kind == VERTEX_NIC;
    char bytes[32];

    if (!l->d->bytes || edge->type != EDGE_NETWORK)
        return;
    fprintf(l->out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"9\">%s"
            "</text>\n", l->x[edge->end[k]] + 6,
            y_of(l, edge->end[k]) + BOX_H / 2.0 + 10,
            quantity_print(draw_load(l->d, i), "B", bytes, sizeof bytes));
}

static void draw_edge(const struct layout *l, int64_t i)
{
    const struct edge *edge = &l->g->edges[i];

    static const char *const colours[] = {
        [EDGE_NVLINK] = "#5a9e1f", [EDGE_CACHE] = "#888888",
        [EDGE_MEMORY] = "#888888", [EDGE_PCIE] = "#2b6cb0",
        [EDGE_SOCKET] = "#c05621", [EDGE_NETWORK] = "#6b46c1",
        [EDGE_FABRIC] = "#6b46c1"
    };
    int32_t a = edge->end[0], b = edge->end[1];
    char text[32];

    if (l->row[a] < 0 || l->row[b] < 0)
        return;
    /* Between neighbours of a row the line would run through boxes. */
    double bend = l->row[a] == l->row[b] ? -0.6 * ROW : 0;
    fprintf(l->out, "<path d=\"M%.1f %.1f Q%.1f %.1f %.1f %.1f\" fill=\"none\" "
            "stroke=\"%s\" stroke-width=\"%.1f\"><title>%s %s</title></path>\n",
            l->x[a], y_of(l, a), (l->x[a] + l->x[b]) / 2,
            (y_of(l, a) + y_of(l, b)) / 2 + bend, l->x[b], y_of(l, b),
            colours[edge->type], stroke(l, i), edge_names[edge->type],
            l->d->bytes
            ? quantity_print(draw_load(l->d, i), "B", text, sizeof text)
            : draw_rate(edge, text, sizeof text));
}

static void draw_box(const struct layout *l, int32_t v)
{
    const struct vertex *x = &l->g->vertices[v];
    char name[GRAPH_NAME];

    if (l->row[v] < 0)
        return;
    fprintf(l->out, "<g><title>%s ", vertex_names[x->kind]);
    put_escaped(l->out, graph_name(l->g, v, name, sizeof name));
    fprintf(l->out, "</title><rect x=\"%.1f\" y=\"%.1f\" width=\"%d\" "
            "height=\"%d\" rx=\"4\" fill=\"%s\" stroke=\"#333333\"/>"
            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
            l->x[v] - BOX_W / 2.0, y_of(l, v) - BOX_H / 2.0, BOX_W, BOX_H,
            x->slot >= 0 ? "#d9f0c5" : "#ffffff", l->x[v], y_of(l, v) + 4);
    put_escaped(l->out, x->name);
    fputs("</text></g>\n", l->out);
}

void draw_svg(const struct drawing *d, FILE *out)
{
    size_t n = (size_t)d->g->n_vertices + 1;
    struct layout l = { .g = d->g, .d = d, .out = out,
                        .most = d->bytes ? draw_most(d) : 0,
                        .row = xcalloc(n, sizeof *l.row),
                        .x = xcalloc(n, sizeof *l.x) };

    place(&l);
    double height = 3 * MARGIN + l.lines * ROW;
    fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" "
            "height=\"%.0f\" font-family=\"sans-serif\" font-size=\"11\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
            "<text x=\"%d\" y=\"%d\" font-size=\"14\">", l.width, height,
            MARGIN, MARGIN);
    put_escaped(out, d->g->name);
    if (d->bytes)
        fprintf(out, ", %s", d->traffic);
    if (draw_left_out(d->g) > 0)
        fprintf(out, " (%d more hosts are not shown)",
                (int)draw_left_out(d->g));
    fputs("</text>\n", out);
    for (int64_t i = 0; i < d->g->n_edges; i++)
        draw_edge(&l, i);
    for (int32_t v = 0; v < d->g->n_vertices; v++)
        draw_box(&l, v);
    for (int64_t i = 0; i < d->g->n_edges; i++)
        if (l.row[d->g->edges[i].end[0]] >= 0
            && l.row[d->g->edges[i].end[1]] >= 0)
            draw_label(&l, i);
    fputs("</svg>\n", out);
    free(l.row);
    free(l.x);
}
