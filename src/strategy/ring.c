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
 * Sources: Liu, Zaharia, Abbeel, "Ring Attention with Blockwise Transformers"
 * (arXiv:2310.01889), section 3; striped layout: Brandon et al., "Striped
 * Attention" (arXiv:2311.09431); backward as in Transformer Engine. */
#include <config.h>

#include "strategy/blocks.h"
#include "strategy/strategy.h"

#include <stdlib.h>

/* Where hop `hop` lands: two buffers in turn, the same in both passes; the last
 * one of forward is saved where there is a backward. */
struct ring_state {
    struct pair turn[2], saved;
    int turns;                  /* buffers made so far */
    struct pair last;           /* K, V held after forward */
};

static int64_t owner(const struct view *v, int64_t distance)
{
    int64_t N = v->members;

    return ((v->me + distance) % N + N) % N;
}

static void make_turns(struct schedule *s, const struct view *v,
                       struct ring_state *state, int64_t hops)
{
    static const char *const names[2][2] = { { "k0", "v0" }, { "k1", "v1" } };

    for (; state->turns < min64(hops, 2); state->turns++)
        state->turn[state->turns] = view_pair(
            s, v, names[state->turns][0], names[state->turns][1],
            ROLE_SCRATCH, v->job->dtype, view_rows_most(v));
}

static struct ring_state *forward_start(struct schedule *s, struct view *v,
                                        int save)
{
    struct ring_state *state = schedule_alloc(s, sizeof *state);

    make_turns(s, v, state, v->members - 1 - save);
    if (save)
        state->saved = view_pair(s, v, "k_last", "v_last", ROLE_SAVED,
                                 v->job->dtype, view_rows(v, owner(v, 1)));
    view_lse(s, v);
    v->state = state;
    return state;
}

static void ring_forward(struct schedule *s, struct view *v)
{
    int64_t N = v->members;
    int save = N > 1 && view_has_backward(v);
    struct ring_state *state = forward_start(s, v, save);
    struct pair held = { v->k, v->v };
    struct tile o = N > 1 ? view_accumulator(s, "o_acc", v->o) : v->o;

    for (int64_t i = 0; i < N; i++) {
        struct pair next = held;
        struct segment *list;
        int64_t n = view_segments(v, v->maps[owner(v, -i)], &list);

        schedule_step(s, (int32_t)i);
        if (i < N - 1) {
            next = save && i == N - 2 ? state->saved
                : pair_rows(s, state->turn[i % 2],
                            view_rows(v, owner(v, -i - 1)));
            pair_recv(s, "kv", CHANNEL_KV, view_neighbour(v, -1), next);
            pair_send(s, "kv", CHANNEL_KV, view_neighbour(v, 1), held);
        }
        schedule_attend(s, "", v->q, held.k, held.v, o, v->lse,
                        i ? ACCESS_UPDATE : ACCESS_WRITE, list, n);
        state->last = held;
        held = next;
        free(list);
    }
    view_finish(s, "o", o, v->o);
}

/* dK, dV on their way home: two buffers in turn, and this step's part. */
struct travel {
    struct gradients g;
    struct pair part, turn[2];
};

static struct travel travel_start(struct schedule *s, struct view *v)
{
    struct travel t = { .g = gradients_start(s, v) };
    int64_t rows = view_rows_most(v);

    for (int i = 0; v->members > 1 && i < 2; i++)
        t.turn[i] = view_pair(s, v, i ? "dk1" : "dk0", i ? "dv1" : "dv0",
                              ROLE_SCRATCH, v->job->wire_grad, rows);
    if (v->members > 1)
        t.part = view_pair(s, v, "dk_part", "dv_part", ROLE_SCRATCH,
                           DTYPE_FP32, rows);
    return t;
}

/* Gradients of the block at hand: what came with it plus this step's part. */
static void step_gradients(struct schedule *s, struct view *v,
                           struct travel *t, int64_t i, struct pair held)
{
    int64_t N = v->members, own = owner(v, 1 + i), rows = view_rows(v, own);
    struct segment *list;
    int64_t n = view_segments(v, v->maps[own], &list);
    struct pair home = { v->dk, v->dv };
    struct pair travel = N > 1 ? pair_rows(s, t->turn[i % 2], rows) : home;
    struct pair part = N > 1 ? pair_rows(s, t->part, rows) : home;

    if (i > 0)
        pair_recv(s, "dkv", CHANNEL_DKV, view_neighbour(v, 1), travel);
    if (n > 0)
        gradients_add(s, v, &t->g, held, i > 0 ? part : travel, list, n);
    else if (i == 0)
        pair_sum(s, travel, ACCESS_WRITE, NULL, 0);
    if (i > 0 && i == N - 1)
        pair_sum(s, home, ACCESS_WRITE, (struct pair[]){ travel, part },
                 n > 0 ? 2 : 1);
    else if (i > 0 && n > 0)
        pair_sum(s, travel, ACCESS_UPDATE, &part, 1);
    if (i < N - 1)
        pair_send(s, "dkv", CHANNEL_DKV, view_neighbour(v, -1), travel);
    free(list);
}

static void ring_backward(struct schedule *s, struct view *v)
{
    int64_t N = v->members;
    struct ring_state *state = v->state;
    struct pair held = state->last;

    schedule_step(s, -1);
    make_turns(s, v, state, N - 1);
    struct travel t = travel_start(s, v);
    for (int64_t i = 0; i < N; i++) {
        struct pair next = held;

        schedule_step(s, (int32_t)i);
        if (i < N - 1) {
            next = pair_rows(s, state->turn[i % 2],
                             view_rows(v, owner(v, 2 + i)));
            pair_recv(s, "kv", CHANNEL_KV, view_neighbour(v, 1), next);
            pair_send(s, "kv", CHANNEL_KV, view_neighbour(v, -1), held);
        }
        step_gradients(s, v, &t, i, held);
        held = next;
    }
    view_finish(s, "dq", t.g.dq, v->dq);
}

/* All blocks but the one that stays: forward the next member's, backward the
 * own. */
static int64_t ring_bytes_forward(const struct view *v)
{
    return (view_rows_all(v) - view_rows(v, owner(v, 1)))
        * view_kv_bytes(v, v->job->dtype);
}

static int64_t ring_bytes_backward(const struct view *v)
{
    return (view_rows_all(v) - view_rows(v, v->me))
        * (view_kv_bytes(v, v->job->dtype)
           + view_kv_bytes(v, v->job->wire_grad));
}

static const char *const ring_options[] = { "layout", "block", NULL };

const struct strategy strategy_ring = {
    .name = "ring",
    .family = "softmax",
    .summary = "K and V circulate over N-1 hops while each block is attended",
    .options = ring_options,
    .forward = ring_forward,
    .backward = ring_backward,
    .bytes_forward = ring_bytes_forward,
    .bytes_backward = ring_bytes_backward,
};
