/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine's graph for people and programs. */
#ifndef SPAR_DRAW_H
#define SPAR_DRAW_H

#include "topo/survey.h"

#include <stdio.h>

struct drawing {
    struct graph *g;            /* frozen, with a name */
    const struct survey *survey;
    /* What links carry, B by graph_resource(), and what that is; NULL. */
    const double *bytes;
    const char *traffic;
};

/* Tree, link types, classes, the matrix of small machines, bisection, lints. */
void draw_text(const struct drawing *d, FILE *out);
void draw_json(const struct drawing *d, FILE *out);
/* Vertices and edges; of many hosts alike only the first ones. */
void draw_dot(const struct drawing *d, FILE *out);
void draw_svg(const struct drawing *d, FILE *out);

/* Of a picture: is it of the fabric, or of one of the hosts that are shown? */
int draw_shows(const struct graph *g, int32_t vertex);
/* Those left out. */
int64_t draw_left_out(const struct graph *g);
/* "450 GB/s", or "unknown"; of an edge, the slower direction. */
const char *draw_bandwidth(double bandwidth, char *text, size_t size);
const char *draw_rate(const struct edge *edge, char *text, size_t size);
/* Bytes over an edge: of its direction that carries more; of all edges. */
double draw_load(const struct drawing *d, int64_t edge);
double draw_most(const struct drawing *d);

#endif
