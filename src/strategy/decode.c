/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/decode.h"

#include <stdlib.h>

enum { MERGED = 8 };            /* partials that a merge takes */

/* ---- Who has which query ------------------------------------------------- */

struct position_map *tokens_map(const struct job *job, int64_t first,
                                int64_t count)
{
    struct position_map *whole = position_map_whole(job);
    struct position_map *map = position_map_slice(whole, first, count);

    position_map_destroy(whole);
    return map;
}

struct position_map *queries_cut(const struct job *job,
                                 const struct strategy_options *o,
                                 int64_t ranks, int64_t rank)
{
    int64_t first = chunk_first(job->queries, ranks, rank);
    int64_t last = chunk_first(job->queries, ranks, rank + 1);

    if (job->pass != PASS_DECODE)
        return position_map_shard(job, o->layout, o->block, ranks, rank);
    return tokens_map(job, job_first_query(job) + first, last - first);
}

struct position_map *queries_replicated(const struct job *job,
                                        const struct strategy_options *o,
                                        int64_t ranks, int64_t rank)
{
    (void)o;
    (void)ranks;
    (void)rank;
    return tokens_map(job, job_first_query(job), job->queries);
}

/* ---- Replicated queries -------------------------------------------------- */

void replicated_results(struct schedule *s, const struct view *v)
{
    s->buffers[v->o.buffer].replicated = 1;
    s->buffers[v->lse.buffer].replicated = 1;
}

static struct partial partials_make(struct schedule *s, const struct view *v,
                                    const char *o, const char *lse,
                                    enum dtype dtype, int64_t rows)
{
    int64_t width = v->job->transformer.value_dim;

    return (struct partial){
        view_q_tile(s, v, o, ROLE_SCRATCH, dtype, rows, width),
        view_q_tile(s, v, lse, ROLE_SCRATCH, DTYPE_FP32, rows, 1)
    };
}

struct partial partial_attend(struct schedule *s, const struct view *v,
                              enum dtype dtype)
{
    struct partial mine = { v->o, v->lse };
    struct segment *list;
    int64_t n = view_segments(v, v->maps[v->me], &list);

    if (v->members > 1)
        mine = partials_make(s, v, "o_part", "lse_part", dtype,
                             view_queries(v));
    schedule_attend(s, "", v->q, v->k, v->v, mine.o, mine.lse, ACCESS_WRITE,
                    list, n);
    free(list);
    return mine;
}

/* Partials lie one behind the other; results of more than one merge are fp32
 * in between. */
static void merge_all(struct schedule *s, const struct view *v,
                      struct partial all)
{
    int64_t N = v->members, rows = view_queries(v);
    struct tile o = N > MERGED ? view_accumulator(s, "o_acc", v->o) : v->o;

    for (int64_t first = 0; first < N; first += MERGED) {
        struct tile parts[MERGED][2];
        int64_t n = min64(MERGED, N - first);

        for (int64_t i = 0; i < n; i++) {
            parts[i][0] = tile_rows(s, all.o.buffer, (first + i) * rows, rows);
            parts[i][1] = tile_rows(s, all.lse.buffer, (first + i) * rows,
                                    rows);
        }
        schedule_merge(s, "", o, v->lse, first ? ACCESS_UPDATE : ACCESS_WRITE,
                       parts, n);
    }
    view_finish(s, "o", o, v->o);
}

void partials_gather(struct schedule *s, const struct view *v,
                     struct partial mine)
{
    int64_t N = v->members, rows = view_queries(v), n = 2 + 2 * N;
    struct tile *tiles = schedule_alloc(s, (size_t)n * sizeof *tiles);
    struct partial all = partials_make(s, v, "o_all", "lse_all",
                                       s->buffers[mine.o.buffer].dtype,
                                       N * rows);

    tiles[0] = mine.o;
    tiles[1] = mine.lse;
    for (int64_t i = 0; i < N; i++) {
        tiles[2 + 2 * i] = tile_rows(s, all.o.buffer, i * rows, rows);
        tiles[3 + 2 * i] = tile_rows(s, all.lse.buffer, i * rows, rows);
    }
    schedule_collective(s, "out", CHANNEL_OUT, ALL_GATHER, v->ranks, N, 2,
                        tiles, n);
    merge_all(s, v, all);
}

int64_t partials_gather_bytes(const struct view *v, int64_t queries,
                              enum dtype dtype)
{
    int64_t row = v->job->transformer.value_dim * (int64_t)dtype_size(dtype)
        + 4;

    return (v->members - 1) * queries * v->heads * row;
}
