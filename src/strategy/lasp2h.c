/* SPDX-License-Identifier: Apache-2.0
 *
 * LASP-2H: the layers of a pattern, linear ones by lasp2, softmax ones by
 * all-gather KV, in one layout.
 *
 * Source: Sun et al., "LASP-2" (arXiv:2502.07563), section 3.5. */
#include <config.h>

#include "strategy/chunks.h"

static const struct strategy *layer_strategy(const struct view *v)
{
    return job_attention(v->job, v->layer) == ATTENTION_LINEAR
        ? &strategy_lasp2 : &strategy_allgather;
}

static void lasp2h_forward(struct schedule *s, struct view *v)
{
    layer_strategy(v)->forward(s, v);
}

static void lasp2h_backward(struct schedule *s, struct view *v)
{
    layer_strategy(v)->backward(s, v);
}

static int64_t lasp2h_bytes_forward(const struct view *v)
{
    return layer_strategy(v)->bytes_forward(v);
}

static int64_t lasp2h_bytes_backward(const struct view *v)
{
    return layer_strategy(v)->bytes_backward(v);
}

static const char *const lasp2h_options[] = { "layout", NULL };

const struct strategy strategy_lasp2h = {
    .name = "lasp2h",
    .family = "hybrid",
    .summary = "layers of a pattern: linear by lasp2, softmax by allgather",
    .options = lasp2h_options,
    .applies = chunks_apply,
    .forward = lasp2h_forward,
    .backward = lasp2h_backward,
    .bytes_forward = lasp2h_bytes_forward,
    .bytes_backward = lasp2h_bytes_backward,
};
