/* SPDX-License-Identifier: Apache-2.0
 *
 * Trials of attention with materialised scores: scores, softmax over blocks of
 * keys, its gradient, and products of weights. */
#include <config.h>

#include "tests/cuda_shape.h"

#include <math.h>
#include <stdlib.h>

struct problem {
    struct visible visible;
    struct heads h;
    int64_t nq, nk;
    int32_t width;
    enum dtype type;
    int store;
    struct twin x, y, out;
};

static struct twin input(const struct problem *p, enum dtype t, int kv,
                         int64_t width, enum trial_fill fill)
{
    struct twin x = twin_make(t, kv ? p->nk : p->nq, kv ? p->h.kv : p->h.q,
                              width, fill, 1);

    x.host.head_first = x.device.head_first = kv ? p->h.kv_first : p->h.q_first;
    return x;
}

static struct problem draw_problem(const char *what)
{
    struct problem p = { .nq = trial_rows(), .nk = trial_rows(),
                         .h = heads_draw(), .width = trial_width(),
                         .type = trial_dtype(), .store = (int)trial_below(2) };

    while (p.nq * p.h.q * p.nk * p.width > 6000000)
        p.nk = p.nk / 2 + 1;
    p.visible = visible_draw(p.nq, p.nk);
    trial_describe("%s %s: %d rows, %d keys, heads %d from %d, group %d, width "
                   "%d, %s, store %d", what, p.visible.name, (int)p.nq,
                   (int)p.nk, p.h.q, p.h.q_first, (int)p.h.group, p.width,
                   dtype_name(p.type), p.store);
    return p;
}

static void run(struct problem *p, void (*reference)(const struct scores_args *),
                void (*other)(const struct scores_args *), double tolerance)
{
    struct scores_args a = {
        .x = p->x.host, .y = p->y.host, .out = p->out.host, .store = p->store,
        .group = p->h.group, .segments = p->visible.list,
        .n_segments = p->visible.n };

    reference(&a);
    a.x = p->x.device, a.y = p->y.device, a.out = p->out.device;
    other(&a);
    twin_compare("out", &p->out, tolerance);
    twin_free(&p->x);
    twin_free(&p->y);
    twin_free(&p->out);
}

static void scores_trial(int64_t trial)
{
    struct problem p = draw_problem("scores");

    (void)trial;
    p.x = input(&p, p.type, 0, p.width, FILL_RANDOM);
    p.y = input(&p, p.type, 1, p.width, FILL_RANDOM);
    p.out = input(&p, DTYPE_FP32, 0, p.nk, FILL_POISON);
    p.out.least = sqrt(p.width);
    run(&p, kernel_reference.scores, trial_backend->scores, 2e-5);
}

/* Results are of the job's type where they are stored, or fp32.  One is a sum of
 * up to `terms` of N(0, 1), and may be small by chance. */
static struct twin result(const struct problem *p, int kv, int64_t terms)
{
    enum dtype t = p->store && trial_below(2) ? p->type : DTYPE_FP32;
    struct twin out = input(p, t, kv, p->width,
                            p->store ? FILL_POISON : FILL_RANDOM);

    out.least = sqrt((double)terms);
    return out;
}

/* Random weights, 0 where nothing is visible. */
static struct twin weights(const struct problem *p)
{
    struct twin t = input(p, DTYPE_FP32, 0, p->nk, FILL_RANDOM);
    struct scores_args a = { .out = t.host, .group = p->h.group,
                             .segments = p->visible.list,
                             .n_segments = p->visible.n };
    struct twin one = input(p, DTYPE_FP32, 0, 1, FILL_RANDOM);
    struct twin other = input(p, DTYPE_FP32, 1, 1, FILL_RANDOM);

    a.x = one.host, a.y = other.host;
    kernel_reference.scores(&a);
    for (int64_t r = 0; r < p->nq; r++)
        for (int64_t x = 0; x < p->h.q * p->nk; x++) {
            float *w = (float *)t.host.data + r * t.host.row_stride + x;
            *w = *w == -INFINITY ? 0 : *w;
        }
    twin_put(&t);
    twin_free(&one);
    twin_free(&other);
    return t;
}

static void weigh_trial(int64_t trial)
{
    struct problem p = draw_problem("weigh");

    (void)trial;
    p.x = weights(&p);
    p.y = input(&p, p.type, 1, p.width, FILL_RANDOM);
    p.out = result(&p, 0, p.nk);
    run(&p, kernel_reference.weigh, trial_backend->weigh,
        trial_tolerance(p.type, DTYPE_FP32));
}

static void transposed_trial(int64_t trial)
{
    struct problem p = draw_problem("weigh_transposed");

    (void)trial;
    p.x = weights(&p);
    p.y = input(&p, p.type, 0, p.width, FILL_RANDOM);
    p.out = result(&p, 1, p.nq * p.h.group);
    run(&p, kernel_reference.weigh_transposed, trial_backend->weigh_transposed,
        trial_tolerance(p.type, DTYPE_FP32));
}

/* Softmax over blocks, then its gradient in each. */
static void softmax_trial(int64_t trial)
{
    enum { MOST = 80 };
    static const int64_t counts[] = { 1, 2, 3, 5, MOST };
    int64_t n = trial_pick(counts), rows = n == MOST ? 3 : trial_rows();
    int64_t heads = 1 + trial_below(4);
    float scale = trial % 2 ? 0.1f : 1.5f;
    struct twin s[MOST], dp[MOST];
    struct tensor host[MOST], device[MOST];
    struct twin lse = twin_make(DTYPE_FP32, rows, heads, 1, FILL_POISON, 0);
    struct twin delta = twin_make(DTYPE_FP32, rows, heads, 1, FILL_RANDOM, 1);

    trial_describe("softmax over %d blocks of %d rows, %d heads", (int)n,
                   (int)rows, (int)heads);
    for (int64_t i = 0; i < n; i++) {
        int64_t one_in = trial_below(3) ? 4 : 1, width = trial_width();
        s[i] = twin_make(DTYPE_FP32, rows, heads, width, FILL_RANDOM, 3);
        dp[i] = twin_make(DTYPE_FP32, rows, heads, width, FILL_RANDOM, 1);
        host[i] = s[i].host, device[i] = s[i].device;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t x = 0; x < heads * width; x++)
                if (trial_below(one_in) == 0)
                    ((float *)host[i].data)[r * host[i].row_stride + x] =
                        -INFINITY;
        twin_put(&s[i]);
    }
    kernel_reference.softmax(host, n, lse.host, scale);
    trial_backend->softmax(device, n, lse.device, scale);
    twin_compare("lse", &lse, 1e-5);
    for (int64_t i = 0; i < n; i++) {
        twin_compare("p", &s[i], 2e-5);
        twin_put(&s[i]);
        kernel_reference.softmax_backward(dp[i].host, host[i], delta.host,
                                          scale);
        trial_backend->softmax_backward(dp[i].device, device[i], delta.device,
                                        scale);
        twin_compare("ds", &dp[i], 2e-5);
        twin_free(&s[i]);
        twin_free(&dp[i]);
    }
    twin_free(&lse);
    twin_free(&delta);
}

const struct trials scores_trials[] = {
    { "scores", 200, scores_trial },
    { "weigh", 150, weigh_trial },
    { "weigh_transposed", 150, transposed_trial },
    { "softmax, softmax_backward", 150, softmax_trial },
    { NULL, 0, NULL },
};
