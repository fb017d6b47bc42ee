/* SPDX-License-Identifier: Apache-2.0
 *
 * Exactly once: the attends behind some tokens are rectangles of (query, key)
 * pairs under heads.  All of them visible, no two with a pair in common, and as
 * many pairs as are visible: then each visible pair is there once. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LEAVES = 1 << 22 };        /* of a sum that doubles itself */
enum { MANY_RUNS = 8 };         /* of tokens: more are proved by rows */

/* Below, x are the tokens asked about (queries, or keys for dK and dV), y the
 * tokens of the other side. */
struct proof {
    struct checker *c;
    struct claim claim;
    const struct run *tokens;   /* of claim.tokens */
    int64_t n_tokens;
    int64_t pairs;              /* found so far, under one head */
};

static int disproved(const struct proof *p, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static int disproved(const struct proof *p, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p->c->prover.text, sizeof p->c->prover.text, fmt, ap);
    va_end(ap);
    return -1;
}

static const char *own_side(const struct proof *p)
{
    return p->claim.side == SIDE_QUERY ? "query" : "key";
}

/* ---- What is visible ----------------------------------------------------- */

/* The same pairs from the other side. */
static struct rect turned(struct rect r)
{
    return (struct rect){ r.y, r.x, -r.high, -r.low };
}

/* To queries and keys, or back. */
static struct rect as_queries(const struct proof *p, struct rect r)
{
    return p->claim.side == SIDE_KEY ? turned(r) : r;
}

static int is_visible(const struct proof *p, struct rect r, int64_t pairs)
{
    r = as_queries(p, r);
    return mask_covers(p->c->job, &r) || mask_pairs(p->c->job, r) == pairs;
}

static int64_t visible_to_tokens(const struct proof *p)
{
    struct run all = { 0, 1, p->c->job->tokens };
    int64_t pairs = 0;

    for (int64_t i = 0; i < p->n_tokens; i++)
        pairs += mask_pairs(p->c->job, as_queries(p, (struct rect){
            p->tokens[i], all, BAND_LOW, BAND_HIGH }));
    return pairs;
}

/* ---- Rectangles of a leaf ------------------------------------------------ */

static int push_rect(struct proof *p, struct rect r)
{
    struct prover *w = &p->c->prover;
    int64_t pairs = rect_pairs(r);

    if (pairs == 0)
        return 0;
    if (!is_visible(p, r, pairs))
        return disproved(p, "%s tokens %lld .. %lld meet tokens %lld .. %lld "
                         "beyond the mask", own_side(p),
                         (long long)r.x.first, (long long)run_last(r.x),
                         (long long)r.y.first, (long long)run_last(r.y));
    p->pairs += pairs;
    ARRAY_PUSH(w->rects, w->n, w->cap, r);
    return 0;
}

/* x and y are still queries and keys here: turn them to the side of the claim,
 * and keep its tokens only. */
static int push_of_claim(struct proof *p, struct rect r, int restricted)
{
    r = as_queries(p, r);
    if (!restricted)
        return push_rect(p, r);
    for (int64_t i = 0; i < p->n_tokens; i++) {
        struct rect part = r;
        part.x = run_meet(r.x, p->tokens[i]);
        if (part.x.count && push_rect(p, part))
            return -1;
    }
    return 0;
}

static struct run sub_run(struct run r, int64_t first, int64_t count)
{
    return (struct run){ r.first + first * r.stride, r.stride, count };
}

