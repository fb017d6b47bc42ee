/* SPDX-License-Identifier: Apache-2.0
 *
 * Ring Self-Attention: exact, with the scores of whole rows in memory, [my
 * tokens, heads, all tokens]; the largest of all strategies, and the simplest.
 *
 *   ring of K   scores of my rows on the keys of each owner
 *               softmax over all of a row
 *   ring of V   o += weights x values
 *
 * Backward: the ring of V gives the gradients of the scores and my part of
 * everybody's dV, the ring of K dQ and my part of everybody's dK; these are
 * reduce-scattered.  Gradients are sums: nothing is divided by the number of
 * ranks.  Blocks in which nothing is visible are never made.
 *
 * Source: Li et al., "Sequence Parallelism" (arXiv:2105.13120), section 3.2. */
#include <config.h>

#include "strategy/blocks.h"
#include "strategy/strategy.h"

#include <stdio.h>
#include <stdlib.h>

struct rsa {
    int32_t *visible;           /* [members] pool segments of my queries on
                                   their keys; -1: nothing visible */
    struct tile *p, *ds;        /* [members] weights, saved where there is a
                                   backward; gradients of the scores */
    struct tile out;            /* o, or dQ: what the second ring adds up */
    int started;                /* it was written to */
    struct tile delta;
    struct pair grad, *grads;   /* everybody's dK, dV; [members] parts of it */
};

/* Rows x keys of each member of whom I see something. */
static struct tile *make_blocks(struct schedule *s, const struct view *v,
                                const struct rsa *r, const char *name,
                                enum role role)
{
    struct tile *t = schedule_alloc(s, (size_t)v->members * sizeof *t);
    char label[32];

    for (int64_t j = 0; j < v->members; j++) {
        snprintf(label, sizeof label, "%s%lld", name, (long long)j);
        if (r->visible[j] >= 0)
            t[j] = view_q_tile(s, v, label, role, DTYPE_FP32, view_queries(v),
                               view_rows(v, j));
    }
    return t;
}

static struct rsa *rsa_start(struct schedule *s, struct view *v)
{
    struct rsa *r = schedule_alloc(s, sizeof *r);

    r->visible = schedule_alloc(s, (size_t)v->members * sizeof *r->visible);
    for (int64_t j = 0; j < v->members; j++) {
        struct segment *list;
        int64_t n = view_segments(v, v->maps[j], &list);
        r->visible[j] = n ? pool_segments(v->pool, list, n) : -1;
        free(list);
    }
    r->p = make_blocks(s, v, r, "p", view_has_backward(v) ? ROLE_SAVED
                       : ROLE_SCRATCH);
    view_lse(s, v);
    v->state = r;
    return r;
}

/* ---- A ring -------------------------------------------------------------- */

/* What is done with the block of owner j. */
typedef void (*visit_fn)(struct schedule *s, const struct view *v,
                         struct rsa *r, int64_t j, struct tile block);

/* Blocks go to me + 1, each visited while the next one comes. */
static void circulate(struct schedule *s, const struct view *v, struct rsa *r,
                      const char *name, struct tile own, visit_fn visit)
{
    int64_t N = v->members, width = s->buffers[own.buffer].width;
    struct tile turn[2], held = own;
    char label[32];

    for (int i = 0; i < min64(2, N - 1); i++) {
        snprintf(label, sizeof label, "%s%d", name, i);
        turn[i] = view_kv_tile(s, v, label, ROLE_SCRATCH, v->job->dtype,
                               view_rows_most(v), width);
    }
    for (int64_t i = 0; i < N; i++) {
        struct tile next = held;

        schedule_step(s, (int32_t)i);
        if (i < N - 1) {
            next = tile_rows(s, turn[i % 2].buffer, 0,
                             view_rows(v, member_at(v, -i - 1)));
            schedule_recv(s, name, CHANNEL_KV, view_neighbour(v, -1), &next,
                          1);
            schedule_send(s, name, CHANNEL_KV, view_neighbour(v, 1), &held, 1);
        }
        if (r->visible[member_at(v, -i)] >= 0)
            visit(s, v, r, member_at(v, -i), held);
        held = next;
    }
    schedule_step(s, -1);
}

/* Scores, weigh and weigh_transposed: `out` of x and y. */
static void make_scores(struct schedule *s, const struct rsa *r, int64_t j,
                        const char *label, struct tile x, struct tile y,
                        struct tile out)
{
    const struct operand o[] = { { x, ACCESS_READ }, { y, ACCESS_READ },
                                 { out, ACCESS_WRITE } };

    schedule_compute(s, OP_SCORES, label, o, 3, r->visible[j]);
}

static void make_part(struct schedule *s, const struct rsa *r, int64_t j,
                      const char *label, struct tile out, struct tile p,
                      struct tile x)
{
    const struct operand o[] = { { out, ACCESS_WRITE }, { p, ACCESS_READ },
                                 { x, ACCESS_READ } };

    schedule_compute(s, OP_WEIGH_TRANSPOSED, label, o, 3, r->visible[j]);
}

static void add_weighed(struct schedule *s, struct rsa *r, int64_t j,
                        struct tile p, struct tile x)
{
    const struct operand o[] = {
        { r->out, r->started ? ACCESS_UPDATE : ACCESS_WRITE },
        { p, ACCESS_READ }, { x, ACCESS_READ } };

