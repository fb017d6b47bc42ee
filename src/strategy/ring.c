/* SPDX-License-Identifier: Apache-2.0
 *
 * Ring Attention: K and V circulate, Q and O stay.
 *
 *   step s:  attend(q, kv of owner me - s)   while kv of owner me - s - 1
 *            arrives from me - 1 and the one at hand goes to me + 1
 *
 * Backward starts with the K, V held last (owner me + 1) and turns the other
 * way, so that the own block comes last; dK, dV follow one step behind and
 * arrive at home with it: N - 1 hops for either.
 *
 * Options (tour.h, route.h):
 *   direction -1  K, V go to me - 1.  Past the step from rank 0 to rank N - 1
 *                 nobody needs the late chunk of a causal zigzag: it stays
 *                 behind, 3/4 of the bytes are left.
 *   hops needed   a block ends at the last rank of its way that sees it.
 *   With either, backward sets out anew, the own block first, and dK, dV go
 *   straight home from where their block, or half of it, ends.
 *   backward q    K, V, dK and dV stay; Q, dO, lse and delta go to me - 1 in
 *                 N - 1 hops.  dQ follows one step behind and, the step of the
 *                 own block being the first, is at home after N - 1 hops too,
 *                 where BurstAttention makes N.
 *
 * Sources: Liu, Zaharia, Abbeel, "Ring Attention with Blockwise Transformers"
 * (arXiv:2310.01889), section 3; striped layout: Brandon et al., "Striped
 * Attention" (arXiv:2311.09431); backward as in Transformer Engine, or as in
 * Sun et al., "BurstAttention" (arXiv:2403.09347). */
#include <config.h>

#include "strategy/decode.h"
#include "strategy/tour.h"

struct ring_state {
    struct circuit kv;
    struct cargo last;          /* K, V held after forward; saved */
};

static struct route ring_route(const struct view *v, enum side side)
{
    const struct strategy_options *o = v->options;

    return (struct route){ v, side, o->reverse || side == SIDE_QUERIES ? -1 : 1,
                           o->reverse && route_has_halves(v), o->needed };
}

static int turns_back(const struct view *v)
{
    const struct strategy_options *o = v->options;

    return o->backward == CIRCULATE_KV && !o->reverse && !o->needed;
}

static void ring_forward(struct schedule *s, struct view *v)
{
    int keep = view_has_backward(v) && turns_back(v) && v->members > 1;
    struct route r = ring_route(v, SIDE_KEYS);
    struct ring_state *x = v->state = schedule_alloc(s, sizeof *x);

    x->kv = pair_circuit(s, v, "kv", CHANNEL_KV, "k", "v", v->job->dtype);
    x->last = (struct cargo){ 2, { v->k, v->v } };
    if (keep)
        x->last = cargo_of(view_pair(s, v, "k_last", "v_last", ROLE_SAVED,
                                     v->job->dtype,
                                     view_rows(v, member_at(v, 1))));
    view_lse(s, v);
    tour_keys_forward(s, v, &r, &x->kv, keep ? &x->last : NULL);
}

/* dK, dV on their way home: what comes with the block gets this step's part. */
struct travel {
    struct gradients g;
    struct circuit dkv;
    struct cargo part;
};

static void travel_step(struct schedule *s, struct view *v, struct travel *t,
                        int64_t i, struct cargo kv)
{
    int64_t N = v->members, owner = member_at(v, 1 + i);
    struct part all = { 0, view_rows(v, owner) };
    struct cargo home = { 2, { v->dk, v->dv } };
    struct cargo at = N > 1 ? circuit_take(s, v, &t->dkv, all) : home;
    struct cargo two[2] = { at, at };

    if (i > 0) {
        two[1] = cargo_rows(s, t->part, all);
        circuit_recv(s, &t->dkv, view_neighbour(v, 1), at);
    }
    int some = gradients_part(s, v, &t->g, owner, kv, two[1]);
    if (i == 0 && !some)
        cargo_sum(s, dkv_labels, at, ACCESS_WRITE, NULL, 0);
    else if (i > 0 && i == N - 1)
        cargo_sum(s, dkv_labels, home, ACCESS_WRITE, two, 1 + some);
    else if (i > 0 && some)
        cargo_sum(s, dkv_labels, at, ACCESS_UPDATE, &two[1], 1);
    if (i < N - 1)
        circuit_send(s, &t->dkv, view_neighbour(v, -1), at);
}

static void backward_home(struct schedule *s, struct view *v)
{
    int64_t N = v->members;
    struct ring_state *x = v->state;
    struct cargo held = x->last;
    struct travel t = {
        .g = gradients_start(s, v),
        .dkv = pair_circuit(s, v, "dkv", CHANNEL_DKV, "dk", "dv",
                            v->job->wire_grad) };

    if (N > 1)
        t.part = cargo_of(view_pair(s, v, "dk_part", "dv_part", ROLE_SCRATCH,
                                    v->job->wire_grad, view_rows_most(v)));
    for (int64_t i = 0; i < N; i++) {
        struct part coming = { 0, view_rows(v, member_at(v, 2 + i)) };
        struct cargo next = held;

        schedule_step(s, (int32_t)i);
        if (i < N - 1)
            next = circuit_hop(s, v, &x->kv, view_neighbour(v, 1), coming,
                               view_neighbour(v, -1), held);
        travel_step(s, v, &t, i, held);
        held = next;
    }
    parts_finish(s, v, &t.g.dq);
}

static void ring_backward(struct schedule *s, struct view *v)
{
    struct ring_state *x = v->state;
    int queries = v->options->backward == CIRCULATE_Q;
    struct route r = ring_route(v, queries ? SIDE_QUERIES : SIDE_KEYS);

    schedule_step(s, -1);
    if (turns_back(v))
        backward_home(s, v);
    else if (queries)
        tour_queries_backward(s, v, &r, 1);
    else
        tour_keys_backward(s, v, &r, &x->kv);
}

static int64_t ring_bytes_forward(const struct view *v)
{
    struct route r = ring_route(v, SIDE_KEYS);

    return tour_bytes_forward(&r);
}

/* Turning back, all blocks but the own. */
static int64_t ring_bytes_backward(const struct view *v)
{
    struct route r = ring_route(v, v->options->backward == CIRCULATE_Q
                                ? SIDE_QUERIES : SIDE_KEYS);

    if (!turns_back(v))
        return tour_bytes_backward(&r);
    return (view_rows_all(v) - view_rows(v, v->me))
        * (view_kv_bytes(v, v->job->dtype)
           + view_kv_bytes(v, v->job->wire_grad));
}

static const char *const ring_options[] = { "layout", "block", "backward",
                                            "direction", "hops", NULL };

const struct strategy strategy_ring = {
    .name = "ring",
    .family = "softmax",
    .summary = "K and V circulate over N-1 hops while each block is attended",
    .options = ring_options,
    .queries = queries_cut,
    .turns = 1,
    .forward = ring_forward,
    .backward = ring_backward,
    .bytes_forward = ring_bytes_forward,
    .bytes_backward = ring_bytes_backward,
    .period = period_full_mask
};
