/* SPDX-License-Identifier: Apache-2.0
 *
 * TokenRing: K and V stay, Q circulates, each partial (O, lse) goes straight
 * back to the owner of its Q, one step after it was made.
 *
 *   step s:  attend(q of owner me + s, own kv)  while
 *            q goes on to me - 1 and that of me + s + 1 comes,
 *            the result of step s - 1 goes to its owner me + s - 1, and one
 *            of my own comes from me - (s - 1) and is merged
 *   tail:    the results of step N - 1 go home, with nothing to hide behind
 *
 * In a causal zigzag only the late chunk of a Q can see the keys of ranks above
 * its owner: past rank 0 the other half stays behind.  Backward: Q, dO, lse and
 * delta travel like Q, dQ goes straight home, dK and dV stay.
 *
 * Source: Wang et al., "TokenRing" (arXiv:2412.20501). */
#include <config.h>

#include "strategy/blocks.h"
#include "strategy/strategy.h"

#include <stdio.h>
#include <stdlib.h>

/* What travels with Q (forward: Q alone), and what goes home. */
enum { Q, DO, LSE, DELTA, CARGO };

struct lap {
    int backward;
    int n_cargo, n_result;
    struct tile cargo[3][CARGO];        /* own; two received in turn */
    struct tile made[2][2], home[2][2]; /* results made, received, in turn */
    struct tile sum[2];                 /* where they are merged */
    struct tile dk, dv;                 /* backward */
};

struct part {
    int64_t first, count;
};

static int64_t member(const struct view *v, int64_t distance)
{
    int64_t N = v->members;

    return ((v->me + distance) % N + N) % N;
}

static int halves(const struct view *v)
{
    return v->options->layout == LAYOUT_ZIGZAG && v->job->sequences == 1
        && v->job->mask.left < 0 && v->job->mask.right == 0;
}

/* Rows of owner j's Q that may see keys of member r, or of those after it on
 * the way. */
static struct part rows_at(const struct view *v, int64_t j, int64_t r)
{
    struct part p = { 0, view_rows(v, j) };

    if (halves(v) && r > j) {
        int64_t L = v->job->tokens, chunks = 2 * v->members;
        p.first = chunk_first(L, chunks, j + 1) - chunk_first(L, chunks, j);
        p.count -= p.first;
    }
    return p;
}

static void part_of(const struct schedule *s, struct part p,
                    const struct tile *all, int64_t n, struct tile *part)
{
    for (int64_t i = 0; i < n; i++)
        part[i] = tile_rows(s, all[i].buffer, p.first, p.count);
}

static int64_t part_segments(const struct view *v, int64_t j, struct part p,
                             struct segment **list)
{
    struct position_map *rows = position_map_slice(
        pool_map_get(v->pool, v->maps[j]), p.first, p.count);
    int64_t n = segments_between(v->job, rows,
                                 pool_map_get(v->pool, v->maps[v->me]), list);

    position_map_destroy(rows);
    return n;
}

/* ---- Buffers ------------------------------------------------------------------ */

static struct tile scratch(struct schedule *s, const struct view *v,
                           const char *name, int turn, enum dtype dtype,
                           int64_t width)
{
    char label[32];

    snprintf(label, sizeof label, "%s%d", name, turn);
    return view_q_tile(s, v, label, ROLE_SCRATCH, dtype, view_rows_most(v),
                       width);
}

static void make_turn(struct schedule *s, const struct view *v,
                      struct lap *lap, int turn)
{
    const struct job *job = v->job;
    int64_t D = job->transformer.head_dim, E = job->transformer.value_dim;
    struct tile *cargo = lap->cargo[1 + turn];

