/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference backend: materialised scores, and the parts of a merge. */
#include <config.h>

#include <math.h>
#include <stdlib.h>

#include "kernel/reference.h"

static int visible(const struct scores_args *a, int64_t row, int64_t key)
{
    for (int64_t n = 0; n < a->n_segments; n++) {
        const struct segment *s = &a->segments[n];
        int64_t i = row - s->q_first, j = key - s->k_first;

        if (i >= 0 && i < s->q_count && j >= 0 && j < s->k_count &&
            s->low <= i - j && i - j <= s->high)
            return 1;
    }
    return 0;
}

/* KV head, as numbered in kv, of head h of q. */
static int64_t head_of(const struct scores_args *a, const struct tensor *q,
                       const struct tensor *kv, int64_t h)
{
    return (q->head_first + h) / a->group - kv->head_first;
}

static void poll_now(const struct scores_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

void reference_scores(const struct scores_args *a)
{
    for (int64_t r = 0; r < a->x.rows; r++)
        for (int64_t h = 0; h < a->x.heads; h++) {
            int64_t kv = head_of(a, &a->x, &a->y, h);

            for (int64_t j = 0; j < a->y.rows; j++) {
                double sum = 0;

                for (int64_t x = 0; x < a->x.width; x++)
                    sum += load(&a->x, r, h, x) * load(&a->y, j, kv, x);
                store(&a->out, r, h, j, visible(a, r, j) ? sum : -INFINITY);
            }
            poll_now(a);
        }
}

static void put(const struct scores_args *a, int64_t r, int64_t h, int64_t x,
                double sum)
{
    store(&a->out, r, h, x, sum + (a->store ? 0 : load(&a->out, r, h, x)));
}

void reference_weigh(const struct scores_args *a)
{
    for (int64_t r = 0; r < a->x.rows; r++)
        for (int64_t h = 0; h < a->x.heads; h++) {
            int64_t kv = head_of(a, &a->x, &a->y, h);

            for (int64_t x = 0; x < a->y.width; x++) {
                double sum = 0;

                for (int64_t j = 0; j < a->y.rows; j++)
                    sum += load(&a->x, r, h, j) * load(&a->y, j, kv, x);
                put(a, r, h, x, sum);
            }
            poll_now(a);
        }
}

void reference_weigh_transposed(const struct scores_args *a)
{
    for (int64_t j = 0; j < a->out.rows; j++)
        for (int64_t kv = 0; kv < a->out.heads; kv++) {
            for (int64_t x = 0; x < a->out.width; x++) {
                double sum = 0;

                for (int64_t h = 0; h < a->x.heads; h++)
                    for (int64_t r = 0; r < a->x.rows; r++)
                        if (head_of(a, &a->x, &a->out, h) == kv)
                            sum += load(&a->x, r, h, j) * load(&a->y, r, h, x);
                put(a, j, kv, x, sum);
            }
            poll_now(a);
        }
}

/* Scaled; -inf where nothing is visible. */
static double scaled(const struct tensor *s, int64_t r, int64_t h, int64_t j,
                     float scale)
{
    double x = load(s, r, h, j);

    return x == -INFINITY ? x : x * (double)scale;
}

static void softmax_row(const struct tensor *s, int64_t n, struct tensor lse,
                        float scale, int64_t r, int64_t h)
{
    double most = -INFINITY, sum = 0;

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < s[i].width; j++)
            most = fmax(most, scaled(&s[i], r, h, j, scale));
    for (int64_t i = 0; most != -INFINITY && i < n; i++)
        for (int64_t j = 0; j < s[i].width; j++)
            sum += exp(scaled(&s[i], r, h, j, scale) - most);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < s[i].width; j++)
            store(&s[i], r, h, j, sum != 0
                  ? exp(scaled(&s[i], r, h, j, scale) - most) / sum : 0);
    store(&lse, r, h, 0, sum != 0 ? most + log(sum) : -INFINITY);
}

void reference_softmax(const struct tensor *s, int64_t n, struct tensor lse,
                       float scale)
{
    for (int64_t r = 0; r < lse.rows; r++)
        for (int64_t h = 0; h < lse.heads; h++)
            softmax_row(s, n, lse, scale, r, h);
}

void reference_softmax_backward(struct tensor dp, struct tensor p,
                                struct tensor delta, float scale)
{
    for (int64_t r = 0; r < dp.rows; r++)
        for (int64_t h = 0; h < dp.heads; h++)
            for (int64_t j = 0; j < dp.width; j++) {
                double w = load(&p, r, h, j);
                double d = load(&dp, r, h, j) - load(&delta, r, h, 0);

                store(&dp, r, h, j, w != 0 ? w * d * (double)scale : 0);
            }
}

void reference_rescale(struct tensor o, struct tensor lse, struct tensor m,
                       struct tensor num, struct tensor den)
{
    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            double own = load(&lse, r, h, 0);
            double w = own == -INFINITY ? 0 : exp(own - load(&m, r, h, 0));

            for (int64_t x = 0; x < o.width; x++)
                store(&num, r, h, x, w != 0 ? w * load(&o, r, h, x) : 0);
            store(&den, r, h, 0, w);
        }
}

void reference_normalize(struct tensor num, struct tensor den,
                         struct tensor m, struct tensor o, struct tensor lse)
{
    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            double total = load(&den, r, h, 0);

            for (int64_t x = 0; x < o.width; x++)
                store(&o, r, h, x,
                      total != 0 ? load(&num, r, h, x) / total : 0);
            store(&lse, r, h, 0, total != 0 ? load(&m, r, h, 0) + log(total)
                                            : -INFINITY);
        }
}
