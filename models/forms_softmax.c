/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of the strategies of softmax attention: all-gather, ring
 * self-attention, and the table of all (forms_ring.c, forms_exchange.c).  Each
 * follows the schedule of its file in src/strategy: what is computed while what
 * is on its way, what is left alone at the ends. */
#include <config.h>

#include "models/forms_internal.h"

#include <math.h>

/* ---- All-gather --------------------------------------------------------- */

static void allgather_form(struct scene *c, int pass)
{
    scene_enter(c, c->members);
    double kv = (double)c->kv_heads, hops = (double)c->members - 1;
    double each = c->o->head_group ? fmin((double)c->o->head_group, kv) : kv;
    double groups = hops > 0 ? ceil(kv / each) : 1;
    /* Rows of a member among those of all, in order. */
    int scattered = c->p->sorted && c->o->layout != LAYOUT_CONTIGUOUS;
    double block = c->rows * kv_bytes(c, scene_dtype(c)) / groups;
    double home = c->rows * kv_bytes(c, scene_grad(c)) / groups;
    struct scene some = *c;
    struct load gather = { 0 }, scatter = { 0 }, both, step = { 0 };

    some.heads = llround((double)c->heads / groups);
    some.kv_heads = llround(kv / groups);
    step.compute = attend_whole(&some, pass);
    if (scene_grad(c) != scene_dtype(c))
        step.compute += pass * results_more(
            &some, pass, 0, hops * c->rows * kv_bytes(&some, DTYPE_FP32) / 4);
    load_collective(c, &gather,
                    all_slices(OF_ALL_GATHER, hops, 2, block, block / 2,
                               groups > 1 || scattered), 2 * block);
    if (pass == BACKWARD) {
        add_delta_form(c);
        load_collective(c, &scatter,
                        all_slices(OF_REDUCE_SCATTER, hops, 2, home, home / 2,
                                   scattered),
                        (hops + 2) * home);
    }
    both = step;
    load_beside(c, &both, &gather);
    load_beside(c, &both, &scatter);
    scene_add(c, 1, gather, 1);
    scene_add(c, groups - 1, both, 3);
    scene_add(c, 1, step, 1);
    scene_add(c, pass, scatter, 1);
    c->e.sent += groups * hops * (block + pass * home);
    if (hops > 0)
        c->scratch[pass] += fmin(groups, 2) * (hops + 1)
            * (block + pass * home);
    c->scratch[pass] += pass * delta_memory(c);
}

/* ---- Ring self-attention ------------------------------------------------ */

/* Scores of the blocks in which anything is visible, of all heads; pairs. */
struct scores {
    double blocks, bytes, pairs;
    double like;                /* s of one product at the rate of attention */
};

static struct scores make_scores(const struct scene *c)
{
    struct scores x = { .like = (double)c->members * mean_step(c, FORWARD)
                        / 2 };

    for (int64_t i = 0; i < c->p->n; i++) {
        const struct sight *w = &c->p->works[i];
        x.pairs += (double)(w->steps * w->pairs) * (double)c->heads;
        x.blocks += w->pairs ? (double)w->steps : 0;
    }
    x.bytes = 4 * x.blocks * c->rows * c->rows * (double)c->heads;
    return x;
}

/* A product of `width` at its rate, or like attention; no faster than its
 * scores are read or written. */
static double product_seconds(const struct scene *c, enum op_kind kind,
                              const struct scores *x, int64_t width)
{
    const struct transformer *t = &c->f->job->transformer;
    struct block_shape shape = { scene_dtype(c), t->head_dim, t->value_dim,
                                 job_group(c->f->job), c->heads };
    double rate = machine_rate(c->f->m, op_names[kind], c->f->kernel, &shape,
                               (int64_t)c->rows);

    return fmax(rate > 0 ? 2 * x->pairs * (double)width / rate : x->like,
                memory_seconds_of(c, x->bytes));
}

static double rsa_seconds(const struct scene *c, int pass,
                          const struct scores *x)
{
    const struct transformer *t = &c->f->job->transformer;
    double seconds = memory_seconds_of(c, (2 + pass) * x->bytes);

    if (pass == FORWARD)
        return seconds + product_seconds(c, OP_SCORES, x, t->head_dim)
            + product_seconds(c, OP_WEIGH, x, t->value_dim);
    return seconds + product_seconds(c, OP_SCORES, x, t->value_dim)
        + product_seconds(c, OP_WEIGH, x, t->head_dim)
        + product_seconds(c, OP_WEIGH_TRANSPOSED, x, t->head_dim)
        + product_seconds(c, OP_WEIGH_TRANSPOSED, x, t->value_dim);
}

/* A ring of K with the scores, one of V with the values; in backward all dK,
 * dV are scattered. */
static void rsa_form(struct scene *c, int pass)
{
    scene_enter(c, c->members);
    double hops = (double)c->members - 1;
    double kv = c->rows * kv_bytes(c, scene_dtype(c)) / 2;
    double home = c->rows * kv_bytes(c, scene_grad(c));
    struct scores x = make_scores(c);
    struct load step = { 0 }, scatter = { 0 };

    if (pass == BACKWARD)
        add_delta_form(c);
    step.compute = rsa_seconds(c, pass, &x) / (2 * (hops + 1));
    scene_add(c, 2, step, 1);
    load_move(c, &step, next_message(1, kv));
    scene_add(c, 2 * hops, step, 3);
    load_collective(c, &scatter,
                    all_slices(OF_REDUCE_SCATTER, hops, 2, home, home / 2, 0),
                    (hops + 2) * home);
    scene_add(c, pass, scatter, 1);
    c->e.sent += hops * (2 * kv + pass * home);
    c->effort += hops * hops;   /* a buffer for each block, each with each */
    if (pass == job_has_backward(c->f->job))
        c->saved += x.bytes;
    c->scratch[pass] += fmin(2, hops) * kv + pass
        * (x.bytes + (hops > 0) * (hops + 1) * home + delta_memory(c));
}

const struct form softmax_forms[] = {
    { &strategy_ring, ring_form },
    { &strategy_allgather, allgather_form },
    { &strategy_ulysses, ulysses_form },
    { &strategy_double_ring, double_ring_form },
    { &strategy_usp, usp_form },
    { &strategy_2d, twod_form },
    { &strategy_token_ring, token_form },
    { &strategy_rsa, rsa_form },
    { NULL, NULL }
};