    cargo[Q] = scratch(s, v, "q", turn, job->dtype, D);
    if (lap->backward) {
        cargo[DO] = scratch(s, v, "do", turn, job->dtype, E);
        cargo[LSE] = scratch(s, v, "lse", turn, DTYPE_FP32, 1);
        cargo[DELTA] = scratch(s, v, "delta", turn, DTYPE_FP32, 1);
        lap->made[turn][0] = scratch(s, v, "dq_made", turn, job->wire_grad, D);
        lap->home[turn][0] = scratch(s, v, "dq_home", turn, job->wire_grad, D);
        return;
    }
    lap->made[turn][0] = scratch(s, v, "o_made", turn, job->wire_partial, E);
    lap->made[turn][1] = scratch(s, v, "lse_made", turn, DTYPE_FP32, 1);
    lap->home[turn][0] = scratch(s, v, "o_home", turn, job->wire_partial, E);
    lap->home[turn][1] = scratch(s, v, "lse_home", turn, DTYPE_FP32, 1);
}

/* ---- Steps -------------------------------------------------------------------- */

static void pass_on(struct schedule *s, const struct view *v,
                    const struct lap *lap, int64_t step)
{
    struct tile next[CARGO], held[CARGO];
    int64_t own = member(v, step), coming = member(v, step + 1);

    part_of(s, rows_at(v, coming, v->me), lap->cargo[1 + step % 2],
            lap->n_cargo, next);
    part_of(s, rows_at(v, own, member(v, -1)),
            lap->cargo[step ? 1 + (step - 1) % 2 : 0], lap->n_cargo, held);
    schedule_recv(s, "q", CHANNEL_Q, view_neighbour(v, 1), next,
                  lap->n_cargo);
    schedule_send(s, "q", CHANNEL_Q, view_neighbour(v, -1), held,
                  lap->n_cargo);
}

/* The result of step `made` goes home; one of mine, made at the same step,
 * comes. */
static void go_home(struct schedule *s, const struct view *v,
                    const struct lap *lap, int64_t made)
{
    struct tile out[2], in[2];

    part_of(s, rows_at(v, v->me, member(v, -made)), lap->home[made % 2],
            lap->n_result, in);
    part_of(s, rows_at(v, member(v, made), v->me), lap->made[made % 2],
            lap->n_result, out);
    schedule_recv(s, "out", CHANNEL_OUT, view_neighbour(v, -made), in,
                  lap->n_result);
    schedule_send(s, "out", CHANNEL_OUT, view_neighbour(v, made), out,
                  lap->n_result);
}

static void merge_home(struct schedule *s, const struct view *v,
                       const struct lap *lap, int64_t made)
{
    struct part p = rows_at(v, v->me, member(v, -made));
    struct tile in[1][2], sum[2];

    part_of(s, p, lap->home[made % 2], lap->n_result, in[0]);
    part_of(s, p, lap->sum, lap->n_result, sum);
    if (lap->backward)
        schedule_sum(s, "dq", sum[0], ACCESS_UPDATE, in[0], 1);
    else
        schedule_merge(s, "", sum[0], sum[1], ACCESS_UPDATE, in, 1);
}

static void compute(struct schedule *s, const struct view *v,
                    const struct lap *lap, int64_t step)
{
    struct part p = rows_at(v, member(v, step), v->me);
    struct tile in[CARGO], out[2];
    struct segment *list;
    int64_t n = part_segments(v, member(v, step), p, &list);

    part_of(s, p, lap->cargo[step ? 1 + (step - 1) % 2 : 0], lap->n_cargo, in);
    part_of(s, p, step ? lap->made[step % 2] : lap->sum, lap->n_result, out);
    if (lap->backward)
        schedule_attend_backward(
            s, "", (const struct tile[]){ in[Q], v->k, v->v, in[DO], in[LSE],
                                          in[DELTA] },
            (const struct tile[]){ out[0], lap->dk, lap->dv },
            (const enum access[]){ ACCESS_WRITE,
                                   step ? ACCESS_UPDATE : ACCESS_WRITE,
                                   step ? ACCESS_UPDATE : ACCESS_WRITE },
            list, n);
    else
        schedule_attend(s, "", in[Q], v->k, v->v, out[0], out[1],
                        ACCESS_WRITE, list, n);
    free(list);
}

