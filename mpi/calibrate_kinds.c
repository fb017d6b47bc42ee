/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives to be timed, with tiles as strategies have them. */
#include <config.h>

#include "mpi/calibrate_internal.h"

#include <stdlib.h>

enum { DIM = 64 };

static struct tile new_tile(struct schedule *s, const char *label,
                            int64_t rows, int64_t heads, int64_t width)
{
    struct buffer b = { .role = ROLE_SCRATCH, .dtype = DTYPE_FP32, .map = -1,
                        .rows = rows, .heads = (int32_t)heads,
                        .width = (int32_t)width };

    return tile_whole(s, schedule_buffer(s, label, b));
}

static const char *const tile_labels[2][3] = { { "q", "k", "v" },
                                               { "q_all", "k_all", "v_all" } };

/* Of n tensors, as parts of mine (labels 0) or of all members' rows. */
static void new_tiles(struct schedule *s, int of_all, int64_t rows,
                      int64_t heads, int n, struct tile *out)
{
    for (int i = 0; i < n; i++)
        out[i] = new_tile(s, tile_labels[of_all][i], rows, heads, DIM);
}

/* The rows of member i among those of all: in zigzag the i-th chunk from either
 * end. */
static struct tile part_of(struct schedule *s, const struct bench_part *c,
                           struct tile all, int64_t i)
{
    int64_t half = c->rows / 2, n = 0, cap = 0;
    struct run *runs = NULL;

    if (!c->zigzag || c->rows % 2)
        return tile_rows(s, all.buffer, i * c->rows, c->rows);
    runs_push(&runs, &n, &cap, (struct run){ i * half, 1, half });
    runs_push(&runs, &n, &cap, (struct run){
        (2 * c->members - 1 - i) * half, 1, half });
    all.rows = pool_rows(c->pool, runs, n);
    free(runs);
    return all;
}

/* K and V of everyone, as in `allgather`. */
static void add_gather(struct schedule *s, const struct bench_part *c)
{
    int64_t P = c->members, n = 2 + 2 * P;
    struct tile own[2], all[2], *t = xcalloc((size_t)n, sizeof *t);

    new_tiles(s, 0, c->rows, c->heads, 2, own);
    new_tiles(s, 1, P * c->rows, c->heads, 2, all);
    for (int64_t i = -1; i < P; i++)
        for (int k = 0; k < 2; k++)
            t[2 + 2 * i + k] = i < 0 ? own[k] : part_of(s, c, all[k], i);
    schedule_collective(s, "", CHANNEL_KV, ALL_GATHER, c->ranks, P, 2, t, n);
    free(t);
}

/* Gradients of K and V of everyone to whom they belong. */
static void add_scatter(struct schedule *s, const struct bench_part *c)
{
    int64_t P = c->members, n = 4 * P + 2;
    struct tile all[2], parts[2], *t = xcalloc((size_t)n, sizeof *t);

    new_tiles(s, 1, P * c->rows, c->heads, 2, all);
    new_tiles(s, 0, c->rows, c->heads, 2, t + 2 * P);
    for (int k = 0; k < 2; k++)
        parts[k] = new_tile(s, "parts", (P - 1) * c->rows, c->heads, DIM);
    for (int64_t i = 0; i < P; i++)
        for (int k = 0; k < 2; k++) {
            int64_t at = (i - (i > c->me)) * c->rows;
            t[2 * i + k] = part_of(s, c, all[k], i);
            t[2 * P + 2 + 2 * i + k] = tile_rows(
                s, parts[k].buffer, i == c->me ? 0 : at,
                i == c->me ? 0 : c->rows);
        }
    schedule_collective(s, "", CHANNEL_DKV, REDUCE_SCATTER, c->ranks, P, 2, t,
                        n);
    free(t);
}

