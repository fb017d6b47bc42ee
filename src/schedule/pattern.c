/* SPDX-License-Identifier: Apache-2.0
 *
 * Schedules of ranks that do the same: as long as the ops of one read and write
 * what those of a pattern do, their dependencies are the pattern's. */
#include <config.h>

#include "schedule/internal.h"

#include <stdlib.h>
#include <string.h>

struct schedule *schedule_create_like(const struct schedule *pattern,
                                      int32_t rank)
{
    struct schedule *s = schedule_create(pattern->pool, pattern->job,
                                         pattern->ranks, rank);

    s->builder->pattern = pattern;
    s->ops = array_grow(NULL, pattern->n_ops, &s->builder->ops_cap,
                        sizeof *s->ops);
    return s;
}

static void *copy_of(const void *data, int64_t n, size_t size)
{
    void *copy = xmalloc((size_t)n * size + 1);

    if (n)
        memcpy(copy, data, (size_t)n * size);
    return copy;
}

struct schedule *schedule_clone(const struct schedule *s)
{
    struct schedule *copy = copy_of(s, 1, sizeof *s);

    copy->buffers = copy_of(s->buffers, s->n_buffers, sizeof *s->buffers);
    copy->ops = copy_of(s->ops, s->n_ops, sizeof *s->ops);
    copy->deps = copy_of(s->deps, s->n_deps, sizeof *s->deps);
    if (s->parents)
        copy->parents = copy_of(s->parents, s->n_ops, sizeof *s->parents);
    return copy;
}

int pattern_takes(const struct schedule *s, struct op *op,
                  const struct operand *o, int64_t n)
{
    const struct schedule *pattern = s->builder->pattern;

    if (!pattern || s->n_ops == pattern->n_ops)
        return 0;
    const struct op *same = &pattern->ops[s->n_ops];
    int64_t count;
    const struct operand *operands = pool_operands_get(s->pool,
                                                       same->operands, &count);
    if (same->kind != op->kind || same->channel != op->channel || count != n
        || (n && memcmp(operands, o, (size_t)n * sizeof *o) != 0))
        return 0;
    op->operands = same->operands;
    op->dep_first = same->dep_first;
    op->dep_count = same->dep_count;
    return 1;
}

void pattern_leave(struct schedule *s)
{
    int64_t n_ops = s->n_ops;

    if (!s->builder->pattern)
        return;
    s->builder->pattern = NULL;
    for (s->n_ops = 0; s->n_ops < n_ops; s->n_ops++) {
        struct op *op = &s->ops[s->n_ops];
        int64_t n;
        const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
        infer_op(s, s->builder->infer, op, o, n);
    }
}

static int same_buffers(const struct schedule *a, const struct schedule *b)
{
    if (a->n_buffers != b->n_buffers)
        return 0;
    for (int32_t i = 0; i < a->n_buffers; i++)
        if (a->buffers[i].role != b->buffers[i].role
            || buffer_bytes(a, i) != buffer_bytes(b, i))
            return 0;
    return 1;
}

int pattern_finish(struct schedule *s)
{
    const struct schedule *pattern = s->builder->pattern;

    if (!pattern || s->n_ops < pattern->n_ops || !same_buffers(s, pattern)) {
        pattern_leave(s);
        return 0;
    }
    s->n_deps = pattern->n_deps;
    s->deps = copy_of(pattern->deps, s->n_deps, sizeof *s->deps);
    for (int64_t i = 0; i < s->n_buffers; i++)
        s->buffers[i].offset = pattern->buffers[i].offset;
    memcpy(s->role_bytes, pattern->role_bytes, sizeof s->role_bytes);
    s->peak_bytes = pattern->peak_bytes;
    return 1;
}
