/* SPDX-License-Identifier: Apache-2.0
 *
 * All-gather KV: every rank gathers all K and V and attends once.  Backward
 * gathers again; dK and dV of all tokens are reduce-scattered.
 *
 * Source: Llama 3 (arXiv:2407.21783), section 3.3.2, context parallelism. */
#include <config.h>

#include "strategy/strategy.h"

#include <stdlib.h>

/* All tokens' K and V, or dK and dV, and which rows are whose. */
struct gathered {
    struct pair all;
    int32_t map, *rows;
};

static struct tile member_tile(struct tile all, int32_t rows)
{
    all.rows = rows;
    return all;
}

/* Two tiles of each member, k and v. */
static void member_tiles(const struct view *v, const struct gathered *g,
                         struct tile *tiles)
{
    for (int64_t i = 0; i < v->members; i++) {
        tiles[2 * i] = member_tile(g->all.k, g->rows[i]);
        tiles[2 * i + 1] = member_tile(g->all.v, g->rows[i]);
    }
}

static struct gathered gather(struct schedule *s, const struct view *v)
{
    int64_t N = v->members;
    struct gathered g = { .all = { v->k, v->v }, .map = v->maps[v->me] };

    if (N == 1)
        return g;
    g.rows = schedule_alloc(s, (size_t)N * sizeof *g.rows);
    g.map = view_gathered(v, view_sorts_well(v), g.rows);
    g.all = view_pair(s, v, "k_all", "v_all", ROLE_SCRATCH, v->job->dtype,
                      view_rows_all(v));

    struct tile *tiles = schedule_alloc(s, (size_t)(2 + 2 * N)
                                        * sizeof *tiles);
    tiles[0] = v->k;
    tiles[1] = v->v;
    member_tiles(v, &g, tiles + 2);
    schedule_collective(s, "kv", CHANNEL_KV, ALL_GATHER, v->ranks, N, 2,
                        tiles, 2 + 2 * N);
    return g;
}

static void allgather_forward(struct schedule *s, struct view *v)
{
    struct gathered g = gather(s, v);
    struct segment *list;
    int64_t n = view_segments(v, g.map, &list);

    view_lse(s, v);
    schedule_attend(s, "", v->q, g.all.k, g.all.v, v->o, v->lse, ACCESS_WRITE,
                    list, n);
    free(list);
}

/* Everybody's part of my dK and dV, one behind the other. */
static struct tile staging_tile(const struct schedule *s, const struct view *v,
                                struct tile all, int64_t member)
{
    int64_t rows = view_rows(v, v->me);

    if (member == v->me)
        return tile_rows(s, all.buffer, 0, 0);
    return tile_rows(s, all.buffer, (member - (member > v->me)) * rows, rows);
}

static void scatter_gradients(struct schedule *s, const struct view *v,
                              const struct gathered *grad)
{
    int64_t N = v->members, n = 2 * N + 2 + 2 * N;
    struct pair staging = view_pair(s, v, "dk_parts", "dv_parts", ROLE_SCRATCH,
                                    v->job->wire_grad,
                                    (N - 1) * view_rows(v, v->me));
    struct tile *tiles = schedule_alloc(s, (size_t)n * sizeof *tiles);

    member_tiles(v, grad, tiles);
    tiles[2 * N] = v->dk;
    tiles[2 * N + 1] = v->dv;
    for (int64_t i = 0; i < N; i++) {
        tiles[2 * N + 2 + 2 * i] = staging_tile(s, v, staging.k, i);
        tiles[2 * N + 3 + 2 * i] = staging_tile(s, v, staging.v, i);
    }
    schedule_collective(s, "dkv", CHANNEL_DKV, REDUCE_SCATTER, v->ranks, N, 2,
                        tiles, n);
}

static void allgather_backward(struct schedule *s, struct view *v)
{
    struct gathered kv = gather(s, v), grad = kv;
    struct tile delta = view_q_tile(s, v, "delta", ROLE_SCRATCH, DTYPE_FP32,
                                    view_rows(v, v->me), 1);
    struct segment *list;
    int64_t n = view_segments(v, kv.map, &list);

    grad.all = (struct pair){ v->dk, v->dv };
    if (v->members > 1)
        grad.all = view_pair(s, v, "dk_all", "dv_all", ROLE_SCRATCH,
                             v->job->wire_grad, view_rows_all(v));
    schedule_delta(s, "", v->o, v->d_o, delta);
    const struct tile in[6] = { v->q, kv.all.k, kv.all.v, v->d_o, v->lse,
                                delta };
    const struct tile out[3] = { v->dq, grad.all.k, grad.all.v };
    const enum access access[3] = { ACCESS_WRITE, ACCESS_WRITE,
                                    ACCESS_WRITE };
    schedule_attend_backward(s, "", in, out, access, list, n);
    free(list);
    if (v->members > 1)
        scatter_gradients(s, v, &grad);
}

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

static const char *const allgather_options[] = { "layout", "block", NULL };

const struct strategy strategy_allgather = {
    .name = "allgather",
    .family = "softmax",
    .summary = "all K and V are gathered once, dK and dV reduce-scattered",
    .options = allgather_options,
    .forward = allgather_forward,
    .backward = allgather_backward,
    .bytes_forward = allgather_bytes_forward,
    .bytes_backward = allgather_bytes_backward,
};
