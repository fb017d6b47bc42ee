/* SPDX-License-Identifier: Apache-2.0
 *
 * Tree Attention, a decode step: the queries are on every rank, K and V stay
 * where they are, each rank attends its own, and what is reduced is as large as
 * the queries, not as the sequence.
 *
 *   allreduce3   m = max lse;  den = exp(lse - m), num = o den;
 *                den = sum den;  num = sum num;  o = num / den
 *   packed       the same with one sum of (num, den)
 *   userop       one all-reduce whose operator merges (o, lse)
 *   gather       all-gather of (o, lse), merged by every rank
 *   two-level    userop inside groups of `window` ranks, then among the ranks
 *                of equal place
 *
 * Source: Shyam et al., "Tree Attention" (arXiv:2408.04093), algorithm 3.  The
 * merge is that of FlashAttention-2 (arXiv:2307.08691), section 3.1. */
#include <config.h>

#include "strategy/decode.h"

/* Members whose results become one. */
struct level {
    const int32_t *ranks;
    int64_t members;
    enum channel channel;
};

static struct level everyone(const struct view *v)
{
    return (struct level){ v->ranks, v->members, CHANNEL_OUT };
}

static void all_reduce(struct schedule *s, struct level l, const char *label,
                       enum collective what, const struct tile *in,
                       const struct tile *out, int64_t n)
{
    schedule_reduce(s, label, l.channel, what, l.ranks, l.members, in, out, n,
                    0);
}

static struct tile scratch(struct schedule *s, const struct view *v,
                           const char *label, int64_t width)
{
    return view_q_tile(s, v, label, ROLE_SCRATCH, DTYPE_FP32, view_queries(v),
                       width);
}

/* ---- Sums of num and den ------------------------------------------------- */

static void reduce_sums(struct schedule *s, struct view *v,
                        struct partial mine, int together)
{
    int64_t E = v->job->transformer.value_dim;
    struct level l = everyone(v);
    struct tile m = scratch(s, v, "m", 1);
    const struct tile in[2] = { scratch(s, v, "num", E),
                                scratch(s, v, "den", 1) };
    const struct tile sum[2] = { scratch(s, v, "num_sum", E),
                                 scratch(s, v, "den_sum", 1) };
    const struct operand rescale[] = {
        { mine.o, ACCESS_READ }, { mine.lse, ACCESS_READ }, { m, ACCESS_READ },
        { in[0], ACCESS_WRITE }, { in[1], ACCESS_WRITE } };
    const struct operand normalize[] = {
        { sum[0], ACCESS_READ }, { sum[1], ACCESS_READ }, { m, ACCESS_READ },
        { v->o, ACCESS_WRITE }, { v->lse, ACCESS_WRITE } };

    all_reduce(s, l, "m", ALL_REDUCE_MAX, &mine.lse, &m, 1);
    schedule_compute(s, OP_RESCALE, "", rescale, 5, -1);
    if (together) {
        all_reduce(s, l, "num_den", ALL_REDUCE_SUM, in, sum, 2);
    } else {
        all_reduce(s, l, "den", ALL_REDUCE_SUM, &in[1], &sum[1], 1);
        all_reduce(s, l, "num", ALL_REDUCE_SUM, &in[0], &sum[0], 1);
    }
    schedule_compute(s, OP_NORMALIZE, "", normalize, 5, -1);
}

static void reduce_allreduce3(struct schedule *s, struct view *v,
                              struct partial mine)
{
    reduce_sums(s, v, mine, 0);
}

static void reduce_packed(struct schedule *s, struct view *v,
                          struct partial mine)
{
    reduce_sums(s, v, mine, 1);
}

/* ---- Merges -------------------------------------------------------------- */

static void merge_level(struct schedule *s, struct level l, struct partial in,
                        struct partial out)
{
    all_reduce(s, l, channel_names[l.channel], ALL_REDUCE_MERGE,
               (const struct tile[]){ in.o, in.lse },
               (const struct tile[]){ out.o, out.lse }, 2);
}

static void reduce_userop(struct schedule *s, struct view *v,
                          struct partial mine)
{
    struct partial sum = { view_accumulator(s, "o_acc", v->o), v->lse };

    merge_level(s, everyone(v), mine, sum);
    view_finish(s, "o", sum.o, v->o);
}

static void reduce_gather(struct schedule *s, struct view *v,
                          struct partial mine)
{
    partials_gather(s, v, mine);
}

/* ---- Two levels ---------------------------------------------------------- */

enum { MOST_CHOSEN = 8 };       /* ranks of a node, where nobody says */

static int64_t group_ranks(const struct strategy_options *o, int64_t ranks)
{
    int64_t w = min64(MOST_CHOSEN, ranks);

    while (ranks % w)
        w--;
    return o->window ? o->window : w;
}

/* My group; the ranks at my place in all groups. */
static void two_levels(struct schedule *s, const struct view *v,
                       struct level l[2])
{
    int64_t w = group_ranks(v->options, v->members), n = v->members / w;
    int32_t *across = schedule_alloc(s, (size_t)n * sizeof *across);

