/* SPDX-License-Identifier: Apache-2.0
 *
 * Trials of attend and attend_backward over sizes, groups of heads and lists of
 * visible segments. */
#include <config.h>

#include "tests/cuda_shape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Problems ------------------------------------------------------------- */

struct problem {
    struct visible visible;
    struct heads h;
    int64_t nq, nk;
    int32_t d, e;
    enum dtype type;
    float scale;
    struct twin q, k, v, o, lse, d_o, delta, dq, dk, dv;
};

static struct twin input(const struct problem *p, int64_t rows, int kv,
                         int32_t width)
{
    struct twin t = twin_make(p->type, rows, kv ? p->h.kv : p->h.q, width,
                              FILL_RANDOM, 1);

    t.host.head_first = t.device.head_first = kv ? p->h.kv_first : p->h.q_first;
    return t;
}

static void draw_inputs(struct problem *p)
{
    static const float scores[] = { 1, 1, 0.3f, 6 };

    p->scale = trial_pick(scores) / sqrtf((float)p->d);
    p->q = input(p, p->nq, 0, p->d);
    p->k = input(p, p->nk, 1, p->d);
    p->v = input(p, p->nk, 1, p->e);
    p->visible = visible_draw(p->nq, p->nk);
}

static void describe(const struct problem *p, const char *what)
{
    trial_describe("%s %s: %d queries, %d keys, heads %d from %d, group %d, "
                   "D %d, E %d, %s, %d segments", what, p->visible.name,
                   (int)p->nq, (int)p->nk, p->h.q, p->h.q_first,
                   (int)p->h.group, p->d, p->e, dtype_name(p->type),
                   (int)p->visible.n);
}

static struct attend_args arguments(const struct problem *p, int device)
{
#define side(t) (device ? p->t.device : p->t.host)
    return (struct attend_args){
        .q = side(q), .k = side(k), .v = side(v), .o = side(o),
        .lse = side(lse), .d_o = side(d_o), .delta = side(delta),
        .dq = side(dq), .dk = side(dk), .dv = side(dv), .group = p->h.group,
        .scale = p->scale, .segments = p->visible.list,
        .n_segments = p->visible.n,
    };
#undef side
}

static void free_problem(struct problem *p)
{
    struct twin *all[] = { &p->q, &p->k, &p->v, &p->o, &p->lse, &p->d_o,
                           &p->delta, &p->dq, &p->dk, &p->dv };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        twin_free(all[i]);
}

/* ---- Forward -------------------------------------------------------------- */

/* Keys that no row sees may be anything. */
static void poison_unseen(struct problem *p)
{
    char *seen = xcalloc((size_t)p->nk, 1);
    struct twin *all[] = { &p->k, &p->v };

    for (int64_t i = 0; i < p->visible.n; i++) {
        const struct segment *s = &p->visible.list[i];
        memset(seen + s->k_first, 1, (size_t)s->k_count);
    }
    for (int i = 0; i < 2; i++) {
        const struct tensor *t = &all[i]->host;
        for (int64_t j = 0; j < p->nk; j++)
            for (int64_t x = 0; !seen[j] && x < t->heads * t->width; x++)
                element_store(t->data, t->dtype, j * t->row_stride + x, NAN);
        twin_put(all[i]);
    }
    free(seen);
}

static void forward(struct problem *p)
{
    int store = trial_below(3) > 0;
    enum dtype to = store && trial_below(2) ? p->type : DTYPE_FP32;
    struct attend_args host, device;

    draw_inputs(p);
    poison_unseen(p);
    describe(p, store ? "attend to store," : "attend to add,");
    p->lse = store ? twin_make(DTYPE_FP32, p->nq, p->h.q, 1, FILL_POISON, 0)
                   : twin_lse(p->nq, p->h.q, 3);
    p->o = twin_make(to, p->nq, p->h.q, p->e,
                     store ? FILL_POISON : FILL_RANDOM, 1);
    p->lse.least = 2;
    if (!store)
        twin_poison(&p->o, &p->lse);
    host = arguments(p, 0);
    device = arguments(p, 1);
    host.store = device.store = store;
    kernel_reference.attend(&host);
    trial_backend->attend(&device);
    twin_compare("o", &p->o, trial_tolerance(p->type, to));
    twin_compare("lse", &p->lse, 5e-5);
    if (store) {
        void *bits = twin_bits(&p->o), *lse = twin_bits(&p->lse);
        trial_backend->attend(&device);
        twin_same("o", &p->o, bits);
        twin_same("lse", &p->lse, lse);
    }
    free_problem(p);
}

static struct problem draw_problem(void)
{
    struct problem p = { .type = trial_dtype(), .nq = trial_rows(),
                         .nk = trial_rows(), .d = trial_width() };

    p.e = trial_below(3) ? p.d : trial_width();
    p.h = heads_draw();
    return p;
}

static void attend_trial(int64_t trial)
{
    struct problem p = draw_problem();

    (void)trial;
    forward(&p);
}

