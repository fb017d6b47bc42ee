/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#ifdef HAVE_CUDA

#include "device_order.h"
#include "kernel/cuda_async.h"

#include <stdlib.h>

static void add_event(struct order *o)
{
    int64_t cap = o->cap ? 2 * o->cap : 256;

    if (o->n < o->cap)
        return;
    o->events = xrealloc(o->events, (size_t)cap * sizeof *o->events);
    o->starts = xrealloc(o->starts, (size_t)cap * sizeof *o->starts);
    o->ops = xrealloc(o->ops, (size_t)cap * sizeof *o->ops);
    for (; o->cap < cap; o->cap++) {
        o->events[o->cap] = cuda_event_create(o->serial);
        o->starts[o->cap] = o->serial ? cuda_event_create(1) : NULL;
    }
}

static int stream_of(const struct order *o, int32_t rank, const struct op *op)
{
    int talks = op->kind == OP_SEND || op->kind == OP_COLLECTIVE;

    if (o->serial)
        return 0;
    return talks ? o->streams + op->channel % ORDER_MESSAGES
                 : rank % o->streams;
}

static void use_stream(struct order *o, int stream)
{
    o->stream = stream;
    device_cuda.stream(stream);
    if (!o->n) {
        cuda_event_record(o->first, stream);
        o->used = 0;
    }
    if (!(o->used >> stream & 1))
        cuda_event_wait(o->first, stream);
    o->used |= 1u << stream;
}

/* What op i of a rank must wait for; what is in the same stream goes without
 * saying, as do lanes: each is in one stream. */
static void wait_for(struct order *o, int32_t rank, int32_t i)
{
    const struct schedule *s = o->g->schedules[rank];
    const struct op *op = &s->ops[i];

    for (int32_t d = 0; d < op->dep_count; d++)
        cuda_event_wait(o->events[o->end[rank][s->deps[op->dep_first + d].op]],
                        o->stream);
}

void order_begin(void *arg, const int32_t *ranks, const int32_t *ops, int64_t n)
{
    struct order *o = arg;
    const struct op *op = &o->g->schedules[ranks[0]]->ops[ops[0]];

    add_event(o);
    use_stream(o, stream_of(o, ranks[0], op));
    for (int64_t k = 0; k < n && !o->serial; k++)
        wait_for(o, ranks[k], ops[k]);
    o->ops[o->n] = op;
    if (o->serial)
        cuda_event_record(o->starts[o->n], o->stream);
}

void order_end(void *arg, const int32_t *ranks, const int32_t *ops, int64_t n)
{
    struct order *o = arg;

    cuda_event_record(o->events[o->n], o->stream);
    for (int64_t k = 0; k < n; k++)
        o->end[ranks[k]][ops[k]] = o->n;
    o->n++;
}

void order_join(struct order *o)
{
    static void *done[DEVICE_STREAMS];

    for (int s = 1; s < DEVICE_STREAMS; s++)
        if (o->used >> s & 1) {
            done[s] = done[s] ? done[s] : cuda_event_create(0);
            cuda_event_record(done[s], s);
            cuda_event_wait(done[s], 0);
        }
    cuda_event_record(o->last, 0);
}

void order_open(struct order *o, const struct rig *g, int streams)
{
    *o = (struct order){ .g = g, .serial = !streams, .streams = streams,
                         .first = cuda_event_create(1),
                         .last = cuda_event_create(1) };
    o->end = xcalloc((size_t)g->trial.ranks, sizeof *o->end);
    for (int32_t r = 0; r < g->trial.ranks; r++)
        o->end[r] = xcalloc((size_t)g->schedules[r]->n_ops, sizeof **o->end);
}

void order_close(struct order *o)
{
    for (int64_t i = 0; i < o->cap; i++) {
        cuda_event_destroy(o->events[i]);
        if (o->serial)
            cuda_event_destroy(o->starts[i]);
    }
    for (int32_t r = 0; r < o->g->trial.ranks; r++)
        free(o->end[r]);
    cuda_event_destroy(o->first);
    cuda_event_destroy(o->last);
    free(o->end);
    free(o->events);
    free(o->starts);
    free(o->ops);
}

#endif
