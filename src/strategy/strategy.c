/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/strategy.h"

#include <string.h>

const struct strategy *const strategies[] = {
    &strategy_ring,
    &strategy_allgather,
    &strategy_ulysses,
    &strategy_double_ring,
    &strategy_usp,
    &strategy_2d,
    &strategy_token_ring,
    &strategy_rsa,
    &strategy_tree,
    &strategy_star,
    &strategy_lasp,
    &strategy_lasp2,
    &strategy_lasp2_scan,
    &strategy_lasp2h,
    NULL
};

int64_t period_full_mask(const struct job *job,
                         const struct strategy_options *o, int64_t ranks)
{
    (void)o;
    (void)ranks;
    return job->mask.kind == MASK_FULL;
}

const struct strategy *strategy_find(const char *name)
{
    for (int i = 0; strategies[i]; i++)
        if (strcmp(strategies[i]->name, name) == 0)
            return strategies[i];
    return NULL;
}