/* Few queries and many keys. */
static void decode_trial(int64_t trial)
{
    static const int64_t keys[] = { 200, 257, 600, 1000, 1023, 2111, 4096 };
    struct problem p = draw_problem();

    p.type = trial % 4 ? DTYPE_BF16 : trial_dtype();
    p.nq = 1 + trial_below(16);
    p.nk = trial_pick(keys);
    if (trial % 3)
        p.d = p.e = 128;
    while (p.nq * p.h.q * p.nk * (p.d + p.e) > 12000000)
        p.nk = p.nk / 2 + 1;
    forward(&p);
}

/* ---- Backward ------------------------------------------------------------- */

static struct twin gradient(const struct problem *p, int64_t rows, int kv,
                            int32_t width, int store)
{
    enum dtype t = store && trial_below(2) ? p->type : DTYPE_FP32;
    struct twin g = twin_make(t, rows, kv ? p->h.kv : p->h.q, width,
                              store ? FILL_POISON : FILL_RANDOM, 1);

    g.host.head_first = g.device.head_first = kv ? p->h.kv_first : p->h.q_first;
    return g;
}

/* lse and delta as a whole softmax has them, of which these keys are a part. */
static void solve(struct problem *p)
{
    struct attend_args a;

    p->o = twin_make(p->type, p->nq, p->h.q, p->e, FILL_POISON, 0);
    p->lse = twin_make(DTYPE_FP32, p->nq, p->h.q, 1, FILL_POISON, 0);
    p->delta = twin_make(DTYPE_FP32, p->nq, p->h.q, 1, FILL_POISON, 0);
    a = arguments(p, 0);
    a.store = 1;
    kernel_reference.attend(&a);
    kernel_reference.delta(a.o, a.d_o, a.delta);
    for (int64_t r = 0; r < p->nq && trial_below(2); r++)
        for (int64_t h = 0; h < p->h.q; h++)
            ((float *)a.lse.data)[r * a.lse.row_stride + h] +=
                (float)trial_below(3);
    twin_put(&p->o);
    twin_put(&p->lse);
    twin_put(&p->delta);
}

/* Sums that cancel, as where a row sees one key, are as wrong as their terms. */
static void set_least(struct problem *p)
{
    double term = (double)p->scale * sqrt(p->e);

    p->dq.least = fmax(0.1, term);
    p->dk.least = fmax(0.1, term * sqrt((double)(p->nq * p->h.group)));
}

static void backward(struct problem *p)
{
    int store[3], again;
    struct attend_args host, device;
    struct twin *results[] = { &p->dq, &p->dk, &p->dv };
    static const char *const names[] = { "dq", "dk", "dv" };
    void *bits[3];

    draw_inputs(p);
    p->d_o = input(p, p->nq, 0, p->e);
    solve(p);
    for (int i = 0; i < 3; i++)
        store[i] = trial_below(3) > 0;
    p->dq = gradient(p, p->nq, 0, p->d, store[0]);
    p->dk = gradient(p, p->nk, 1, p->d, store[1]);
    p->dv = gradient(p, p->nk, 1, p->e, store[2]);
    set_least(p);
    describe(p, "backward,");
    host = arguments(p, 0);
    device = arguments(p, 1);
    host.store_dq = device.store_dq = store[0];
    host.store_dk = device.store_dk = store[1];
    host.store_dv = device.store_dv = store[2];
    kernel_reference.attend_backward(&host);
    trial_backend->attend_backward(&device);
    for (int i = 0; i < 3; i++)
        twin_compare(names[i], results[i],
                     trial_tolerance(p->type, results[i]->host.dtype));
    again = store[0] && store[1] && store[2];
    for (int i = 0; i < 3 && again; i++)
        bits[i] = twin_bits(results[i]);
    if (again)
        trial_backend->attend_backward(&device);
    for (int i = 0; i < 3 && again; i++)
        twin_same(names[i], results[i], bits[i]);
    free_problem(p);
}

static void backward_trial(int64_t trial)
{
    struct problem p = draw_problem();

    (void)trial;
    while (p.nq * p.h.q * p.nk * (p.d + p.e) > 6000000)
        p.nk = p.nk / 2 + 1;
    backward(&p);
}

/* ---- For a backend that plans every shape --------------------------------- */

static struct problem planned_problem(void)
{
    static const int64_t rows[] = { 64, 96, 128, 1, 130 };
    static const int32_t widths[] = { 64, 128 };
    struct problem p = { .type = trial_below(5) ? DTYPE_BF16 : trial_dtype(),
                         .nq = trial_pick(rows), .nk = trial_pick(rows),
                         .d = trial_pick(widths) };

    p.e = p.d;
    p.h = heads_draw();
    return p;
}

static void planned_attend(int64_t trial)
{
    struct problem p = planned_problem();

    (void)trial;
    forward(&p);
}

static void planned_backward(int64_t trial)
{
    struct problem p = planned_problem();

    (void)trial;
    backward(&p);
}

const struct trials attend_trials[] = {
    { "attend", 700, attend_trial },
    { "attend, decoding", 250, decode_trial },
    { "attend_backward", 400, backward_trial },
    { NULL, 0, NULL },
};
const struct trials planned_trials[] = {
    { "attend", 60, planned_attend },
    { "attend_backward", 40, planned_backward },
    { NULL, 0, NULL },
};
