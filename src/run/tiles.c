/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiles in memory, and what a rank does to them itself in a collective. */
#include <config.h>

#include "run/compute.h"

#include "run/reduce.h"

#include <stdlib.h>
#include <string.h>

/* ---- Tiles in memory ---------------------------------------------------- */

static const struct buffer *tile_buffer(const struct memory *m, struct tile t)
{
    return &m->schedule->buffers[t.buffer];
}

struct tile_span memory_span(const struct memory *m, struct tile t)
{
    const struct buffer *b = tile_buffer(m, t);
    size_t head = (size_t)b->width * dtype_size(b->dtype);
    struct tile_span v = {
        .base = (char *)memory_buffer(m, t.buffer)
                + (size_t)t.head_first * head,
        .row_bytes = (size_t)b->heads * head,
        .block_bytes = (size_t)t.head_count * head,
    };

    v.runs = pool_rows_get(m->schedule->pool, t.rows, &v.n_runs);
    return v;
}

struct tensor memory_tensor(const struct memory *m, struct tile t)
{
    const struct buffer *b = tile_buffer(m, t);
    struct tile_span v = memory_span(m, t);
    int64_t rows = runs_count(v.runs, v.n_runs);

    if (v.n_runs > 1)
        die("rank %d: a tile of %s is not one run of rows",
            m->schedule->rank, pool_label_get(m->schedule->pool, b->label));
    return (struct tensor){
        .data = rows ? v.base + (size_t)v.runs[0].first * v.row_bytes : v.base,
        .dtype = b->dtype, .rows = rows,
        .row_stride = (int64_t)b->heads * b->width
            * (rows ? v.runs[0].stride : 1),
        .heads = t.head_count, .width = b->width,
        .head_first = b->head_first + t.head_first,
    };
}

/* The rows of a span, one after another; NULL after the last. */
struct row_walk {
    struct tile_span span;
    int64_t run, row;
};

static char *row_next(struct row_walk *w)
{
    while (w->run < w->span.n_runs && w->row >= w->span.runs[w->run].count) {
        w->run++;
        w->row = 0;
    }
    if (w->run >= w->span.n_runs || !w->span.block_bytes)
        return NULL;
    const struct run *r = &w->span.runs[w->run];
    return w->span.base +
           (size_t)(r->first + w->row++ * r->stride) * w->span.row_bytes;
}

/* ---- Moves --------------------------------------------------------------- */

/* What is left of the rows of a span, run by run. */
struct left {
    struct tile_span span;
    int64_t run, row;
};

static int64_t rows_left(struct left *w)
{
    while (w->run < w->span.n_runs && w->row == w->span.runs[w->run].count) {
        w->run++;
        w->row = 0;
    }
    return w->run < w->span.n_runs ? w->span.runs[w->run].count - w->row : 0;
}

static char *row_at(const struct left *w)
{
    const struct run *r = &w->span.runs[w->run];

    return w->span.base
        + (size_t)(r->first + w->row * r->stride) * w->span.row_bytes;
}

static size_t step_of(const struct left *w)
{
    return (size_t)w->span.runs[w->run].stride * w->span.row_bytes;
}

void tile_move(const struct memory *to, struct tile dst,
               const struct memory *from, struct tile src)
{
    struct left a = { memory_span(to, dst), 0, 0 };
    struct left b = { memory_span(from, src), 0, 0 };

    if (!a.span.block_bytes)
        return;
    for (int64_t n; (n = min64(rows_left(&a), rows_left(&b))) > 0;) {
        from->device->copy_rows(row_at(&a), step_of(&a), row_at(&b),
                                step_of(&b), a.span.block_bytes, (size_t)n);
        a.row += n;
        b.row += n;
    }
}

void tile_copy(struct memory *m, struct tile dst, struct tile src)
{
    struct row_walk to = { memory_span(m, dst), 0, 0 };
    struct row_walk from = { memory_span(m, src), 0, 0 };
    enum dtype t = tile_buffer(m, dst)->dtype, f = tile_buffer(m, src)->dtype;
    int64_t n = (int64_t)dst.head_count * tile_buffer(m, dst)->width;
    char *a, *b;

    if (t == f) {
        tile_move(m, dst, m, src);
        return;
    }
    if (m->device != &device_host)
        die("rank %d: a copy that casts, on a device", m->schedule->rank);
    while ((a = row_next(&to)) && (b = row_next(&from)))
        convert(a, t, b, f, n);
}

