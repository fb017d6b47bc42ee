/* SPDX-License-Identifier: Apache-2.0
 *
 * The oracle of linear attention, by definition and in fp64.  With the weight
 * w_ij = lambda^|i-j| where i sees j, else 0:
 *
 *     o_i = sum_j w_ij (f(q_i) f(k_j)) v_j
 *     dq_i = f'(q_i) * sum_j w_ij (do_i v_j) f(k_j)
 *     dv_j = sum_i w_ij (f(k_j) f(q_i)) do_i
 *     dk_j = f'(k_j) * sum_i w_ij (v_j do_i) f(q_i)
 *
 * All four are one form: a row's vectors (a, b) against all columns' (x, y),
 * sum of w (a x) y and sum of w (b y) x, where rows are queries and columns
 * keys, or the other way round.  No state is carried: S x S products are made,
 * in tiles. */
#include <config.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/oracle_block.h"

enum {
    ROWS = 32, COLUMNS = 256,   /* of a tile */
    LANES = 8                   /* widths are padded to multiples of it */
};

/* ---- Features ----------------------------------------------------------- */

static double identity(double x)
{
    return x;
}

static double one(double x)
{
    (void)x;
    return 1;
}

static double elu1(double x)
{
    return x > 0 ? x + 1 : exp(x);
}

static double elu1_slope(double x)
{
    return x > 0 ? 1 : exp(x);
}

static double relu(double x)
{
    return x > 0 ? x : 0;
}

static double step(double x)
{
    return x > 0;
}

static const struct {
    double (*f)(double), (*slope)(double);
} features[] = { { identity, one }, { elu1, elu1_slope }, { relu, step } };

/* ---- One head of one sequence ------------------------------------------- */

/* What queries and what keys bring: f(q) and do, f(k) and v. */
enum side { QUERIES, KEYS };

struct panel {
    const struct oracle_problem *problem;
    int64_t head, kv_head;
    int64_t base, n;            /* the sequence's tokens */
    int64_t widths[2];          /* D, E, padded */
    double *vectors[2][2];      /* [side]: f(q), f(k) [n, D]; do, v [n, E] */
    double *decay;              /* [n] lambda^distance */
};

/* Rows of one head, padded with zeros; f NULL: as they are. */
static double *take(const struct panel *m, const double *from, int64_t head,
                    int64_t heads, int64_t width, double (*f)(double),
                    int absolute)
{
    int64_t padded = ceil_div(width, LANES) * LANES;
    double *to = oracle_zeros(m->n * padded);

    for (int64_t i = 0; from && i < m->n; i++) {
        const double *row = from + oracle_at(m->base + i, head, heads, width);

        for (int64_t x = 0; x < width; x++) {
            double value = f ? f(row[x]) : row[x];

            to[i * padded + x] = absolute ? fabs(value) : value;
        }
    }
    return to;
}

/* `absolute`: the sums of absolute terms are asked for. */
static struct panel panel_create(const struct oracle_problem *p, int64_t head,
                                 int64_t sequence, int absolute)
{
    double (*f)(double) = features[p->feature].f;
    int64_t D = p->head_dim, E = p->value_dim, base = p->offsets[sequence];
    struct panel m = {
        .problem = p, .head = head, .kv_head = head / (p->heads / p->kv_heads),
        .base = base, .n = p->offsets[sequence + 1] - base,
        .widths = { ceil_div(D, LANES) * LANES, ceil_div(E, LANES) * LANES },
    };

    m.vectors[QUERIES][0] = take(&m, p->q, head, p->heads, D, f, absolute);
    m.vectors[QUERIES][1] = take(&m, p->d_o, head, p->heads, E, NULL,
                                 absolute);
    m.vectors[KEYS][0] = take(&m, p->k, m.kv_head, p->kv_heads, D, f, absolute);
    m.vectors[KEYS][1] = take(&m, p->v, m.kv_head, p->kv_heads, E, NULL,
                              absolute);
    m.decay = oracle_zeros(m.n);
    for (int64_t i = 0; i < m.n; i++)
        m.decay[i] = p->slopes ? exp(-p->slopes[head] * (double)i) : 1;
    return m;
}

