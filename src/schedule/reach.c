/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "schedule/reach.h"

#include <stdlib.h>

struct reach {
    int64_t ranks;
    uint64_t *bits;             /* [ranks][ranks], row by row */
};

struct reach *reach_create(int64_t ranks)
{
    struct reach *r = xcalloc(1, sizeof *r);

    r->ranks = ranks;
    r->bits = xcalloc((size_t)ceil_div(ranks * ranks, 64), sizeof *r->bits);
    return r;
}

void reach_destroy(struct reach *r)
{
    if (r)
        free(r->bits);
    free(r);
}

static void set_bit(struct reach *r, int64_t i)
{
    r->bits[i / 64] |= (uint64_t)1 << i % 64;
}

void reach_add(struct reach *r, int64_t a, int64_t b)
{
    set_bit(r, a * r->ranks + b);
    set_bit(r, b * r->ranks + a);
}

int reach_has(const struct reach *r, int64_t a, int64_t b)
{
    int64_t i = a * r->ranks + b;

    return a == b || (r->bits[i / 64] >> i % 64 & 1);
}

int reach_all(const struct reach *r, const int32_t *ranks, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < i; k++)
            if (!reach_has(r, ranks[i], ranks[k]))
                return 0;
    return 1;
}

int64_t reach_pairs(const struct reach *r, int64_t *all)
{
    int64_t pairs = 0;

    for (int64_t a = 0; a < r->ranks; a++)
        for (int64_t b = 0; b < a; b++)
            pairs += reach_has(r, a, b);
    *all = r->ranks * (r->ranks - 1) / 2;
    return pairs;
}
