/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/validate.h"

#include "base/file.h"
#include "cli/scenario.h"
#include "topo/import.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const column_names[] = { "uncalibrated", "calibrated",
                                     "two points" };

/* What has rows, and the preset that says how it is built. */
static const struct { const char *gpu, *machine; } boxes[] = {
    { "A100-SXM", "dgx-a100" }, { "H100-SXM", "dgx-h100" },
    { "H200-SXM", "hgx-h200" }, { "B200", "dgx-b200" }, { "L40S", "l40s-8" },
};
enum { BOXES = sizeof boxes / sizeof *boxes, MOST_RANKS = 8 };

void forget_calibration(struct machine *m)
{
    machine_drop_collectives(m);
    for (int64_t i = 0; m->graph && i < m->graph->n_edges; i++) {
        struct edge *g = &m->graph->edges[i];
        for (int k = 0; k < 2; k++)
            if (g->datasheet > 0)
                g->bandwidth[k] = 0.68 * g->datasheet;
            else if (g->type == EDGE_SOCKET)
                g->bandwidth[k] = 22e9;
    }
}

/* ---- Predictions of one run --------------------------------------------- */

static int is_inside(double ratio, double low, double high)
{
    return ratio >= low && ratio <= high;
}

static void by_constants(const struct import_run *r, const struct machine *m,
                         double *out)
{
    int32_t slots[MOST_RANKS];
    struct collective_path path;

    for (int32_t i = 0; i < MOST_RANKS; i++)
        slots[i] = i;
    collective_path(m, slots, r->ranks, r->kind, &path);
    for (int64_t i = 0; i < r->n; i++)
        out[i] = collective_constants(&path, r->kind, r->ranks,
                                      r->points[i].bytes);
}

/* Each size by a table of the others; how many lie inside its P10 to P90. */
static int64_t by_other_sizes(const struct import_run *r, double *out)
{
    int64_t inside = 0;
    struct link_point *others = xcalloc((size_t)r->n, sizeof *others);

    for (int64_t i = 0; i < r->n; i++) {
        struct collective_table t = { .kind = r->kind };
        memcpy(others, r->points, (size_t)i * sizeof *others);
        memcpy(others + i, r->points + i + 1,
               (size_t)(r->n - i - 1) * sizeof *others);
        collective_fit(&t, others, r->n - 1);
        out[i] = collective_table_seconds(&t, r->points[i].bytes);
        inside += is_inside(r->points[i].seconds / out[i], t.p10, t.p90);
        free(t.segments);
    }
    free(others);
    return inside;
}

/* Constants, corrected by what two sizes say: a quarter and three quarters of
 * the way through them; between the two in logarithms. */
static void by_two_points(const struct import_run *r, const double *constants,
                          double *out)
{
    int64_t at[2] = { r->n / 4, 3 * r->n / 4 };
    double x[2], ratio[2];

    for (int k = 0; k < 2; k++) {
        x[k] = log((double)r->points[at[k]].bytes);
        ratio[k] = log(r->points[at[k]].seconds / constants[at[k]]);
    }
    for (int64_t i = 0; i < r->n; i++) {
        double w = (log((double)r->points[i].bytes) - x[0]) / (x[1] - x[0]);
        w = fmin(1, fmax(0, w));
        out[i] = constants[i] * exp((1 - w) * ratio[0] + w * ratio[1]);
    }
}

/* ---- Scores ------------------------------------------------------------- */

struct predicted_run {
    const struct import_run *r;
    double *seconds[COLUMNS];
    int64_t inside[COLUMNS];
};

static void predict_run(struct predicted_run *p, const struct import_run *r,
                        const struct machine *m)
{
    p->r = r;
    for (int c = 0; c < COLUMNS; c++)
        p->seconds[c] = xcalloc((size_t)r->n, sizeof(double));
    by_constants(r, m, p->seconds[UNCALIBRATED]);
    for (int64_t i = 0; i < r->n; i++)
        p->inside[UNCALIBRATED] += is_inside(
            r->points[i].seconds / p->seconds[UNCALIBRATED][i],
            constants_spread[0], constants_spread[1]);
    p->inside[CALIBRATED] = by_other_sizes(r, p->seconds[CALIBRATED]);
    by_two_points(r, p->seconds[UNCALIBRATED], p->seconds[TWO_POINTS]);
}

static void add_errors(struct collective_score *s,
                       const struct predicted_run *p)
{
    for (int64_t i = 0; i < p->r->n; i++) {
        if (s->rows == s->cap) {
            s->cap = max64(256, 2 * s->cap);
            for (int c = 0; c < COLUMNS; c++)
                s->error[c] = xrealloc(s->error[c], (size_t)s->cap
                                       * sizeof(double));
        }
        for (int c = 0; c < COLUMNS; c++)
            s->error[c][s->rows] = fabs(p->seconds[c][i]
                                        / p->r->points[i].seconds - 1);
        s->rows++;
    }
    for (int c = 0; c < COLUMNS; c++)
        s->inside[c] += p->inside[c];
}

