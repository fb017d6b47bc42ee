/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention: a state is of some tokens, and its decay refers to one
 * token (schedule.h, "States").  What a chunk adds of itself is a triangle, of
 * a state all pairs of its own tokens with those of the state. */
#include <config.h>

#include "schedule/check_internal.h"

static int has_decay(const struct task *t)
{
    return t->c->job->linear.slopes != NULL;
}

/* ---- Chunks -------------------------------------------------------------- */

struct chunk {
    int32_t tokens;             /* list */
    struct run run;             /* the same: consecutive */
};

/* Operand i holds `what` of consecutive tokens of one sequence. */
static int read_chunk(const struct task *t, int64_t i, int what,
                      struct spans *s, struct chunk *c)
{
    int64_t n;

    if (operand_read(t, i, what, s))
        return -1;
    c->tokens = operand_tokens(t, i, s);
    if (c->tokens < 0)
        return -1;
    const struct run *r = pool_rows_get(t->c->tokens, c->tokens, &n);
    c->run = n ? *r : (struct run){ 0, 1, 0 };
    if (n == 0 || (n == 1 && r->stride == 1
                   && mask_sequence(t->c->job, r->first)
                      == mask_sequence(t->c->job, run_last(*r))))
        return 0;
    return task_fail(t, "%s is not of consecutive tokens of one sequence",
                     task_label(t, i));
}

/* Operands first .. hold the tokens of one chunk. */
static int read_chunks(const struct task *t, int64_t first, const int *what,
                       int n, struct spans *s, struct chunk *c)
{
    struct chunk other;

    if (read_chunk(t, first, what[0], &s[0], c))
        return -1;
    for (int i = 1; i < n; i++) {
        if (read_chunk(t, first + i, what[i], &s[i], &other))
            return -1;
        if (!tokens_equal(t->c->tokens, c->tokens, other.tokens))
            return task_fail(t, "%s and %s are of different tokens",
                             task_label(t, first),
                             task_label(t, first + i));
    }
    return 0;
}

/* The op's list is this one segment, as it should be. */
static int32_t only_segment(const struct task *t, struct segment wanted)
{
    int64_t n;
    const struct segment *list = pool_segments_get(t->s->pool,
                                                   t->op->segments, &n);
    struct segment s = n ? *list : wanted;

    if (n != 1 || !segment_trim(&s) || !segment_trim(&wanted)
        || s.q_first != wanted.q_first || s.q_count != wanted.q_count
        || s.k_first != wanted.k_first || s.k_count != wanted.k_count
        || s.low != wanted.low || s.high != wanted.high)
        return task_fail(t, "segments are not the %s of %lld x %lld tokens",
                         wanted.low == 0 ? "triangle" : "pairs",
                         (long long)wanted.q_count,
                         (long long)wanted.k_count);
    return t->op->segments;
}

static int32_t add_leaf(const struct task *t, int32_t q, int32_t k,
                        int32_t segments, int32_t head, int32_t heads)
{
    struct leaf leaf = { q, k, segments, head, heads, 1 };

    return segments < 0 ? -1 : history_leaf(&t->c->history, leaf);
}

/* ---- States -------------------------------------------------------------- */

int compute_state(const struct task *t)
{
    static const int what[2][2] = { { TENSOR_K, TENSOR_V },
                                    { TENSOR_Q, TENSOR_DO } };
    int back = t->op->backward;
    struct spans *out = &t->c->scratch[2];
    struct shape to = task_shape(t, 2);
    struct chunk c;

    if (read_chunks(t, 0, what[back], 2, t->c->scratch, &c))
        return -1;
    spans_zero(t, t->o[2].tile, out);
    if (c.run.count) {
        out->n = 0;
        spans_push(out, (struct span){
            .rows = 1, .step = 1, .heads = to.heads, .of_head = to.first,
            .token = back ? c.run.first : run_last(c.run) + 1,
            .what = back ? WHAT_STATE_Q : WHAT_STATE_K, .node = c.tokens });
    }
    task_write(t, t->o[2].tile, out);
    return 0;
}

/* Forward states refer to later tokens then, backward ones to earlier. */
void states_carry(struct spans *s, int64_t span)
{
    for (int64_t i = 0; i < s->n; i++)
        s->list[i].token += s->list[i].what == WHAT_STATE_K ? span
            : s->list[i].what == WHAT_STATE_Q ? -span : 0;
}

int compute_state_scan(const struct task *t)
{
    struct spans *acc = &t->c->scratch[0], *in = &t->c->scratch[1];
    struct spans *sum = &t->c->scratch[2];
    int64_t n, first = t->o[0].access == ACCESS_UPDATE ? 0 : 1;
    const int64_t *span = pool_numbers_get(t->s->pool, t->op->segments, &n);

    spans_zero(t, t->o[0].tile, acc);
    for (int64_t i = first; i < t->n; i++) {
        if (operand_state(t, t->o[i].tile, in))
            return -1;
        states_carry(in, span[i - first]);
        if (task_zip(t, acc, in, pair_add, sum))
            return -1;
        spans_swap(acc, sum);
    }
    task_write(t, t->o[0].tile, acc);
    return 0;
}

/* A state of side `what` that refers to `token`. */
static int read_state(const struct task *t, int64_t i, int what,
                      int64_t token, struct spans *s)
{
    if (operand_state(t, t->o[i].tile, s))
        return -1;
    for (int64_t k = 0; k < s->n; k++) {
        const struct span *x = &s->list[k];
        if (x->what == WHAT_ZERO)
            continue;
        if (x->what != what)
            return task_fail(t, "%s is a %s where a %s is wanted",
                             task_label(t, i), what_name(x->what),
                             what_name(what));
        if (has_decay(t) && x->token != token)
            return task_fail(t, "%s refers to token %lld where %lld is wanted",
                             task_label(t, i), (long long)x->token,
                             (long long)token);
    }
    return 0;
}

