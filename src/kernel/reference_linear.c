/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference backend: linear attention as written down in schedule.h, in
 * fp64, pair by pair within a chunk. */
#include <config.h>

#include <math.h>
#include <stdlib.h>

#include "kernel/reference.h"

/* ---- Parts --------------------------------------------------------------- */

/* A tensor's elements, or sums of its shape, in fp64 without gaps. */
struct dense {
    double *x;
    int64_t heads, width;
};

static double *row(const struct dense *d, int64_t r, int64_t h)
{
    return d->x + (r * d->heads + h) * d->width;
}

static struct dense zeros(const struct tensor *t)
{
    return (struct dense){ doubles(t->rows * t->heads * t->width), t->heads,
                           t->width };
}

static double feature(int f, double x)
{
    return f == FEATURE_MAP_ELU1 ? (x > 0 ? x + 1 : exp(x))
           : f == FEATURE_MAP_RELU ? (x > 0 ? x : 0) : x;
}

static double derivative(int f, double x)
{
    return f == FEATURE_MAP_ELU1 ? (x > 0 ? 1 : exp(x))
           : f == FEATURE_MAP_RELU ? x > 0 : 1;
}

/* f of every element. */
static struct dense read_all(const struct tensor *t, int f)
{
    struct dense d = zeros(t);

    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t h = 0; h < t->heads; h++)
            for (int64_t x = 0; x < t->width; x++)
                row(&d, r, h)[x] = feature(f, load(t, r, h, x));
    return d;
}

/* t (+)= the sums, times f' of the elements of `of` unless that is NULL; frees
 * the sums. */
static void write_all(const struct tensor *t, int overwrite, struct dense *d,
                      const struct tensor *of, int f)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t h = 0; h < t->heads; h++)
            for (int64_t x = 0; x < t->width; x++) {
                double old = overwrite ? 0 : load(t, r, h, x);
                double factor = of ? derivative(f, load(of, r, h, x)) : 1;

                store(t, r, h, x, old + factor * row(d, r, h)[x]);
            }
    free(d->x);
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;

    for (int64_t x = 0; x < n; x++)
        sum += a[x] * b[x];
    return sum;
}

static void add(double *to, double factor, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        to[i] += factor * x[i];
}

/* lambda^n of head h of t, a tensor of query heads. */
static double power(const double *slopes, const struct tensor *t, int64_t h,
                    int64_t n)
{
    return slopes ? exp(-slopes[t->head_first + h] * (double)n) : 1;
}

/* Head of k that head h of t uses. */
static int64_t kv_head(const struct linear_args *a, const struct tensor *t,
                       const struct tensor *k, int64_t h)
{
    return (t->head_first + h) / a->group - k->head_first;
}

