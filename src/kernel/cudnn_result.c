/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "kernel/cudnn_result.h"

enum { ALIGNMENT = 16 };

/* ---- Tensors ------------------------------------------------------------ */

struct tensor tensor_rows(struct tensor t, int64_t first, int64_t count)
{
    t.data = (char *)t.data +
             (size_t)(first * t.row_stride) * dtype_size(t.dtype);
    t.rows = count;
    return t;
}

size_t tensor_bytes(const struct tensor *t)
{
    return (size_t)(t->rows * t->row_stride) * dtype_size(t->dtype);
}

struct tensor tensor_dense_like(struct tensor t, enum dtype type)
{
    t.data = NULL;
    t.dtype = type;
    t.row_stride = (int64_t)t.heads * t.width;
    return t;
}

int tensor_is_aligned(const struct tensor *t)
{
    return (uintptr_t)t->data % ALIGNMENT == 0 &&
           t->row_stride * (int64_t)dtype_size(t->dtype) % ALIGNMENT == 0;
}

/* ---- Rows that segments write ------------------------------------------- */

struct range segment_query_rows(const struct segment *s)
{
    return (struct range){ s->q_first, s->q_count };
}

struct range segment_key_rows(const struct segment *s)
{
    return (struct range){ s->k_first, s->k_count };
}

static int have_rows_in_common(struct range a, struct range b)
{
    return a.first < b.first + b.count && b.first < a.first + a.count;
}

/* The most segments that write one row: some segment's first row has them. */
static int64_t most_writers(const struct result *r,
                            const struct attend_args *a)
{
    int64_t most = 0;

    for (int64_t i = 0; i < a->n_segments; i++) {
        struct range row = { r->rows(&a->segments[i]).first, 1 };
        int64_t n = 0;
        for (int64_t j = 0; j < a->n_segments; j++)
            n += have_rows_in_common(row, r->rows(&a->segments[j]));
        most = max64(most, n);
    }
    return most;
}

int result_open(struct result *r, const struct attend_args *a,
                int64_t writers)
{
    int64_t most = most_writers(r, a);

    r->clear = r->store && most > 1;
    return !r->clear || r->t.dtype == DTYPE_FP32 || most <= writers;
}

int result_stores(const struct result *r)
{
    return r->store && !r->clear;
}

int result_is_direct(const struct result *r, enum dtype type)
{
    return result_stores(r) && r->t.dtype == type && tensor_is_aligned(&r->t);
}

struct tensor result_rows(const struct result *r, const struct segment *s)
{
    struct range rows = r->rows(s);

    return tensor_rows(r->t, rows.first, rows.count);
}

/* The first row from `from` on that no segment writes. */
static int64_t skip_written(const struct result *r, const struct attend_args *a,
                            int64_t from)
{
    for (int64_t i = 0; i < a->n_segments; i++) {
        struct range x = r->rows(&a->segments[i]);

        if (x.first <= from && from < x.first + x.count) {
            from = x.first + x.count;
            i = -1;             /* another may go on from there */
        }
    }
    return from;
}

struct range result_gap(const struct result *r, const struct attend_args *a,
                        int64_t from)
{
    int64_t end = r->store ? r->t.rows : 0;

    if (result_stores(r)) {
        from = skip_written(r, a, from);
        for (int64_t i = 0; i < a->n_segments; i++)
            if (r->rows(&a->segments[i]).first >= from)
                end = min64(end, r->rows(&a->segments[i]).first);
    }
    return (struct range){ from, max64(end - from, 0) };
}
