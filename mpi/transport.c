/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/pipeline.h"
#include "mpi/reduce.h"
#include "mpi/transport.h"
#include "run/compute.h"

#include <stdlib.h>
#include <string.h>

/* The datatype of tiles that are not one block, by shape. */
struct tile_type {
    const struct pool *pool;
    int32_t rows;
    size_t row_bytes, block_bytes;
    MPI_Datatype type;
};

struct transport {
    const struct transport_kind *kind;
    struct pipeline *pipeline;  /* of a kind without messages */
    MPI_Comm channels[CHANNELS];
    struct reducer *reducer;
    /* Messages under way; room for as many indices and statuses. */
    int64_t n, n_cap, requests_cap, indices_cap, statuses_cap, done_cap;
    struct message *messages, *done;
    MPI_Request *requests;
    int *indices;
    MPI_Status *statuses;
    int64_t n_types, types_cap;
    struct tile_type *types;
};

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

static void host_start(struct transport *t, struct message what,
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

static void host_reduce(struct transport *t, struct message what,
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

static int host_test(struct transport *t)
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

static void null_start(struct transport *t, struct message what,
                       const struct memory *m, struct tile tile,
                       enum channel c, int32_t peer)
{
    (void)m, (void)tile, (void)c, (void)peer;
    ARRAY_PUSH(t->messages, t->n, t->n_cap, what);
}

static void null_reduce(struct transport *t, struct message what,
                        const struct schedule *s, const struct op *op,
                        struct records records)
{
    (void)s, (void)op, (void)records;
    ARRAY_PUSH(t->messages, t->n, t->n_cap, what);
}

static int null_test(struct transport *t)
{
    int n = (int)t->n;

    memcpy(t->done, t->messages, (size_t)n * sizeof *t->done);
    t->n = 0;
    return n;
}

/* ---- The table ---------------------------------------------------------- */

static const struct transport_kind host = {
    "host", "MPI messages and reductions from host memory", &device_host,
    host_start, host_reduce, host_test
};
static const struct transport_kind null = {
    "none", "moves nothing: measures the frame, results are wrong",
    &device_host, null_start, null_reduce, null_test
};
#ifdef HAVE_CUDA
static const struct transport_kind ipc = {
    "ipc", "GPUs of one host write each other's memory, flags in it say when",
    &device_cuda, NULL, NULL, NULL
};
#endif
const struct transport_kind *const transports[] = {
    &host,
#ifdef HAVE_CUDA
    &ipc,
#endif
    &null, NULL
};

/* NULL: none of that name. */
static const struct transport_kind *find_kind(const char *name,
                                              const struct device *device)
{
    int any = strcmp(name, "auto") == 0;

    for (int i = 0; transports[i]; i++)
        if (any ? transports[i]->device == device
                : strcmp(transports[i]->name, name) == 0)
            return transports[i];
    return NULL;
}

static int fail_unknown(const char *name, struct error *e)
{
    const char *names[sizeof transports / sizeof *transports] = { NULL };

    for (int i = 0; transports[i]; i++)
        names[i] = transports[i]->name;
    const char *near = name_nearest(names, name);
    return fail_usage(e, "no transport '%s'%s%s%s: see `spar list`", name,
                      near ? ", did you mean '" : "", near ? near : "",
                      near ? "'?" : "");
}

struct transport *transport_create(const char *name,
                                   const struct device *device, MPI_Comm comm,
                                   struct error *e)
{
    const struct transport_kind *kind = find_kind(name, device);

    if (!kind) {
        fail_unknown(name, e);
        return NULL;
    }
    if (kind->device != device) {
        fail_usage(e, "transport '%s' is for buffers in memory of the %s; the "
                   "kernel's are in that of the %s", kind->name,
                   kind->device->name, device->name);
        return NULL;
    }
    struct transport *t = xcalloc(1, sizeof *t);
    t->kind = kind;
    t->reducer = reducer_create();
    t->channels[CHANNEL_NONE] = MPI_COMM_NULL;
    for (int c = 1; c < CHANNELS; c++) {
        char text[64] = "spar.";
        MPI_Comm_dup(comm, &t->channels[c]);
        strncat(text, channel_names[c], sizeof text - 8);
        MPI_Comm_set_name(t->channels[c], text);
    }
    return t;
}

void transport_destroy(struct transport *t)
{
    if (!t)
        return;
    for (int64_t i = 0; i < t->n_types; i++)
        MPI_Type_free(&t->types[i].type);
    reducer_destroy(t->reducer);
    pipeline_destroy(t->pipeline);
    for (int c = 1; c < CHANNELS; c++)
        MPI_Comm_free(&t->channels[c]);
    free(t->types);
    free(t->messages);
    free(t->done);
    free(t->requests);
    free(t->indices);
    free(t->statuses);
    free(t);
}

int transport_prepare(struct transport *t, struct plan *plan,
                      const struct schedule *s, struct memory *m,
                      struct error *e)
{
    if (t->kind->start) {
        reducer_prepare(t->reducer, s, t->channels);
        return 0;
    }
    t->pipeline = pipeline_create(plan, s, m, t->channels[CHANNEL_KV], e);
    return t->pipeline ? 0 : -1;
}

const char *transport_name(const struct transport *t)
{
    return t->kind->name;
}

struct pipeline *transport_pipeline(const struct transport *t)
{
    return t->pipeline;
}

int transport_start(struct transport *t, int32_t op, int send,
                    const struct memory *m, struct tile tile, enum channel c,
                    int32_t peer)
{
    struct message what = { op, send,
                            (int64_t)tile_bytes(m->schedule, tile) };

    if (!what.bytes)
        return 0;
    t->kind->start(t, what, m, tile, c, peer);
    return 1;
}

int transport_reduce(struct transport *t, int32_t i, const struct memory *m)
{
    const struct schedule *s = m->schedule;
    const struct op *op = &s->ops[i];
    struct collective_shape c = op_collective(s, op);
    struct records r = reduce_records(s, op, m);
    int64_t bytes = r.n * r.width * (int64_t)sizeof(float);

    if (c.members == 1 || !bytes)
        return 0;
    t->kind->reduce(t, (struct message){ i, 1,
                    reduce_sent_bytes(op->collective, c.members, c.me, bytes)
                    }, s, op, r);
    return 1;
}

int transport_test(struct transport *t, const struct message **done)
{
    if (!t->n)
        return 0;
    t->done = array_grow(t->done, t->n, &t->done_cap, sizeof *t->done);
    *done = t->done;
    return t->kind->test(t);
}
