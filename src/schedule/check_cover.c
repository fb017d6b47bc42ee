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
                        int32_t head, int32_t end, enum side side)
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
                (y->of_head + head - y->head) * G, (end - head) * G };
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
                   enum side side)
{
    int32_t end;

    for (int32_t head = 0; head < heads; head = end) {
        end = spans_column(s, head, heads);
        if (check_column(c, s, head, end, side))
            return -1;
    }
    return 0;
}

/* *want is what the map says, *have what the buffer holds; *have becomes *want
 * with the history. */
static int as_wanted(const struct task *t, struct span *have,
                     const struct span *want)
{
    if (have->what == WHAT_ZERO && want->what >= TENSOR_DQ) {
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

struct outputs {                /* of one tensor */
    struct checker *c;
    enum tensor_name tensor;
    struct rect *rects;         /* x: heads, y: tokens that a rank holds */
    int64_t n, cap;
    struct bitmap *bitmap;      /* NULL: too large */
    int malformed;              /* some rows entered neither proof */
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

static int check_buffer(struct outputs *all, int64_t rank, int32_t buffer)
{
    struct checker *c = all->c;
    const struct buffer *b = &c->schedules[rank]->buffers[buffer];
    struct spans *rows = &c->scratch[2];

    if (read_output(all, rank, buffer, rows)) {
        all->malformed = 1;
        return -1;
    }
    add_rects(all, rows);
    if (all->bitmap)
        bitmap_add(all->bitmap, rows);
    if (check_complete(c, rows, b->heads, tensor_side(b->tensor)))
        return check_fail(c, rank, -1, "%s: %s", tensor_names[b->tensor],
                          c->prover.text);
    return 0;
}

/* ---- All ranks ----------------------------------------------------------- */

static int check_union(struct outputs *all)
{
    const struct transformer *f = &all->c->job->transformer;
    int64_t heads = tensor_side(all->tensor) == SIDE_KEY ? f->kv_heads
        : f->heads;
    int64_t held = 0, wanted = heads * all->c->job->tokens;
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

static int check_tensor(struct outputs *all)
{
    struct checker *c = all->c;
    int failed = 0;

    for (int64_t r = 0; r < c->ranks; r++)
        for (int32_t b = 0; b < c->schedules[r]->n_buffers; b++) {
            const struct buffer *x = &c->schedules[r]->buffers[b];
            if (x->role == ROLE_OUTPUT && x->tensor == all->tensor)
                failed |= check_buffer(all, r, b);
        }
    if (check_union(all))
        failed = -1;
    if (all->bitmap && !all->malformed
        && bitmap_complete(all->bitmap) != !failed)
        die("check: %s: the proof by runs says %s, the proof by bitmap the "
            "opposite (%s)", tensor_names[all->tensor],
            failed ? "incomplete" : "complete", c->report->finding.text);
    return failed;
}

int check_outputs(struct checker *c)
{
    static const enum tensor_name tensors[] = { TENSOR_O, TENSOR_LSE,
                                                TENSOR_DQ, TENSOR_DK,
                                                TENSOR_DV };
    int n = job_has_backward(c->job) ? 5 : 2, failed = 0;

    for (int i = 0; i < n; i++) {
        struct outputs all = { .c = c, .tensor = tensors[i] };
        if (bitmap_fits(c))
            all.bitmap = bitmap_create(c, tensors[i]);
        failed |= check_tensor(&all);
        free(all.rects);
        bitmap_destroy(all.bitmap);
    }
    return failed;
}