/* ---- The local part of collectives -------------------------------------- */

/* dst = sum of the slices in order, in fp32.  src: members tiles, `step`
 * operands apart; slice `me` is `own`. */
static void reduce_slices(struct memory *m, struct tile dst, struct tile own,
                          const struct operand *src, int64_t step,
                          int64_t members, int64_t me)
{
    const struct buffer *b = tile_buffer(m, dst);
    int64_t n = (int64_t)dst.head_count * b->width;
    struct row_walk to = { memory_span(m, dst), 0, 0 };
    struct row_walk *from = xcalloc((size_t)members, sizeof *from);
    float *total = xmalloc((size_t)n * 2 * sizeof *total), *part = total + n;

    for (int64_t i = 0; i < members; i++)
        from[i].span = memory_span(m, i == me ? own : src[i * step].tile);
    for (char *row; (row = row_next(&to));) {
        memset(total, 0, (size_t)n * sizeof *total);
        for (int64_t i = 0; i < members; i++) {
            struct tile t = i == me ? own : src[i * step].tile;
            char *data = row_next(&from[i]);
            if (!data)
                continue;
            convert(part, DTYPE_FP32, data, tile_buffer(m, t)->dtype, n);
            for (int64_t x = 0; x < n; x++)
                total[x] += part[x];
        }
        convert(row, b->dtype, total, DTYPE_FP32, n);
    }
    free(total);
    free(from);
}

/* Rows of a tile from `first` on, as many as are one run: a tensor. */
static struct tensor piece_of(const struct memory *m, struct tile t,
                              struct left *at, int64_t rows)
{
    const struct buffer *b = tile_buffer(m, t);
    struct tensor x = {
        .data = row_at(at), .dtype = b->dtype, .rows = rows,
        .row_stride = (int64_t)(step_of(at) / dtype_size(b->dtype)),
        .heads = t.head_count, .width = b->width,
        .head_first = b->head_first + t.head_first };

    at->row += rows;
    return x;
}

/* The same by a kernel, for the device: pieces in which every slice is one
 * run. */
static void reduce_pieces(const struct kernel_backend *kernel,
                          struct memory *m, struct tile dst, struct tile own,
                          const struct operand *src, int64_t step,
                          int64_t members, int64_t me)
{
    struct left to = { memory_span(m, dst), 0, 0 };
    struct left *from = xcalloc((size_t)members, sizeof *from);
    struct tensor *parts = xcalloc((size_t)members, sizeof *parts);
    int64_t rows;

    for (int64_t i = 0; i < members; i++)
        from[i].span = memory_span(m, i == me ? own : src[i * step].tile);
    while ((rows = rows_left(&to)) > 0) {
        struct tensor out;
        for (int64_t i = 0; i < members; i++)
            rows = min64(rows, rows_left(&from[i]));
        out = piece_of(m, dst, &to, rows);
        for (int64_t i = 0; i < members; i++)
            parts[i] = piece_of(m, i == me ? own : src[i * step].tile, &from[i],
                                rows);
        kernel->sum(out, 1, parts, members);
    }
    free(parts);
    free(from);
}

void collective_finish(const struct schedule *s, const struct op *op,
                       struct memory *m, const struct kernel_backend *kernel)
{
    struct collective_shape c = op_collective(s, op);
    int64_t own_send = op->collective == ALL_GATHER ? 0 : c.me * c.tiles;

    if (collective_reduces(op->collective)) {
        reduce_unpack(s, op, m);
        return;
    }
    for (int64_t t = 0; t < c.tiles; t++) {
        struct tile own = c.send[own_send + t].tile;
        if (op->collective == REDUCE_SCATTER && m->device != &device_host)
            reduce_pieces(kernel, m, c.result[t].tile, own, c.recv + t,
                          c.tiles, c.members, c.me);
        else if (op->collective == REDUCE_SCATTER)
            reduce_slices(m, c.result[t].tile, own, c.recv + t, c.tiles,
                          c.members, c.me);
        else
            tile_copy(m, c.recv[c.me * c.tiles + t].tile, own);
    }
}