    schedule_compute(s, OP_WEIGH, "", o, 3, r->visible[j]);
    r->started = 1;
}

/* Where nothing was added. */
static void finish_weighed(struct schedule *s, const struct rsa *r,
                           const char *label, struct tile result)
{
    if (!r->started)
        schedule_sum(s, label, r->out, ACCESS_WRITE, NULL, 0);
    view_finish(s, label, r->out, result);
}

/* ---- Forward ------------------------------------------------------------- */

static void visit_k(struct schedule *s, const struct view *v, struct rsa *r,
                    int64_t j, struct tile k)
{
    make_scores(s, r, j, "", v->q, k, r->p[j]);
}

static void visit_v(struct schedule *s, const struct view *v, struct rsa *r,
                    int64_t j, struct tile values)
{
    (void)v;
    add_weighed(s, r, j, r->p[j], values);
}

static void softmax(struct schedule *s, const struct view *v,
                    const struct rsa *r)
{
    struct operand *o = xcalloc((size_t)v->members + 1, sizeof *o);
    int64_t n = 0;

    o[n++] = (struct operand){ v->lse, ACCESS_WRITE };
    for (int64_t j = 0; j < v->members; j++)
        if (r->visible[j] >= 0)
            o[n++] = (struct operand){ r->p[j], ACCESS_UPDATE };
    schedule_compute(s, OP_SOFTMAX, "", o, n, -1);
    free(o);
}

static void rsa_forward(struct schedule *s, struct view *v)
{
    struct rsa *r = rsa_start(s, v);

    circulate(s, v, r, "k", v->k, visit_k);
    softmax(s, v, r);
    r->out = v->members > 1 ? view_accumulator(s, "o_acc", v->o) : v->o;
    circulate(s, v, r, "v", v->v, visit_v);
    finish_weighed(s, r, "o", v->o);
}

/* ---- Backward ------------------------------------------------------------ */

static void visit_v_backward(struct schedule *s, const struct view *v,
                             struct rsa *r, int64_t j, struct tile values)
{
    const struct operand o[] = { { r->ds[j], ACCESS_UPDATE },
                                 { r->p[j], ACCESS_READ },
                                 { r->delta, ACCESS_READ } };

    make_scores(s, r, j, "dp", v->d_o, values, r->ds[j]);
    make_part(s, r, j, "dv", r->grads[j].v, r->p[j], v->d_o);
    schedule_compute(s, OP_SOFTMAX_BACKWARD, "", o, 3, -1);
}

static void visit_k_backward(struct schedule *s, const struct view *v,
                             struct rsa *r, int64_t j, struct tile k)
{
    add_weighed(s, r, j, r->ds[j], k);
    make_part(s, r, j, "dk", r->grads[j].k, r->ds[j], v->q);
}

/* Everybody's dK and dV, one behind the other; zeros where I see nothing. */
static int32_t *start_grads(struct schedule *s, const struct view *v,
                            struct rsa *r)
{
    int32_t *rows = schedule_alloc(s, (size_t)v->members * sizeof *rows);

    view_gathered(v, 0, rows);
    r->grad = (struct pair){ v->dk, v->dv };
    if (v->members > 1)
        r->grad = view_pair(s, v, "dk_all", "dv_all", ROLE_SCRATCH,
                            v->job->wire_grad, view_rows_all(v));
    r->grads = schedule_alloc(s, (size_t)v->members * sizeof *r->grads);
    for (int64_t j = 0; j < v->members; j++) {
        r->grads[j] = r->grad;
        if (v->members > 1)
            r->grads[j].k.rows = r->grads[j].v.rows = rows[j];
        if (r->visible[j] < 0)
            pair_sum(s, r->grads[j], ACCESS_WRITE, NULL, 0);
    }
    return rows;
}

static void rsa_backward(struct schedule *s, struct view *v)
{
    struct rsa *r = v->state;
    int32_t *rows = start_grads(s, v, r);

    r->ds = make_blocks(s, v, r, "ds", ROLE_SCRATCH);
    r->delta = gradients_delta(s, v);
    r->out = v->members > 1 ? view_accumulator(s, "dq_acc", v->dq) : v->dq;
    r->started = 0;
    circulate(s, v, r, "v", v->v, visit_v_backward);
    circulate(s, v, r, "k", v->k, visit_k_backward);
    finish_weighed(s, r, "dq", v->dq);
    if (v->members > 1)
        gradients_scatter(s, v, r->grad, rows);
}

/* ---- Closed form --------------------------------------------------------- */

/* K and V of all members but the next, whose blocks end here. */
static int64_t rsa_bytes_forward(const struct view *v)
{
    return (view_rows_all(v) - view_rows(v, member_at(v, 1)))
        * view_kv_bytes(v, v->job->dtype);
}

static int64_t rsa_bytes_backward(const struct view *v)
{
    return rsa_bytes_forward(v)
        + (view_rows_all(v) - view_rows(v, v->me))
        * view_kv_bytes(v, v->job->wire_grad);
}

static const char *const rsa_options[] = { "layout", "block", NULL };

const struct strategy strategy_rsa = {
    .name = "rsa",
    .family = "softmax",
    .summary = "K, then V circulate; scores of whole rows are kept",
    .options = rsa_options,
    .forward = rsa_forward,
    .backward = rsa_backward,
    .bytes_forward = rsa_bytes_forward,
    .bytes_backward = rsa_bytes_backward,
    .period = period_full_mask
};
