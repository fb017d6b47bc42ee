/* SPDX-License-Identifier: Apache-2.0
 *
 * What ops that compute do to meanings.  An attend adds what it reads, not what
 * the builder meant. */
#include <config.h>

#include "schedule/check_internal.h"

/* ---- Operands ------------------------------------------------------------ */

static int read_operand(const struct task *t, int64_t i, struct spans *out)
{
    return task_read(t, t->o[i].tile, out);
}

/* Heads are those that the buffer says. */
static int same_heads(const struct task *t, struct tile x,
                      const struct spans *s)
{
    const struct buffer *b = &t->s->buffers[x.buffer];

    for (int64_t k = 0; k < s->n; k++) {
        const struct span *y = &s->list[k];
        int32_t head = b->head_first + x.head_first + y->head;
        if (y->what != WHAT_ZERO && y->of_head != head)
            return task_fail(t, "%s holds head %d where head %d is wanted",
                             pool_label_get(t->s->pool, b->label), y->of_head,
                             head);
    }
    return 0;
}

int operand_read(const struct task *t, int64_t i, int what,
                 struct spans *out)
{
    if (read_operand(t, i, out))
        return -1;
    for (int64_t k = 0; k < out->n; k++) {
        const struct span *s = &out->list[k];
        if (s->what != what)
            return task_fail(t, "%s holds %s of token %lld where %s is wanted",
                             task_label(t, i), what_name(s->what),
                             (long long)s->token, what_name(what));
    }
    return same_heads(t, t->o[i].tile, out);
}

int operand_state(const struct task *t, struct tile x, struct spans *out)
{
    if (task_read(t, x, out))
        return -1;
    for (int64_t k = 0; k < out->n; k++) {
        int what = out->list[k].what;
        if (what != WHAT_STATE_K && what != WHAT_STATE_Q && what != WHAT_ZERO)
            return task_fail(t, "holds %s where a state is wanted",
                             what_name(what));
    }
    return same_heads(t, x, out);
}

int32_t operand_tokens(const struct task *t, int64_t i,
                       const struct spans *s)
{
    int32_t heads = t->o[i].tile.head_count;
    int32_t list = spans_tokens(t->c->tokens, s, 0);

    for (int32_t h = spans_column(s, 0, heads); h < heads;
         h = spans_column(s, h, heads))
        if (!tokens_equal(t->c->tokens, list,
                          spans_tokens(t->c->tokens, s, h)))
            return task_fail(t, "heads of %s hold different tokens",
                             task_label(t, i));
    return list;
}

int operand_put(const struct task *t, int64_t i, struct spans *new)
{
    struct spans *old = &t->c->scratch[9], *sum = &t->c->scratch[10];

    if (t->o[i].access == ACCESS_UPDATE) {
        if (read_operand(t, i, old) || task_zip(t, old, new, pair_add, sum))
            return -1;
        new = sum;
    }
    task_write(t, t->o[i].tile, new);
    return 0;
}

int operand_complete(const struct task *t, int64_t i, const struct spans *s)
{
    if (check_complete(t->c, s, t->o[i].tile.head_count, SIDE_QUERY, 0))
        return task_fail(t, "%s is not final: %s", task_label(t, i),
                         t->c->prover.text);
    return 0;
}

void spans_as(const struct spans *from, int what, int32_t node,
              struct spans *out)
{
    out->n = 0;
    for (int64_t i = 0; i < from->n; i++) {
        struct span x = from->list[i];
        x.what = what;
        x.node = node;
        x.max = 0;
        spans_push(out, x);
    }
}

void spans_zero(const struct task *t, struct tile x, struct spans *out)
{
    out->n = 0;
    spans_push(out, (struct span){ .rows = tile_row_count(t->s, x),
                                   .heads = x.head_count,
                                   .what = WHAT_ZERO });
}

/* ---- Attend -------------------------------------------------------------- */

/* q and k of operands 0 and 1; the history that the attend adds. */
static int32_t read_qkv(const struct task *t, struct spans *q,
                        struct spans *k)
{
    struct spans *v = &t->c->scratch[11];
    int64_t n;

    if (operand_read(t, 0, TENSOR_Q, q) || operand_read(t, 1, TENSOR_K, k)
        || operand_read(t, 2, TENSOR_V, v)
        || task_zip(t, k, v, pair_token, NULL))
        return -1;
    struct tile qt = t->o[0].tile;
    struct leaf leaf = { operand_tokens(t, 0, q), operand_tokens(t, 1, k),
                         t->op->segments,
                         t->s->buffers[qt.buffer].head_first + qt.head_first,
                         qt.head_count, 0 };
    if (leaf.q < 0 || leaf.k < 0)
        return -1;
    pool_segments_get(t->s->pool, leaf.segments, &n);
    return n && leaf.heads ? history_leaf(&t->c->history, leaf) : 0;
}

static int compute_attend(const struct task *t)
{
    struct spans *q = &t->c->scratch[0], *k = &t->c->scratch[1];
    struct spans *o = &t->c->scratch[2], *lse = &t->c->scratch[3];
    int32_t node = read_qkv(t, q, k);

    if (node < 0)
        return -1;
    if (t->o[3].access == ACCESS_UPDATE
        && (read_operand(t, 3, o) || read_operand(t, 4, lse)
            || task_zip(t, o, lse, pair_partial, NULL)))
        return -1;
    spans_as(q, TENSOR_O, node, o);
    spans_as(q, TENSOR_LSE, node, lse);
    return operand_put(t, 3, o) || operand_put(t, 4, lse) ? -1 : 0;
}

