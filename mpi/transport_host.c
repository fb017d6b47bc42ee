/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/transport_internal.h"
#include "run/compute.h"

#include <stdlib.h>
#include <string.h>

/* ---- host: MPI point-to-point from and to host memory ------------------- */

/* The largest unit that divides what a tile has of a row, equal on both sides:
 * MPICH copies strided data unit by unit. */
static MPI_Datatype unit_of(const struct tile_span *v, MPI_Count *bytes)
{
    if (v->block_bytes % 8 == 0) {
        *bytes = 8;
        return MPI_INT64_T;
    }
    *bytes = 2;
    return MPI_INT16_T;
}

static MPI_Datatype make_type(const struct tile_span *v)
{
    size_t n = (size_t)v->n_runs;
    MPI_Datatype *parts = xmalloc(n * sizeof *parts), type;
    MPI_Count *ones = xmalloc(n * sizeof *ones);
    MPI_Count *at = xmalloc(n * sizeof *at), bytes;
    MPI_Datatype unit = unit_of(v, &bytes);

    for (size_t i = 0; i < n; i++) {
        const struct run *r = &v->runs[i];
        MPI_Type_create_hvector_c(r->count, (MPI_Count)v->block_bytes / bytes,
                                  r->stride * (MPI_Count)v->row_bytes, unit,
                                  &parts[i]);
        ones[i] = 1;
        at[i] = r->first * (MPI_Count)v->row_bytes;
    }
    MPI_Type_create_struct_c((MPI_Count)n, ones, at, parts, &type);
    MPI_Type_commit(&type);
    for (size_t i = 0; i < n; i++)
        MPI_Type_free(&parts[i]);
    free(parts);
    free(ones);
    free(at);
    return type;
}

static MPI_Datatype type_of(struct transport *t, const struct pool *pool,
                            int32_t rows, const struct tile_span *v)
{
    struct tile_type key = { pool, rows, v->row_bytes, v->block_bytes,
                             MPI_DATATYPE_NULL };

    for (int64_t i = 0; i < t->n_types; i++) {
        const struct tile_type *k = &t->types[i];
        if (k->rows == rows && k->pool == pool
            && k->row_bytes == v->row_bytes
            && k->block_bytes == v->block_bytes)
            return k->type;
    }
    key.type = make_type(v);
    ARRAY_PUSH(t->types, t->n_types, t->types_cap, key);
    return key.type;
}

/* A span whose bytes are one block. */
static int one_block(const struct tile_span *v)
{
    return v->n_runs == 1
           && (v->runs[0].count == 1
               || (v->runs[0].stride == 1 && v->block_bytes == v->row_bytes));
}

static void put(struct transport *t, struct message what, MPI_Request request)
{
    t->requests = array_grow(t->requests, t->n + 1, &t->requests_cap,
                             sizeof request);
    t->requests[t->n] = request;
    ARRAY_PUSH(t->messages, t->n, t->n_cap, what);
}

void host_start(struct transport *t, struct message what,
                const struct memory *m, struct tile tile,
                enum channel c, int32_t peer)
{
    struct tile_span v = memory_span(m, tile);
    MPI_Count unit;
    MPI_Datatype type = unit_of(&v, &unit);
    MPI_Count count = what.bytes / unit;
    char *data = v.base;
    MPI_Request request;

    if (one_block(&v)) {
        data += (size_t)v.runs[0].first * v.row_bytes;
    } else {
        type = type_of(t, m->schedule->pool, tile.rows, &v);
        count = 1;
    }
    if (what.send)
        MPI_Isend_c(data, count, type, peer, 0, t->channels[c], &request);
    else
        MPI_Irecv_c(data, count, type, peer, 0, t->channels[c], &request);
    put(t, what, request);
}

void host_reduce(struct transport *t, struct message what,
                 const struct schedule *s, const struct op *op,
                 struct records records)
{
    put(t, what, reducer_start(t->reducer, s, op, records));
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* A longer message is MPI's own error. */
static void check_length(const struct message *m, const MPI_Status *status)
{
    MPI_Count got;

    if (m->send)
        return;
    MPI_Get_elements_c(status, MPI_BYTE, &got);
    if (got != m->bytes)
        die("op %d: %lld bytes came where %lld were due", m->op,
            (long long)got, (long long)m->bytes);
}

int host_test(struct transport *t)
{
    int n = (int)t->n, out;

    t->indices = array_grow(t->indices, n, &t->indices_cap, sizeof(int));
    t->statuses = array_grow(t->statuses, n, &t->statuses_cap,
                             sizeof *t->statuses);
    MPI_Testsome(n, t->requests, &out, t->indices, t->statuses);
    if (out <= 0)
        return 0;
    for (int i = 0; i < out; i++)
        check_length(&t->messages[t->indices[i]], &t->statuses[i]);
    qsort(t->indices, (size_t)out, sizeof(int), by_number);
    for (int i = out - 1; i >= 0; i--) {
        int64_t k = t->indices[i];
        t->done[i] = t->messages[k];
        t->n--;                 /* the last takes its place */
        t->messages[k] = t->messages[t->n];
        t->requests[k] = t->requests[t->n];
    }
    return out;
}

/* ---- null: moves nothing ------------------------------------------------ */

void null_start(struct transport *t, struct message what,
                const struct memory *m, struct tile tile,
                enum channel c, int32_t peer)
{
    (void)m, (void)tile, (void)c, (void)peer;
    ARRAY_PUSH(t->messages, t->n, t->n_cap, what);
}

void null_reduce(struct transport *t, struct message what,
                 const struct schedule *s, const struct op *op,
                 struct records records)
{
    (void)s, (void)op, (void)records;
    ARRAY_PUSH(t->messages, t->n, t->n_cap, what);
}

int null_test(struct transport *t)
{
    int n = (int)t->n;

    memcpy(t->done, t->messages, (size_t)n * sizeof *t->done);
    t->n = 0;
    return n;
}
