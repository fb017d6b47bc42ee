/* SPDX-License-Identifier: Apache-2.0
 *
 * Star Attention: two phases, approximate, for a context and a query part at
 * its end.  The context is cut in blocks, each rank has some in a row.
 *
 *   phase 1  context tokens attend to their own block and to the anchor, the
 *            first tokens of the context, of which every rank has a copy: no
 *            communication
 *   phase 2  the queries are on every rank and attend to all its context, on
 *            the last rank to the query part as well; (O, lse) of all ranks
 *            are gathered and merged: exact
 *
 * The mask is in the job (MASK_STAR) and comes from positions like any other:
 * a rank of context only has nothing hidden in phase 2.
 *
 * Source: Acharya, Jia, Ginsburg, "Star Attention" (arXiv:2411.17116),
 * section 2. */
#include <config.h>

#include "strategy/decode.h"
#include "strategy/parts.h"

#include <stdlib.h>

/* ---- Who has which tokens ------------------------------------------------ */

static void star_job(struct job *job, const struct strategy_options *o,
                     int64_t ranks)
{
    int64_t context = job->tokens - job->queries;
    int64_t block = o->block ? o->block : max64(1, ceil_div(context, ranks));

    job->mask.kind = MASK_STAR;
    job->star = (struct star){ .context = context, .block = block,
                               .anchor = o->anchor ? o->anchor : block };
}

/* First context token of rank r; of rank N: the end of the context. */
static int64_t context_first(const struct job *job, int64_t ranks, int64_t r)
{
    const struct star *m = &job->star;
    int64_t blocks = ceil_div(m->context, m->block);

    return min64(m->context, chunk_first(blocks, ranks, r) * m->block);
}

static struct position_map *star_context(const struct job *job,
                                         const struct strategy_options *o,
                                         int64_t ranks, int64_t rank)
{
    int64_t first = context_first(job, ranks, rank);

    (void)o;
    return tokens_map(job, first, context_first(job, ranks, rank + 1) - first);
}

/* K and V: the last rank has those of the query part, too. */
static struct position_map *star_shard(const struct job *job,
                                       const struct strategy_options *o,
                                       int64_t ranks, int64_t rank)
{
    int64_t first = context_first(job, ranks, rank);

    if (rank < ranks - 1)
        return star_context(job, o, ranks, rank);
    return tokens_map(job, first, job->tokens - first);
}

static int star_applies(const struct job *job,
                        const struct strategy_options *o, int64_t ranks,
                        struct error *e)
{
    (void)o;
    (void)ranks;
    if (job->mask.kind != MASK_CAUSAL)
        return fail_usage(e, "its mask is made of a causal one, not %s",
                          mask_names[job->mask.kind]);
    if (job->pass != PASS_FORWARD)
        return fail_usage(e, "it is forward only, pass is %s",
                          pass_names[job->pass]);
    if (job->sequences > 1)
        return fail_usage(e, "it takes one sequence, not %lld packed",
                          (long long)job->sequences);
    return 0;
}

/* ---- Phases -------------------------------------------------------------- */

/* The anchor's tokens before my own: of those after them nothing is visible. */
static int32_t anchor_map(const struct view *v)
{
    const struct job *job = v->job;
    int64_t first = context_first(job, v->members, v->me);
    int64_t n = view_queries(v) ? min64(job->star.anchor, first) : 0;

    return pool_map(v->pool, tokens_map(job, 0, n));
}

/* A second buffer of a tensor, told from the first by its label. */
static struct tile another(struct schedule *s, const struct view *v,
                           const char *label, enum role role,
                           enum tensor_name tensor, int32_t map)
{
    struct tile t = view_tensor(s, v, role, tensor, map);

    s->buffers[t.buffer].label = pool_label(s->pool, label);
    return t;
}

static void phase1(struct schedule *s, struct view *v)
{
    int32_t anchor = anchor_map(v);
    int anchored = pool_map_get(v->pool, anchor)->rows > 0;
    struct segment *list;
    int64_t n;

    view_lse(s, v);
    struct parts parts = parts_of_output(s, v, 1 + anchored);
    if (anchored) {
        struct tile k = another(s, v, "k_anchor", ROLE_INPUT, TENSOR_K, anchor);
        struct tile x = another(s, v, "v_anchor", ROLE_INPUT, TENSOR_V, anchor);
        n = view_segments(v, anchor, &list);
        parts_attend(s, v, &parts, "anchor", 0, k, x, list, n);
        free(list);
    }
    n = view_segments(v, v->maps[v->me], &list);
    parts_attend(s, v, &parts, "own", 1, v->k, v->v, list, n);
    free(list);
    parts_finish(s, v, &parts);
}

static void phase2(struct schedule *s, const struct view *v)
{
    const struct job *job = v->job;
    struct view all = *v;

    all.q_map = pool_map(v->pool, tokens_map(job, job->star.context,
                                             job->queries));
    all.q = another(s, v, "q_end", ROLE_INPUT, TENSOR_Q, all.q_map);
    all.o = another(s, v, "o_end", ROLE_OUTPUT, TENSOR_O, all.q_map);
    all.lse = another(s, v, "lse_end", ROLE_OUTPUT, TENSOR_LSE, all.q_map);
    replicated_results(s, &all);
    struct partial mine = partial_attend(s, &all, job->wire_partial);
    if (v->members > 1)
        partials_gather(s, &all, mine);
}

static void star_forward(struct schedule *s, struct view *v)
{
    schedule_step(s, 1);
    phase1(s, v);
    schedule_step(s, 2);
    phase2(s, v);
}

static int64_t star_bytes_forward(const struct view *v)
{
    return partials_gather_bytes(v, v->job->queries, v->job->wire_partial);
}

static int64_t star_bytes_backward(const struct view *v)
{
    (void)v;
    return 0;
}

static const char *const star_options[] = { "block", "anchor", NULL };

const struct strategy strategy_star = {
    .name = "star",
    .family = "star",
    .summary = "blocks of context with an anchor, then queries on all ranks",
    .options = star_options,
    .applies = star_applies,
    .job = star_job,
    .queries = star_context,
    .shard = star_shard,
    .forward = star_forward,
    .bytes_forward = star_bytes_forward,
    .bytes_backward = star_bytes_backward,
};
