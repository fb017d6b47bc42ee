/* SPDX-License-Identifier: Apache-2.0
 *
 * What a machine answers: seconds of a block, seconds of a message. */
#include <config.h>

#include "topo/cluster.h"
#include "topo/collective.h"
#include "topo/estimate.h"
#include "topo/machine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const block_names[] = {
    [BLOCK_FULL] = "full", [BLOCK_CAUSAL] = "causal", [BLOCK_FEW] = "few",
    [BLOCK_CORNER] = "corner", [BLOCK_KINDS] = NULL
};
const char *const rate_ops[] = {
    "scores", "weigh", "weigh_transposed", "state", "linear_intra",
    "linear_inter", "linear_intra_backward", "linear_inter_dq",
    "linear_inter_dkv", "softmax", "softmax_backward", "delta", "merge", "sum",
    "copy", NULL
};
const char *const copy_names[] = {
    [COPY_DEVICE] = "device", [COPY_PEER] = "peer",
    [COPY_TO_HOST] = "to_host", [COPY_FROM_HOST] = "from_host",
    [COPY_PATHS] = NULL
};

void machine_destroy(struct machine *m)
{
    if (m == NULL)
        return;
    for (int64_t i = 0; i < m->n_surfaces; i++)
        free(m->surfaces[i].points);
    free(m->surfaces);
    for (int64_t i = 0; i < m->n_rates; i++)
        free(m->rates[i].points);
    free(m->rates);
    for (int64_t i = 0; i < m->n_copies; i++)
        free(m->copies[i].points);
    free(m->copies);
    machine_drop_collectives(m);
    free(m->link.segments);
    for (int i = 0; i < ROUTE_CLASSES; i++)
        free(m->classes[i].segments);
    free(m->contention);
    if (m->cluster)
        cluster_clear(m->cluster);
    free(m->cluster);
    graph_destroy(m->graph);
    free(m->versions);
    free(m->created);
    free(m);
}

double block_pairs(enum block_kind block, int64_t q, int64_t k)
{
    int64_t rows = min64(q, k);         /* that see some key but not all */

    if (block == BLOCK_CAUSAL)
        return 0.5 * (double)q * (double)(q + 1);
    if (block == BLOCK_CORNER)
        return (double)rows * (double)(k - rows)
            + 0.5 * (double)rows * (double)(rows + 1);
    return (double)q * (double)k;
}

/* ---- One surface -------------------------------------------------------- */

/* Keys per row of the grid: points that share the first one's q. */
static int64_t grid_width(const struct surface *s)
{
    int64_t w = 1;

    while (w < s->n && s->points[w].q == s->points[0].q)
        w++;
    return w;
}

/* Where x lies among n ascending values, `step` points apart, of q or of k:
 * between *at and *at + 1, weight of the latter returned; clamped. */
static double locate(const struct surface_point *p, int64_t n, int64_t step,
                     int of_k, int64_t x, int64_t *at)
{
#define AXIS(i) (of_k ? p[(i) * step].k : p[(i) * step].q)
    int64_t low = 0, high = n - 1;

    *at = 0;
    if (x <= AXIS(0))
        return 0;
    *at = high;
    if (x >= AXIS(high))
        return 0;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (AXIS(middle) <= x)
            low = middle;
        else
            high = middle;
    }
    *at = low;
    if (x == AXIS(low))
        return 0;
    return log((double)x / (double)AXIS(low))
        / log((double)AXIS(high) / (double)AXIS(low));
#undef AXIS
}

double log_blend(double a, double b, double weight)
{
    return weight > 0 ? exp((1 - weight) * log(a) + weight * log(b)) : a;
}

double affine(double x1, double y1, double x2, double y2, double x)
{
    double b = fmax(0, (y2 - y1) / (x2 - x1)), a = y1 - b * x1;

    return a < 0 ? y1 / x1 * x : a + b * x;
}