static void panel_destroy(struct panel *m)
{
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < 2; i++)
            free(m->vectors[side][i]);
    free(m->decay);
}

/* ---- Products ----------------------------------------------------------- */

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

/* c [rows, n] += a [rows, k] b [k, n]; rows, n multiples of LANES. */
ORACLE_ANY_ISA
static void multiply_add(double *restrict c, const double *restrict a,
                         const double *restrict b, int64_t rows, int64_t k,
                         int64_t n)
{
    for (int64_t r = 0; r < rows; r += 8)
        for (int64_t j = 0; j < n; j += LANES) {
            lanes sum[8], y;

            for (int i = 0; i < 8; i++)
                memcpy(&sum[i], c + (r + i) * n + j, sizeof y);
            for (int64_t x = 0; x < k; x++) {
                memcpy(&y, b + x * n + j, sizeof y);
                for (int i = 0; i < 8; i++)
                    sum[i] += a[(r + i) * k + x] * y;
            }
            for (int i = 0; i < 8; i++)
                memcpy(c + (r + i) * n + j, &sum[i], sizeof y);
        }
}

/* A tile: rows against columns [first, first + n), n <= COLUMNS. */
struct tile_work {
    int64_t rows;               /* of ROWS, a multiple of LANES */
    double a[ROWS * COLUMNS];   /* weighted products of a row and a column */
    double w[ROWS * COLUMNS];
    double *turned;             /* [max(D, E), COLUMNS] */
};

/* sum [ROWS, out] += (w * (rows columnsT)) values; rows [ROWS, in], columns
 * [n, in], values [n, out]. */
static void weigh(struct tile_work *t, double *sum, const double *rows,
                  const double *columns, const double *values, int64_t n,
                  int64_t in, int64_t out)
{
    memset(t->turned, 0, (size_t)(in * COLUMNS) * sizeof *t->turned);
    for (int64_t j = 0; j < n; j++)
        for (int64_t x = 0; x < in; x++)
            t->turned[x * COLUMNS + j] = columns[j * in + x];
    memset(t->a, 0, sizeof t->a);
    multiply_add(t->a, rows, t->turned, t->rows, in, COLUMNS);
    for (int64_t i = 0; i < t->rows * COLUMNS; i++)
        t->a[i] *= t->w[i];
    for (int64_t r = 0; n < COLUMNS && r < t->rows; r++)
        memmove(t->a + r * n, t->a + r * COLUMNS, (size_t)n * sizeof *t->a);
    multiply_add(sum, t->a, values, t->rows, n, out);
}

/* Weights of the tile; 0 if all of them are. */
static int weights(const struct panel *m, struct tile_work *t, enum side side,
                   const int64_t *rows, int64_t n_rows, int64_t first,
                   int64_t n)
{
    const struct oracle_mask *mask = &m->problem->mask;
    int any = 0;

    memset(t->w, 0, sizeof t->w);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t j = 0; j < n; j++) {
            int64_t i = rows[r], x = first + j;
            int sees = side == QUERIES ? oracle_sees(mask, i, x)
                                       : oracle_sees(mask, x, i);

            if (!sees)
                continue;
            t->w[r * COLUMNS + j] = m->decay[i < x ? x - i : i - x];
            any = 1;
        }
    return any;
}

/* Sums of up to ROWS rows of one side (places in the sequence) over all columns
 * of the other: out[1] [ROWS, E] of w (a x) y; out[0] [ROWS, D] of w (b y) x,
 * NULL: not wanted. */
