/* SPDX-License-Identifier: Apache-2.0
 *
 * Interning: equal content is stored once and named by an index. */
#include <config.h>

#include "schedule/internal.h"

#include <stdlib.h>
#include <string.h>

/* Items of `size`-byte elements, end to end, and an open-addressing table. */
struct intern {
    size_t size;
    char *data;
    int64_t used, data_cap;             /* bytes */
    struct item {
        int64_t offset, n;              /* bytes, elements */
        uint64_t hash, content;         /* of the bytes, where in the table;
                                           of the meaning */
    } *items;
    int64_t n, cap;
    int32_t *table;                     /* index + 1, 0 empty */
    int64_t slots;
};

struct pool {
    struct intern rows, segments, operands, groups, labels, numbers;
    struct position_map **maps;
    int64_t n_maps, maps_cap;
};

struct pool *pool_create(void)
{
    struct pool *p = xcalloc(1, sizeof *p);

    p->rows.size = sizeof(struct run);
    p->segments.size = sizeof(struct segment);
    p->operands.size = sizeof(struct operand);
    p->groups.size = sizeof(int32_t);
    p->labels.size = 1;
    p->numbers.size = sizeof(int64_t);
    return p;
}

static void intern_clear(struct intern *t)
{
    free(t->data);
    free(t->items);
    free(t->table);
}

void pool_destroy(struct pool *p)
{
    if (!p)
        return;
    intern_clear(&p->rows);
    intern_clear(&p->segments);
    intern_clear(&p->operands);
    intern_clear(&p->groups);
    intern_clear(&p->labels);
    intern_clear(&p->numbers);
    for (int64_t i = 0; i < p->n_maps; i++)
        position_map_destroy(p->maps[i]);
    free(p->maps);
    free(p);
}

static void table_insert(struct intern *t, int32_t index)
{
    int64_t slot = (int64_t)(t->items[index].hash & (uint64_t)(t->slots - 1));

    while (t->table[slot])
        slot = (slot + 1) & (t->slots - 1);
    t->table[slot] = index + 1;
}

static void table_grow(struct intern *t)
{
    if (2 * (t->n + 1) <= t->slots)
        return;
    t->slots = t->slots ? 2 * t->slots : 64;
    free(t->table);
    t->table = xcalloc((size_t)t->slots, sizeof *t->table);
    for (int64_t i = 0; i < t->n; i++)
        table_insert(t, (int32_t)i);
}

/* Where in the table: eight bytes at a time, since nothing else sees it. */
static uint64_t table_hash(const char *data, size_t bytes)
{
    const uint64_t odd = 0x9e3779b97f4a7c15u;
    uint64_t h = bytes * odd, word;

    for (; bytes >= 8; bytes -= 8, data += 8) {
        memcpy(&word, data, 8);
        h = (h ^ word) * odd;
        h ^= h >> 29;
    }
    word = 0;
    if (bytes)                  /* of nothing, data may be NULL */
        memcpy(&word, data, bytes);
    h = (h ^ word) * odd;
    return h ^ h >> 32;
}

/* -1: not there; in *hash, where it would be. */
static int32_t intern_find(const struct intern *t, const void *data,
                           int64_t n, uint64_t *hash)
{
    *hash = table_hash(data, (size_t)n * t->size);
    if (!t->slots)
        return -1;
    int64_t slot = (int64_t)(*hash & (uint64_t)(t->slots - 1));
    for (; t->table[slot]; slot = (slot + 1) & (t->slots - 1)) {
        const struct item *item = &t->items[t->table[slot] - 1];
        if (item->hash == *hash && item->n == n
            && (n == 0 || memcmp(t->data + item->offset, data,
                                 (size_t)n * t->size) == 0))
            return t->table[slot] - 1;
    }
    return -1;
}

static int32_t intern_add(struct intern *t, const void *data, int64_t n,
                          uint64_t hash, uint64_t content)
{
    int64_t bytes = n * (int64_t)t->size;

    table_grow(t);
    t->data = array_grow(t->data, t->used + bytes + 8, &t->data_cap, 1);
    if (bytes)
        memcpy(t->data + t->used, data, (size_t)bytes);
    struct item item = { t->used, n, hash, content };
    t->used += (bytes + 7) / 8 * 8;
    ARRAY_PUSH(t->items, t->n, t->cap, item);
    table_insert(t, (int32_t)(t->n - 1));
    return (int32_t)(t->n - 1);
}