static int compute_attend_backward(const struct task *t)
{
    static const int what[] = { TENSOR_DO, TENSOR_LSE, WHAT_DELTA };
    struct spans *q = &t->c->scratch[0], *k = &t->c->scratch[1];
    struct spans *x = &t->c->scratch[2];
    int32_t node = read_qkv(t, q, k);

    if (node < 0)
        return -1;
    for (int64_t i = 3; i < 6; i++)
        if (operand_read(t, i, what[i - 3], x)
            || task_zip(t, q, x, pair_meaning, NULL)
            || (i == 4 && operand_complete(t, i, x)))
            return -1;
    if (t->n == 10 && (operand_read(t, 9, TENSOR_O, x)
                       || task_zip(t, q, x, pair_meaning, NULL)
                       || operand_complete(t, 9, x)))
        return -1;
    spans_as(q, TENSOR_DQ, node, x);
    if (operand_put(t, 6, x))
        return -1;
    spans_as(k, TENSOR_DK, node, x);
    if (operand_put(t, 7, x))
        return -1;
    spans_as(k, TENSOR_DV, node, x);
    return operand_put(t, 8, x);
}

/* ---- The others ---------------------------------------------------------- */

static int compute_delta(const struct task *t)
{
    struct spans *o = &t->c->scratch[0], *d_o = &t->c->scratch[1];

    if (operand_read(t, 0, TENSOR_O, o) || operand_read(t, 1, TENSOR_DO, d_o)
        || task_zip(t, o, d_o, pair_meaning, NULL)
        || operand_complete(t, 0, o))
        return -1;
    spans_as(o, WHAT_DELTA, 0, d_o);
    task_write(t, t->o[2].tile, d_o);
    return 0;
}

static int compute_merge(const struct task *t)
{
    struct spans *acc[2] = { &t->c->scratch[0], &t->c->scratch[1] };
    struct spans *in[2] = { &t->c->scratch[2], &t->c->scratch[3] };
    struct spans *out = &t->c->scratch[4];
    int64_t first = t->o[0].access == ACCESS_UPDATE ? 0 : 2;

    for (int64_t i = first; i < t->n; i += 2) {
        if (read_operand(t, i, in[0]) || read_operand(t, i + 1, in[1])
            || task_zip(t, in[0], in[1], pair_partial, NULL))
            return -1;
        for (int x = 0; x < 2; x++) {
            if (i > first && task_zip(t, acc[x], in[x], pair_add, out))
                return -1;
            spans_swap(acc[x], i > first ? out : in[x]);
        }
    }
    task_write(t, t->o[0].tile, acc[0]);
    task_write(t, t->o[1].tile, acc[1]);
    return 0;
}

static int compute_sum(const struct task *t)
{
    struct spans *acc = &t->c->scratch[0], *in = &t->c->scratch[1];
    struct spans *out = &t->c->scratch[2];
    int64_t first = t->o[0].access == ACCESS_UPDATE ? 0 : 1;

    if (first == t->n)
        spans_zero(t, t->o[0].tile, acc);
    for (int64_t i = first; i < t->n; i++) {
        if (read_operand(t, i, in)
            || (t->n - first > 1 && task_only_sums(t, in))
            || (i > first && task_zip(t, acc, in, pair_add, out)))
            return -1;
        spans_swap(acc, i > first ? out : in);
    }
    task_write(t, t->o[0].tile, acc);
    return 0;
}

static int compute_copy(const struct task *t)
{
    struct spans *x = &t->c->scratch[0];

    if (read_operand(t, 1, x))
        return -1;
    task_write(t, t->o[0].tile, x);
    return 0;
}

static int (*const computes[OP_KINDS])(const struct task *) = {
    [OP_ATTEND] = compute_attend,
    [OP_ATTEND_BACKWARD] = compute_attend_backward,
    [OP_DELTA] = compute_delta,
    [OP_MERGE] = compute_merge,
    [OP_SUM] = compute_sum,
    [OP_COPY] = compute_copy,
    [OP_STAGE_OUT] = compute_copy,
    [OP_STAGE_IN] = compute_copy,
    [OP_RESCALE] = compute_rescale,
    [OP_NORMALIZE] = compute_normalize,
    [OP_SCORES] = compute_scores,
    [OP_SOFTMAX] = compute_softmax,
    [OP_SOFTMAX_BACKWARD] = compute_softmax_backward,
    [OP_WEIGH] = compute_weigh,
    [OP_WEIGH_TRANSPOSED] = compute_weigh_transposed,
    [OP_STATE] = compute_state,
    [OP_STATE_SCAN] = compute_state_scan,
    [OP_LINEAR_INTRA] = compute_linear_intra,
    [OP_LINEAR_INTER] = compute_linear_inter,
    [OP_LINEAR_INTRA_BACKWARD] = compute_linear_intra_backward,
    [OP_LINEAR_INTER_DQ] = compute_linear_inter_dq,
    [OP_LINEAR_INTER_DKV] = compute_linear_inter_dkv,
};

int check_compute(const struct task *t)
{
    return computes[t->op->kind](t);
}
