/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/estimate.h"

#include "topo/machine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const estimate_names[] = {
    [ESTIMATE_NONE] = "nothing", [ESTIMATE_TABLE] = "table",
    [ESTIMATE_MASK] = "mask", [ESTIMATE_FORWARD] = "forward",
    [ESTIMATE_ROOFLINE] = "roofline"
};

/* The constants of estimate.h. */
static const double backward_rate = 0.85;
static const double spread_mask[2] = { 0.90, 1.12 };
static const double spread_forward[2] = { 0.88, 1.12 };
static const double spread_roofline[2] = { 0.88, 1.73 };
static const double spread_head[2] = { 0.96, 1.64 };    /* half the size */
static const double spread_longer[2] = { 0.87, 1.01 };  /* twice the length */
static const double spread_code[2] = { 0.95, 1.49 };
static const double spread_short_code[2] = { 0.92, 1.96 };
enum { SHORT = 2048 };                  /* tokens of a square */
static const double head_offset = 24;

int machine_any_kernel(const char *kernel)
{
    return kernel == NULL || *kernel == '\0' || strcmp(kernel, "auto") == 0;
}

double machine_log_distance(double a, double b)
{
    return fabs(log2(a / b));
}

/* Flop of a pair. */
static double pair_flops(const char *op, double head_dim, double value_dim)
{
    return strcmp(op, "attend") == 0 ? 2 * (head_dim + value_dim)
        : 6 * head_dim + 4 * value_dim;
}

/* ---- Choice of the surface ---------------------------------------------- */

/* What is asked for. */
struct question {
    const struct machine *m;
    const char *op, *kernel;
    const struct block_shape *shape;
    enum block_kind block;
    int64_t q, k;
};

/* How far a surface is in all but its heads; INFINITY: of something else. */
static double distance(const struct question *a, const struct surface *s,
                       const char **kernel)
{
    const struct block_shape *x = a->shape;

    if (s->block != a->block || strcmp(s->op, a->op) != 0)
        return INFINITY;
    if (machine_any_kernel(*kernel))
        *kernel = s->kernel;
    if (strcmp(s->kernel, *kernel) != 0)
        return INFINITY;
    return 100.0 * (s->dtype != x->dtype)
        + 10 * machine_log_distance(pair_flops(a->op, (double)x->head_dim,
                                               (double)x->value_dim),
                                    pair_flops(a->op, (double)s->head_dim,
                                               (double)s->value_dim))
        + machine_log_distance((double)x->group, (double)s->group);
}

/* The nearest surface with at most (side -1), at least (1) or any (0) heads;
 * *shortest: how far. */
static const struct surface *nearest(const struct question *a, int side,
                                     double *shortest)
{
    const struct surface *best = NULL;
    const char *kernel = a->kernel;

    *shortest = INFINITY;
    for (int64_t i = 0; i < a->m->n_surfaces; i++) {
        const struct surface *s = &a->m->surfaces[i];
        double d = distance(a, s, &kernel);
        int64_t off = s->heads ? s->heads - a->shape->heads : 0;
        if (isinf(d) || off * side < 0)
            continue;
        if (s->heads)
            d += machine_log_distance((double)a->shape->heads,
                                      (double)s->heads);
        if (d < *shortest) {
            *shortest = d;
            best = s;
        }
    }
    return best;
}

const struct surface *machine_surface(const struct machine *m, const char *op,
                                      const char *kernel,
                                      const struct block_shape *x,
                                      enum block_kind block)
{
    const struct question a = { m, op, kernel, x, block, 1, 1 };
    double d;

    return nearest(&a, 0, &d);
}

/* ---- Intervals ---------------------------------------------------------- */

/* By what is independent of the rest; `times` that in logarithms, < 0: the
 * other way about. */
static void widen(struct block_time *x, const double spread[2], double times)
{
    double down = log(spread[times < 0]) * times;
    double up = log(spread[times >= 0]) * times;

    x->low = exp(-hypot(log(x->low), down));
    x->high = exp(hypot(log(x->high), up));
}

/* ---- From tables -------------------------------------------------------- */

/* log2 of how many times smaller the heads asked for are than s's. */
static double head_octaves(const struct question *a, const struct surface *s)
{
    return log2(pair_flops(a->op, (double)s->head_dim, (double)s->value_dim)
                / pair_flops(a->op, (double)a->shape->head_dim,
                             (double)a->shape->value_dim));
}

/* What one surface says of itself, and what is known of tables of others. */
static void surface_interval(const struct question *a, struct block_time *x)
{
    const struct surface *s = x->surface;

    x->low = s->p10;
    x->high = s->p90;
    if (!(x->low > 0))
        surface_residuals(s, &x->low, &x->high);
    x->low = fmin(1, x->low);   /* points on either side of what is told */
    x->high = fmax(1, x->high);
    if (s->heads)
        widen(x, spread_head, head_octaves(a, s));
    if (s->published)
        widen(x, (double)a->q * (double)a->k > (double)SHORT * SHORT
              ? spread_code : spread_short_code, 1);
}