/* What means what its bytes are. */
static int32_t intern(struct intern *t, const void *data, int64_t n)
{
    uint64_t hash;
    int32_t found = intern_find(t, data, n, &hash);

    return found >= 0 ? found
        : intern_add(t, data, n, hash,
                     hash_bytes(3, data, (size_t)n * t->size));
}

static const void *intern_get(const struct intern *t, int32_t i, int64_t *n)
{
    if (i < 0 || i >= t->n)
        die("pool: no item %d of %lld", (int)i, (long long)t->n);
    if (n)
        *n = t->items[i].n;
    return t->data + t->items[i].offset;
}

int32_t pool_rows(struct pool *p, const struct run *runs, int64_t n)
{
    return intern(&p->rows, runs, n);
}

int32_t pool_segments(struct pool *p, const struct segment *s, int64_t n)
{
    return intern(&p->segments, s, n);
}

int32_t pool_group(struct pool *p, const int32_t *ranks, int64_t n)
{
    return intern(&p->groups, ranks, n);
}

int32_t pool_numbers(struct pool *p, const int64_t *numbers, int64_t n)
{
    return intern(&p->numbers, numbers, n);
}

int32_t pool_label(struct pool *p, const char *text)
{
    return intern(&p->labels, text, (int64_t)strlen(text) + 1);
}

/* Rows mean the same whatever their index. */
static uint64_t operands_content(const struct pool *p,
                                 const struct operand *o, int64_t n)
{
    uint64_t h = 11;

    for (int64_t i = 0; i < n; i++) {
        const struct tile *t = &o[i].tile;
        h = hash_u64(h, (uint64_t)t->buffer << 32 | (uint32_t)o[i].access);
        h = hash_u64(h, p->rows.items[t->rows].content);
        h = hash_u64(h, (uint64_t)t->head_first << 32
                     | (uint32_t)t->head_count);
    }
    return h;
}

int32_t pool_operands(struct pool *p, const struct operand *o, int64_t n)
{
    uint64_t hash;
    int32_t found = intern_find(&p->operands, o, n, &hash);

    return found >= 0 ? found
        : intern_add(&p->operands, o, n, hash, operands_content(p, o, n));
}

int32_t pool_map(struct pool *p, struct position_map *map)
{
    for (int64_t i = 0; i < p->n_maps; i++) {
        const struct position_map *m = p->maps[i];
        if (m->hash == map->hash && m->n == map->n
            && (m->n == 0 || memcmp(m->places, map->places, (size_t)m->n
                                    * sizeof *m->places) == 0)) {
            if (m != map)
                position_map_destroy(map);
            return (int32_t)i;
        }
    }
    ARRAY_PUSH(p->maps, p->n_maps, p->maps_cap, map);
    return (int32_t)(p->n_maps - 1);
}

const struct run *pool_rows_get(const struct pool *p, int32_t i, int64_t *n)
{
    return intern_get(&p->rows, i, n);
}

const struct segment *pool_segments_get(const struct pool *p, int32_t i,
                                        int64_t *n)
{
    return intern_get(&p->segments, i, n);
}

const struct operand *pool_operands_get(const struct pool *p, int32_t i,
                                        int64_t *n)
{
    return intern_get(&p->operands, i, n);
}

const int32_t *pool_group_get(const struct pool *p, int32_t i, int64_t *n)
{
    return intern_get(&p->groups, i, n);
}

const int64_t *pool_numbers_get(const struct pool *p, int32_t i, int64_t *n)
{
    return intern_get(&p->numbers, i, n);
}

const char *pool_label_get(const struct pool *p, int32_t i)
{
    return intern_get(&p->labels, i, NULL);
}

const struct position_map *pool_map_get(const struct pool *p, int32_t i)
{
    if (i < 0 || i >= p->n_maps)
        die("pool: no position map %d of %lld", (int)i, (long long)p->n_maps);
    return p->maps[i];
}

uint64_t pool_content(const struct pool *p, enum pool_kind kind, int32_t i)
{
    const struct intern *tables[POOL_KINDS] = {
        [POOL_SEGMENTS] = &p->segments, [POOL_OPERANDS] = &p->operands,
        [POOL_GROUPS] = &p->groups, [POOL_LABELS] = &p->labels,
        [POOL_NUMBERS] = &p->numbers,
    };

    return i < 0 ? 0 : tables[kind]->items[i].content;
}
