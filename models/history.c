/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "models/history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Links -------------------------------------------------------------- */

static void name_port(const struct machine *m, int64_t ports, int64_t link,
                      struct trace_link *l)
{
    int64_t places = ports / 2;
    const char *what = m->devices ? "device" : "rank";

    snprintf(l->kind, sizeof l->kind, "port");
    snprintf(link < places ? l->from : l->to, sizeof l->from, "%s %lld", what,
             (long long)(link % places));
    snprintf(link < places ? l->to : l->from, sizeof l->from, "network");
}

static void name_edge(const struct graph *g, int32_t link,
                      struct trace_link *l)
{
    snprintf(l->kind, sizeof l->kind, "%s",
             edge_names[g->edges[link / 2].type]);
    graph_name(g, link_from(g, link), l->from, sizeof l->from);
    graph_name(g, link_to(g, link), l->to, sizeof l->to);
}

struct trace_link *history_links(const struct machine *m,
                                 const struct simulate_result *r, int64_t *n)
{
    struct trace_link *links = NULL;
    int64_t cap = *n = 0;

    for (int64_t i = 0; i < r->n_links; i++) {
        const struct link_use *u = &r->links[i];
        struct trace_link l = { .capacity = u->capacity, .bytes = u->bytes,
                                .busy = u->busy, .peak = u->peak };
        if (u->bytes <= 0)
            continue;
        if (m->graph)
            name_edge(m->graph, (int32_t)i, &l);
        else
            name_port(m, r->n_links, i, &l);
        ARRAY_PUSH(links, *n, cap, l);
    }
    return links;
}

/* ---- Memory -------------------------------------------------------------- */

struct change {
    int64_t time, bytes;
};

static int by_time(const void *a, const void *b)
{
    const struct change *x = a, *y = b;

    return (x->time > y->time) - (x->time < y->time);
}

/* From the first start to the last end of ops on each buffer; from[b] -1: no
 * op. */
static void find_lives(const struct schedule *s, const struct span *spans,
                       int64_t n, int64_t *from, int64_t *to)
{
    for (int64_t b = 0; b < s->n_buffers; b++)
        from[b] = to[b] = -1;
    for (int64_t i = 0; i < n; i++) {
        int64_t count;
        const struct operand *o = pool_operands_get(
            s->pool, s->ops[spans[i].op].operands, &count);
        for (int64_t k = 0; k < count; k++) {
            int32_t b = o[k].tile.buffer;
            if (from[b] < 0 || spans[i].start < from[b])
                from[b] = spans[i].start;
            to[b] = max64(to[b], spans[i].end);
        }
    }
}

void history_memory(const struct schedule *s, const struct span *spans,
                    int64_t n, struct trace_memory **points, int64_t *n_points,
                    int64_t *cap)
{
    int64_t *from = xcalloc((size_t)s->n_buffers * 2 + 1, sizeof *from);
    int64_t *to = from + s->n_buffers, changes = 0, bytes = 0;
    struct change *list = xcalloc((size_t)s->n_buffers * 2 + 1, sizeof *list);

    find_lives(s, spans, n, from, to);
    for (int32_t b = 0; b < s->n_buffers; b++) {
        int64_t size = (int64_t)buffer_bytes(s, b);
        int scratch = s->buffers[b].role == ROLE_SCRATCH
            || s->buffers[b].role == ROLE_STAGING;
        if (!scratch) {
            bytes += size;
        } else if (from[b] >= 0) {
            list[changes++] = (struct change){ from[b], size };
            list[changes++] = (struct change){ to[b], -size };
        }
    }
    qsort(list, (size_t)changes, sizeof *list, by_time);
    for (int64_t i = 0; i <= changes; i++) {
        int64_t time = i ? list[i - 1].time : 0;
        bytes += i ? list[i - 1].bytes : 0;
        if (i < changes && list[i].time == time)
            continue;           /* what ends and begins at once is one change */
        struct trace_memory p = { time, bytes, s->rank };
        ARRAY_PUSH(*points, *n_points, *cap, p);
    }
    free(list);
    free(from);
}