/* Flops of a pair with a head size that is `more` than that of s. */
static double surface_flops(const struct surface *s, double more)
{
    return pair_flops(s->op, (double)s->head_dim + more,
                      (double)s->value_dim + more);
}

/* One more like s of another head size, the nearest to so many flops of a pair;
 * NULL: none. */
static const struct surface *second_surface(const struct machine *m,
                                            const struct surface *s,
                                            double flops)
{
    double shortest = INFINITY;
    const struct surface *best = NULL;

    for (int64_t i = 0; i < m->n_surfaces; i++) {
        const struct surface *x = &m->surfaces[i];
        double d = machine_log_distance(flops, surface_flops(x, 0));
        if (x->block != s->block || x->dtype != s->dtype
            || x->group != s->group || x->heads || strcmp(x->op, s->op) != 0
            || strcmp(x->kernel, s->kernel) != 0
            || surface_flops(x, 0) == surface_flops(s, 0) || d >= shortest)
            continue;
        best = x;
        shortest = d;
    }
    return best;
}

static double on_surface(const struct question *a, const struct surface *s)
{
    double more = s->heads ? head_offset : 0;
    double flops = pair_flops(a->op, (double)a->shape->head_dim + more,
                              (double)a->shape->value_dim + more);
    double own = surface_flops(s, more), seconds = surface_seconds(s, a->q,
                                                                   a->k);
    const struct surface *other = s->heads || flops == own ? NULL
        : second_surface(a->m, s, flops);

    if (other == NULL)
        return seconds * (flops / own);
    return affine(own, seconds, surface_flops(other, 0),
                  surface_seconds(other, a->q, a->k), flops);
}

static const struct surface_point *nearest_point(const struct surface *s,
                                                 int64_t q, int64_t k)
{
    const struct surface_point *best = s->points;
    double shortest = INFINITY;

    for (int64_t i = 0; i < s->n; i++) {
        const struct surface_point *p = &s->points[i];
        double d = machine_log_distance((double)p->q, (double)q)
            + machine_log_distance((double)p->k, (double)k);
        if (d < shortest) {
            shortest = d;
            best = p;
        }
    }
    return best;
}

static struct block_time from_tables(const struct question *a);

/* Squares longer than the longest that was measured: with so many times fewer
 * of the longest rows a kernel's tiles are as many, and as full.  The rate of
 * as many more heads, if there are such, on the longest square. */
static struct block_time beyond_tables(const struct question *a,
                                       const struct surface *s)
{
    const struct surface_point *last = &s->points[s->n - 1];
    double longer = sqrt((double)a->q * (double)a->k / (double)last->q
                         / (double)last->k);
    struct block_shape more = *a->shape;
    struct question inside = *a;

    more.heads = max64(more.heads, llround((double)more.heads * longer));
    inside.shape = &more;
    inside.q = last->q;
    inside.k = last->k;
    struct block_time x = from_tables(&inside);
    x.seconds *= block_pairs(a->block, a->q, a->k)
        / block_pairs(a->block, last->q, last->k);
    widen(&x, spread_longer, log2(longer));
    return x;
}

static int is_beyond(const struct question *a, const struct surface *s)
{
    const struct surface_point *last = &s->points[s->n - 1];

    return s->heads && s->n > 1 && surface_squares_only(s)
        && (double)a->q * (double)a->k
            > 1.0001 * (double)last->q * (double)last->k;
}

static struct block_time from_tables(const struct question *a)
{
    double dn, db, da;
    const struct surface *s = nearest(a, 0, &dn);

    if (s == NULL)
        return (struct block_time){ .low = 1, .high = 1 };
    if (is_beyond(a, s))
        return beyond_tables(a, s);
    struct block_time x = { on_surface(a, s), 1, 1, ESTIMATE_TABLE, s,
                            nearest_point(s, a->q, a->k) };
    surface_interval(a, &x);
    const struct surface *below = nearest(a, -1, &db);
    const struct surface *above = nearest(a, 1, &da);
    /* Of another dtype or head size only one counts. */
    if (below == NULL || above == NULL || below->heads == above->heads
        || fabs(db - da) > 5)
        return x;
    x.seconds = log_blend(on_surface(a, below), on_surface(a, above),
                          log((double)a->shape->heads / (double)below->heads)
                          / log((double)above->heads / (double)below->heads));
    return x;
}

/* ---- From what is near -------------------------------------------------- */

/* Rate of a full block of n x n / that of a causal one. */
static double full_over_causal(double n, double heads)
{
    return fmin(2, 1.05 + 250 / n + 6760 / (n * heads));
}

