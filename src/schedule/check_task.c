/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles of an op: reading them, laying them on each other. */
#include <config.h>

#include "schedule/check_internal.h"

const char *task_label(const struct task *t, int64_t i)
{
    const struct buffer *b = &t->s->buffers[t->o[i].tile.buffer];

    return pool_label_get(t->s->pool, b->label);
}

/* ---- Reading ------------------------------------------------------------- */

int task_read(const struct task *t, struct tile x, struct spans *out)
{
    const struct buffer *b = &t->s->buffers[x.buffer];

    contents_read(t->s, t->c->contents[t->rank], x, out);
    if (spans_area(out) != tile_row_count(t->s, x) * x.head_count)
        return task_fail(t, "reads rows of %s in which nothing was written",
                         pool_label_get(t->s->pool, b->label));
    return 0;
}

void task_write(const struct task *t, struct tile x, const struct spans *in)
{
    contents_write(t->s, t->c->contents[t->rank], x, in);
}

/* ---- Pairwise ------------------------------------------------------------ */

/* The part of x that lies on y. */
static struct span overlap(const struct span *x, const struct span *y)
{
    struct span z = *x;
    int64_t last = min64(x->row + x->rows, y->row + y->rows);
    int32_t end = (int32_t)min64(x->head + x->heads, y->head + y->heads);

    z.row = max64(x->row, y->row);
    z.rows = last - z.row;
    z.head = x->head > y->head ? x->head : y->head;
    z.heads = end - z.head;
    if (z.what == WHAT_ZERO)
        return z;
    z.token += (z.row - x->row) * x->step;
    z.of_head += z.head - x->head;
    if (z.rows == 1)
        z.step = 1;
    return z;
}

int task_zip(const struct task *t, const struct spans *a,
             const struct spans *b, pair_fn fn, struct spans *out)
{
    int64_t from = 0;

    if (out)
        out->n = 0;
    for (int64_t i = 0; i < a->n; i++) {
        const struct span *x = &a->list[i];
        while (from < b->n
               && b->list[from].row + b->list[from].rows <= x->row)
            from++;
        for (int64_t j = from; j < b->n
             && b->list[j].row < x->row + x->rows; j++) {
            struct span z = overlap(x, &b->list[j]);
            struct span y = overlap(&b->list[j], x);
            if (z.rows <= 0 || z.heads <= 0)
                continue;
            if (fn(t, &z, &y))
                return -1;
            if (out)
                spans_push(out, z);
        }
    }
    return 0;
}

int pair_token(const struct task *t, struct span *a, const struct span *b)
{
    if (a->token != b->token || a->step != b->step)
        return task_fail(t, "%s of token %lld meets %s of token %lld",
                         what_name(a->what),
                         (long long)(a->token + (a->token == b->token
                                                 ? a->step : 0)),
                         what_name(b->what),
                         (long long)(b->token + (a->token == b->token
                                                 ? b->step : 0)));
    return 0;
}

int pair_meaning(const struct task *t, struct span *a, const struct span *b)
{
    if (pair_token(t, a, b))
        return -1;
    if (a->of_head != b->of_head)
        return task_fail(t, "%s of head %d meets %s of head %d",
                         what_name(a->what), a->of_head, what_name(b->what),
                         b->of_head);
    return 0;
}

/* o with its lse: they were summed up together. */
int pair_partial(const struct task *t, struct span *a, const struct span *b)
{
    if (a->what != TENSOR_O || b->what != TENSOR_LSE)
        return task_fail(t, "%s and %s where o and lse are wanted",
                         what_name(a->what), what_name(b->what));
    if (pair_meaning(t, a, b))
        return -1;
    if (a->node != b->node)
        return task_fail(t, "o and lse of token %lld are of different sums",
                         (long long)a->token);
    return 0;
}

static int is_state(int what)
{
    return what == WHAT_STATE_K || what == WHAT_STATE_Q;
}

/* Without decay it does not matter to which token a state refers. */
static int add_states(const struct task *t, struct span *a,
                      const struct span *b)
{
    if (t->c->job->linear.slopes && a->token != b->token)
        return task_fail(t, "states that refer to tokens %lld and %lld are "
                         "added", (long long)a->token, (long long)b->token);
    if (a->of_head != b->of_head)
        return task_fail(t, "states of heads %d and %d are added", a->of_head,
                         b->of_head);
    a->node = tokens_join(t->c->tokens, a->node, b->node);
    return 0;
}

/* Two partials, two gradients or two states make one. */
int pair_add(const struct task *t, struct span *a, const struct span *b)
{
    if (b->what == WHAT_ZERO)
        return 0;
    if (a->what == WHAT_ZERO) {
        *a = *b;
        return 0;
    }
    if (a->what != b->what)
        return task_fail(t, "%s is added to %s", what_name(b->what),
                         what_name(a->what));
    if (is_state(a->what))
        return add_states(t, a, b);
    if (pair_meaning(t, a, b))
        return -1;
    if (a->max != b->max)
        return task_fail(t, "%s relative to one max is added to %s relative "
                         "to another", what_name(b->what), what_name(a->what));
    a->node = history_join(&t->c->history, a->node, b->node);
    return 0;
}

/* Outputs of linear attention have no lse and are plain sums. */
static int is_linear_output(const struct task *t, const struct span *x)
{
    return x->what == TENSOR_O && x->node
        && history_any(&t->c->history, x->node)->linear;
}

int task_only_sums(const struct task *t, const struct spans *s)
{
    static const char sums[WHATS] = {
        [TENSOR_DQ] = 1, [TENSOR_DK] = 1, [TENSOR_DV] = 1, [WHAT_ZERO] = 1,
        [WHAT_NUM] = 1, [WHAT_DEN] = 1, [WHAT_STATE_K] = 1, [WHAT_STATE_Q] = 1,
    };

    for (int64_t i = 0; i < s->n; i++)
        if (!sums[s->list[i].what] && !is_linear_output(t, &s->list[i]))
            return task_fail(t, "adds up %s", what_name(s->list[i].what));
    return 0;
}
