/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes out of a simulation: times, overlap, spans, or what is stuck. */
#include <config.h>

#include "models/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names the ops at the heads of lanes that never ran. */
static void report_stuck(const struct simulation *sim, struct error *e)
{
    size_t at;

    fail(e, "deadlock: %" PRId64 " of %" PRId64 " ops never ran:", sim->left,
         sim->n_ops);
    for (int64_t i = 0; i < sim->period; i++) {
        const struct rank *r = &sim->rank[i];
        for (int l = 0; l < LANES; l++) {
            char name[96];
            if (r->heads[l].state == HEAD_NONE)
                continue;
            op_name(r->shape->s, &r->shape->s->ops[r->heads[l].op], name,
                    sizeof name);
            at = strlen(e->text);
            if (at + sizeof name + 48 > sizeof e->text) {
                snprintf(e->text + at, sizeof e->text - at, " ...");
                return;
            }
            snprintf(e->text + at, sizeof e->text - at,
                     "%s rank %" PRId64 " op %d %s",
                     e->text[at - 1] == ':' ? "" : ",", i, r->heads[l].op,
                     name);
        }
    }
}

static int span_order(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->start != y->start)
        return x->start < y->start ? -1 : 1;
    return x->op < y->op ? -1 : x->op > y->op;
}

/* Of a lowered schedule, one for each logical op: from the first start of its
 * ops to their last end. */
static int64_t fold_spans(const struct schedule *s, struct span *spans,
                          int64_t n)
{
    int64_t kept = 0;

    for (int64_t i = 0; i < n; i++) {
        struct span x = spans[i];
        x.op = s->parents[x.op];
        if (x.lane >= LANE_FIRST_STAGE)         /* those of its messages */
            x.lane += LANE_FIRST_CHANNEL - LANE_FIRST_STAGE;
        if (kept && spans[kept - 1].op == x.op) {
            struct span *y = &spans[kept - 1];
            y->start = min64(y->start, x.start);
            y->ready = min64(y->ready, x.ready);
            y->end = max64(y->end, x.end);
        } else {
            spans[kept++] = x;
        }
    }
    return kept;
}

static void make_spans(const struct simulation *sim, struct simulate_result *res)
{
    res->spans = xcalloc((size_t)max64(sim->n_ops, 1), sizeof *res->spans);
    for (int64_t i = 0; i < sim->period; i++) {
        const struct rank *r = &sim->rank[i];
        const struct schedule *s = r->shape->s;
        struct span *first = res->spans + res->n_spans;
        for (int32_t j = 0; j < s->n_ops; j++) {
            const double *t = sim->times[r->base + j];
            int lane = sim_step(r, j)->lane[0];
            if (r->heads[lane].done < j)
                continue;
            res->spans[res->n_spans++] = (struct span){
                .start = llround(t[TIME_START] * 1e9),
                .end = llround(t[TIME_END] * 1e9),
                .ready = llround(t[TIME_READY] * 1e9),
                .entry = sim->o.entry, .rank = (int32_t)i, .op = j,
                .lane = lane
            };
        }
        if (s->parents)
            res->n_spans = first - res->spans
                + fold_spans(s, first, res->spans + res->n_spans - first);
        qsort(first, (size_t)(res->spans + res->n_spans - first),
              sizeof *first, span_order);
    }
}

void sim_result(const struct simulation *sim, struct simulate_result *res)
{
    double communicated = 0, hidden = 0;

    *res = (struct simulate_result){ .deadlock = sim->left > 0 };
    res->rank_seconds = xcalloc((size_t)sim->ranks, sizeof(double));
    for (int64_t i = 0; i < sim->period; i++) {
        /* The last change at a rank is the end of its last op. */
        for (int64_t k = i; k < sim->ranks; k += sim->period)
            res->rank_seconds[k] = sim->rank[i].last;
        res->seconds = fmax(res->seconds, sim->rank[i].last);
        communicated += sim->rank[i].communicated;
        hidden += sim->rank[i].hidden;
    }
    for (int i = 0; i < COLLECTIVE_HOWS; i++)
        res->collectives[i] = sim->collectives[i];
    res->seconds += sim->m->repeat_overhead;
    res->overlap = communicated > 0 ? hidden / communicated : NAN;
    if (res->deadlock) {
        res->seconds = NAN;
        report_stuck(sim, &res->stuck);
    }
    if (sim->o.record)
        make_spans(sim, res);
    if (sim->flows)
        flows_result(sim, res);
}

void simulate_result_clear(struct simulate_result *r)
{
    free(r->rank_seconds);
    free(r->spans);
    free(r->links);
    *r = (struct simulate_result){ 0 };
}
