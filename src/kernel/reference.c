/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference backend: attention as written down, in fp64, row by row.  Slow
 * and obvious: a second opinion on every other backend.  It shares nothing with
 * them, and nothing with the oracle. */
#include <config.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/backends.h"
#include "kernel/reference.h"

/* Query row r's visible keys, of all segments. Returns how many. */
static int64_t visible_keys(const struct attend_args *a, int64_t r,
                            int64_t *keys)
{
    int64_t n = 0;

    for (int64_t i = 0; i < a->n_segments; i++) {
        const struct segment *s = &a->segments[i];
        int64_t first, last;

        if (r < s->q_first || r >= s->q_first + s->q_count)
            continue;
        segment_row(s, r - s->q_first, &first, &last);
        for (int64_t j = first; j < last; j++)
            keys[n++] = s->k_first + j;
    }
    return n;
}

/* KV head, as numbered in k, of head h of q. */
static int64_t kv_head(const struct attend_args *a, int64_t h)
{
    return (a->q.head_first + h) / a->group - a->k.head_first;
}

/* Rounded to fp32, as lse is: so where one key takes all, lse is its score and
 * backward finds P = 1 again, however large both are. */
static double score(const struct attend_args *a, int64_t r, int64_t h,
                    int64_t key)
{
    double sum = 0;

    for (int64_t x = 0; x < a->q.width; x++)
        sum += load(&a->q, r, h, x) * load(&a->k, key, kv_head(a, h), x);
    return (double)(float)(sum * (double)a->scale);
}

/* (O, lse) of row r, head h over n keys; s [n] and o [E] are work space. */
static void attend_row(const struct attend_args *a, int64_t r, int64_t h,
                       const int64_t *keys, int64_t n, double *s, double *o)
{
    double old = a->store ? -INFINITY : load(&a->lse, r, h, 0);
    double most = old, sum = 0;

    if (!n && !a->store)
        return;
    for (int64_t j = 0; j < n; j++)
        most = fmax(most, s[j] = score(a, r, h, keys[j]));
    for (int64_t x = 0; x < a->o.width; x++)
        o[x] = 0;
    if (old != -INFINITY) {
        sum = exp(old - most);
        for (int64_t x = 0; x < a->o.width; x++)
            o[x] = sum * load(&a->o, r, h, x);
    }
    for (int64_t j = 0; j < n; j++) {
        double p = exp(s[j] - most);

        sum += p;
        for (int64_t x = 0; x < a->o.width; x++)
            o[x] += p * load(&a->v, keys[j], kv_head(a, h), x);
    }
    for (int64_t x = 0; x < a->o.width; x++)
        store(&a->o, r, h, x, sum != 0 ? o[x] / sum : 0);
    store(&a->lse, r, h, 0, sum != 0 ? most + log(sum) : -INFINITY);
}

/* Work space that holds every visible key of a row. */
static int64_t most_keys(const struct attend_args *a)
{
    int64_t n = 1;

    for (int64_t i = 0; i < a->n_segments; i++)
        n += a->segments[i].k_count;
    return n;
}

static void poll_now(const struct attend_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

static void reference_attend(const struct attend_args *a)
{
    int64_t *keys = xmalloc((size_t)most_keys(a) * sizeof *keys);
    double *s = doubles(most_keys(a)), *o = doubles(a->o.width);

    for (int64_t r = 0; r < a->q.rows; r++) {
        int64_t n = visible_keys(a, r, keys);

        for (int64_t h = 0; h < a->q.heads; h++) {
            attend_row(a, r, h, keys, n, s, o);
            poll_now(a);
        }
    }
    free(keys);
    free(s);
    free(o);
}

/* Gradients of a call, fp64, dense: [nq, H, D], [nk, Hk, D], [nk, Hk, E]. */
struct sums {
    double *dq, *dk, *dv;
};

static void backward_pair(const struct attend_args *a, int64_t r, int64_t h,
                          int64_t key, struct sums *g)
{
    int64_t kv = kv_head(a, h), d = a->q.width, e = a->v.width;
    double lse = load(&a->lse, r, h, 0), scale = (double)a->scale;
    double p = lse == -INFINITY ? 0 : exp(score(a, r, h, key) - lse), ds = 0;
    double *dq = g->dq + (r * a->q.heads + h) * d;
    double *dk = g->dk + (key * a->k.heads + kv) * d;
    double *dv = g->dv + (key * a->v.heads + kv) * e;

    for (int64_t x = 0; x < e; x++) {
        ds += load(&a->d_o, r, h, x) * load(&a->v, key, kv, x);
        dv[x] += p * load(&a->d_o, r, h, x);
    }
    ds = p * (ds - load(&a->delta, r, h, 0)) * scale;
    for (int64_t x = 0; x < d; x++) {
        dq[x] += ds * load(&a->k, key, kv, x);
        dk[x] += ds * load(&a->q, r, h, x);
    }
}

/* t = sums, or t += sums. */
static void flush(const struct tensor *t, int overwrite, const double *sums)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t h = 0; h < t->heads; h++)
            for (int64_t x = 0; x < t->width; x++) {
                double old = overwrite ? 0 : load(t, r, h, x);

                store(t, r, h, x, old + *sums++);
            }
}

