/* SPDX-License-Identifier: Apache-2.0
 *
 * Double-Ring Attention: W windows of w ranks, rank k = o w + i.
 *
 *   window jo:  the K, V held at its start go to window o + 1 (inter) while
 *     step ji:  attend(q, kv of owner (o - jo) w + (i - ji))  and the block at
 *               hand goes to position i + 1 of the window (intra)
 *
 * Backward walks the same way; dK, dV follow one step behind: w intra hops in a
 * window bring them back to the position where its K, V started, an inter hop
 * takes them to the next window, the last one home.
 *
 * Source: Gu et al., "LoongTrain" (arXiv:2406.18485), section 4.3. */
#include <config.h>

#include "strategy/blocks.h"
#include "strategy/strategy.h"

#include <stdlib.h>

struct rings {
    int64_t w, W, i, o;
    struct pair intra[2], inter[2];
};

static int64_t wrap(int64_t a, int64_t n)
{
    return (a % n + n) % n;
}

/* The ranks of an inner ring: as asked, else the largest divisor that is not
 * above the square root. */
static int64_t inner_ranks(const struct strategy_options *o, int64_t ranks)
{
    int64_t w = o->window;

    for (int64_t d = 1; !o->window && d * d <= ranks; d++)
        if (ranks % d == 0)
            w = d;
    return w;
}

static int double_ring_applies(const struct job *job,
                               const struct strategy_options *o, int64_t ranks,
                               struct error *e)
{
    (void)job;
    if (ranks % inner_ranks(o, ranks))
        return fail_usage(e, "%lld ranks are not a multiple of window %lld",
                          (long long)ranks, (long long)o->window);
    return 0;
}

static int64_t owner(const struct rings *r, int64_t jo, int64_t ji)
{
    return wrap(r->o - jo, r->W) * r->w + wrap(r->i - ji, r->w);
}

/* Global rank of the neighbour `di` places on in the window, `d_o` windows on. */
static int32_t rank_at(const struct view *v, const struct rings *r,
                       int64_t d_o, int64_t di)
{
    return v->ranks[owner(r, -d_o, -di)];
}

static struct pair two(struct schedule *s, const struct view *v, int turn,
                       const char *const names[2][2], enum dtype dtype)
{
    return view_pair(s, v, names[turn][0], names[turn][1], ROLE_SCRATCH, dtype,
                     view_rows_most(v));
}

static struct rings *make_rings(struct schedule *s, const struct view *v)
{
    static const char *const intra[2][2] = { { "k0", "v0" }, { "k1", "v1" } };
    static const char *const inter[2][2] = { { "k2", "v2" }, { "k3", "v3" } };
    struct rings *r = schedule_alloc(s, sizeof *r);

    r->w = inner_ranks(v->options, v->members);
    r->W = v->members / r->w;
    r->i = v->me % r->w;
    r->o = v->me / r->w;
    for (int t = 0; t < 2; t++) {
        if (t < r->w - 1)
            r->intra[t] = two(s, v, t, intra, v->job->dtype);
        if (t < r->W - 1)
            r->inter[t] = two(s, v, t, inter, v->job->dtype);
    }
    return r;
}

/* Send the K, V of a window's start to the next; where the next ones arrive. */
static struct pair hop_inter(struct schedule *s, const struct view *v,
                             const struct rings *r, int64_t jo,
                             struct pair start)
{
    if (jo == r->W - 1)
        return start;
    struct pair next = pair_rows(s, r->inter[jo % 2],
                                 view_rows(v, owner(r, jo + 1, 0)));
    pair_recv(s, "inter", CHANNEL_INTER, rank_at(v, r, -1, 0), next);
    pair_send(s, "inter", CHANNEL_INTER, rank_at(v, r, 1, 0), start);
    return next;
}

static struct pair hop_intra(struct schedule *s, const struct view *v,
                             const struct rings *r, int64_t jo, int64_t ji,
                             struct pair held)
{
    if (ji == r->w - 1)
        return held;
    struct pair next = pair_rows(s, r->intra[ji % 2],
                                 view_rows(v, owner(r, jo, ji + 1)));
    pair_recv(s, "intra", CHANNEL_INTRA, rank_at(v, r, 0, -1), next);
    pair_send(s, "intra", CHANNEL_INTRA, rank_at(v, r, 0, 1), held);
    return next;
}

static void double_ring_forward(struct schedule *s, struct view *v)
{
    struct rings *r = v->state = make_rings(s, v);
    struct pair start = { v->k, v->v };

    view_lse(s, v);
    struct tile o = v->members > 1 ? view_accumulator(s, "o_acc", v->o)
                                   : v->o;
    for (int64_t jo = 0; jo < r->W; jo++) {
        struct pair held = start;
        schedule_step(s, (int32_t)(jo * r->w));
        start = hop_inter(s, v, r, jo, start);
        for (int64_t ji = 0; ji < r->w; ji++) {
            struct segment *list;
            int64_t n = view_segments(v, v->maps[owner(r, jo, ji)], &list);

            schedule_step(s, (int32_t)(jo * r->w + ji));
            struct pair next = hop_intra(s, v, r, jo, ji, held);
            schedule_attend(s, "", v->q, held.k, held.v, o, v->lse,
                            jo + ji ? ACCESS_UPDATE : ACCESS_WRITE, list, n);
            held = next;
            free(list);
        }
    }
    view_finish(s, "o", o, v->o);
}

/* dK, dV of the block at hand: two buffers in turn for either ring, and the
 * part of this step. */
struct travel {
    struct gradients g;
    struct pair part, intra[2], inter[2];
    int64_t hops;               /* intra hops so far: whose turn it is */
};