static void run_lap(struct schedule *s, const struct view *v, struct lap *lap)
{
    int64_t N = v->members;

    for (int turn = 0; N > 1 && turn < 2; turn++)
        make_turn(s, v, lap, turn);
    for (int64_t step = 0; step < N; step++) {
        schedule_step(s, (int32_t)step);
        if (step < N - 1)
            pass_on(s, v, lap, step);
        if (step >= 2)
            go_home(s, v, lap, step - 1);
        compute(s, v, lap, step);
        if (step >= 2)
            merge_home(s, v, lap, step - 1);
    }
    if (N == 1)
        return;
    schedule_step(s, (int32_t)N);
    go_home(s, v, lap, N - 1);
    merge_home(s, v, lap, N - 1);
}

static void token_ring_forward(struct schedule *s, struct view *v)
{
    struct lap lap = { .n_cargo = 1, .n_result = 2 };

    view_lse(s, v);
    lap.sum[0] = v->members > 1 ? view_accumulator(s, "o_acc", v->o) : v->o;
    lap.sum[1] = v->lse;
    lap.cargo[0][Q] = v->q;
    run_lap(s, v, &lap);
    view_finish(s, "o", lap.sum[0], v->o);
}

static void token_ring_backward(struct schedule *s, struct view *v)
{
    struct lap lap = { .backward = 1, .n_cargo = CARGO, .n_result = 1 };

    schedule_step(s, -1);
    struct gradients g = gradients_start(s, v);
    lap.sum[0] = g.dq;
    lap.dk = v->members > 1 ? view_accumulator(s, "dk_acc", v->dk) : v->dk;
    lap.dv = v->members > 1 ? view_accumulator(s, "dv_acc", v->dv) : v->dv;
    lap.cargo[0][Q] = v->q;
    lap.cargo[0][DO] = v->d_o;
    lap.cargo[0][LSE] = v->lse;
    lap.cargo[0][DELTA] = g.delta;
    run_lap(s, v, &lap);
    view_finish(s, "dq", g.dq, v->dq);
    view_finish(s, "dk", lap.dk, v->dk);
    view_finish(s, "dv", lap.dv, v->dv);
}

/* ---- Closed form ---------------------------------------------------------------- */

/* `cargo`, `result`: bytes of one row of one head. */
static int64_t lap_bytes(const struct view *v, int64_t cargo, int64_t result)
{
    int64_t bytes = 0;

    for (int64_t s = 0; s < v->members - 1; s++)
        bytes += rows_at(v, member(v, s), member(v, -1)).count * cargo
            + rows_at(v, member(v, s + 1), v->me).count * result;
    return bytes * v->heads;
}

static int64_t token_ring_bytes_forward(const struct view *v)
{
    const struct job *j = v->job;
    int64_t e = (int64_t)dtype_size(j->dtype);

    return lap_bytes(v, j->transformer.head_dim * e,
                     j->transformer.value_dim
                     * (int64_t)dtype_size(j->wire_partial) + 4);
}

static int64_t token_ring_bytes_backward(const struct view *v)
{
    const struct transformer *t = &v->job->transformer;
    int64_t e = (int64_t)dtype_size(v->job->dtype);

    return lap_bytes(v, (t->head_dim + t->value_dim) * e + 8,
                     t->head_dim * (int64_t)dtype_size(v->job->wire_grad));
}

static const char *const token_ring_options[] = { "layout", "block", NULL };

const struct strategy strategy_token_ring = {
    .name = "token-ring",
    .family = "softmax",
    .summary = "Q circulates, partial results go straight back to its owner",
    .options = token_ring_options,
    .forward = token_ring_forward,
    .backward = token_ring_backward,
    .bytes_forward = token_ring_bytes_forward,
    .bytes_backward = token_ring_bytes_backward,
};
