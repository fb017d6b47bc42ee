/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans of ops from events of the device, on the clock of the host. */
#include <config.h>

#include "mpi/pipeline_internal.h"

#include <stdlib.h>

static int64_t at(const struct pipeline *p, int64_t zero, void *event)
{
    return zero + (int64_t)(1e9 * cuda_event_seconds(p->zero, event));
}

void pipeline_spans(struct pipeline *p, int64_t zero)
{
    const struct schedule *s = p->logical;
    struct span *spans = xcalloc((size_t)s->n_ops, sizeof *spans);

    for (int32_t i = 0; i < p->s->n_ops; i++) {
        int host = p->by_host[i];
        struct span *x = &spans[pipeline_logical(p, i)];
        int64_t start = host ? p->began[i] : at(p, zero, p->from[i]);
        int64_t end = host ? p->ended[i] : at(p, zero, p->to[i]);
        x->start = x->end ? min64(x->start, start) : start;
        x->end = x->end ? max64(x->end, end) : end;
    }
    for (int32_t i = 0; i < s->n_ops; i++) {
        int lane[2];
        op_lanes(&s->ops[i], lane);
        spans[i].ready = spans[i].start;
        spans[i].entry = p->o->entry;
        spans[i].repeat = p->o->repeat;
        spans[i].rank = p->rank;
        spans[i].op = i;
        spans[i].lane = lane[0];
        spool_append(p->o->spool, &spans[i], 1);
    }
    free(spans);
}

enum { TRIES = 8 };

/* Marks this moment of the host's clock in a stream that is idle: the quickest
 * of a few tries sets the pace. */
static int64_t mark(struct pipeline *p)
{
    int64_t least = INT64_MAX;

    for (int i = 0;; i++) {
        int64_t before = clock_now();
        cuda_event_record(p->zero, 0);
        while (!cuda_event_done(p->zero))
            ;
        int64_t taken = clock_now() - before;
        if (i >= TRIES && (taken <= least + least / 8 || i >= 4 * TRIES))
            return before + taken / 2;
        least = min64(least, taken);
    }
}

int64_t pipeline_mark(struct pipeline *p)
{
    for (int32_t i = 0; i < p->s->n_ops; i++)
        if (!p->from[i] && !p->by_host[i]) {
            p->from[i] = cuda_event_create(1);
            p->to[i] = cuda_event_create(1);
        }
    return mark(p) - p->o->t_zero;
}