/* The segment s, all of it in one run of queries and one of keys. */
static int push_segment(struct proof *p, struct segment s, struct run q,
                        struct run k, int restricted)
{
    if (!segment_trim(&s))
        return 0;
    struct rect r = { sub_run(q, s.q_first, s.q_count),
                      sub_run(k, s.k_first, s.k_count), BAND_LOW, BAND_HIGH };
    int open = s.low <= BAND_LOW && s.high >= BAND_HIGH;
    if (r.x.count == 1)
        r.x.stride = r.y.stride;
    if (r.y.count == 1)
        r.y.stride = r.x.stride;
    if (open || r.x.stride == r.y.stride) {
        int64_t gap = r.x.first - r.y.first;
        if (s.low > BAND_LOW)
            r.low = gap + s.low * r.x.stride;
        if (s.high < BAND_HIGH)
            r.high = gap + s.high * r.x.stride;
        return push_of_claim(p, r, restricted);
    }
    for (int64_t i = 0; i < s.q_count; i++) {
        int64_t first, last;
        segment_row(&s, i, &first, &last);
        struct rect row = { sub_run(r.x, i, 1),
                            sub_run(r.y, first, max64(last - first, 0)),
                            BAND_LOW, BAND_HIGH };
        if (row.y.count && push_of_claim(p, row, restricted))
            return -1;
    }
    return 0;
}

/* Part of a segment in rows q_at .. of a run of queries. */
static struct segment clip_rows(struct segment s, int64_t at, int64_t count)
{
    int64_t first = max64(s.q_first, at);
    int64_t last = min64(s.q_first + s.q_count, at + count);
    int64_t shift = first - s.q_first;

    if (s.low > BAND_LOW)
        s.low -= shift;
    if (s.high < BAND_HIGH)
        s.high -= shift;
    s.q_first = first - at;
    s.q_count = last - first;
    return s;
}

static struct segment clip_keys(struct segment s, int64_t at, int64_t count)
{
    int64_t first = max64(s.k_first, at);
    int64_t last = min64(s.k_first + s.k_count, at + count);
    int64_t shift = first - s.k_first;

    if (s.low > BAND_LOW)
        s.low += shift;
    if (s.high < BAND_HIGH)
        s.high += shift;
    s.k_first = first - at;
    s.k_count = last - first;
    return s;
}

static int push_leaf(struct proof *p, const struct leaf *leaf)
{
    int64_t n, nq, nk;
    const struct segment *list = pool_segments_get(p->c->pool, leaf->segments,
                                                   &n);
    const struct run *q = pool_rows_get(p->c->tokens, leaf->q, &nq);
    const struct run *k = pool_rows_get(p->c->tokens, leaf->k, &nk);
    int32_t own = p->claim.side == SIDE_QUERY ? leaf->q : leaf->k;

    for (int64_t i = 0; i < n; i++) {
        int64_t q_at = 0, last = list[i].q_first + list[i].q_count;
        int64_t k_last = list[i].k_first + list[i].k_count;
        for (int64_t a = 0; a < nq && q_at < last; q_at += q[a++].count) {
            int64_t k_at = 0;
            if (q_at + q[a].count <= list[i].q_first)
                continue;
            struct segment rows = clip_rows(list[i], q_at, q[a].count);
            for (int64_t b = 0; b < nk && k_at < k_last; k_at += k[b++].count)
                if (k_at + k[b].count > list[i].k_first
                    && push_segment(p, clip_keys(rows, k_at, k[b].count), q[a],
                                    k[b], own != p->claim.tokens))
                    return -1;
        }
    }
    return 0;
}

/* ---- One head, all heads ------------------------------------------------- */

static int disjoint(struct proof *p)
{
    struct prover *w = &p->c->prover;
    struct rect a, b;

    if (rects_disjoint(w->rects, w->n, &a, &b))
        return 0;
    struct rect both = rect_meet(a, b);
    return disproved(p, "%s tokens %lld .. %lld meet tokens %lld .. %lld more "
                     "than once", own_side(p), (long long)both.x.first,
                     (long long)run_last(both.x), (long long)both.y.first,
                     (long long)run_last(both.y));
}