static struct travel travel_start(struct schedule *s, const struct view *v,
                                  const struct rings *r)
{
    static const char *const names[2][2] = { { "dk0", "dv0" },
                                             { "dk1", "dv1" } };
    static const char *const outer[2][2] = { { "dk2", "dv2" },
                                             { "dk3", "dv3" } };
    struct travel t = { .g = gradients_start(s, v) };

    for (int i = 0; i < 2; i++) {
        t.intra[i] = two(s, v, i, names, v->job->wire_grad);
        if (r->W > 1)
            t.inter[i] = two(s, v, i, outer, v->job->wire_grad);
    }
    t.part = view_pair(s, v, "dk_part", "dv_part", ROLE_SCRATCH, DTYPE_FP32,
                       view_rows_most(v));
    return t;
}

/* Add this step's part to `grad`, that came with the block. */
static void add_part(struct schedule *s, struct view *v, const struct rings *r,
                     struct travel *t, int64_t jo, int64_t ji, struct pair kv,
                     struct pair grad)
{
    int64_t own = owner(r, jo, ji);
    struct segment *list;
    int64_t n = view_segments(v, v->maps[own], &list);
    struct pair part = pair_rows(s, t->part, view_rows(v, own));
    int first = jo + ji == 0;

    if (n > 0)
        gradients_add(s, v, &t->g, kv, first ? grad : part, list, n);
    else if (first)
        pair_sum(s, grad, ACCESS_WRITE, NULL, 0);
    if (n > 0 && !first)
        pair_sum(s, grad, ACCESS_UPDATE, &part, 1);
    free(list);
}

/* Pass the gradients of step (jo, ji) on in the window; those that come are of
 * the next step's block, after the last step of the window's first. */
static struct pair grad_intra(struct schedule *s, const struct view *v,
                              const struct rings *r, struct travel *t,
                              int64_t jo, int64_t ji, struct pair grad)
{
    if (r->w == 1)
        return grad;
    struct pair next = pair_rows(s, t->intra[++t->hops % 2],
                                 view_rows(v, owner(r, jo, ji + 1)));
    pair_send(s, "dkv.intra", CHANNEL_DKV, rank_at(v, r, 0, 1), grad);
    pair_recv(s, "dkv.intra", CHANNEL_DKV, rank_at(v, r, 0, -1), next);
    return next;
}

static struct pair grad_inter(struct schedule *s, const struct view *v,
                              const struct rings *r, struct travel *t,
                              int64_t jo, struct pair grad)
{
    if (r->W == 1)
        return grad;
    struct pair next = pair_rows(s, t->inter[jo % 2],
                                 view_rows(v, owner(r, jo + 1, 0)));
    pair_send(s, "dkv.inter", CHANNEL_OUT, rank_at(v, r, 1, 0), grad);
    pair_recv(s, "dkv.inter", CHANNEL_OUT, rank_at(v, r, -1, 0), next);
    return next;
}

static void double_ring_backward(struct schedule *s, struct view *v)
{
    const struct rings *r = v->state;
    struct pair start = { v->k, v->v }, home = { v->dk, v->dv };

    schedule_step(s, -1);
    struct travel t = travel_start(s, v, r);
    struct pair grad = pair_rows(s, t.intra[0], view_rows(v, v->me));
    for (int64_t jo = 0; jo < r->W; jo++) {
        struct pair held = start;
        schedule_step(s, (int32_t)(jo * r->w));
        start = hop_inter(s, v, r, jo, start);
        for (int64_t ji = 0; ji < r->w; ji++) {
            schedule_step(s, (int32_t)(jo * r->w + ji));
            struct pair next = hop_intra(s, v, r, jo, ji, held);
            add_part(s, v, r, &t, jo, ji, held, grad);
            grad = grad_intra(s, v, r, &t, jo, ji, grad);
            held = next;
        }
        grad = grad_inter(s, v, r, &t, jo, grad);
    }
    pair_sum(s, home, ACCESS_WRITE, &grad, 1);
    view_finish(s, "dq", t.g.dq, v->dq);
}

/* Tokens of the blocks sent on: intra all but the last of each window, inter
 * the first of each window but the last. */
static int64_t rows_sent(const struct view *v, int64_t last_step,
                         int64_t last_window)
{
    struct rings r = { .w = inner_ranks(v->options, v->members) };
    int64_t rows = 0;

    r.W = v->members / r.w;
    r.i = v->me % r.w;
    r.o = v->me / r.w;
    for (int64_t jo = 0; jo < r.W; jo++) {
        for (int64_t ji = 0; r.w > 1 && ji < r.w - last_step; ji++)
            rows += view_rows(v, owner(&r, jo, ji));
        if (r.W > 1 && jo < r.W - last_window)
            rows += view_rows(v, owner(&r, jo, 0));
    }
    return rows;
}

static int64_t double_ring_bytes_forward(const struct view *v)
{
    return rows_sent(v, 1, 1) * view_kv_bytes(v, v->job->dtype);
}

static int64_t double_ring_bytes_backward(const struct view *v)
{
    return double_ring_bytes_forward(v)
        + rows_sent(v, 0, 0) * view_kv_bytes(v, v->job->wire_grad);
}

static const char *const double_ring_options[] = { "layout", "block",
                                                   "window", NULL };

const struct strategy strategy_double_ring = {
    .name = "double-ring",
    .family = "softmax",
    .summary = "an inner ring in each window, windows exchange K, V meanwhile",
    .options = double_ring_options,
    .applies = double_ring_applies,
    .forward = double_ring_forward,
    .backward = double_ring_backward,
    .bytes_forward = double_ring_bytes_forward,
    .bytes_backward = double_ring_bytes_backward,
};
