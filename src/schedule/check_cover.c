/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs: on the rank that should hold it, every row is of its token, and the
 * attends behind it are all that is visible, once; the ranks together hold
 * every token and head of every tensor once. */
#include <config.h>

#include "schedule/check_internal.h"

#include <stdlib.h>

/* ---- Rows of one output -------------------------------------------------- */

/* Rows of a column that have one history make one claim. */
static int check_column(struct checker *c, const struct spans *s,
                        int32_t head, int32_t end, enum side side, int linear)
{
    int32_t G = side == SIDE_KEY ? (int32_t)job_group(c->job) : 1;
    struct spans part = { 0 };
    int failed = 0;

    for (int64_t i = 0; i <= s->n && !failed; i++) {
        const struct span *x = &s->list[i], *y = part.list;
        if (i < s->n && (head < x->head || head >= x->head + x->heads))
            continue;
        if (part.n && (i == s->n || x->node != y->node
                       || x->of_head - x->head != y->of_head - y->head)) {
            struct claim claim = {
                y->node, spans_tokens(c->tokens, &part, head), (int32_t)side,
                (y->of_head + head - y->head) * G, (end - head) * G, linear };
            failed = check_claim(c, claim);
            part.n = 0;
        }
        if (i < s->n)
            spans_push(&part, *x);
    }
    free(part.list);
    return failed;
}

int check_complete(struct checker *c, const struct spans *s, int32_t heads,
                   enum side side, int linear)
{
    int32_t end;

    for (int32_t head = 0; head < heads; head = end) {
        end = spans_column(s, head, heads);
        if (check_column(c, s, head, end, side, linear))
            return -1;
    }
    return 0;
}

/* *want is what the map says, *have what the buffer holds; *have becomes *want
 * with the history. */
static int as_wanted(const struct task *t, struct span *have,
                     const struct span *want)
{
    if (have->what == WHAT_ZERO && want->what != TENSOR_LSE) {
        *have = *want;
        return 0;
    }
    if (have->what != want->what || have->token != want->token
        || have->step != want->step || have->of_head != want->of_head)
        return check_fail(t->c, t->rank, -1, "%s: a row holds %s of token "
                          "%lld, head %d instead of token %lld, head %d",
                          what_name(want->what), what_name(have->what),
                          (long long)have->token, have->of_head,
                          (long long)want->token, want->of_head);
    return 0;
}

struct outputs {                /* of one tensor of a layer */
    struct checker *c;
    enum tensor_name tensor;
    int32_t layer;
    int linear;
    struct rect *rects;         /* x: heads, y: tokens that a rank holds */
    int64_t n, cap;
    struct bitmap *bitmap;      /* NULL: too large */
    int malformed;              /* some rows entered neither proof */
    const struct buffer *replica;   /* the first; the others are like it */
};

static void add_rects(struct outputs *all, const struct spans *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        const struct span *x = &s->list[i];
        struct rect r = { { x->of_head, 1, x->heads },
                          { x->token, x->step, x->rows },
                          BAND_LOW, BAND_HIGH };
        ARRAY_PUSH(all->rects, all->n, all->cap, r);
    }
}

/* The rows of an output buffer, if they are what its map says. */
static int read_output(struct outputs *all, int64_t rank, int32_t buffer,
                       struct spans *rows)
{
    struct checker *c = all->c;
    const struct schedule *s = c->schedules[rank];
    const struct buffer *b = &s->buffers[buffer];
    struct spans *have = &c->scratch[0], *want = &c->scratch[1];
    struct task t = { .c = c, .rank = rank, .s = s };

    contents_read(s, c->contents[rank], tile_whole(s, buffer), have);
    spans_of_map(s, b, want);
    if (spans_area(have) != b->rows * b->heads)
        return check_fail(c, rank, -1, "%s: rows are never written",
                          tensor_names[b->tensor]);
    return task_zip(&t, have, want, as_wanted, rows);
}

static int is_complete(const struct outputs *all, int64_t rank,
                       const struct spans *rows, int32_t heads)
{
    struct checker *c = all->c;

    if (!check_complete(c, rows, heads, tensor_side(all->tensor),
                        all->linear))
        return 0;
    return check_fail(c, rank, -1, "%s: %s", tensor_names[all->tensor],
                      c->prover.text);
}

