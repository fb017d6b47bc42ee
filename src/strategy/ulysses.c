/* SPDX-License-Identifier: Apache-2.0
 *
 * Ulysses: one head group of all ranks; each then attends its heads over the
 * whole sequence, alone.  Any layout: the shards are gathered in sequence
 * order.  Option head_group: see exchange.h.
 *
 * Source: Jacobs et al., "DeepSpeed Ulysses" (arXiv:2309.14509), section 3. */
#include <config.h>

#include "strategy/exchange.h"

#include <stdlib.h>

/* `memory`: of [members] row sets and one map. */
static struct exchange ulysses_exchange(const struct view *v, int32_t *memory)
{
    struct exchange x = { .context = &strategy_ring, .group = *v, .child = *v,
                          .rows = memory };
    int32_t *map = memory + v->members;

    *map = view_gathered(v, 1, x.rows);
    x.child.maps = map;
    x.child.q_map = *map;
    x.child.members = 1;
    x.child.me = 0;
    x.child.ranks = &v->ranks[v->me];
    exchange_heads(&x);
    return x;
}

static void ulysses_forward(struct schedule *s, struct view *v)
{
    struct exchange *x = v->state = schedule_alloc(s, sizeof *x);

    *x = ulysses_exchange(v, schedule_alloc(s, (size_t)(v->members + 1)
                                            * sizeof(int32_t)));
    exchange_forward(s, v, x);
}

static void ulysses_backward(struct schedule *s, struct view *v)
{
    exchange_backward(s, v->state);
}

static int64_t ulysses_bytes(const struct view *v,
                             int64_t (*bytes)(const struct exchange *))
{
    int32_t *memory = xcalloc((size_t)(v->members + 1), sizeof *memory);
    struct exchange x = ulysses_exchange(v, memory);
    int64_t n = bytes(&x);

    free(memory);
    return n;
}

static int64_t ulysses_bytes_forward(const struct view *v)
{
    return ulysses_bytes(v, exchange_bytes_forward);
}

static int64_t ulysses_bytes_backward(const struct view *v)
{
    return ulysses_bytes(v, exchange_bytes_backward);
}

/* Whatever the mask: everyone attends all tokens. */
static int64_t ulysses_period(const struct job *job,
                              const struct strategy_options *o, int64_t ranks)
{
    const struct transformer *t = &job->transformer;

    (void)o;
    return t->heads % ranks == 0
        && (t->kv_heads % ranks == 0 || ranks % t->kv_heads == 0);
}

static const char *const ulysses_options[] = { "layout", "block",
                                               "head_group", NULL };

const struct strategy strategy_ulysses = {
    .name = "ulysses",
    .family = "softmax",
    .summary = "all-to-all from token shards to head shards and back",
    .options = ulysses_options,
    .forward = ulysses_forward,
    .backward = ulysses_backward,
    .bytes_forward = ulysses_bytes_forward,
    .bytes_backward = ulysses_bytes_backward,
    .period = ulysses_period
};
