/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/slots.h"

#include <stdlib.h>

struct load {
    uint64_t id;
    int ranks;
};

static struct load *load_of(struct load *loads, int64_t *n, uint64_t id)
{
    for (int64_t i = 0; i < *n; i++)
        if (loads[i].id == id)
            return &loads[i];
    loads[*n].id = id;
    return &loads[(*n)++];
}

/* Smaller is better: room, then near, then few ranks. */
static int cost(const struct slot_device *d, int ranks, int quota)
{
    int full = ranks >= quota;

    return (2 * full + !d->near) * (1 << 20) + ranks;
}

void slots_deal(const struct slot_view *views, int ranks, int *chosen)
{
    int64_t most = 0, n = 0;

    for (int r = 0; r < ranks; r++)
        most += views[r].n;
    struct load *loads = xcalloc((size_t)most + 1, sizeof *loads);
    for (int r = 0; r < ranks; r++)
        for (int i = 0; i < views[r].n; i++)
            load_of(loads, &n, views[r].devices[i].id);
    int quota = n ? (int)ceil_div(ranks, n) : 0;
    for (int r = 0; r < ranks; r++) {
        int best = 0;
        chosen[r] = -1;
        for (int i = 0; i < views[r].n; i++) {
            const struct slot_device *d = &views[r].devices[i];
            int c = cost(d, load_of(loads, &n, d->id)->ranks, quota);
            if (chosen[r] >= 0 && c >= best)
                continue;
            best = c;
            chosen[r] = i;
        }
        if (chosen[r] >= 0)
            load_of(loads, &n, views[r].devices[chosen[r]].id)->ranks++;
    }
    free(loads);
}
