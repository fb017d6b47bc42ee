/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/transport_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The table ---------------------------------------------------------- */

static const struct transport_kind host = {
    "host", "MPI messages and reductions from host memory", &device_host, NULL,
    host_start, host_reduce, host_test
};
static const struct transport_kind null = {
    "none", "moves nothing: measures the frame, results are wrong",
    &device_host, NULL, null_start, null_reduce, null_test
};
#ifdef HAVE_CUDA
static const struct transport_kind ipc = {
    "ipc", "GPUs of one host write each other's memory, flags in it say when",
    &device_cuda, &mover_ipc, NULL, NULL, NULL
};
static const struct transport_kind ipc_staged = {
    "ipc+staged", "ipc where GPUs reach each other, staged between the others",
    &device_cuda, &mover_ipc_staged, host_start, host_reduce, host_test
};
static const struct transport_kind staged = {
    "staged", "GPUs anywhere, by MPI through pinned host memory, in pieces",
    &device_cuda, &mover_staged, host_start, host_reduce, host_test
};
#ifdef HAVE_NCCL
static const struct transport_kind nccl = {
    "nccl", "GPUs anywhere, each of one rank, by NCCL", &device_cuda,
    &mover_nccl, NULL, NULL, NULL
};
#endif
#endif
/* `auto` is the first of a device that works; staged does everywhere. */
const struct transport_kind *const transports[] = {
    &host,
#ifdef HAVE_CUDA
    &ipc, &ipc_staged, &staged,
#ifdef HAVE_NCCL
    &nccl,
#endif
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
    t->automatic = strcmp(name, "auto") == 0;
    snprintf(t->reason, sizeof t->reason, "%s", t->automatic
             ? "the only one" : "asked for");
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
    pipeline_destroy(t->pipeline);
    for (int64_t i = 0; i < t->n_types; i++)
        MPI_Type_free(&t->types[i].type);
    reducer_destroy(t->reducer);
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

/* The kind at hand. */
static int prepare(struct transport *t, struct plan *plan,
                   const struct schedule *s, struct memory *m,
                   struct error *e)
{
    if (t->kind->start)
        reducer_prepare(t->reducer, s, t->channels);
    if (!t->kind->mover)
        return 0;
    t->pipeline = pipeline_create(t->kind->mover, plan, s, m, t,
                                  t->channels[CHANNEL_KV], e);
    return t->pipeline ? 0 : -1;
}

/* What an automatic choice came to, for those that follow in this process. */
static struct {
    const struct transport_kind *kind;
    char reason[640];
} settled;

/* The next kind for the same device, or NULL. */
static const struct transport_kind *next_kind(const struct transport_kind *k)
{
    int i = 0;

    while (transports[i] != k)
        i++;
    for (i++; transports[i]; i++)
        if (transports[i]->device == k->device && transports[i]->mover)
            return transports[i];
    return NULL;
}

int transport_prepare(struct transport *t, struct plan *plan,
                      const struct schedule *s, struct memory *m,
                      struct error *e)
{
    struct error why[5] = { { .text = "" } };
    int tried = 0;

    if (!t->automatic || !t->kind->mover)
        return prepare(t, plan, s, m, e);
    if (settled.kind) {
        t->kind = settled.kind;
        memcpy(t->reason, settled.reason, sizeof t->reason);
        return prepare(t, plan, s, m, e);
    }
    snprintf(t->reason, sizeof t->reason, "nothing is faster");
    while (prepare(t, plan, s, m, &why[tried])) {
        const struct transport_kind *next = next_kind(t->kind);
        if (!next || tried == 4) {
            *e = why[tried];
            return -1;
        }
        size_t at = tried ? strlen(t->reason) : 0;
        snprintf(t->reason + at, sizeof t->reason - at, "%snot %s: %s",
                 tried ? "; " : "", t->kind->name, why[tried].text);
        t->kind = next;
        tried++;
    }
    settled.kind = t->kind;
    memcpy(settled.reason, t->reason, sizeof settled.reason);
    return 0;
}

const char *transport_reason(const struct transport *t)
{
    const char *about = t->pipeline ? pipeline_about(t->pipeline) : "";

    return *about ? about : t->reason;
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