/* Q, K and V from shards of tokens to shards of heads, as in `ulysses`. */
static void add_exchange(struct schedule *s, const struct bench_part *c)
{
    int64_t P = c->members, n = 6 * P;
    struct tile from[3], to[3], *t = xcalloc((size_t)n, sizeof *t);

    new_tiles(s, 0, c->rows, P * c->heads, 3, from);
    new_tiles(s, 1, P * c->rows, c->heads, 3, to);
    for (int64_t i = 0; i < P; i++)
        for (int k = 0; k < 3; k++) {
            t[3 * i + k] = tile_heads(from[k], (int32_t)(i * c->heads),
                                      (int32_t)c->heads);
            t[3 * (P + i) + k] = tile_rows(s, to[k].buffer, i * c->rows,
                                           c->rows);
        }
    schedule_collective(s, "", CHANNEL_Q, ALL_TO_ALL, c->ranks, P, 3, t, n);
    free(t);
}

/* Results from shards of heads back to shards of tokens. */
static void add_return(struct schedule *s, const struct bench_part *c)
{
    int64_t P = c->members;
    struct tile from, to, *t = xcalloc((size_t)(2 * P), sizeof *t);

    new_tiles(s, 1, P * c->rows, c->heads, 1, &from);
    new_tiles(s, 0, c->rows, P * c->heads, 1, &to);
    for (int64_t i = 0; i < P; i++) {
        t[i] = tile_rows(s, from.buffer, i * c->rows, c->rows);
        t[P + i] = tile_heads(to, (int32_t)(i * c->heads), (int32_t)c->heads);
    }
    schedule_collective(s, "", CHANNEL_OUT, ALL_TO_ALL, c->ranks, P, 1, t,
                        2 * P);
    free(t);
}

/* Numerators and denominators, or o and lse, as in `tree`. */
static void add_reduce(struct schedule *s, const struct bench_part *c,
                       enum collective what)
{
    struct tile in[2], out[2];

    for (int k = 0; k < 2; k++) {
        in[k] = new_tile(s, "in", c->rows, c->heads, k ? 1 : DIM);
        out[k] = new_tile(s, "out", c->rows, c->heads, k ? 1 : DIM);
    }
    schedule_reduce(s, "", CHANNEL_OUT, what, c->ranks, c->members, in,
                    out, 2, 0);
}

static void add_sum(struct schedule *s, const struct bench_part *c)
{
    add_reduce(s, c, ALL_REDUCE_SUM);
}

static void add_merge(struct schedule *s, const struct bench_part *c)
{
    add_reduce(s, c, ALL_REDUCE_MERGE);
}

/* States of linear attention, as in `lasp2`: a member's is wide. */
static void add_scan(struct schedule *s, const struct bench_part *c)
{
    enum { STATE = 16 * DIM };
    struct tile in = new_tile(s, "in", c->rows, c->heads, STATE);
    struct tile out = new_tile(s, "out", c->rows, c->heads, STATE);

    schedule_reduce(s, "", CHANNEL_KV, EXCLUSIVE_SCAN, c->ranks,
                    c->members, &in, &out, 1, 1);
}

const struct bench_kind bench_kinds[] = {
    { OF_ALL_GATHER, 0, add_gather }, { OF_ALL_GATHER, 1, add_gather },
    { OF_REDUCE_SCATTER, 0, add_scatter },
    { OF_REDUCE_SCATTER, 1, add_scatter },
    { OF_ALL_TO_ALL, 0, add_exchange }, { OF_ALL_TO_ALL, 0, add_return },
    { OF_ALL_REDUCE, 0, add_sum }, { OF_MERGE, 0, add_merge },
    { OF_SCAN, 0, add_scan },
    { COLLECTIVE_KINDS, 0, NULL }
};

struct schedule *bench_schedule(const struct bench_kind *kind,
                                const struct bench_part *c)
{
    struct schedule *s = schedule_create(c->pool, c->job, c->members, c->me);

    struct bench_part part = *c;

    part.zigzag = kind->zigzag;
    kind->add(s, &part);
    schedule_freeze(s);
    return s;
}