static void gather(const struct panel *m, enum side side, const int64_t *rows,
                   int64_t n_rows, double *const out[2])
{
    double *const *row_of = m->vectors[side];
    double *const *column = m->vectors[1 - (int)side], *mine[2];
    struct tile_work *t = xmalloc(sizeof *t);

    t->rows = ceil_div(n_rows, LANES) * LANES;
    t->turned = oracle_zeros(max64(m->widths[0], m->widths[1]) * COLUMNS);
    for (int i = 0; i < 2; i++) {
        int64_t width = m->widths[i];

        mine[i] = oracle_zeros(ROWS * width);
        for (int64_t r = 0; r < n_rows; r++)
            memcpy(mine[i] + r * width, row_of[i] + rows[r] * width,
                   (size_t)width * sizeof **mine);
        if (out[i])
            memset(out[i], 0, (size_t)(ROWS * width) * sizeof **out);
    }
    for (int64_t first = 0; first < m->n; first += COLUMNS) {
        int64_t n = min64(COLUMNS, m->n - first);

        if (!weights(m, t, side, rows, n_rows, first, n))
            continue;
        for (int i = 0; i < 2; i++)
            if (out[i])
                weigh(t, out[i], mine[1 - i],
                      column[1 - i] + first * m->widths[1 - i],
                      column[i] + first * m->widths[i], n, m->widths[1 - i],
                      m->widths[i]);
    }
    free(mine[0]);
    free(mine[1]);
    free(t->turned);
    free(t);
}

/* ---- Results ------------------------------------------------------------ */

/* to [width] += x, times f'(raw) unless raw is NULL. */
static void add(double *to, const double *x, int64_t width, const double *raw,
                int feature)
{
    for (int64_t i = 0; i < width; i++)
        to[i] += raw ? features[feature].slope(raw[i]) * x[i] : x[i];
}

/* Rows of one side, listed by their places in the sequence, at most ROWS: adds
 * to row r of d, by (d)f(q) or (d)f(k), and of e, o or dv; at to[r]. */
static void add_rows(const struct panel *m, enum side side, const int64_t *rows,
                     int64_t n, double *d, double *e, const int64_t *to)
{
    const struct oracle_problem *p = m->problem;
    const double *raw = side == QUERIES ? p->q : p->k;
    int64_t head = side == QUERIES ? m->head : m->kv_head;
    int64_t heads = side == QUERIES ? p->heads : p->kv_heads;
    double *out[2] = { d ? oracle_zeros(ROWS * m->widths[0]) : NULL,
                       e ? oracle_zeros(ROWS * m->widths[1]) : NULL };

    gather(m, side, rows, n, out);
    for (int64_t r = 0; r < n; r++) {
        if (d)
            add(d + to[r] * p->head_dim, out[0] + r * m->widths[0], p->head_dim,
                raw + oracle_at(m->base + rows[r], head, heads, p->head_dim),
                p->feature);
        if (e)
            add(e + to[r] * p->value_dim, out[1] + r * m->widths[1],
                p->value_dim, NULL, 0);
    }
    free(out[0]);
    free(out[1]);
}

/* All rows of one side into the global tensors. */
static void add_side(const struct panel *m, enum side side, double *d,
                     double *e)
{
    int64_t head = side == QUERIES ? m->head : m->kv_head;
    int64_t heads = side == QUERIES ? m->problem->heads : m->problem->kv_heads;
    int64_t rows[ROWS], to[ROWS];

    for (int64_t first = 0; (d || e) && first < m->n; first += ROWS) {
        int64_t n = min64(ROWS, m->n - first);

        for (int64_t r = 0; r < n; r++) {
            rows[r] = first + r;
            to[r] = (m->base + first + r) * heads + head;
        }
        add_rows(m, side, rows, n, d, e, to);
    }
}

/* The tensors that `r` names, in the order o dq dk dv: their addresses, numbers
 * of elements. */