static int64_t elements(const struct tensor *t)
{
    return t->rows * t->heads * t->width;
}

static void reference_attend_backward(const struct attend_args *a)
{
    int64_t *keys = xmalloc((size_t)most_keys(a) * sizeof *keys);
    struct sums g = { doubles(elements(&a->q)), doubles(elements(&a->k)),
                      doubles(elements(&a->v)) };

    for (int64_t r = 0; r < a->q.rows; r++) {
        int64_t n = visible_keys(a, r, keys);

        for (int64_t h = 0; h < a->q.heads; h++) {
            for (int64_t j = 0; j < n; j++)
                backward_pair(a, r, h, keys[j], &g);
            poll_now(a);
        }
    }
    flush(&a->dq, a->store_dq, g.dq);
    flush(&a->dk, a->store_dk, g.dk);
    flush(&a->dv, a->store_dv, g.dv);
    free(keys);
    free(g.dq);
    free(g.dk);
    free(g.dv);
}

static void reference_delta(struct tensor o, struct tensor d_o,
                            struct tensor delta)
{
    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            double sum = 0;

            for (int64_t x = 0; x < o.width; x++)
                sum += load(&o, r, h, x) * load(&d_o, r, h, x);
            store(&delta, r, h, 0, sum);
        }
}

enum { PARTIALS = 8 };

static void merge_row(const struct tensor *o, const struct tensor *lse,
                      int64_t n, int64_t r, int64_t h, double *row)
{
    double most = -INFINITY, total = 0;

    for (int64_t i = 0; i < n; i++)
        most = fmax(most, load(&lse[i], r, h, 0));
    memset(row, 0, (size_t)o[0].width * sizeof *row);
    for (int64_t i = 0; i < n; i++) {
        double own = load(&lse[i], r, h, 0);
        double weight = own == -INFINITY ? 0 : exp(own - most);

        total += weight;
        for (int64_t x = 0; weight != 0 && x < o[i].width; x++)
            row[x] += weight * load(&o[i], r, h, x);
    }
    for (int64_t x = 0; total != 0 && x < o[0].width; x++)
        row[x] /= total;
    row[o[0].width] = total != 0 ? most + log(total) : -INFINITY;
}

static void reference_merge(struct tensor o, struct tensor lse, int overwrite,
                            const struct tensor *po, const struct tensor *plse,
                            int64_t n)
{
    struct tensor from[PARTIALS + 1] = { o }, from_lse[PARTIALS + 1] = { lse };
    int64_t own = !overwrite;
    double *row = doubles(o.width + 1);

    memcpy(from + own, po, (size_t)n * sizeof *po);
    memcpy(from_lse + own, plse, (size_t)n * sizeof *plse);
    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            merge_row(from, from_lse, n + own, r, h, row);
            for (int64_t x = 0; x < o.width; x++)
                store(&o, r, h, x, row[x]);
            store(&lse, r, h, 0, row[o.width]);
        }
    free(row);
}

static void reference_sum(struct tensor dst, int overwrite,
                          const struct tensor *src, int64_t n)
{
    for (int64_t r = 0; r < dst.rows; r++)
        for (int64_t h = 0; h < dst.heads; h++)
            for (int64_t x = 0; x < dst.width; x++) {
                double sum = overwrite ? 0 : load(&dst, r, h, x);

                for (int64_t i = 0; i < n; i++)
                    sum += load(&src[i], r, h, x);
                store(&dst, r, h, x, sum);
            }
}

static int reference_available(struct error *e)
{
    (void)e;
    return 0;
}

const struct kernel_backend kernel_reference = {
    .name = "reference",
    .summary = "plain loops in fp64, slow: the second opinion",
    .available = reference_available,
    .attend = reference_attend,
    .attend_backward = reference_attend_backward,
    .delta = reference_delta,
    .merge = reference_merge,
    .sum = reference_sum,
    .rescale = reference_rescale,
    .normalize = reference_normalize,
    .scores = reference_scores,
    .weigh = reference_weigh,
    .weigh_transposed = reference_weigh_transposed,
    .softmax = reference_softmax,
    .softmax_backward = reference_softmax_backward,
    .state = reference_state,
    .state_scan = reference_state_scan,
    .linear_intra = reference_linear_intra,
    .linear_inter = reference_linear_inter,
    .linear_intra_backward = reference_linear_intra_backward,
    .linear_inter_dq = reference_linear_inter_dq,
    .linear_inter_dkv = reference_linear_inter_dkv,
};