static int check_buffer(struct outputs *all, int64_t rank, int32_t buffer)
{
    const struct buffer *b = &all->c->schedules[rank]->buffers[buffer];
    struct spans *rows = &all->c->scratch[2];

    if (read_output(all, rank, buffer, rows)) {
        all->malformed = 1;
        return -1;
    }
    add_rects(all, rows);
    if (all->bitmap)
        bitmap_add(all->bitmap, rows);
    return is_complete(all, rank, rows, b->heads);
}

/* The first replica counts. */
static int check_replica(struct outputs *all, int64_t rank, int32_t buffer)
{
    const struct buffer *b = &all->c->schedules[rank]->buffers[buffer];
    struct spans *rows = &all->c->scratch[2];

    if (b->map != all->replica->map || b->heads != all->replica->heads
        || b->head_first != all->replica->head_first)
        return check_fail(all->c, rank, -1, "%s: replicas hold different rows "
                          "or heads", tensor_names[all->tensor]);
    return read_output(all, rank, buffer, rows)
        || is_complete(all, rank, rows, b->heads) ? -1 : 0;
}

/* ---- All ranks ----------------------------------------------------------- */

static int check_union(struct outputs *all)
{
    const struct transformer *f = &all->c->job->transformer;
    int64_t heads = tensor_side(all->tensor) == SIDE_KEY ? f->kv_heads
        : f->heads;
    const struct job *job = all->c->job;
    int64_t held = 0, wanted = heads * (job->tokens - job_first_query(job));
    struct rect a, b;

    for (int64_t i = 0; i < all->n; i++)
        held += rect_pairs(all->rects[i]);
    if (!rects_disjoint(all->rects, all->n, &a, &b))
        return check_fail(all->c, -1, -1, "%s: token %lld, head %lld is an "
                          "output twice", tensor_names[all->tensor],
                          (long long)run_meet(a.y, b.y).first,
                          (long long)run_meet(a.x, b.x).first);
    if (held != wanted)
        return check_fail(all->c, -1, -1, "%s: ranks hold %lld of %lld "
                          "tokens x heads", tensor_names[all->tensor],
                          (long long)held, (long long)wanted);
    return 0;
}

static int is_wanted(const struct outputs *all, const struct buffer *b)
{
    return b->role == ROLE_OUTPUT && b->tensor == all->tensor
        && b->layer == all->layer;
}

static int check_tensor(struct outputs *all)
{
    struct checker *c = all->c;
    int failed = 0, replicas_failed = 0;

    for (int64_t r = 0; r < c->ranks; r++)
        for (int32_t i = 0; i < c->schedules[r]->n_buffers; i++) {
            const struct buffer *b = &c->schedules[r]->buffers[i];
            if (!is_wanted(all, b))
                continue;
            if (b->replicated && all->replica)
                replicas_failed |= check_replica(all, r, i);
            else
                failed |= check_buffer(all, r, i);
            if (b->replicated && !all->replica)
                all->replica = b;
        }
    if (check_union(all))
        failed = -1;
    if (all->bitmap && !all->malformed
        && bitmap_complete(all->bitmap) != !failed)
        die("check: %s: the proof by runs says %s, the proof by bitmap the "
            "opposite (%s)", tensor_names[all->tensor],
            failed ? "incomplete" : "complete", c->report->finding.text);
    return failed | replicas_failed;
}

static int check_layer(struct checker *c, int32_t layer)
{
    static const enum tensor_name tensors[] = { TENSOR_O, TENSOR_LSE,
                                                TENSOR_DQ, TENSOR_DK,
                                                TENSOR_DV };
    int n = job_has_backward(c->job) ? 5 : 2, failed = 0;
    int linear = job_attention(c->job, layer) == ATTENTION_LINEAR;

    for (int i = 0; i < n; i++) {
        struct outputs all = { .c = c, .tensor = tensors[i], .layer = layer,
                               .linear = linear };
        if (linear && tensors[i] == TENSOR_LSE)
            continue;           /* it has none */
        if (bitmap_fits(c))
            all.bitmap = bitmap_create(c, tensors[i], linear);
        failed |= check_tensor(&all);
        free(all.rects);
        bitmap_destroy(all.bitmap);
    }
    return failed;
}

int check_outputs(struct checker *c)
{
    int failed = 0;

    for (int32_t layer = 0; layer < job_layers(c->job); layer++)
        failed |= check_layer(c, layer);
    return failed;
}