static void name_results(const struct oracle_problem *p, double **r[4],
                         int64_t n[4], struct oracle_result *of)
{
    int64_t tokens = p->offsets[p->sequences];
    int64_t q = tokens * p->heads, k = tokens * p->kv_heads;
    double **tensors[] = { &of->o, &of->dq, &of->dk, &of->dv };
    int64_t sizes[] = { q * p->value_dim, q * p->head_dim, k * p->head_dim,
                        k * p->value_dim };

    memcpy(r, tensors, sizeof tensors);
    memcpy(n, sizes, sizeof sizes);
}

static void all_heads(const struct oracle_problem *p, struct oracle_result *r,
                      int absolute)
{
    double **x[4];
    int64_t n[4];

    name_results(p, x, n, r);
    for (int i = 0; i < 4; i++)
        if (*x[i])
            memset(*x[i], 0, (size_t)n[i] * sizeof **x[i]);
    for (int64_t h = 0; h < p->heads; h++)
        for (int64_t s = 0; s < p->sequences; s++) {
            struct panel m = panel_create(p, h, s, absolute);

            add_side(&m, QUERIES, r->dq, r->o);
            add_side(&m, KEYS, r->dk, r->dv);
            panel_destroy(&m);
        }
}

/* Twice: as asked, and into tensors of absolute terms, of which the largest
 * count. */
void linear_dense(const struct oracle_problem *p, struct oracle_result *r)
{
    struct oracle_result sizes = { 0 };
    double **asked[4], **x[4], *most[] = { &r->abs_o, &r->abs_dq, &r->abs_dk,
                                           &r->abs_dv };
    int64_t n[4];

    name_results(p, asked, n, r);
    name_results(p, x, n, &sizes);
    for (int i = 0; i < 4; i++)
        *x[i] = *asked[i] ? oracle_zeros(n[i]) : NULL;
    all_heads(p, r, 0);
    all_heads(p, &sizes, 1);
    for (int i = 0; i < 4; i++) {
        *most[i] = 0;
        for (int64_t j = 0; *x[i] && j < n[i]; j++)
            *most[i] = fmax(*most[i], (*x[i])[j]);
        free(*x[i]);
    }
}

/* Of the listed tokens those of the panel's sequence, at most ROWS from
 * list[*i] on; to: their places in the list. */
static int64_t next_rows(const struct panel *m, const int64_t *list, int64_t n,
                         int64_t *i, int64_t *rows, int64_t *to)
{
    int64_t count = 0;

    for (; *i < n && count < ROWS; ++*i) {
        if (list[*i] < m->base || list[*i] >= m->base + m->n)
            continue;
        rows[count] = list[*i] - m->base;
        to[count++] = *i;
    }
    return count;
}

static void add_listed(const struct oracle_problem *p, int64_t head,
                       enum side side, const int64_t *list, int64_t n,
                       double *d, double *e)
{
    for (int64_t s = 0; s < p->sequences; s++) {
        int64_t rows[ROWS], to[ROWS], count;
        struct panel m = panel_create(p, head, s, 0);

        for (int64_t i = 0; i < n;) {
            count = next_rows(&m, list, n, &i, rows, to);
            if (count)
                add_rows(&m, side, rows, count, d, e, to);
        }
        panel_destroy(&m);
    }
}

void linear_rows(const struct oracle_problem *p, int64_t head,
                 const int64_t *rows, int64_t n, double *o, double *dq)
{
    memset(o, 0, (size_t)(n * p->value_dim) * sizeof *o);
    if (dq)
        memset(dq, 0, (size_t)(n * p->head_dim) * sizeof *dq);
    add_listed(p, head, QUERIES, rows, n, dq, o);
}

void linear_keys(const struct oracle_problem *p, int64_t kv_head,
                 const int64_t *keys, int64_t n, double *dk, double *dv)
{
    int64_t group = p->heads / p->kv_heads;

    memset(dk, 0, (size_t)(n * p->head_dim) * sizeof *dk);
    memset(dv, 0, (size_t)(n * p->value_dim) * sizeof *dv);
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; h++)
        add_listed(p, h, KEYS, keys, n, dk, dv);
}
