/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "run/reduce.h"

#include "run/compute.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Operators ---------------------------------------------------------- */

static void with_max(const float *a, float *b, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n * width; i++)
        b[i] = a[i] > b[i] ? a[i] : b[i];
}

static void with_sum(const float *a, float *b, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n * width; i++)
        b[i] += a[i];
}

/* Neither weight is above 1, and one of them is 1.  A NaN stays, whichever side
 * it comes from. */
static void merge_record(const float *a, float *b, int64_t width)
{
    float la = a[width], lb = b[width], m = la < lb ? lb : la;

    if (m == -INFINITY)
        return;                 /* nothing and nothing */
    float wa = expf(la - m), wb = expf(lb - m), total = wa + wb;
    for (int64_t x = 0; x < width; x++)
        b[x] = (wa * a[x] + wb * b[x]) / total;
    b[width] = m + logf(total);
}

static void with_merge(const float *a, float *b, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++, a += width, b += width)
        merge_record(a, b, width - 1);
}

static void with_scan(const float *a, float *b, int64_t n, int64_t width)
{
    for (int64_t i = 0; i < n; i++, a += width, b += width) {
        float factor = b[width - 1];

        for (int64_t x = 0; x < width - 1; x++)
            b[x] += factor * a[x];
        b[width - 1] = factor * a[width - 1];
    }
}

const reduce_fn reduce_with[COLLECTIVES] = {
    [ALL_REDUCE_MAX] = with_max, [ALL_REDUCE_SUM] = with_sum,
    [ALL_REDUCE_MERGE] = with_merge, [EXCLUSIVE_SCAN] = with_scan,
};

void reduce_all(enum collective what, const struct records *r, int64_t n)
{
    int scan = what == EXCLUSIVE_SCAN;
    size_t bytes = (size_t)(r[0].n * r[0].width) * sizeof(float);
    float *all = xmalloc(bytes), *own = xmalloc(bytes);

    memcpy(all, r[0].data, bytes);
    for (int64_t k = 1; k < n; k++) {
        memcpy(own, r[k].data, bytes);
        if (scan)
            memcpy(r[k].data, all, bytes);
        reduce_with[what](all, own, r[0].n, r[0].width);
        memcpy(all, own, bytes);
    }
    for (int64_t k = 0; k < n && !scan; k++)
        memcpy(r[k].data, all, bytes);
    free(all);
    free(own);
}

/* ---- Records ------------------------------------------------------------ */

struct records reduce_records(const struct schedule *s, const struct op *op,
                              const struct memory *m)
{
    struct tensor t = memory_tensor(m, op_collective(s, op).staging->tile);

    if (t.dtype != DTYPE_FP32 || t.row_stride != (int64_t)t.heads * t.width)
        die("rank %d: the staging of a reduction is not one block of fp32",
            s->rank);
    return (struct records){ t.data, t.rows * t.heads, t.width, NULL };
}

static struct tensor part_of(const struct memory *m, struct tile tile)
{
    struct tensor t = memory_tensor(m, tile);

    if (t.dtype != DTYPE_FP32)
        die("rank %d: a reduction of %s", m->schedule->rank,
            dtype_name(t.dtype));
    return t;
}

static size_t record_bytes(const struct records *r)
{
    return (size_t)(r->n * r->width) * sizeof(float);
}

void reduce_to_host(struct records *r, const struct device *device)
{
    if (device == &device_host)
        return;
    r->device = r->data;
    r->data = xmalloc(record_bytes(r));
    device->get(r->data, r->device, record_bytes(r));
}

void reduce_from_host(struct records *r, const struct device *device)
{
    if (device == &device_host)
        return;
    device->put(r->device, r->data, record_bytes(r));
    free(r->data);
    r->data = r->device;
    r->device = NULL;
}

/* Column `at` of the records and a part, one into the other: `heads` records in
 * a row of the part. */
static void move_part(const struct memory *m, const struct records *r,
                      int64_t at, const struct tensor *t, int into_records)
{
    size_t each = (size_t)t->width * sizeof(float);
    size_t step = (size_t)r->width * sizeof(float);

    for (int64_t i = 0; i < t->rows; i++) {
        float *part = (float *)t->data + i * t->row_stride;
        float *record = r->data + i * t->heads * r->width + at;
        if (into_records)
            m->device->copy_rows(record, step, part, each, each,
                                 (size_t)t->heads);
        else
            m->device->copy_rows(part, each, record, step, each,
                                 (size_t)t->heads);
    }
}

static void clear_part(const struct memory *m, const struct tensor *t)
{
    for (int64_t i = 0; i < t->rows; i++)
        m->device->fill((float *)t->data + i * t->row_stride, 0,
                        (size_t)(t->heads * t->width) * sizeof(float));
}

/* Decay over a member's tokens, lambda^span of a head; nothing of before is
 * left where a sequence begins. */
static float factor_of(const struct schedule *s, const struct op *op,
                       int32_t head)
{
    const double *slopes = s->job->linear.slopes;
    int64_t n, span = pool_numbers_get(s->pool, op->segments, &n)[0];

    if (span < 0)
        return 0;
    return slopes ? (float)exp(-slopes[head] * (double)span) : 1;
}

/* The last element of a scan's records. */
static void put_factors(const struct schedule *s, const struct op *op,
                        const struct memory *m, const struct records *r,
                        const struct tensor *t)
{
    float *factors = xmalloc((size_t)r->n * sizeof *factors + 1);

    for (int64_t i = 0; i < r->n; i++)
        factors[i] = factor_of(s, op,
                               t->head_first + (int32_t)(i % t->heads));
    m->device->put_floats(r->data + r->width - 1,
                          (size_t)r->width * sizeof(float), factors,
                          (size_t)r->n);
    free(factors);
}

void reduce_pack(const struct schedule *s, const struct op *op,
                 struct memory *m)
{
    struct collective_shape c = op_collective(s, op);
    struct records r = reduce_records(s, op, m);
    int64_t at = 0;

    for (int64_t k = 0; k < c.tiles; k++) {
        struct tensor t = part_of(m, c.send[k].tile);
        move_part(m, &r, at, &t, 1);
        at += t.width;
        if (op->collective == EXCLUSIVE_SCAN)
            put_factors(s, op, m, &r, &t);
    }
}

void reduce_unpack(const struct schedule *s, const struct op *op,
                   struct memory *m)
{
    struct collective_shape c = op_collective(s, op);
    struct records r = reduce_records(s, op, m);
    int first = op->collective == EXCLUSIVE_SCAN && c.me == 0;
    int64_t at = 0;

    for (int64_t k = 0; k < c.tiles; k++) {
        struct tensor t = part_of(m, c.result[k].tile);
        if (first)
            clear_part(m, &t);
        else
            move_part(m, &r, at, &t, 0);
        at += t.width;
    }
}

int64_t reduce_sent_bytes(enum collective what, int64_t members, int64_t me,
                          int64_t bytes)
{
    if (what == EXCLUSIVE_SCAN)
        return me < members - 1 ? bytes : 0;
    return all_reduce_bytes(members, bytes);
}
