/* SPDX-License-Identifier: Apache-2.0
 *
 * Models from measured points. */
#include <config.h>

#include "topo/machine.h"

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

void link_fit(struct link *l, const struct link_point *p, int64_t n)
{
    struct link_segment best[MOST_SEGMENTS], now[MOST_SEGMENTS];
    int64_t first[MOST_SEGMENTS], at[MOST_SEGMENTS];
    double least = INFINITY;
    int count = 1;

    for (int k = 1; k <= MOST_SEGMENTS; k++) {
        double squares = fit_split(p, 0, n, k, now, at);
        /* A segment more must halve the squared error, and 0.1 % is good. */
        if (k > 1 && (!(squares < 0.5 * least) || least < 1e-6 * (double)n))
            continue;
        least = squares;
        count = k;
        for (int i = 0; i < k; i++) {
            best[i] = now[i];
            first[i] = at[i];
        }
    }
    l->n = count;
    l->segments = xrealloc(l->segments, (size_t)count * sizeof *l->segments);
    for (int i = 0; i < count; i++) {
        l->segments[i] = best[i];
        l->segments[i].from = i ? p[first[i]].bytes : 0;
        l->segments[i].to = i + 1 < count ? p[first[i + 1]].bytes : INT64_MAX;
    }
}

/* ---- Surfaces ----------------------------------------------------------- */

/* Relative error at x of the line through a and b, all logarithmic. */
static double between(double xa, double a, double x, double t, double xb,
                      double b)
{
    double w = log(x / xa) / log(xb / xa);

    return fabs(exp((1 - w) * log(a) + w * log(b)) / t - 1);
}

double surface_cross_error(const struct surface *s)
{
    const struct surface_point *p = s->points;
    int64_t width = 1, count = 0;
    double sum = 0;

    while (width < s->n && p[width].q == p[0].q)
        width++;
    /* Squares are a grid of width 1 in this. */
    for (int64_t i = 0; i < s->n; i++) {
        if (i >= width && i + width < s->n) {
            const struct surface_point *a = &p[i - width], *b = &p[i + width];
            sum += between((double)a->q, a->seconds, (double)p[i].q,
                           p[i].seconds, (double)b->q, b->seconds);
            count++;
        }
        if (i % width > 0 && i % width + 1 < width) {
            sum += between((double)p[i - 1].k, p[i - 1].seconds,
                           (double)p[i].k, p[i].seconds, (double)p[i + 1].k,
                           p[i + 1].seconds);
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}
