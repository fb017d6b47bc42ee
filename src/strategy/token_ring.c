/* SPDX-License-Identifier: Apache-2.0
 *
 * TokenRing: K and V stay, Q circulates, each partial (O, lse) goes straight
 * back to the owner of its Q, one step after it was made.
 *
 *   step s:  attend(q of owner me + s, own kv)  while
 *            q goes on to me - 1 and that of me + s + 1 comes,
 *            the result of step s - 1 goes to its owner me + s - 1, and one
 *            of my own comes from me - (s - 1) and is merged
 *   tail:    the results of step N - 1 go home, with nothing to hide behind
 *
 * In a causal zigzag only the late chunk of a Q can see the keys of ranks above
 * its owner: past rank 0 the other half stays behind.  Backward: Q, dO, lse and
 * delta travel like Q, dQ goes straight home, dK and dV stay.
 *
 * Source: Wang et al., "TokenRing" (arXiv:2412.20501). */
#include <config.h>

#include "strategy/strategy.h"
#include "strategy/tour.h"

static struct route token_route(const struct view *v)
{
    return (struct route){ v, SIDE_QUERIES, -1, route_has_halves(v), 0 };
}

static void token_ring_forward(struct schedule *s, struct view *v)
{
    struct route r = token_route(v);

    view_lse(s, v);
    tour_queries_forward(s, v, &r);
}

static void token_ring_backward(struct schedule *s, struct view *v)
{
    struct route r = token_route(v);

    schedule_step(s, -1);
    tour_queries_backward(s, v, &r, 0);
}

static int64_t token_ring_bytes_forward(const struct view *v)
{
    struct route r = token_route(v);

    return tour_bytes_forward(&r);
}

static int64_t token_ring_bytes_backward(const struct view *v)
{
    struct route r = token_route(v);

    return tour_bytes_backward(&r);
}

static const char *const token_ring_options[] = { "layout", "block", NULL };

const struct strategy strategy_token_ring = {
    .name = "token-ring",
    .family = "softmax",
    .summary = "Q circulates, partial results go straight back to its owner",
    .options = token_ring_options,
    .turns = 1,
    .forward = token_ring_forward,
    .backward = token_ring_backward,
    .bytes_forward = token_ring_bytes_forward,
    .bytes_backward = token_ring_bytes_backward,
    .period = period_full_mask
};