/* The leaves under head .. *end, which no leaf tells apart, in w->active. */
static int find_active(struct proof *p, int32_t head, int32_t *end)
{
    struct prover *w = &p->c->prover;

    w->n_active = 0;
    for (int64_t i = 0; i < w->n_leaves; i++) {
        const struct leaf *leaf = &p->c->history.leaves[w->leaves[i]];
        int32_t first = leaf->head, last = first + leaf->heads;
        if (first > head && first < *end)
            *end = first;
        if (last > head && last < *end)
            *end = last;
        if (first > head || head >= last)
            continue;
        if (leaf->linear != p->claim.linear)
            return disproved(p, "%s attention is summed up where it is %s",
                             attention_names[leaf->linear],
                             attention_names[p->claim.linear]);
        ARRAY_PUSH(w->active, w->n_active, w->active_cap, w->leaves[i]);
    }
    return 0;
}

static int prove_heads(struct proof *p, int32_t head, int32_t *end)
{
    struct prover *w = &p->c->prover;
    int64_t visible = visible_to_tokens(p);

    if (find_active(p, head, end))
        return -1;
    if (p->n_tokens > MANY_RUNS
        && rows_pairs(p->c, &p->claim, w->active, w->n_active) == visible)
        return 0;
    w->n = 0;
    p->pairs = 0;
    for (int64_t i = 0; i < w->n_active; i++)
        if (push_leaf(p, &p->c->history.leaves[w->active[i]]))
            return -1;
    if (disjoint(p))
        return -1;
    if (p->pairs != visible)
        return disproved(p, "%lld of %lld visible pairs of %s tokens %lld .. "
                         "%lld under heads %d .. %d", (long long)p->pairs,
                         (long long)visible, own_side(p),
                         (long long)p->tokens[0].first,
                         (long long)run_last(p->tokens[p->n_tokens - 1]),
                         head, *end - 1);
    return 0;
}

static int prove(struct checker *c, struct claim claim)
{
    struct proof p = { .c = c, .claim = claim };
    struct prover *w = &c->prover;
    int32_t last = claim.head + claim.heads, end;

    p.tokens = pool_rows_get(c->tokens, claim.tokens, &p.n_tokens);
    w->n_leaves = 0;
    if (history_leaves(&c->history, claim.node, MOST_LEAVES, &w->leaves,
                       &w->n_leaves, &w->leaves_cap))
        return disproved(&p, "more than %d attends are summed up",
                         MOST_LEAVES);
    for (int32_t head = claim.head; head < last; head = end) {
        end = last;
        if (prove_heads(&p, head, &end))
            return -1;
    }
    return 0;
}

/* ---- What is known ------------------------------------------------------- */

static struct known *find(struct prover *w, const struct claim *claim)
{
    uint64_t slot = hash_bytes(3, claim, sizeof *claim);

    for (;; slot++) {
        struct known *k = &w->known[slot & (uint64_t)(w->slots - 1)];
        if (!k->answer || memcmp(&k->claim, claim, sizeof *claim) == 0)
            return k;
    }
}

static void grow(struct prover *w)
{
    struct known *old = w->known;
    int64_t slots = w->slots;

    if (2 * w->n_known < slots)
        return;
    w->slots = slots ? 2 * slots : 1024;
    w->known = xcalloc((size_t)w->slots, sizeof *w->known);
    for (int64_t i = 0; i < slots; i++)
        if (old[i].answer)
            *find(w, &old[i].claim) = old[i];
    free(old);
}

int check_claim(struct checker *c, struct claim claim)
{
    struct prover *w = &c->prover;
    int64_t n;

    pool_rows_get(c->tokens, claim.tokens, &n);
    if (n == 0 || claim.heads == 0)
        return 0;
    grow(w);
    struct known *k = find(w, &claim);
    if (!k->answer) {           /* only what holds is asked for again */
        if (prove(c, claim))
            return -1;
        *k = (struct known){ claim, 1 };
        w->n_known++;
    }
    return 0;
}

void prover_clear(struct prover *p)
{
    free(p->rects);
    free(p->leaves);
    free(p->active);
    free(p->known);
    *p = (struct prover){ 0 };
}
