/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "kernel/kernel.h"
#include "run/memory.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static const double GIB = 1024.0 * 1024.0 * 1024.0;

void memory_layout(struct memory *m, const struct schedule *s)
{
    size_t starts[ROLES], at = 0;

    for (int role = 0; role < ROLES; role++) {
        starts[role] = at;
        at += s->role_bytes[role];
    }
    starts[ROLE_STAGING] = 0;
    m->schedule = s;
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
}

int memory_create(struct memory *m, const struct schedule *s,
                  const struct device *device, size_t available,
                  struct error *e)
{
    struct error why = { 0 };

    memset(m, 0, sizeof *m);
    if (available && s->peak_bytes > available)
        return fail(e, "out of memory: rank %d needs %.3f GiB, %.3f GiB "
                    "available", s->rank, (double)s->peak_bytes / GIB,
                    (double)available / GIB);
    m->device = device;
    /* A rank without rows gets an address, too: tiles of nothing are passed. */
    m->base = device->alloc(s->peak_bytes, &why);
    if (!m->base)
        return fail(e, "out of memory: rank %d needs %.3f GiB, %s", s->rank,
                    (double)s->peak_bytes / GIB, why.text);
    memory_layout(m, s);
    if (!s->role_bytes[ROLE_STAGING])
        return 0;
    m->staging = device->alloc_host(s->role_bytes[ROLE_STAGING], &why);
    if (m->staging)
        return 0;
    memory_destroy(m);
    return fail(e, "out of memory: rank %d needs %.3f GiB to stage messages, "
                "%s", s->rank, (double)s->role_bytes[ROLE_STAGING] / GIB,
                why.text);
}

void memory_destroy(struct memory *m)
{
    if (m->base)
        m->device->free(m->base);
    if (m->staging)
        m->device->free_host(m->staging);
    free(m->offsets);
    memset(m, 0, sizeof *m);
}

void *memory_buffer(const struct memory *m, int32_t buffer)
{
    int staged = m->schedule->buffers[buffer].role == ROLE_STAGING;

    return (staged ? m->staging : m->base) + m->offsets[buffer];
}

void memory_poison(struct memory *m)
{
    const struct schedule *s = m->schedule;
    size_t inputs = s->role_bytes[ROLE_INPUT];

    /* All ones is a NaN in fp32, bf16 and fp16 alike. */
    if (s->peak_bytes > inputs)
        m->device->fill(m->base + inputs, 0xff, s->peak_bytes - inputs);
    m->device->sync();          /* what runs next may be in another stream */
}

char *memory_host(const struct memory *m, int32_t buffer)
{
    char *data = memory_buffer(m, buffer);

    if (m->device == &device_host)
        return data;
    size_t bytes = buffer_bytes(m->schedule, buffer);
    char *copy = xmalloc(bytes);
    m->device->get(copy, data, bytes);
    return copy;
}