static void poll_now(const struct linear_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

/* ---- States -------------------------------------------------------------- */

/* sum of lambda^(n-i) f(k_i) (x) v_i; backward: of lambda^i f(q_i) (x) do_i */
void reference_state(const struct linear_args *a, int backward)
{
    const struct tensor *tx = backward ? &a->q : &a->k;
    const struct tensor *ty = backward ? &a->d_o : &a->v;
    struct dense x = read_all(tx, a->feature), y = read_all(ty, 0);
    struct dense sum = zeros(&a->state);

    for (int64_t h = 0; h < a->state.heads; h++) {
        int64_t g = backward ? h : kv_head(a, &a->state, tx, h);

        for (int64_t i = 0; i < tx->rows; i++) {
            double factor = power(a->slopes, &a->state, h,
                                  backward ? i : tx->rows - i);

            for (int64_t d = 0; d < x.width; d++)
                add(row(&sum, 0, h) + d * y.width, factor * row(&x, i, g)[d],
                    row(&y, i, g), y.width);
            poll_now(a);
        }
    }
    write_all(&a->state, 1, &sum, NULL, 0);
    free(x.x);
    free(y.x);
}

void reference_state_scan(struct tensor dst, int overwrite,
                          const struct tensor *src, int64_t n,
                          const int64_t *spans, const double *slopes)
{
    struct dense sum = zeros(&dst);

    for (int64_t h = 0; h < dst.heads; h++) {
        const int64_t *span = spans;

        if (!overwrite) {
            double factor = power(slopes, &dst, h, *span++);

            for (int64_t x = 0; x < dst.width; x++)
                row(&sum, 0, h)[x] = factor * load(&dst, 0, h, x);
        }
        for (int64_t i = 0; i < n; i++) {
            double factor = power(slopes, &dst, h, span[i]);

            for (int64_t x = 0; x < dst.width; x++)
                row(&sum, 0, h)[x] += factor * load(&src[i], 0, h, x);
        }
    }
    write_all(&dst, 1, &sum, NULL, 0);
}

/* ---- Within a chunk ------------------------------------------------------ */

/* o_i = sum over j <= i of lambda^(i-j) (f(q_i) . f(k_j)) v_j */
void reference_linear_intra(const struct linear_args *a)
{
    struct dense q = read_all(&a->q, a->feature);
    struct dense k = read_all(&a->k, a->feature), v = read_all(&a->v, 0);
    struct dense o = zeros(&a->o);

    for (int64_t h = 0; h < a->q.heads; h++) {
        int64_t g = kv_head(a, &a->q, &a->k, h);

        for (int64_t i = 0; i < a->q.rows; i++) {
            for (int64_t j = 0; j <= i; j++)
                add(row(&o, i, h),
                    power(a->slopes, &a->q, h, i - j)
                        * dot(row(&q, i, h), row(&k, j, g), q.width),
                    row(&v, j, g), v.width);
            poll_now(a);
        }
    }
    write_all(&a->o, a->store_o, &o, NULL, 0);
    free(q.x);
    free(k.x);
    free(v.x);
}

/* With s = lambda^(i-j) f(q_i) . f(k_j) and t = lambda^(i-j) do_i . v_j:
 * dq_i = f'(q_i) sum_j t f(k_j), dk_j = f'(k_j) sum_i t f(q_i),
 * dv_j = sum_i s do_i */
void reference_linear_intra_backward(const struct linear_args *a)
{
    struct dense q = read_all(&a->q, a->feature);
    struct dense k = read_all(&a->k, a->feature), v = read_all(&a->v, 0);
    struct dense d_o = read_all(&a->d_o, 0);
    struct dense dq = zeros(&a->dq), dk = zeros(&a->dk), dv = zeros(&a->dv);

    for (int64_t h = 0; h < a->q.heads; h++) {
        int64_t g = kv_head(a, &a->q, &a->k, h);

        for (int64_t i = 0; i < a->q.rows; i++) {
            for (int64_t j = 0; j <= i; j++) {
                double p = power(a->slopes, &a->q, h, i - j);
                double s = p * dot(row(&q, i, h), row(&k, j, g), q.width);
                double t = p * dot(row(&d_o, i, h), row(&v, j, g), v.width);

                add(row(&dq, i, h), t, row(&k, j, g), q.width);
                add(row(&dk, j, g), t, row(&q, i, h), q.width);
                add(row(&dv, j, g), s, row(&d_o, i, h), v.width);
            }
            poll_now(a);
        }
    }
    write_all(&a->dq, a->store_dq, &dq, &a->q, a->feature);
    write_all(&a->dk, a->store_dk, &dk, &a->k, a->feature);
    write_all(&a->dv, a->store_dv, &dv, NULL, 0);
    free(q.x);
    free(k.x);
    free(v.x);
    free(d_o.x);
}

/* ---- Between chunks ------------------------------------------------------ */

/* o_i = lambda^i f(q_i) P */
void reference_linear_inter(const struct linear_args *a)
{
    struct dense q = read_all(&a->q, a->feature);
    struct dense p = read_all(&a->state, 0), o = zeros(&a->o);

    for (int64_t i = 0; i < a->q.rows; i++)
        for (int64_t h = 0; h < a->q.heads; h++) {
            double factor = power(a->slopes, &a->q, h, i);

            for (int64_t d = 0; d < q.width; d++)
                add(row(&o, i, h), factor * row(&q, i, h)[d],
                    row(&p, 0, h) + d * o.width, o.width);
            poll_now(a);
        }
    write_all(&a->o, a->store_o, &o, NULL, 0);
    free(q.x);
    free(p.x);
}

/* dq_i = lambda^i f'(q_i) * (P do_i) */
void reference_linear_inter_dq(const struct linear_args *a)
{
    struct dense d_o = read_all(&a->d_o, 0), p = read_all(&a->state, 0);
    struct dense dq = zeros(&a->dq);

    for (int64_t i = 0; i < a->q.rows; i++)
        for (int64_t h = 0; h < a->q.heads; h++) {
            double factor = power(a->slopes, &a->q, h, i);

            for (int64_t d = 0; d < dq.width; d++)
                row(&dq, i, h)[d] = factor
                    * dot(row(&p, 0, h) + d * d_o.width, row(&d_o, i, h),
                          d_o.width);
            poll_now(a);
        }
    write_all(&a->dq, a->store_dq, &dq, &a->q, a->feature);
    free(d_o.x);
    free(p.x);
}

/* dk_i = lambda^(n-i) f'(k_i) * (R v_i), dv_i = lambda^(n-i) f(k_i) R, summed
 * over the query heads of a KV head */
void reference_linear_inter_dkv(const struct linear_args *a)
{
    struct dense k = read_all(&a->k, a->feature), v = read_all(&a->v, 0);
    struct dense p = read_all(&a->state, 0);
    struct dense dk = zeros(&a->dk), dv = zeros(&a->dv);

    for (int64_t i = 0; i < a->k.rows; i++)
        for (int64_t h = 0; h < a->state.heads; h++) {
            int64_t g = kv_head(a, &a->state, &a->k, h);
            double factor = power(a->slopes, &a->state, h, a->k.rows - i);

            for (int64_t d = 0; d < k.width; d++) {
                const double *r = row(&p, 0, h) + d * v.width;

                row(&dk, i, g)[d] += factor * dot(r, row(&v, i, g), v.width);
                add(row(&dv, i, g), factor * row(&k, i, g)[d], r, v.width);
            }
            poll_now(a);
        }
    write_all(&a->dk, a->store_dk, &dk, &a->k, a->feature);
    write_all(&a->dv, a->store_dv, &dv, NULL, 0);
    free(k.x);
    free(v.x);
    free(p.x);
}
