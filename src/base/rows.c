/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"
#include "base/rows.h"

int64_t runs_count(const struct run *r, int64_t n)
{
    int64_t count = 0;

    for (int64_t i = 0; i < n; i++)
        count += r[i].count;
    return count;
}

/* Can `b` follow `a` in one run?  Runs of one row take any stride. */
static int runs_join(struct run *a, const struct run *b)
{
    int64_t gap = b->first - (a->first + (a->count - 1) * a->stride);
    int64_t stride = a->count > 1 ? a->stride : gap;

    if (gap < 1 || gap != stride || (b->count > 1 && b->stride != stride))
        return 0;
    /* A lone row starts a run only with a neighbour, or with a run of that
     * stride: two far rows are two runs. */
    if (a->count == 1 && b->count == 1 && gap != 1 && a->stride != gap)
        return 0;
    a->stride = stride;
    a->count += b->count;
    return 1;
}

void runs_push(struct run **runs, int64_t *n, int64_t *cap, struct run r)
{
    if (r.count <= 0)
        return;
    if (r.count == 1)
        r.stride = 1;
    if (*n && runs_join(&(*runs)[*n - 1], &r))
        return;
    ARRAY_PUSH(*runs, *n, *cap, r);
}