    for (int64_t i = 0; i < n; i++)
        across[i] = v->ranks[i * w + v->me % w];
    l[0] = (struct level){ v->ranks + v->me / w * w, w, CHANNEL_INTRA };
    l[1] = (struct level){ across, n, CHANNEL_INTER };
}

static void reduce_two_level(struct schedule *s, struct view *v,
                             struct partial mine)
{
    struct partial sum = { view_accumulator(s, "o_acc", v->o), v->lse };
    struct level l[2];

    two_levels(s, v, l);
    if (l[0].members > 1 && l[1].members > 1) {
        struct partial group = {
            scratch(s, v, "o_group", v->job->transformer.value_dim),
            scratch(s, v, "lse_group", 1) };
        merge_level(s, l[0], mine, group);
        merge_level(s, l[1], group, sum);
    } else {
        merge_level(s, l[l[0].members == 1], mine, sum);
    }
    view_finish(s, "o", sum.o, v->o);
}

/* ---- Closed forms: bytes, rows = queries x heads ------------------------- */

static int64_t value_dim(const struct view *v)
{
    return v->job->transformer.value_dim;
}

static int64_t bytes_allreduce3(const struct view *v, int64_t rows)
{
    return 2 * all_reduce_bytes(v->members, 4 * rows)
        + all_reduce_bytes(v->members, 4 * rows * value_dim(v));
}

static int64_t bytes_userop(const struct view *v, int64_t rows)
{
    return all_reduce_bytes(v->members, 4 * rows * (value_dim(v) + 1));
}

static int64_t bytes_packed(const struct view *v, int64_t rows)
{
    return all_reduce_bytes(v->members, 4 * rows) + bytes_userop(v, rows);
}

static int64_t bytes_gather(const struct view *v, int64_t rows)
{
    return partials_gather_bytes(v, rows / v->heads, v->job->wire_partial);
}

static int64_t bytes_two_level(const struct view *v, int64_t rows)
{
    int64_t w = group_ranks(v->options, v->members);
    int64_t record = 4 * rows * (value_dim(v) + 1);

    return all_reduce_bytes(w, record)
        + all_reduce_bytes(v->members / w, record);
}

/* ---- The strategy -------------------------------------------------------- */

static const struct {
    void (*reduce)(struct schedule *s, struct view *v, struct partial mine);
    int64_t (*bytes)(const struct view *v, int64_t rows);
} reductions[REDUCTIONS] = {
    [REDUCE_ALLREDUCE3] = { reduce_allreduce3, bytes_allreduce3 },
    [REDUCE_PACKED] = { reduce_packed, bytes_packed },
    [REDUCE_USEROP] = { reduce_userop, bytes_userop },
    [REDUCE_GATHER] = { reduce_gather, bytes_gather },
    [REDUCE_TWO_LEVEL] = { reduce_two_level, bytes_two_level },
};

static int tree_applies(const struct job *job,
                        const struct strategy_options *o, int64_t ranks,
                        struct error *e)
{
    if (o->reduce == REDUCE_TWO_LEVEL && ranks % group_ranks(o, ranks))
        return fail_usage(e, "%lld ranks are not a multiple of window %lld",
                          (long long)ranks, (long long)o->window);
    if (job->decode_steps > 0
        && (o->layout != LAYOUT_CONTIGUOUS || o->block))
        return fail_usage(e, "a decode session deals pages of %lld tokens, it "
                          "takes no layout", (long long)job->decode_page);
    return 0;
}

/* A session deals pages in turn, so that shards stay even as it grows. */
static struct position_map *tree_shard(const struct job *job,
                                       const struct strategy_options *o,
                                       int64_t ranks, int64_t rank)
{
    if (job->decode_steps > 0)
        return position_map_shard(job, LAYOUT_STRIPED, job->decode_page,
                                  ranks, rank);
    return position_map_shard(job, o->layout, o->block, ranks, rank);
}

/* Records that are reduced are fp32; a gather moves O as it is. */
static void tree_forward(struct schedule *s, struct view *v)
{
    int gather = v->options->reduce == REDUCE_GATHER;

    view_lse(s, v);
    replicated_results(s, v);
    struct partial mine = partial_attend(s, v, gather ? v->job->wire_partial
                                                      : DTYPE_FP32);
    if (v->members > 1)
        reductions[v->options->reduce].reduce(s, v, mine);
}

static int64_t tree_bytes_forward(const struct view *v)
{
    return reductions[v->options->reduce].bytes(v, view_queries(v) * v->heads);
}

static int64_t tree_bytes_backward(const struct view *v)
{
    (void)v;
    return 0;
}

static const char *const tree_options[] = { "layout", "block", "reduce",
                                            "window", NULL };

const struct strategy strategy_tree = {
    .name = "tree",
    .family = "decode",
    .summary = "queries on every rank, partial results reduced",
    .options = tree_options,
    .applies = tree_applies,
    .queries = queries_replicated,
    .shard = tree_shard,
    .forward = tree_forward,
    .bytes_forward = tree_bytes_forward,
    .bytes_backward = tree_bytes_backward,
};
