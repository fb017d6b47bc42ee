/* SPDX-License-Identifier: Apache-2.0
 *
 * LASP-2 with an exclusive scan in place of the all-gather: (state, factor)
 * records go through
 *
 *   (Ma, fa) o (Mb, fb) = (fb Ma + Mb, fa fb),    f = lambda^tokens
 *
 * associative, not commutative: log N rounds, one record in memory.  Backward
 * scans the ranks in reverse.  Intra runs beside it. */
#include <config.h>

#include "strategy/chunks.h"

/* How the states before go through my tokens: not at all if a sequence begins
 * or ends among them. */
static int64_t my_span(const struct chunks *x)
{
    const struct chunk *first = chunks_edge(x, 0), *last = chunks_edge(x, 1);

    if (x->n == 0)
        return 0;
    return first && first == last ? first->count : -1;
}

/* The state that leaves on this side; zeros where no sequence goes on. */
static struct tile my_state(struct schedule *s, const struct view *v,
                            const struct chunks *x, enum outside pass)
{
    const struct chunk *out = chunks_edge(x, pass == OUTSIDE_P);
    struct tile own = states_tile(s, v, state_labels[pass], ROLE_SCRATCH, 1);

    if (out)
        chunk_state(s, v, out, pass, own);
    else
        schedule_sum(s, "zeros", own, ACCESS_WRITE, NULL, 0);
    return own;
}

static const int32_t *group(struct schedule *s, const struct view *v,
                            enum outside pass)
{
    int32_t *ranks = schedule_alloc(s, (size_t)v->members * sizeof *ranks);

    for (int32_t i = 0; i < v->members; i++)
        ranks[i] = v->ranks[pass == OUTSIDE_P ? i : v->members - 1 - i];
    return ranks;
}

static void scan(struct schedule *s, const struct view *v,
                 const struct chunks *x, enum outside pass)
{
    struct tile own = my_state(s, v, x, pass), to = x->outside[pass];

    if (!x->n_takes[pass])
        to = states_tile(s, v, "unused", ROLE_SCRATCH, 1);
    schedule_reduce(s, "states", pass == OUTSIDE_P ? CHANNEL_KV : CHANNEL_DKV,
                    EXCLUSIVE_SCAN, group(s, v, pass), v->members, &own, &to,
                    1, my_span(x));
}

static void scan_pass(struct schedule *s, struct view *v, enum outside pass)
{
    struct chunks *x = chunks_begin(s, v, pass);

    if (v->members > 1)
        scan(s, v, x, pass);
    chunks_local(s, v, x, pass);
    chunks_outside(s, v, x, pass);
}

static void scan_forward(struct schedule *s, struct view *v)
{
    scan_pass(s, v, OUTSIDE_P);
}

static void scan_backward(struct schedule *s, struct view *v)
{
    scan_pass(s, v, OUTSIDE_R);
}

/* A state and a factor a head. */
static int64_t record_bytes(const struct view *v)
{
    return state_bytes(v) + v->heads * (int64_t)dtype_size(DTYPE_FP32);
}

static int64_t scan_bytes_forward(const struct view *v)
{
    return v->me < v->members - 1 ? record_bytes(v) : 0;
}

static int64_t scan_bytes_backward(const struct view *v)
{
    return v->me > 0 ? record_bytes(v) : 0;
}

static const char *const scan_options[] = { "layout", NULL };

const struct strategy strategy_lasp2_scan = {
    .name = "lasp2-scan",
    .family = "linear",
    .summary = "an exclusive scan of (state, factor), intra beside it",
    .options = scan_options,
    .applies = chunks_apply_in_order,
    .forward = scan_forward,
    .backward = scan_backward,
    .bytes_forward = scan_bytes_forward,
    .bytes_backward = scan_bytes_backward,
};
