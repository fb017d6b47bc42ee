/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/internal.h"

static int before(const struct event *a, const struct event *b)
{
    if (a->time != b->time)
        return a->time < b->time;
    return a->rank != b->rank ? a->rank < b->rank : a->op < b->op;
}

void events_push(struct events *q, struct event ev)
{
    q->heap = array_grow(q->heap, q->n + 1, &q->cap, sizeof *q->heap);
    int64_t i = q->n++;

    while (i > 0 && before(&ev, &q->heap[(i - 1) / 2])) {
        q->heap[i] = q->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->heap[i] = ev;
}

struct event events_pop(struct events *q)
{
    struct event first = q->heap[0], last = q->heap[--q->n];
    int64_t i = 0;

    for (int64_t child; (child = 2 * i + 1) < q->n; i = child) {
        if (child + 1 < q->n && before(&q->heap[child + 1], &q->heap[child]))
            child++;
        if (!before(&q->heap[child], &last))
            break;
        q->heap[i] = q->heap[child];
    }
    q->heap[i] = last;
    return first;
}
