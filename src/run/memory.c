/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "kernel/kernel.h"
#include "run/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double GIB = 1024.0 * 1024.0 * 1024.0;

int memory_create(struct memory *m, const struct schedule *s, size_t available,
                  struct error *e)
{
    size_t starts[ROLES], at = 0;
    void *base = NULL;

    memset(m, 0, sizeof *m);
    if (available && s->peak_bytes > available)
        return fail(e, "out of memory: rank %d needs %.3f GiB, %.3f GiB "
                    "available", s->rank, (double)s->peak_bytes / GIB,
                    (double)available / GIB);
    /* A rank without rows gets an address, too: tiles of nothing are passed. */
    if (posix_memalign(&base, 64, s->peak_bytes ? s->peak_bytes : 64))
        return fail(e, "out of memory: rank %d needs %.3f GiB, the system "
                    "refused", s->rank, (double)s->peak_bytes / GIB);
    for (int role = 0; role < ROLES; role++) {
        starts[role] = at;
        at += s->role_bytes[role];
    }
    m->schedule = s;
    m->base = base;
    m->offsets = xcalloc((size_t)s->n_buffers, sizeof *m->offsets);
    for (int32_t b = 0; b < s->n_buffers; b++) {
        enum role role = s->buffers[b].role;
        if (role == ROLE_SCRATCH) {
            m->offsets[b] = starts[role] + s->buffers[b].offset;
            continue;
        }
        m->offsets[b] = starts[role];
        starts[role] += buffer_bytes(s, b);
    }
    return 0;
}

void memory_destroy(struct memory *m)
{
    free(m->base);
    free(m->offsets);
    memset(m, 0, sizeof *m);
}

void *memory_buffer(const struct memory *m, int32_t buffer)
{
    return m->base + m->offsets[buffer];
}

void memory_poison(struct memory *m)
{
    const struct schedule *s = m->schedule;
    size_t inputs = s->role_bytes[ROLE_INPUT];

    /* All ones is a NaN in fp32, bf16 and fp16 alike. */
    if (s->peak_bytes > inputs)
        memset(m->base + inputs, 0xff, s->peak_bytes - inputs);
}

void map_walk(const struct job *job, const struct position_map *map,
              map_fn fn, void *arg)
{
    int64_t row = 0;

    for (int64_t p = 0; p < map->n; p++) {
        const struct place *place = &map->places[p];
        int64_t token = job->offsets[place->sequence] + place->first;
        for (int64_t i = 0; i < place->count; i++, token += place->stride)
            fn(arg, row++, token);
    }
}

struct load {
    const struct buffer *buffer;
    char *data;
    float *row;                 /* [width] */
    row_fn fn;
    void *arg;
};

static void load_row(void *arg, int64_t row, int64_t token)
{
    struct load *l = arg;
    const struct buffer *b = l->buffer;
    size_t bytes = (size_t)b->width * dtype_size(b->dtype);

    for (int32_t h = 0; h < b->heads; h++) {
        l->fn(l->arg, b->tensor, token, b->head_first + h, b->width, l->row);
        convert(l->data + (size_t)(row * b->heads + h) * bytes, b->dtype,
                l->row, DTYPE_FP32, b->width);
    }
}

void memory_load(struct memory *m, row_fn fn, void *arg)
{
    const struct schedule *s = m->schedule;

    for (int32_t i = 0; i < s->n_buffers; i++) {
        const struct buffer *b = &s->buffers[i];
        if (b->role != ROLE_INPUT || b->tensor == TENSOR_NONE)
            continue;
        struct load load = { b, memory_buffer(m, i),
                             xmalloc((size_t)b->width * sizeof(float)), fn,
                             arg };
        map_walk(s->job, pool_map_get(s->pool, b->map), load_row, &load);
        free(load.row);
    }
}

/* Shape of the tensors of a job. */
static const struct {
    uint8_t kv_heads, value_dim, scalar;
} shapes[TENSORS] = {
    [TENSOR_K] = { 1, 0, 0 }, [TENSOR_DK] = { 1, 0, 0 },
    [TENSOR_V] = { 1, 1, 0 }, [TENSOR_DV] = { 1, 1, 0 },
    [TENSOR_O] = { 0, 1, 0 }, [TENSOR_DO] = { 0, 1, 0 },
    [TENSOR_LSE] = { 0, 0, 1 },
};

int64_t tensor_heads(const struct job *job, enum tensor_name t)
{
    return shapes[t].kv_heads ? job->transformer.kv_heads
                              : job->transformer.heads;
}

int64_t tensor_width(const struct job *job, enum tensor_name t)
{
    if (shapes[t].scalar)
        return 1;
    return shapes[t].value_dim ? job->transformer.value_dim
                               : job->transformer.head_dim;
}

struct gather {
    const struct buffer *buffer;
    const char *data;
    float *global;              /* [tokens, heads, width] */
    int64_t heads;
};

static void gather_row(void *arg, int64_t row, int64_t token)
{
    struct gather *g = arg;
    const struct buffer *b = g->buffer;
    int64_t n = (int64_t)b->heads * b->width;
    int64_t at = (token * g->heads + b->head_first) * b->width;

    convert(g->global + at, DTYPE_FP32,
            g->data + (size_t)(row * n) * dtype_size(b->dtype), b->dtype, n);
}

void memory_gather(const struct memory *m, enum tensor_name tensor,
                   float *global)
{
    const struct schedule *s = m->schedule;

    for (int32_t i = 0; i < s->n_buffers; i++) {
        const struct buffer *b = &s->buffers[i];
        if (b->role != ROLE_OUTPUT || b->tensor != tensor)
            continue;
        struct gather g = { b, memory_buffer(m, i), global,
                            tensor_heads(s->job, tensor) };
        map_walk(s->job, pool_map_get(s->pool, b->map), gather_row, &g);
    }
}
