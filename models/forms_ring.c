/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of rings: of keys, of queries, TokenRing, the double ring. */
#include <config.h>

#include "models/forms_internal.h"

#include <math.h>

/* options.turns where nothing waits for a buffer; of many ranks untried. */
static double turns(const struct scene *c)
{
    return c->f->ranks > 64 ? 3 : 2;
}

/* ---- Rings -------------------------------------------------------------- */

/* All steps of the group, beside `hops` times the moves; `more` s of each. */
static void add_steps(struct scene *c, int pass, const struct move *moves,
                      int n, double hops, double more, double ops)
{
    double left = hops;

    for (int64_t i = 0; i < c->p->n; i++) {
        struct sight *w = &c->p->works[i];
        struct load l = { .compute = attend_step(c, w, pass) };
        double with = fmin((double)w->steps, left);

        if (w->pairs)
            l.compute += more;
        scene_add(c, (double)w->steps - with, l, 1);
        for (int k = 0; k < n; k++)
            load_move(c, &l, moves[k]);
        scene_add(c, with, l, ops);
        left -= with;
    }
    for (int k = 0; k < n; k++)
        c->e.sent += hops * moves[k].bytes;
}

/* A message with nothing beside it. */
static void add_tail(struct scene *c, struct move m)
{
    struct load l = { 0 };

    load_move(c, &l, m);
    scene_add(c, 1, l, 2);
}

/* Of a causal zigzag one chunk stays behind at every other rank. */
static double travelling(const struct scene *c, int halves)
{
    const struct job *job = c->f->job;

    return halves && c->o->layout == LAYOUT_ZIGZAG && job->sequences == 1
        && job->mask.left < 0 && job->mask.right == 0 ? 0.75 : 1;
}

static double ring_hops(const struct scene *c)
{
    return (double)(c->o->needed ? c->p->reach : c->members) - 1;
}

static double turns_held(const struct scene *c, double hops)
{
    return fmin(hops, turns(c));
}

/* K, V circulate; in backward dK, dV one step behind. */
static void keys_pass(struct scene *c, int pass)
{
    double part = travelling(c, c->o->reverse), hops = ring_hops(c);
    double home = c->rows * kv_bytes(c, scene_grad(c));
    struct move moves[2] = {
        next_message(2, part * c->rows * kv_bytes(c, scene_dtype(c))),
        next_message(2, part * home) };
    double more = step_results(c, pass);

    if (pass == BACKWARD && c->members > 1)
        more += memory_seconds_of(c, 3 * home);
    add_steps(c, pass, moves, 1 + pass, hops, more, pass ? 7 : 3);
    if (pass == BACKWARD && hops > 0)
        add_tail(c, moves[1]);
    c->scratch[pass] += turns_held(c, hops) * moves[0].bytes / part
        + parts_memory(c, pass);
    if (pass == BACKWARD)
        c->scratch[pass] += (turns_held(c, hops) + 1) * home + delta_memory(c);
}

/* Q, dO, lse, delta circulate, dQ one step behind; dK, dV stay. */
static void queries_pass(struct scene *c)
{
    double part = travelling(c, c->o->reverse), hops = ring_hops(c);
    double dq = c->rows * q_bytes(c, scene_grad(c));
    double sums = c->rows * kv_bytes(c, DTYPE_FP32);
    struct move moves[2] = {
        next_message(4, part * c->rows * (q_bytes(c, scene_dtype(c))
                                          + o_bytes(c, scene_dtype(c))
                                          + 8 * (double)c->heads)),
        next_message(1, part * dq) };

    add_steps(c, BACKWARD, moves, 2, hops, c->members > 1
              ? memory_seconds_of(c, 3 * dq)
              + results_more(c, BACKWARD, sums / 4, 0) : 0, 7);
    if (hops > 0)
        add_tail(c, moves[1]);
    c->scratch[BACKWARD] += turns_held(c, hops)
        * (moves[0].bytes / part + 2 * dq) + dq + delta_memory(c)
        + (scene_dtype(c) == DTYPE_FP32 ? 0
           : sums + c->rows * q_bytes(c, DTYPE_FP32));
}

void ring_pass(struct scene *c, int pass)
{
    int turns_back = c->o->backward == CIRCULATE_KV && !c->o->reverse
        && !c->o->needed;

    if (pass == BACKWARD)
        add_delta_form(c);
    if (pass == BACKWARD && c->o->backward == CIRCULATE_Q) {
        queries_pass(c);
        return;
    }
    if (pass == BACKWARD && turns_back && c->members > 1)
        c->saved += c->rows * kv_bytes(c, scene_dtype(c));
    keys_pass(c, pass);
}

