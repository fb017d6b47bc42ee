/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "schedule/view.h"

#include <stdlib.h>

const char *const placement_names[] = { "head-first", "context-first", NULL };
const char *const circulate_names[] = { "kv", "q", NULL };
const char *const reduction_names[] = { "allreduce3", "packed", "userop",
                                        "gather", "two-level", NULL };

int64_t view_rows(const struct view *v, int64_t member)
{
    return pool_map_get(v->pool, v->maps[member])->rows;
}

int64_t view_rows_all(const struct view *v)
{
    int64_t rows = 0;

    for (int64_t i = 0; i < v->members; i++)
        rows += view_rows(v, i);
    return rows;
}

int64_t view_rows_most(const struct view *v)
{
    int64_t rows = 0;

    for (int64_t i = 0; i < v->members; i++)
        rows = max64(rows, view_rows(v, i));
    return rows;
}

int32_t view_neighbour(const struct view *v, int64_t distance)
{
    int64_t N = v->members;

    return v->ranks[((v->me + distance) % N + N) % N];
}

int64_t view_kv_bytes(const struct view *v, enum dtype dtype)
{
    const struct transformer *t = &v->job->transformer;

    return v->kv_heads * (t->head_dim + t->value_dim)
        * (int64_t)dtype_size(dtype);
}

int view_has_backward(const struct view *v)
{
    return job_has_backward(v->job);
}

int64_t view_queries(const struct view *v)
{
    return pool_map_get(v->pool, v->q_map)->rows;
}

struct tile view_tensor(struct schedule *s, const struct view *v,
                        enum role role, enum tensor_name tensor, int32_t map)
{
    const struct transformer *t = &v->job->transformer;
    int kv = tensor == TENSOR_K || tensor == TENSOR_V || tensor == TENSOR_DK
        || tensor == TENSOR_DV;
    int value = tensor == TENSOR_V || tensor == TENSOR_DV || tensor == TENSOR_O
        || tensor == TENSOR_DO;
    int lse = tensor == TENSOR_LSE;

    return tile_whole(s, schedule_buffer(s, tensor_names[tensor],
        (struct buffer){
            .role = role, .tensor = tensor, .map = map,
            .dtype = lse ? DTYPE_FP32 : v->job->dtype,
            .rows = pool_map_get(v->pool, map)->rows,
            .heads = (int32_t)(kv ? v->kv_heads : v->heads),
            .head_first = (int32_t)(kv ? v->kv_first : v->head_first),
            .width = (int32_t)(lse ? 1 : value ? t->value_dim : t->head_dim)
        }));
}

struct tile view_accumulator(struct schedule *s, const char *label,
                             struct tile result)
{
    struct buffer b = s->buffers[result.buffer];

    if (b.dtype == DTYPE_FP32)
        return result;
    b.role = ROLE_SCRATCH;
    b.tensor = TENSOR_NONE;
    b.dtype = DTYPE_FP32;
    return tile_whole(s, schedule_buffer(s, label, b));
}

void view_finish(struct schedule *s, const char *label, struct tile acc,
                 struct tile result)
{
    if (acc.buffer != result.buffer)
        schedule_sum(s, label, result, ACCESS_WRITE, &acc, 1);
}

void view_lse(struct schedule *s, struct view *v)
{
    v->lse = view_tensor(s, v, ROLE_OUTPUT, TENSOR_LSE, v->q_map);
}

struct tile view_kv_tile(struct schedule *s, const struct view *v,
                         const char *label, enum role role, enum dtype dtype,
                         int64_t rows, int64_t width)
{
    return tile_whole(s, schedule_buffer(s, label, (struct buffer){
        .role = role, .dtype = dtype, .map = -1, .rows = rows,
        .heads = (int32_t)v->kv_heads, .head_first = (int32_t)v->kv_first,
        .width = (int32_t)width }));
}

struct tile view_q_tile(struct schedule *s, const struct view *v,
                        const char *label, enum role role, enum dtype dtype,
                        int64_t rows, int64_t width)
{
    return tile_whole(s, schedule_buffer(s, label, (struct buffer){
        .role = role, .dtype = dtype, .map = -1, .rows = rows,
        .heads = (int32_t)v->heads, .head_first = (int32_t)v->head_first,
        .width = (int32_t)width }));
}

int64_t view_segments(const struct view *v, int32_t keys,
                      struct segment **list)
{
    return segments_between(v->job, pool_map_get(v->pool, v->q_map),
                            pool_map_get(v->pool, keys), list);
}

struct pair view_pair(struct schedule *s, const struct view *v,
                      const char *k_label, const char *v_label, enum role role,
                      enum dtype dtype, int64_t rows)
{
    const struct transformer *t = &v->job->transformer;

    return (struct pair){
        view_kv_tile(s, v, k_label, role, dtype, rows, t->head_dim),
        view_kv_tile(s, v, v_label, role, dtype, rows, t->value_dim)
    };
}

struct pair pair_rows(const struct schedule *s, struct pair p, int64_t rows)
{
    return (struct pair){ tile_rows(s, p.k.buffer, 0, rows),
                          tile_rows(s, p.v.buffer, 0, rows) };
}

int view_sorts_well(const struct view *v)
{
    for (int64_t i = 0; i < v->members; i++) {
        const struct position_map *m = pool_map_get(v->pool, v->maps[i]);
        for (int64_t j = 0; j < m->n; j++)
            if (m->places[j].stride > 1)
                return 0;
    }
    return 1;
}

/* The members hold the whole packed axis between them. */
static int32_t gathered_sorted(const struct view *v, int32_t *rows)
{
    if (view_rows_all(v) != v->job->tokens)
        die("view_gathered: members hold %lld of %lld tokens",
            (long long)view_rows_all(v), (long long)v->job->tokens);
    for (int64_t i = 0; i < v->members; i++) {
        struct run *runs;
        int64_t n = position_map_tokens(v->job,
                                        pool_map_get(v->pool, v->maps[i]),
                                        &runs);
        rows[i] = pool_rows(v->pool, runs, n);
        free(runs);
    }
    return pool_map(v->pool, position_map_whole(v->job));
}

int32_t view_gathered(const struct view *v, int sorted, int32_t *rows)
{
    if (sorted)
        return gathered_sorted(v, rows);

    const struct position_map **maps = xmalloc((size_t)v->members
                                               * sizeof *maps);
    int64_t first = 0;
    for (int64_t i = 0; i < v->members; i++) {
        maps[i] = pool_map_get(v->pool, v->maps[i]);
        struct run run = { first, 1, maps[i]->rows };
        rows[i] = pool_rows(v->pool, &run, maps[i]->rows > 0);
        first += maps[i]->rows;
    }
    int32_t map = pool_map(v->pool, position_map_concat(maps, v->members));
    free(maps);
    return map;
}