/* Squares: causal blocks, and full ones that were measured so. */
int surface_squares_only(const struct surface *s)
{
    return s->block == BLOCK_CAUSAL
        || (s->n > 1 && s->points[0].q == s->points[0].k
            && s->points[1].q == s->points[1].k);
}

/* One square of n rows, n within what was measured. */
static double square_seconds(const struct surface *s, int64_t n)
{
    int64_t i;
    double w = locate(s->points, s->n, 1, 0, n, &i);

    return w > 0 ? log_blend(s->points[i].seconds, s->points[i + 1].seconds, w)
                 : s->points[i].seconds;
}

/* Between a point and the next one of its row of the grid.  Of corners it is
 * the seconds of a pair that vary slowly. */
static double row_value(const struct surface *s, const struct surface_point *p,
                        double weight)
{
    double value[2] = { 0 };

    for (int i = 0; i < (weight > 0 ? 2 : 1); i++)
        value[i] = p[i].seconds / (s->block == BLOCK_CORNER
                                   ? block_pairs(s->block, p[i].q, p[i].k) : 1);
    return log_blend(value[0], value[1], weight);
}

static double grid_seconds(const struct surface *s, int64_t q, int64_t k)
{
    int64_t width = grid_width(s), i, j;
    double v = locate(s->points, s->n / width, width, 0, q, &i);
    double w = locate(s->points, width, 1, 1, k, &j);
    const struct surface_point *at = s->points + i * width + j;
    double value = row_value(s, at, w);

    if (v > 0)
        value = log_blend(value, row_value(s, at + width, w), v);
    return s->block == BLOCK_CORNER ? value * block_pairs(s->block, q, k)
                                    : value;
}

double surface_seconds(const struct surface *s, int64_t q, int64_t k)
{
    const struct surface_point *first = s->points;
    const struct surface_point *last = s->points + s->n - 1;
    int64_t q_in, k_in;
    double seconds;

    if (s->block == BLOCK_CAUSAL)
        k = q;
    if (surface_squares_only(s)) {      /* as good as the square of its area */
        q_in = llround(sqrt((double)q * (double)k));
        q_in = k_in = min64(max64(q_in, first->q), last->q);
        seconds = square_seconds(s, q_in);
    } else {
        q_in = min64(max64(q, first->q), last->q);
        k_in = min64(max64(k, first->k), last->k);
        seconds = grid_seconds(s, q_in, k_in);
    }
    return q_in == q && k_in == k ? seconds
        : seconds * block_pairs(s->block, q, k)
            / block_pairs(s->block, q_in, k_in);
}

/* ---- Rates -------------------------------------------------------------- */

static const struct rate *nearest_rate(const struct machine *m,
                                       const char *op, const char *kernel,
                                       const struct block_shape *x)
{
    const struct rate *best = NULL;
    double shortest = INFINITY;

    for (int64_t i = 0; i < m->n_rates; i++) {
        const struct rate *r = &m->rates[i];
        if (strcmp(r->op, op) != 0)
            continue;
        if (machine_any_kernel(kernel))
            kernel = r->kernel;
        if (strcmp(r->kernel, kernel) != 0)
            continue;
        double d = 100.0 * (r->dtype != x->dtype)
            + machine_log_distance((double)x->head_dim, (double)r->head_dim)
            + machine_log_distance((double)x->value_dim, (double)r->value_dim);
        if (d < shortest) {
            shortest = d;
            best = r;
        }
    }
    return best;
}

static double rate_at(const struct rate *r, int64_t rows)
{
    const struct rate_point *p = r->points;
    int64_t i = 0;

    while (i + 1 < r->n && p[i + 1].rows <= rows)
        i++;
    if (rows <= p[i].rows || i + 1 == r->n)
        return p[i].flops;
    return log_blend(p[i].flops, p[i + 1].flops,
                 log((double)rows / (double)p[i].rows)
                 / log((double)p[i + 1].rows / (double)p[i].rows));
}