void ring_form(struct scene *c, int pass)
{
    scene_enter(c, c->members);
    ring_pass(c, pass);
}

void token_form(struct scene *c, int pass)
{
    scene_enter(c, c->members);
    double part = travelling(c, 1), hops = (double)c->members - 1;
    double there = c->rows * (pass == FORWARD ? q_bytes(c, scene_dtype(c))
                              : q_bytes(c, scene_dtype(c))
                              + o_bytes(c, scene_dtype(c))
                              + 8 * (double)c->heads);
    double back = partial_form_bytes(c, pass);
    struct move moves[2] = { next_message(pass ? 4 : 1, part * there),
                             next_message(pass ? 1 : 2, part * back) };

    moves[1].to = TO_ANOTHER;
    if (pass == BACKWARD)
        add_delta_form(c);
    add_steps(c, pass, moves, 2, hops, memory_seconds_of(c, 3 * part * back),
              6);
    if (hops > 0)
        add_tail(c, moves[1]);
    c->scratch[pass] += fmin(hops, turns(c) + 1) * (there + 2 * back)
        + (scene_dtype(c) == DTYPE_FP32 ? 0 : c->rows
           * (pass ? q_bytes(c, DTYPE_FP32) + kv_bytes(c, DTYPE_FP32)
              : o_bytes(c, DTYPE_FP32)))
        + (pass ? delta_memory(c) : 0);
}

/* ---- Double ring -------------------------------------------------------- */

static int64_t inner_ranks(const struct scene *c)
{
    int64_t w = c->o->window;

    for (int64_t d = 1; !c->o->window && d * d <= c->members; d++)
        if (c->members % d == 0)
            w = d;
    return w;
}

double mean_step(const struct scene *c, int pass)
{
    double seconds = 0;

    for (int64_t i = 0; i < c->p->n; i++)
        seconds += (double)c->p->works[i].steps
            * attend_step(c, &c->p->works[i], pass);
    return seconds / (double)c->members;
}

/* W windows of w steps.  The hops of a window need its first block only, which
 * comes during the window before: they run ahead of the attends, so that of a
 * window the longest counts. */
void double_ring_pass(struct scene *c, int pass)
{
    double w = (double)inner_ranks(c), W = (double)c->members / w;
    double home = c->rows * kv_bytes(c, scene_grad(c));
    struct move moves[2] = {
        next_message(2, c->rows * kv_bytes(c, scene_dtype(c))),
        next_message(2, home) };
    struct load intra = { 0 }, window = { 0 };

    window.compute = w * (mean_step(c, pass) + step_results(c, pass));
    if (pass == BACKWARD) {
        add_delta_form(c);
        window.compute += c->members > 1 ? w * memory_seconds_of(c, 3 * home)
                                         : 0;
    }
    for (int k = 0; k <= pass; k++) {
        struct move inner = moves[k];
        inner.window = moves[k].window = (int64_t)w;
        inner.interleaved = moves[k].interleaved = c->o->interleaved;
        inner.to = TO_INNER;
        moves[k].to = TO_OUTER;
        if (w > 1)
            load_move(c, &intra, inner);
        if (W > 1)
            load_move(c, &window, moves[k]);
    }
    load_repeat(&intra, w - 1);
    struct load last = { .compute = window.compute };
    load_beside(c, &window, &intra);
    load_beside(c, &last, &intra);
    scene_add(c, W - 1, window, w * (pass ? 7 : 3));
    scene_add(c, 1, last, w * (pass ? 7 : 3));
    c->e.sent += ((w > 1) * W * (w - 1) + (W - 1)) * moves[0].bytes;
    if (pass == BACKWARD) {
        add_tail(c, moves[1]);
        c->e.sent += ((w > 1) * (W * w - 1) + (W > 1) * (W - 1)) * home;
        c->scratch[pass] += delta_memory(c) + home
            * (((w > 1) + (W > 1)) * turns(c) + 1)
            + (scene_dtype(c) == DTYPE_FP32 ? 0 : c->rows
               * kv_bytes(c, DTYPE_FP32));
    }
    c->scratch[pass] += ((w > 1) * turns_held(c, w - 1)
                         + (W > 1) * turns_held(c, W - 1)) * moves[0].bytes
        + parts_memory(c, pass);
}

void double_ring_form(struct scene *c, int pass)
{
    scene_enter(c, c->members);
    double_ring_pass(c, pass);
}
