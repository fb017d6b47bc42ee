/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "job/jitter.h"

#include <stdlib.h>

double jitter_delay(const struct jitter *j, int64_t rank)
{
    double delay = 0;

    for (int64_t i = 0; j && i < j->n_ranks; i++)
        if (j->ranks[i].rank == rank)
            delay += j->ranks[i].delay;
    return delay;
}

double jitter_slow(const struct jitter *j, int64_t rank)
{
    double slow = 1;

    for (int64_t i = 0; j && i < j->n_ranks; i++)
        if (j->ranks[i].rank == rank)
            slow *= j->ranks[i].slow;
    return slow;
}

void jitter_clear(struct jitter *j)
{
    for (int64_t i = 0; i < j->n_links; i++) {
        free(j->links[i].from);
        free(j->links[i].to);
    }
    free(j->ranks);
    free(j->links);
    *j = (struct jitter){ 0 };
}
