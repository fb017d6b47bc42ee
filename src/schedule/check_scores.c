/* SPDX-License-Identifier: Apache-2.0
 *
 * Materialised scores: a block is of the queries and the keys of one leaf, from
 * the scores to the weights, and from dp to ds; so is what it weighs. */
#include <config.h>

#include "schedule/check_internal.h"

/* First meaning of an operand: it decides what the op computes. */
static int what_of(const struct task *t, int64_t i, struct spans *s)
{
    if (task_read(t, t->o[i].tile, s))
        return -1;
    return s->n ? s->list[0].what : WHAT_ZERO;
}

/* x is one of two whats, y its partner: 0 or 1, which; -1: a finding. */
static int which_product(const struct task *t, int64_t x, int64_t y,
                         const int pairs[2][2], struct spans *xs,
                         struct spans *ys)
{
    int what = what_of(t, x, xs), at = what == pairs[1][0];

    if (what < 0 || operand_read(t, x, pairs[at][0], xs)
        || operand_read(t, y, pairs[at][1], ys))
        return -1;
    return at;
}

/* ---- Scores -------------------------------------------------------------- */

int compute_scores(const struct task *t)
{
    static const int pairs[2][2] = { { TENSOR_Q, TENSOR_K },
                                     { TENSOR_DO, TENSOR_V } };
    struct spans *x = &t->c->scratch[0], *y = &t->c->scratch[1];
    struct spans *out = &t->c->scratch[2];
    int at = which_product(t, 0, 1, pairs, x, y);

    if (at < 0)
        return -1;
    struct shape q = task_shape(t, 0);
    struct leaf leaf = { operand_tokens(t, 0, x), operand_tokens(t, 1, y),
                         t->op->segments, q.first, q.heads, 0 };
    if (leaf.q < 0 || leaf.k < 0)
        return -1;
    spans_as(x, at ? WHAT_DP : WHAT_SCORES,
             history_leaf(&t->c->history, leaf), out);
    task_write(t, t->o[2].tile, out);
    return 0;
}

/* The leaf of a whole block that operand i holds; NULL: a finding. */
static const struct leaf *block_leaf(const struct task *t, int64_t i,
                                     const struct spans *s)
{
    const struct history *h = &t->c->history;
    int32_t node = s->n ? s->list[0].node : 0, tokens = operand_tokens(t, i, s);

    if (tokens < 0)
        return NULL;
    for (int64_t k = 1; k < s->n; k++)
        if (s->list[k].node != node)
            node = 0;
    if (!node || !tokens_equal(t->c->tokens, tokens,
                               history_any(h, node)->q)) {
        task_fail(t, "%s is not one block of scores", task_label(t, i));
        return NULL;
    }
    return history_any(h, node);
}

/* ---- Softmax ------------------------------------------------------------- */

int compute_softmax(const struct task *t)
{
    struct spans *row = &t->c->scratch[0], *s = &t->c->scratch[1];
    struct spans *lse = &t->c->scratch[2], *sum = &t->c->scratch[3];

    spans_zero(t, t->o[0].tile, row);
    for (int64_t i = 1; i < t->n; i++) {
        if (operand_read(t, i, WHAT_SCORES, s) || !block_leaf(t, i, s))
            return -1;
        spans_as(s, TENSOR_LSE, s->list[0].node, lse);
        if (task_zip(t, row, lse, pair_add, sum))
            return -1;
        spans_swap(row, sum);
        spans_as(s, WHAT_WEIGHTS, s->list[0].node, sum);
        task_write(t, t->o[i].tile, sum);
    }
    if (check_complete(t->c, row, t->o[0].tile.head_count, SIDE_QUERY, 0))
        return task_fail(t, "rows are not whole: %s", t->c->prover.text);
    task_write(t, t->o[0].tile, row);
    return 0;
}

/* dp and weights of the same queries and keys, seen through the same mask. */
static int same_block(const struct task *t, const struct leaf *a,
                      const struct leaf *b)
{
    return tokens_equal(t->c->tokens, a->q, b->q)
        && tokens_equal(t->c->tokens, a->k, b->k)
        && a->segments == b->segments;
}

int compute_softmax_backward(const struct task *t)
{
    struct spans *dp = &t->c->scratch[0], *p = &t->c->scratch[1];
    struct spans *delta = &t->c->scratch[2], *ds = &t->c->scratch[3];

    if (operand_read(t, 0, WHAT_DP, dp)
        || operand_read(t, 1, WHAT_WEIGHTS, p)
        || operand_read(t, 2, WHAT_DELTA, delta)
        || task_zip(t, dp, p, pair_meaning, NULL)
        || task_zip(t, dp, delta, pair_meaning, NULL))
        return -1;
    const struct leaf *a = block_leaf(t, 0, dp), *b = block_leaf(t, 1, p);
    if (!a || !b)
        return -1;
    if (!same_block(t, a, b))
        return task_fail(t, "dp and weights are of different blocks");
    spans_as(dp, WHAT_DS, p->list[0].node, ds);
    task_write(t, t->o[0].tile, ds);
    return 0;
}

/* ---- Weigh --------------------------------------------------------------- */

static int same_mask(const struct task *t, const struct leaf *leaf)
{
    if (leaf->segments == t->op->segments)
        return 0;
    return task_fail(t, "segments differ from those of the scores");
}

int compute_weigh(const struct task *t)
{
    static const int pairs[2][2] = { { WHAT_WEIGHTS, TENSOR_V },
                                     { WHAT_DS, TENSOR_K } };
    struct spans *p = &t->c->scratch[0], *v = &t->c->scratch[1];
    struct spans *out = &t->c->scratch[2];
    int at = which_product(t, 1, 2, pairs, p, v);
    const struct leaf *leaf = at < 0 ? NULL : block_leaf(t, 1, p);

    if (!leaf)
        return -1;
    int32_t keys = operand_tokens(t, 2, v);
    if (keys < 0 || same_mask(t, leaf))
        return -1;
    if (!tokens_equal(t->c->tokens, keys, leaf->k))
        return task_fail(t, "%s are not the keys of %s", task_label(t, 2),
                         task_label(t, 1));
    spans_as(p, at ? TENSOR_DQ : TENSOR_O, p->list[0].node, out);
    return operand_put(t, 0, out);
}

/* Rows of the keys, of a gradient. */
static void key_rows(const struct task *t, int32_t tokens, int what,
                     int32_t node, struct spans *out)
{
    struct shape s = task_shape(t, 0);
    int64_t n, row = 0;
    const struct run *r = pool_rows_get(t->c->tokens, tokens, &n);

    out->n = 0;
    for (int64_t i = 0; i < n; row += r[i++].count)
        spans_push(out, (struct span){
            .row = row, .rows = r[i].count, .token = r[i].first,
            .step = r[i].stride, .heads = s.heads, .of_head = s.first,
            .what = what, .node = node });
}

int compute_weigh_transposed(const struct task *t)
{
    static const int pairs[2][2] = { { WHAT_WEIGHTS, TENSOR_DO },
                                     { WHAT_DS, TENSOR_Q } };
    struct spans *p = &t->c->scratch[0], *x = &t->c->scratch[1];
    struct spans *out = &t->c->scratch[2];
    int at = which_product(t, 1, 2, pairs, p, x);
    const struct leaf *leaf = at < 0 ? NULL : block_leaf(t, 1, p);

    if (!leaf || same_mask(t, leaf) || task_zip(t, p, x, pair_meaning, NULL))
        return -1;
    key_rows(t, leaf->k, at ? TENSOR_DK : TENSOR_DV, p->list[0].node, out);
    return operand_put(t, 0, out);
}
