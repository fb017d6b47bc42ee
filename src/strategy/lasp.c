/* SPDX-License-Identifier: Apache-2.0
 *
 * LASP: the state goes from rank to rank.
 *
 *   forward   state and intra of my tokens; then P from the rank before,
 *             lambda^n P + M to the rank after; then what P adds
 *   backward  the same towards the first token, with R and W
 *
 * All local work comes before the receive, so that of the chain only the
 * recurrence is serial: one message a rank and pass, whatever the length.
 *
 * Source: Sun et al., "Linear Attention Sequence Parallelism"
 * (arXiv:2404.02882), algorithms 2 and 3. */
#include <config.h>

#include "strategy/chunks.h"

/* The next rank that has tokens. */
static int32_t neighbour(const struct view *v, int step)
{
    int64_t i = v->me + step;

    while (view_rows(v, i) == 0)
        i += step;
    return v->ranks[i];
}

static void lasp_pass(struct schedule *s, struct view *v, enum outside pass)
{
    struct chunks *x = chunks_begin(s, v, pass);
    const struct chunk *in = chunks_edge(x, pass == OUTSIDE_R);
    const struct chunk *out = chunks_edge(x, pass == OUTSIDE_P);
    int ahead = pass == OUTSIDE_P ? 1 : -1;
    enum channel c = pass == OUTSIDE_P ? CHANNEL_KV : CHANNEL_DKV;
    struct tile own = states_tile(s, v, state_labels[pass], ROLE_SCRATCH,
                                  out != NULL);

    if (out)
        chunk_state(s, v, out, pass, own);
    chunks_local(s, v, x, pass);
    if (in)
        schedule_recv(s, "state", c, neighbour(v, -ahead), &x->outside[pass],
                      1);
    if (in && in == out)
        states_scan(s, own, ACCESS_UPDATE, &x->outside[pass], 1,
                    (int64_t[]){ 0, in->count });
    if (out)
        schedule_send(s, "state", c, neighbour(v, ahead), &own, 1);
    chunks_outside(s, v, x, pass);
}

static void lasp_forward(struct schedule *s, struct view *v)
{
    lasp_pass(s, v, OUTSIDE_P);
}

static void lasp_backward(struct schedule *s, struct view *v)
{
    lasp_pass(s, v, OUTSIDE_R);
}

static int64_t lasp_bytes_forward(const struct view *v)
{
    return shard_continues(v, v->me, 1) ? state_bytes(v) : 0;
}

static int64_t lasp_bytes_backward(const struct view *v)
{
    return shard_continues(v, v->me, 0) ? state_bytes(v) : 0;
}

static const char *const lasp_options[] = { "layout", NULL };

const struct strategy strategy_lasp = {
    .name = "lasp",
    .family = "linear",
    .summary = "the state goes from rank to rank, after all local work",
    .options = lasp_options,
    .applies = chunks_apply_in_order,
    .forward = lasp_forward,
    .backward = lasp_backward,
    .bytes_forward = lasp_bytes_forward,
    .bytes_backward = lasp_bytes_backward,
};