/* As `other`, whose rate is `slower` times that of a. */
static struct block_time from_mask(const struct question *a,
                                 const struct question *other, double slower)
{
    struct block_time x = from_tables(other);

    if (x.seconds <= 0)
        return x;
    if (!x.surface->heads)
        slower = 1;
    x.seconds *= block_pairs(a->block, a->q, a->k) * slower
        / block_pairs(other->block, other->q, other->k);
    widen(&x, spread_mask, 1);
    x.how = ESTIMATE_MASK;
    return x;
}

/* Is it of the very head size and dtype? */
static int is_alike(const struct question *a, struct block_time x)
{
    const struct block_shape *s = a->shape;

    return x.seconds > 0 && x.surface->head_dim == s->head_dim
        && x.surface->value_dim == s->value_dim
        && x.surface->dtype == s->dtype;
}

/* The first, unless only the second is of the head size. */
static struct block_time nearer(const struct question *a, struct block_time x,
                                struct block_time y)
{
    return x.seconds <= 0 || (is_alike(a, y) && !is_alike(a, x)) ? y : x;
}

/* Any block goes at the rate of a full one, that at the rate of the causal
 * square of its area. */
static struct block_time from_any_mask(const struct question *a)
{
    double heads = (double)a->shape->heads;
    struct question full = *a, causal = *a;
    struct block_time x = from_tables(a);

    if (is_alike(a, x))
        return x;

    full.block = BLOCK_FULL;
    causal.block = BLOCK_CAUSAL;
    causal.q = causal.k = max64(1, llround(sqrt((double)a->q * (double)a->k)));
    double faster = full_over_causal((double)causal.q, heads);
    if (a->block != BLOCK_FULL)
        x = nearer(a, x, from_mask(a, &full, a->block == BLOCK_CAUSAL
                                   ? faster : 1));
    if (a->block != BLOCK_CAUSAL && a->block != BLOCK_FEW)
        x = nearer(a, x, from_mask(a, &causal, 1 / faster));
    return x;
}

static struct block_time from_forward(const struct question *a)
{
    const struct block_shape *s = a->shape;
    struct question forward = *a;

    forward.op = "attend";
    struct block_time x = from_any_mask(&forward);
    if (x.seconds <= 0 || !x.surface->heads)    /* a CPU's must be measured */
        return (struct block_time){ .low = 1, .high = 1 };
    x.seconds *= pair_flops(a->op, (double)s->head_dim, (double)s->value_dim)
        / pair_flops("attend", (double)s->head_dim, (double)s->value_dim)
        / backward_rate;
    widen(&x, spread_forward, 1);
    x.how = ESTIMATE_FORWARD;
    return x;
}

/* ---- From the peak ------------------------------------------------------ */

/* Seconds of one head's block at the machine's peak; 0: unknown. */
static double at_peak(const struct question *a)
{
    const struct block_shape *s = a->shape;

    return a->m->peak > 0
        ? pair_flops(a->op, (double)s->head_dim, (double)s->value_dim)
            * block_pairs(a->block, a->q, a->k) / a->m->peak
        : 0;
}

static struct block_time from_peak(const struct question *a)
{
    double x = at_peak(a), all = x * (double)max64(1, a->shape->heads);
    struct block_time none = { .low = 1, .high = 1 };

    if (x <= 0)
        return none;
    return (struct block_time){
        x * (1 + pow(20e-6 / all, 0.8)) / 0.6, spread_roofline[0],
        spread_roofline[1], ESTIMATE_ROOFLINE, NULL, NULL
    };
}

/* ---- All of them -------------------------------------------------------- */

struct block_time machine_estimate(const struct machine *m, const char *op,
                                 const char *kernel,
                                 const struct block_shape *shape,
                                 enum block_kind block, int64_t q, int64_t k)
{
    const struct question a = { m, op, kernel, shape, block, q, k };
    struct block_time x = { .low = 1, .high = 1 };

    if (q <= 0 || k <= 0)
        return x;
    x = from_any_mask(&a);
    if (x.seconds <= 0 && strcmp(op, "attend") != 0)
        x = from_forward(&a);
    if (x.seconds <= 0)
        x = from_peak(&a);
    x.seconds = fmax(x.seconds, at_peak(&a));
    return x;
}

double machine_block_seconds(const struct machine *m, const char *op,
                             const char *kernel, const struct block_shape *x,
                             enum block_kind block, int64_t q, int64_t k)
{
    struct block_time t = machine_estimate(m, op, kernel, x, block, q, k);

    if (m->quantile == 0)
        return t.seconds;
    return t.seconds * (m->quantile < 0 ? t.low : t.high);
}

int machine_has_surface(const struct machine *m, const char *op,
                        const char *kernel, struct error *e)
{
    const struct block_shape any = { DTYPE_FP32, 64, 64, 1, 1 };

    if (machine_block_seconds(m, op, kernel, &any, BLOCK_FULL, 1, 1) > 0)
        return 0;
    if (machine_any_kernel(kernel))
        return fail(e, "machine %s: no surface of %s", m->name, op);
    return fail(e, "machine %s: no surface of %s for kernel %s", m->name, op,
                kernel);
}