static int64_t tokens_count(const struct task *t, int32_t list)
{
    int64_t n;
    const struct run *r = pool_rows_get(t->c->tokens, list, &n);

    return runs_count(r, n);
}

/* All pairs of the chunk with the tokens of part x of a state: the queries, or
 * the keys, of a new leaf.  0: there are none; -1: a finding. */
static int32_t add_pairs(const struct task *t, const struct chunk *c,
                         const struct span *x)
{
    int of_queries = x->what == WHAT_STATE_Q;
    int64_t theirs = x->what == WHAT_ZERO ? 0 : tokens_count(t, x->node);
    int64_t own = c->run.count, n;
    const struct segment *list = pool_segments_get(t->s->pool,
                                                   t->op->segments, &n);
    struct segment all = { 0, of_queries ? theirs : own, 0,
                           of_queries ? own : theirs, BAND_LOW, BAND_HIGH };

    if (own == 0 || theirs == 0)
        return segments_pairs(list, n) == 0 ? 0
            : task_fail(t, "counts pairs of an empty state");
    return add_leaf(t, of_queries ? x->node : c->tokens,
                    of_queries ? c->tokens : x->node, only_segment(t, all),
                    x->of_head, x->heads);
}

/* ---- Forward ------------------------------------------------------------- */

/* The triangle of a chunk, under the heads of operand 0. */
static int32_t add_triangle(const struct task *t, const struct chunk *c)
{
    struct segment triangle = { 0, c->run.count, 0, c->run.count, 0,
                                BAND_HIGH };
    struct shape q = task_shape(t, 0);

    return add_leaf(t, c->tokens, c->tokens, only_segment(t, triangle),
                    q.first, q.heads);
}

int compute_linear_intra(const struct task *t)
{
    static const int what[] = { TENSOR_Q, TENSOR_K, TENSOR_V };
    struct spans *s = t->c->scratch, *out = &s[4];
    struct chunk c;

    if (read_chunks(t, 0, what, 3, s, &c))
        return -1;
    int32_t node = add_triangle(t, &c);
    if (node < 0)
        return -1;
    spans_as(&s[0], TENSOR_O, node, out);
    return operand_put(t, 3, out);
}

/* What each part of the state (under some heads) adds to the chunk's rows. */
static int put_parts(const struct task *t, const struct chunk *c,
                     const struct spans *state, int64_t operand, int what)
{
    struct spans *out = &t->c->scratch[5];

    out->n = 0;
    for (int64_t i = 0; i < state->n; i++) {
        const struct span *x = &state->list[i];
        int32_t node = add_pairs(t, c, x);
        if (node < 0)
            return -1;
        struct span y = { .rows = c->run.count, .token = c->run.first,
                          .step = 1, .head = x->head, .heads = x->heads,
                          .of_head = task_shape(t, operand).first + x->head,
                          .what = what, .node = node };
        spans_push(out, y);
    }
    return operand_put(t, operand, out);
}

int compute_linear_inter(const struct task *t)
{
    struct spans *q = &t->c->scratch[0], *state = &t->c->scratch[1];
    struct chunk c;

    if (read_chunk(t, 0, TENSOR_Q, q, &c)
        || read_state(t, 1, WHAT_STATE_K, c.run.first, state))
        return -1;
    return put_parts(t, &c, state, 2, TENSOR_O);
}

/* ---- Backward ------------------------------------------------------------ */

int compute_linear_intra_backward(const struct task *t)
{
    static const int what[] = { TENSOR_Q, TENSOR_K, TENSOR_V, TENSOR_DO };
    struct spans *s = t->c->scratch, *out = &s[4];
    struct chunk c;

    if (read_chunks(t, 0, what, 4, s, &c))
        return -1;
    int32_t node = add_triangle(t, &c);
    if (node < 0)
        return -1;
    for (int64_t i = 0; i < 3; i++) {
        spans_as(&s[i], TENSOR_DQ + (int)i, node, out);
        if (operand_put(t, 4 + i, out))
            return -1;
    }
    return 0;
}

int compute_linear_inter_dq(const struct task *t)
{
    static const int what[] = { TENSOR_Q, TENSOR_DO };
    struct spans *s = t->c->scratch, *state = &s[2];
    struct chunk c;

    if (read_chunks(t, 0, what, 2, s, &c)
        || read_state(t, 2, WHAT_STATE_K, c.run.first, state))
        return -1;
    return put_parts(t, &c, state, 3, TENSOR_DQ);
}

/* The parts of a state are of query heads, dk and dv of KV heads: one history
 * for all, in which the leaves keep the query heads apart. */
int compute_linear_inter_dkv(const struct task *t)
{
    static const int what[] = { TENSOR_K, TENSOR_V };
    struct spans *s = t->c->scratch, *state = &s[2], *out = &s[4];
    int32_t node = 0;
    struct chunk c;

    if (read_chunks(t, 0, what, 2, s, &c)
        || read_state(t, 2, WHAT_STATE_Q, run_last(c.run) + 1, state))
        return -1;
    for (int64_t i = 0; i < state->n; i++) {
        int32_t part = add_pairs(t, &c, &state->list[i]);
        if (part < 0)
            return -1;
        node = history_join(&t->c->history, node, part);
    }
    for (int64_t i = 0; i < 2; i++) {
        spans_as(&s[i], TENSOR_DK + (int)i, node, out);
        if (operand_put(t, 3 + i, out))
            return -1;
    }
    return 0;
}
