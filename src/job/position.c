/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "job/position.h"

#include <stdlib.h>
#include <string.h>

const char *const layout_names[] = { "contiguous", "zigzag", "striped", NULL };

struct map_builder {
    struct place *places;
    int64_t n, cap;
};

/* Append, joining to the last place where the two make one. */
static void push_place(struct map_builder *b, struct place p)
{
    if (p.count <= 0)
        return;
    if (p.count == 1)
        p.stride = 1;
    struct place *last = b->n ? &b->places[b->n - 1] : NULL;
    if (last && last->sequence == p.sequence && last->stride == p.stride
        && last->first + last->count * last->stride == p.first) {
        last->count += p.count;
        return;
    }
    ARRAY_PUSH(b->places, b->n, b->cap, p);
}

static struct position_map *finish_map(struct map_builder *b)
{
    struct position_map *map = xcalloc(1, sizeof *map);

    map->n = b->n;
    map->places = b->places;
    for (int64_t i = 0; i < b->n; i++)
        map->rows += b->places[i].count;
    map->hash = hash_bytes(7, b->places, (size_t)b->n * sizeof *b->places);
    return map;
}

/* Tokens first, first + stride, ... < last of the packed axis. */
static void push_tokens(struct map_builder *b, const struct job *job,
                        int64_t first, int64_t last, int64_t stride)
{
    int64_t low = 0, high = job->sequences;

    while (high - low > 1) {            /* the sequence that holds `first` */
        int64_t middle = (low + high) / 2;
        if (job->offsets[middle] <= first)
            low = middle;
        else
            high = middle;
    }
    for (int64_t i = low; first < last && i < job->sequences; i++) {
        int64_t end = min64(last, job->offsets[i + 1]);
        int64_t count = first < end ? ceil_div(end - first, stride) : 0;
        push_place(b, (struct place){ i, first - job->offsets[i], stride,
                                      count });
        first += count * stride;
    }
}

static void shard_contiguous(struct map_builder *b, const struct job *job,
                             int64_t N, int64_t r)
{
    push_tokens(b, job, chunk_first(job->tokens, N, r),
                chunk_first(job->tokens, N, r + 1), 1);
}

static void shard_zigzag(struct map_builder *b, const struct job *job,
                         int64_t N, int64_t r)
{
    for (int64_t i = 0; i < job->sequences; i++) {
        int64_t length = job->lengths[i];
        const int64_t chunks[2] = { r, 2 * N - 1 - r };
        for (int c = 0; c < 2; c++) {
            int64_t first = chunk_first(length, 2 * N, chunks[c]);
            int64_t last = chunk_first(length, 2 * N, chunks[c] + 1);
            push_place(b, (struct place){ i, first, 1, last - first });
        }
    }
}

static void shard_striped(struct map_builder *b, const struct job *job,
                          int64_t block, int64_t N, int64_t r)
{
    if (block <= 1) {
        push_tokens(b, job, r, job->tokens, N);
        return;
    }
    for (int64_t first = r * block; first < job->tokens; first += N * block)
        push_tokens(b, job, first, min64(first + block, job->tokens), 1);
}

struct position_map *position_map_shard(const struct job *job,
                                        enum layout layout, int64_t block,
                                        int64_t ranks, int64_t rank)
{
    struct map_builder b = { 0 };

    switch (layout) {
    case LAYOUT_CONTIGUOUS:
        shard_contiguous(&b, job, ranks, rank);
        break;
    case LAYOUT_ZIGZAG:
        shard_zigzag(&b, job, ranks, rank);
        break;
    case LAYOUT_STRIPED:
        shard_striped(&b, job, block, ranks, rank);
        break;
    case LAYOUTS:
        die("position_map_shard: no layout %d", (int)layout);
    }
    return finish_map(&b);
}

struct position_map *position_map_slice(const struct position_map *map,
                                        int64_t first, int64_t count)
{
    struct map_builder b = { 0 };
    int64_t row = 0;

    for (int64_t i = 0; i < map->n; row += map->places[i++].count) {
        struct place p = map->places[i];
        int64_t from = max64(first - row, 0);
        int64_t to = min64(first + count - row, p.count);
        p.first += from * p.stride;
        p.count = to - from;
        push_place(&b, p);
    }
    return finish_map(&b);
}

struct position_map *position_map_whole(const struct job *job)
{
    struct map_builder b = { 0 };

    push_tokens(&b, job, 0, job->tokens, 1);
    return finish_map(&b);
}

struct position_map *position_map_concat(
    const struct position_map *const *maps, int64_t n)
{
    struct map_builder b = { 0 };

    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < maps[i]->n; j++)
            push_place(&b, maps[i]->places[j]);
    return finish_map(&b);
}

void position_map_destroy(struct position_map *map)
{
    if (map)
        free(map->places);
    free(map);
}

int64_t position_map_tokens(const struct job *job,
                            const struct position_map *map, struct run **runs)
{
    int64_t n = 0, cap = 0;

    *runs = NULL;
    for (int64_t i = 0; i < map->n; i++) {
        const struct place *p = &map->places[i];
        runs_push(runs, &n, &cap,
                  (struct run){ job->offsets[p->sequence] + p->first,
                                p->stride, p->count });
    }
    return n;
}
