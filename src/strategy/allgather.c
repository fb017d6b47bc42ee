/* SPDX-License-Identifier: Apache-2.0
 *
 * All-gather KV: every rank gathers all K and V and attends once.  Backward
 * gathers again; dK and dV of all tokens are reduce-scattered.
 *
 * Option head_group: so many KV heads at a time, in two buffers in turn, the
 * next group being gathered while one is attended.  All ranks have the same
 * groups, whatever they see.  A zigzag rank needs no steps of its own for its
 * two chunks: the segments of the one attend are trimmed to what each sees.
 *
 * Source: Llama 3 (arXiv:2407.21783), section 3.3.2, context parallelism. */
#include <config.h>

#include "strategy/blocks.h"
#include "strategy/strategy.h"

#include <stdlib.h>

/* KV heads of the view that are gathered together, and all that is in common to
 * such groups. */
struct gather {
    int64_t groups, each;
    int32_t map, *rows;         /* of the gathered tokens; rows of a member */
    struct pair kv[2], grad[2]; /* of all tokens; groups in turn */
    struct segment *list;
    int64_t n;
};

static struct gather gather_start(struct schedule *s, const struct view *v)
{
    int64_t N = v->members, most = max64(v->kv_heads, 1);
    struct gather g = { .map = v->maps[v->me],
                        .each = v->options->head_group };

    if (g.each == 0 || g.each > most || N == 1)
        g.each = most;
    g.groups = ceil_div(most, g.each);
    g.rows = schedule_alloc(s, (size_t)N * sizeof *g.rows);
    if (N > 1)
        g.map = view_gathered(v, view_sorts_well(v), g.rows);
    g.n = view_segments(v, g.map, &g.list);
    return g;
}

/* The view of a group: its KV heads and the query heads that read them. */
static struct view group_view(const struct view *v, const struct gather *g,
                              int64_t group)
{
    int64_t G = job_group(v->job), first = group * g->each;
    int64_t count = min64(g->each, v->kv_heads - first);
    int64_t q = max64((v->kv_first + first) * G - v->head_first, 0);
    int64_t q_count = min64((v->kv_first + first + count) * G - v->head_first,
                            v->heads) - q;
    struct view some = *v;
    struct tile *const of_q[] = { &some.q, &some.o, &some.lse, &some.d_o,
                                  &some.dq };
    struct tile *const of_kv[] = { &some.k, &some.v, &some.dk, &some.dv };

    if (g->groups == 1)
        return some;
    some.head_first += q;
    some.heads = q_count;
    some.kv_first += first;
    some.kv_heads = count;
    for (int i = 0; i < 5; i++)
        *of_q[i] = tile_heads(*of_q[i], (int32_t)q, (int32_t)q_count);
    for (int i = 0; i < 4; i++)
        *of_kv[i] = tile_heads(*of_kv[i], (int32_t)first, (int32_t)count);
    return some;
}

/* A pair of all tokens, in the memory of the one two groups before. */
static struct pair take_turn(struct schedule *s, const struct view *some,
                             struct pair turn[2], int64_t group,
                             const char *k_label, const char *v_label,
                             enum dtype dtype)
{
    struct pair *p = &turn[group % 2], before = *p;

    *p = view_pair(s, some, k_label, v_label, ROLE_SCRATCH, dtype,
                   view_rows_all(some));
    if (group >= 2) {
        schedule_follow(s, p->k.buffer, before.k.buffer);
        schedule_follow(s, p->v.buffer, before.v.buffer);
    }
    return *p;
}

static void gather_group(struct schedule *s, const struct view *v,
                         struct gather *g, int64_t group)
{
    int64_t N = v->members;
    struct view some = group_view(v, g, group);
    struct tile *tiles = schedule_alloc(s, (size_t)(2 + 2 * N)
                                        * sizeof *tiles);