/* Runs of the same op and sizes on other ranks, size by size. */
static void add_pairs(struct collective_score *s, const struct predicted_run *a,
                      const struct predicted_run *b)
{
    for (int64_t i = 0; i < min64(a->r->n, b->r->n); i++) {
        double x = a->r->points[i].seconds, y = b->r->points[i].seconds;
        if (fmax(x, y) < 1.1 * fmin(x, y))
            continue;
        s->pairs++;
        for (int c = 0; c < COLUMNS; c++)
            s->right[c] += (x < y) == (a->seconds[c][i] < b->seconds[c][i]);
    }
}

static const struct predicted_run *run_on(const struct predicted_run *p,
                                          int64_t n,
                                          enum collective_kind kind,
                                          int64_t ranks)
{
    for (int64_t i = 0; i < n; i++)
        if (p[i].r->kind == kind && p[i].r->ranks == ranks)
            return &p[i];
    return NULL;
}

/* Where 2, 4 and 8 ranks are measured in this order, by more than 10 % each,
 * are they predicted so? */
static void add_order(struct collective_score *s, const struct predicted_run *p,
                      int64_t n)
{
    const struct predicted_run *two = run_on(p, n, OF_ALL_TO_ALL, 2);
    const struct predicted_run *four = run_on(p, n, OF_ALL_TO_ALL, 4);
    const struct predicted_run *eight = run_on(p, n, OF_ALL_TO_ALL, 8);

    for (int64_t i = 0; two && four && eight && i < two->r->n; i++) {
        if (!(1.1 * two->r->points[i].seconds < four->r->points[i].seconds
              && 1.1 * four->r->points[i].seconds
                 < eight->r->points[i].seconds))
            continue;
        s->sizes++;
        for (int c = 0; c < COLUMNS; c++)
            s->ordered[c] += two->seconds[c][i] < four->seconds[c][i]
                && four->seconds[c][i] < eight->seconds[c][i];
    }
}

static void score_machine(struct collective_score *s, const struct import *in,
                          const struct machine *m)
{
    struct predicted_run *p = xcalloc((size_t)in->n, sizeof *p);

    for (int64_t i = 0; i < in->n; i++) {
        predict_run(&p[i], &in->runs[i], m);
        add_errors(s, &p[i]);
        for (int64_t k = 0; k < i; k++)
            if (p[k].r->kind == p[i].r->kind)
                add_pairs(s, &p[k], &p[i]);
    }
    add_order(s, p, in->n);
    for (int64_t i = 0; i < in->n; i++)
        for (int c = 0; c < COLUMNS; c++)
            free(p[i].seconds[c]);
    free(p);
}

static enum route_class slots_class(struct graph *g, int32_t from, int32_t to)
{
    struct route r;

    return graph_route(g, from, to, &r) ? CLASS_SELF : r.class;
}

/* ---- Files -------------------------------------------------------------- */

static int validate_box(int box, struct collective_scores *all,
                        struct error *e)
{
    const struct import_asked asked = { .gpu = boxes[box].gpu };
    struct import in = { .n = 0 };
    struct collective_score s = { .rows = 0 };
    char *path = NULL, *machine_path = NULL;
    size_t size = 0, machine_size = 0;
    char *rows = scenario_data("validation", "collectives.csv", "", &path,
                               &size, e);
    char *text = rows ? scenario_data("machines", boxes[box].machine, "",
                                      &machine_path, &machine_size, e) : NULL;
    struct machine *m = text ? machine_parse(machine_path, text, machine_size,
                                             e) : NULL;

    int rc = m ? import_file(&in, path, rows, size, &asked, e) : -1;
    if (rc == 0) {
        snprintf(s.gpu, sizeof s.gpu, "%s", boxes[box].gpu);
        snprintf(s.machine, sizeof s.machine, "%s", boxes[box].machine);
        s.nvlink = slots_class(m->graph, 0, 1) == CLASS_NVLINK;
        links_ratios(&in, m, &s.links[CALIBRATED]);
        forget_calibration(m);
        links_ratios(&in, m, &s.links[UNCALIBRATED]);
        score_machine(&s, &in, m);
        ARRAY_PUSH(all->items, all->n, all->cap, s);
    }
    import_clear(&in);
    machine_destroy(m);
    free(text);
    free(rows);
    free(path);
    free(machine_path);
    return rc;
}

int validate_collectives(struct collective_scores *s, struct error *e)
{
    for (int i = 0; i < BOXES; i++)
        if (validate_box(i, s, e) != 0)
            return -1;
    return 0;
}

void collective_scores_clear(struct collective_scores *s)
{
    for (int64_t i = 0; i < s->n; i++)
        for (int c = 0; c < COLUMNS; c++) {
            free(s->items[i].error[c]);
            if (c < TWO_POINTS)
                free(s->items[i].links[c].items);
        }
    free(s->items);
}
