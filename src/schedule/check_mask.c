/* SPDX-License-Identifier: Apache-2.0
 *
 * What masks show, counted on rects of tokens: on another way than the segments
 * of attends are made. */
#include <config.h>

#include "schedule/check_internal.h"

int64_t mask_sequence(const struct job *job, int64_t token)
{
    int64_t low = 0, high = job->sequences;

    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (job->offsets[middle] <= token)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static struct run sequence_run(const struct job *job, int64_t i)
{
    return (struct run){ job->offsets[i], 1, job->lengths[i] };
}

/* Bounds of query - key. */
static int64_t least(const struct job *job)
{
    return job->mask.right < 0 ? BAND_LOW : -job->mask.right;
}

static int64_t most(const struct job *job)
{
    return job->mask.left < 0 ? BAND_HIGH : job->mask.left;
}

/* Tokens first .. last - 1. */
static struct run from_to(int64_t first, int64_t last)
{
    return (struct run){ first, 1, max64(0, last - first) };
}

static int64_t pairs_of(struct rect r, struct run x, struct run y,
                        int64_t low)
{
    return rect_pairs(rect_meet(r, (struct rect){ x, y, low, BAND_HIGH }));
}

/* Queries of blocks that begin within the anchor, and the query part, see all
 * before them; the other blocks themselves and the anchor. */
static int64_t star_pairs(const struct job *job, struct rect r)
{
    const struct star *m = &job->star;
    struct run all = { 0, 1, job->tokens };
    int64_t plain = min64(m->context, (m->anchor / m->block + 1) * m->block);
    int64_t first = max64(max64(r.x.first, r.y.first), plain) / m->block;
    int64_t end = min64(min64(run_last(r.x), run_last(r.y)) + 1, m->context);
    int64_t pairs = pairs_of(r, from_to(0, plain), all, 0)
        + pairs_of(r, from_to(m->context, job->tokens), all, 0)
        + pairs_of(r, from_to(plain, m->context), from_to(0, m->anchor),
                   BAND_LOW);

    for (int64_t b = first; plain < m->context && b * m->block < end; b++) {
        struct run block = from_to(b * m->block,
                                   min64((b + 1) * m->block, m->context));
        pairs += pairs_of(r, block, block, 0);
    }
    return pairs;
}

int64_t mask_pairs(const struct job *job, struct rect r)
{
    int64_t pairs = 0;

    if (r.x.count == 0 || r.y.count == 0)
        return 0;
    if (job->mask.kind == MASK_STAR)
        return star_pairs(job, r);
    int64_t first = max64(r.x.first, r.y.first);
    int64_t last = min64(run_last(r.x), run_last(r.y));
    for (int64_t i = mask_sequence(job, min64(first, last));
         i < job->sequences && job->offsets[i] <= max64(first, last); i++) {
        struct run all = sequence_run(job, i);
        pairs += rect_pairs(rect_meet(r, (struct rect){ all, all, least(job),
                                                        most(job) }));
    }
    return pairs;
}

int mask_covers(const struct job *job, const struct rect *r)
{
    struct run all = sequence_run(job, mask_sequence(job, r->x.first));
    int64_t end = all.first + all.count;

    return job->mask.kind != MASK_STAR && run_last(r->x) < end
        && r->y.first >= all.first && run_last(r->y) < end
        && max64(r->low, r->x.first - run_last(r->y)) >= least(job)
        && min64(r->high, run_last(r->x) - r->y.first) <= most(job);
}