    if (N == 1) {
        g->kv[0] = (struct pair){ v->k, v->v };
        return;
    }
    struct pair all = take_turn(s, &some, g->kv, group, "k_all", "v_all",
                                v->job->dtype);
    tiles[0] = some.k;
    tiles[1] = some.v;
    for (int64_t i = 0; i < N; i++) {
        tiles[2 + 2 * i] = all.k;
        tiles[3 + 2 * i] = all.v;
        tiles[2 + 2 * i].rows = tiles[3 + 2 * i].rows = g->rows[i];
    }
    schedule_step(s, g->groups > 1 ? (int32_t)group : -1);
    schedule_collective(s, "kv", CHANNEL_KV, ALL_GATHER, v->ranks, N, 2,
                        tiles, 2 + 2 * N);
}

static void attend_group(struct schedule *s, const struct view *some,
                         struct gather *g, int64_t group)
{
    struct pair kv = g->kv[group % 2];

    schedule_attend(s, "", some->q, kv.k, kv.v, some->o, some->lse,
                    ACCESS_WRITE, g->list, g->n);
}

/* `delta`: of all heads of the view. */
static void attend_group_backward(struct schedule *s, const struct view *some,
                                  struct gather *g, int64_t group,
                                  struct tile delta)
{
    struct pair kv = g->kv[group % 2], grad = { some->dk, some->dv };

    if (some->members > 1)
        grad = take_turn(s, some, g->grad, group, "dk_all", "dv_all",
                         some->job->wire_grad);
    delta = tile_heads(delta, some->q.head_first, some->q.head_count);
    schedule_attend_backward(
        s, "", (const struct tile[]){ some->q, kv.k, kv.v, some->d_o,
                                      some->lse, delta }, &some->o,
        (const struct tile[]){ some->dq, grad.k, grad.v },
        (const enum access[]){ ACCESS_WRITE, ACCESS_WRITE, ACCESS_WRITE },
        g->list, g->n);
    if (some->members > 1)
        gradients_scatter(s, some, grad, g->rows);
}

/* Attend group after group, the next one being gathered meanwhile.  delta:
 * backward only. */
static void attend_all(struct schedule *s, const struct view *v,
                       struct gather *g, const struct tile *delta)
{
    gather_group(s, v, g, 0);
    for (int64_t i = 0; i < g->groups; i++) {
        struct view some = group_view(v, g, i);
        if (i + 1 < g->groups)
            gather_group(s, v, g, i + 1);
        schedule_step(s, g->groups > 1 ? (int32_t)i : -1);
        if (delta)
            attend_group_backward(s, &some, g, i, *delta);
        else
            attend_group(s, &some, g, i);
    }
    free(g->list);
}

static void allgather_forward(struct schedule *s, struct view *v)
{
    struct gather g = gather_start(s, v);

    view_lse(s, v);
    attend_all(s, v, &g, NULL);
}

static void allgather_backward(struct schedule *s, struct view *v)
{
    struct gather g = gather_start(s, v);
    struct tile delta = view_q_tile(s, v, "delta", ROLE_SCRATCH, DTYPE_FP32,
                                    view_rows(v, v->me), 1);

    schedule_step(s, -1);
    schedule_delta(s, "", v->o, v->d_o, delta);
    attend_all(s, v, &g, &delta);
}

/* All heads, however grouped. */
static int64_t allgather_bytes_forward(const struct view *v)
{
    return (v->members - 1) * view_rows(v, v->me)
        * view_kv_bytes(v, v->job->dtype);
}

static int64_t allgather_bytes_backward(const struct view *v)
{
    return allgather_bytes_forward(v)
        + (view_rows_all(v) - view_rows(v, v->me))
        * view_kv_bytes(v, v->job->wire_grad);
}

static const char *const allgather_options[] = { "layout", "block",
                                                 "head_group", NULL };

const struct strategy strategy_allgather = {
    .name = "allgather",
    .family = "softmax",
    .summary = "all K and V are gathered once, dK and dV reduce-scattered",
    .options = allgather_options,
    .forward = allgather_forward,
    .backward = allgather_backward,
    .bytes_forward = allgather_bytes_forward,
    .bytes_backward = allgather_bytes_backward,
    .period = period_full_mask
};