/* Elements of a row by its flops: what a product does for each of them, loads,
 * decay, stores, adds to the time of a flop. */
static double elements(int64_t head_dim, int64_t value_dim)
{
    return 1 / (double)head_dim + 1 / (double)value_dim;
}

/* One more like `first`, of other head sizes: on the other side of x elements
 * if there is one, else the nearest; NULL: none. */
static const struct rate *second_rate(const struct machine *m,
                                      const struct rate *first, double x)
{
    double x1 = elements(first->head_dim, first->value_dim), shortest = 0;
    const struct rate *best = NULL;
    int across = 0;

    for (int64_t i = 0; i < m->n_rates; i++) {
        const struct rate *r = &m->rates[i];
        double x2 = elements(r->head_dim, r->value_dim);
        int other = (x2 - x) * (x1 - x) < 0;
        if (x2 == x1 || r->heads || r->dtype != first->dtype || other < across
            || strcmp(r->op, first->op) || strcmp(r->kernel, first->kernel)
            || (best && other == across && fabs(x2 - x) >= shortest))
            continue;
        best = r;
        shortest = fabs(x2 - x);
        across = other;
    }
    return best;
}

double machine_rate(const struct machine *m, const char *op,
                    const char *kernel, const struct block_shape *s,
                    int64_t rows)
{
    const struct rate *r = nearest_rate(m, op, kernel, s), *other = NULL;
    double x = elements(s->head_dim, s->value_dim), rate;

    if (r == NULL)
        return 0;
    if (r->heads)
        return rate_at(r, max64(1, rows * s->heads / r->heads));
    rate = rate_at(r, rows);
    if (elements(r->head_dim, r->value_dim) != x)
        other = second_rate(m, r, x);
    if (other == NULL)
        return rate;
    return 1 / affine(elements(r->head_dim, r->value_dim), 1 / rate,
                      elements(other->head_dim, other->value_dim),
                      1 / rate_at(other, rows), x);
}

/* ---- Copies and messages ------------------------------------------------ */

double machine_copy_bandwidth(const struct machine *m, enum copy_path path,
                              int64_t block)
{
    for (int64_t k = 0; k < m->n_copies; k++) {
        const struct copy *c = &m->copies[k];
        const struct copy_point *p = c->points;
        int64_t i = 0;
        if (c->path != path)
            continue;
        while (i + 1 < c->n && p[i + 1].block <= block)
            i++;
        if (block < p[0].block)     /* as many blocks a second */
            return p[0].bandwidth * (double)block / (double)p[0].block;
        if (i + 1 == c->n)
            return p[i].bandwidth;
        return log_blend(p[i].bandwidth, p[i + 1].bandwidth,
                     log((double)block / (double)p[i].block)
                     / log((double)p[i + 1].block / (double)p[i].block));
    }
    return 0;
}

const struct link_segment *link_segment(const struct link *l, int64_t bytes)
{
    int64_t i = 0;

    if (l->n == 0)
        return NULL;
    while (i + 1 < l->n && bytes >= l->segments[i].to)
        i++;
    return &l->segments[i];
}

double link_seconds(const struct link *l, int64_t bytes)
{
    const struct link_segment *s = link_segment(l, bytes);

    return s ? s->latency + (double)bytes / s->bandwidth : 0;
}

double machine_message_seconds(const struct machine *m, int64_t bytes)
{
    return link_seconds(&m->link, bytes);
}

int64_t machine_slots(const struct machine *m)
{
    return m->devices ? m->devices : m->graph ? m->graph->n_slots : 0;
}

char *machine_local_path(void)
{
    const char *local = getenv("SPAR_LOCAL"), *home = getenv("HOME");

    return local && *local ? xstrdup(local)
        : xasprintf("%s/.config/spar/local.yaml", home ? home : ".");
}