void memory_host_done(const struct memory *m, int32_t buffer, char *copy,
                         int changed)
{
    if (m->device == &device_host)
        return;
    if (changed)
        m->device->put(memory_buffer(m, buffer), copy,
                       buffer_bytes(m->schedule, buffer));
    free(copy);
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

int64_t memory_token(const struct memory *m, enum tensor_name tensor,
                     int64_t token)
{
    int of_keys = tensor == TENSOR_K || tensor == TENSOR_V;

    return m->live && !of_keys ? token - (m->schedule->job->tokens - m->live)
                               : token;
}

/* What one of several threads fills of a buffer: every n-th block of rows. */
struct load {
    const struct memory *memory;
    int64_t first;              /* rows of earlier tokens stay as they are */
    const struct buffer *buffer;
    char *data;
    float *row;                 /* [width] */
    row_fn fn;
    void *arg;
    int index, n;
};

enum { LOAD_BLOCK = 16, LOADER_ROWS = 1024, LOADERS = 16 };

static void load_row(void *arg, int64_t row, int64_t token)
{
    struct load *l = arg;
    const struct buffer *b = l->buffer;
    size_t bytes = (size_t)b->width * dtype_size(b->dtype);

    if (row / LOAD_BLOCK % l->n != l->index)
        return;
    token = memory_token(l->memory, b->tensor, token);
    if (token < l->first)
        return;
    if (l->memory->live && token >= l->memory->live) {
        memset(l->data + (size_t)(row * b->heads) * bytes, 0xff,
               (size_t)b->heads * bytes);
        return;
    }
    for (int32_t h = 0; h < b->heads; h++) {
        l->fn(l->arg, b->tensor, token, b->head_first + h, b->width, l->row);
        convert(l->data + (size_t)(row * b->heads + h) * bytes, b->dtype,
                l->row, DTYPE_FP32, b->width);
    }
}

static void *load_share(void *arg)
{
    struct load *l = arg;
    const struct schedule *s = l->memory->schedule;

    l->row = xmalloc((size_t)l->buffer->width * sizeof *l->row);
    map_walk(s->job, pool_map_get(s->pool, l->buffer->map), load_row, l);
    free(l->row);
    return NULL;
}

static int loaders(const struct buffer *b)
{
    cpu_set_t cores;
    int64_t n = min64(b->rows / LOADER_ROWS, LOADERS);

    if (n < 2 || sched_getaffinity(0, sizeof cores, &cores))
        return 1;
    return (int)min64(n, CPU_COUNT(&cores));
}

static void load_buffer(struct load whole)
{
    struct load parts[LOADERS];
    pthread_t threads[LOADERS];
    int n = loaders(whole.buffer), started[LOADERS] = { 0 };

    for (int i = n - 1; i >= 0; i--) {
        parts[i] = whole;
        parts[i].index = i;
        parts[i].n = n;
        started[i] = i && !pthread_create(&threads[i], NULL, load_share,
                                          &parts[i]);
        if (!started[i])
            load_share(&parts[i]);
    }
    for (int i = 1; i < n; i++)
        if (started[i])
            pthread_join(threads[i], NULL);
}

/* K and V from token `first` on, everything else. */
static void load_from(struct memory *m, int64_t first, row_fn fn, void *arg)
{
    const struct schedule *s = m->schedule;

    for (int32_t i = 0; i < s->n_buffers; i++) {
        const struct buffer *b = &s->buffers[i];
        if (b->role != ROLE_INPUT || b->tensor == TENSOR_NONE)
            continue;
        int of_keys = b->tensor == TENSOR_K || b->tensor == TENSOR_V;
        struct load load = {
            .memory = m, .first = of_keys ? first : 0, .buffer = b,
            .data = memory_host(m, i), .fn = fn, .arg = arg,
        };
        load_buffer(load);
        memory_host_done(m, i, load.data, 1);
    }
}

void memory_load(struct memory *m, row_fn fn, void *arg)
{
    m->live = 0;
    load_from(m, 0, fn, arg);
}

void memory_load_live(struct memory *m, int64_t live, row_fn fn, void *arg)
{
    m->live = live;
    load_from(m, 0, fn, arg);
}

void memory_append(struct memory *m, row_fn fn, void *arg)
{
    m->live++;
    load_from(m, m->live - 1, fn, arg);
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
    const struct memory *memory;
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
    int64_t at = memory_token(g->memory, b->tensor, token) * g->heads;

    at = (at + b->head_first) * b->width;
    convert(g->global + at, DTYPE_FP32,
            g->data + (size_t)(row * n) * dtype_size(b->dtype), b->dtype, n);
}

void memory_gather(const struct memory *m, enum tensor_name tensor,
                   int64_t layer, float *global)
{
    const struct schedule *s = m->schedule;

    for (int32_t i = 0; i < s->n_buffers; i++) {
        const struct buffer *b = &s->buffers[i];
        if (b->role != ROLE_OUTPUT || b->tensor != tensor
            || b->layer != layer)
            continue;
        char *data = memory_host(m, i);
        struct gather g = { m, b, data, global, tensor_heads(s->job, tensor) };
        map_walk(s->job, pool_map_get(s->pool, b->map), gather_row, &g);
        memory_host_done(m, i, data, 0);
    }
}
