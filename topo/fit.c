/* SPDX-License-Identifier: Apache-2.0
 *
 * Models from measured points. */
#include <config.h>

#include "topo/estimate.h"

#include <math.h>
#include <stdlib.h>

/* ---- Links -------------------------------------------------------------- */

enum { MOST_SEGMENTS = 3, LEAST_POINTS = 3 };

/* T = latency + bytes / bandwidth over n points, weights 1 / T^2. Returns the
 * sum of squared relative errors. */
static double fit_segment(const struct link_point *p, int64_t n,
                          struct link_segment *g)
{
    double w = 0, x = 0, xx = 0, y = 0, xy = 0, squares = 0;
    double slope = 0;

    for (int64_t i = 0; i < n; i++) {
        double t = p[i].seconds, b = (double)p[i].bytes, u = 1 / (t * t);
        w += u;
        x += u * b;
        xx += u * b * b;
        y += u * t;
        xy += u * b * t;
    }
    double det = w * xx - x * x;
    if (det > 1e-12 * w * xx)
        slope = (w * xy - x * y) / det;
    slope = fmax(slope, 1e-14);         /* flat: 100 TB/s */
    g->latency = (y - slope * x) / w;
    if (g->latency < 0) {
        g->latency = 0;
        slope = xy / xx;
    }
    g->bandwidth = 1 / slope;
    g->error = 0;
    for (int64_t i = 0; i < n; i++) {
        double r = (g->latency + (double)p[i].bytes * slope) / p[i].seconds - 1;
        squares += r * r;
        g->error += fabs(r) / (double)n;
    }
    return squares;
}

/* Best fit of points from..n-1 by exactly `k` segments into out[0 .. k-1];
 * their first points into first[]. */
static double fit_split(const struct link_point *p, int64_t from, int64_t n,
                        int k, struct link_segment *out, int64_t *first)
{
    struct link_segment rest[MOST_SEGMENTS], head;
    int64_t at[MOST_SEGMENTS];
    double best = INFINITY;

    first[0] = from;
    if (k == 1)
        return fit_segment(p + from, n - from, out);
    for (int64_t cut = from + LEAST_POINTS; cut + LEAST_POINTS <= n; cut++) {
        double squares = fit_segment(p + from, cut - from, &head)
            + fit_split(p, cut, n, k - 1, rest, at);
        if (squares >= best)
            continue;
        best = squares;
        out[0] = head;
        for (int i = 0; i < k - 1; i++) {
            out[i + 1] = rest[i];
            first[i + 1] = at[i];
        }
    }
    return best;
}

void segments_fit(struct link *l, const struct link_point *p, int64_t n,
                  int count)
{
    struct link_segment best[MOST_SEGMENTS];
    int64_t first[MOST_SEGMENTS];

    count = n < (int64_t)count * LEAST_POINTS ? 1 : count;
    fit_split(p, 0, n, count, best, first);
    l->n = count;
    l->segments = xrealloc(l->segments, (size_t)count * sizeof *l->segments);
    for (int i = 0; i < count; i++) {
        l->segments[i] = best[i];
        l->segments[i].from = i ? p[first[i]].bytes : 0;
        l->segments[i].to = i + 1 < count ? p[first[i + 1]].bytes : INT64_MAX;
    }
}

void link_fit(struct link *l, const struct link_point *p, int64_t n)
{
    struct link_segment now[MOST_SEGMENTS];
    int64_t at[MOST_SEGMENTS];
    double least = INFINITY;
    int count = 1;

    for (int k = 1; k <= MOST_SEGMENTS; k++) {
        double squares = fit_split(p, 0, n, k, now, at);
        /* A segment more must halve the squared error, and 0.1 % is good. */
        if (k > 1 && (!(squares < 0.5 * least) || least < 1e-6 * (double)n))
            continue;
        least = squares;
        count = k;
    }
    segments_fit(l, p, n, count);
}

/* ---- Surfaces ----------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double quantile_of(double *values, int64_t n, double q)
{
    if (n < 1)
        return NAN;
    qsort(values, (size_t)n, sizeof *values, by_value);
    double at = q * (double)(n - 1);
    int64_t i = (int64_t)at;
    double above = values[min64(i + 1, n - 1)];
    return values[i] + (at - (double)i) * (above - values[i]);
}

/* Measured / what the line through a and b says at x, all logarithmic. */
static double beside(double xa, double a, double x, double t, double xb,
                     double b)
{
    double w = log(x / xa) / log(xb / xa);

    return t / exp((1 - w) * log(a) + w * log(b));
}

/* Of each point that has neighbours on both sides, from these alone; ratios
 * into out[2 n]. Returns how many. */
static int64_t left_out(const struct surface *s, double *out)
{
    const struct surface_point *p = s->points;
    int64_t width = 1, count = 0;

    while (width < s->n && p[width].q == p[0].q)
        width++;
    /* Squares are a grid of width 1 in this. */
    for (int64_t i = 0; i < s->n; i++) {
        if (i >= width && i + width < s->n) {
            const struct surface_point *a = &p[i - width], *b = &p[i + width];
            out[count++] = beside((double)a->q, a->seconds, (double)p[i].q,
                                  p[i].seconds, (double)b->q, b->seconds);
        }
        if (i % width > 0 && i % width + 1 < width)
            out[count++] = beside((double)p[i - 1].k, p[i - 1].seconds,
                                  (double)p[i].k, p[i].seconds,
                                  (double)p[i + 1].k, p[i + 1].seconds);
    }
    return count;
}

double surface_cross_error(const struct surface *s)
{
    double *ratio = xcalloc((size_t)(2 * s->n), sizeof *ratio), sum = 0;
    int64_t n = left_out(s, ratio);

    for (int64_t i = 0; i < n; i++)
        sum += fabs(1 / ratio[i] - 1);
    free(ratio);
    return n ? sum / (double)n : NAN;
}

void surface_residuals(const struct surface *s, double *low, double *high)
{
    double *ratio = xcalloc((size_t)(2 * s->n), sizeof *ratio);
    int64_t n = left_out(s, ratio);

    /* Too few points to tell: one version of a GPU's kernel is some 10 % from
     * another. */
    *low = s->heads ? 0.9 : 1;
    *high = s->heads ? 1.1 : 1;
    /* Neighbours twice as far away err to one side more than those of other
     * points do: how far counts, not where to. */
    if (n >= 3) {
        *high = fmax(1 / quantile_of(ratio, n, 0.1),
                     quantile_of(ratio, n, 0.9));
        *high = fmax(*high, 1);
        *low = 1 / *high;
    }
    free(ratio);
}
