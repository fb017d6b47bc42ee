/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "run/compute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void lanes_init(struct lanes *l, const struct schedule *s)
{
    int32_t last[LANES];

    l->schedule = s;
    l->next = xmalloc((size_t)s->n_ops * 2 * sizeof *l->next);
    l->done = xcalloc((size_t)s->n_ops, 1);
    l->left = s->n_ops;
    for (int k = 0; k < LANES; k++)
        l->head[k] = last[k] = -1;
    for (int32_t i = 0; i < s->n_ops; i++) {
        int lane[2];
        op_lanes(&s->ops[i], lane);
        for (int k = 0; k < 2; k++) {
            l->next[2 * i + k] = -1;
            if (lane[k] < 0)
                continue;
            int32_t before = last[lane[k]];
            if (before < 0) {
                l->head[lane[k]] = i;
            } else {
                int lanes[2];
                op_lanes(&s->ops[before], lanes);
                l->next[2 * before + (lanes[1] == lane[k])] = i;
            }
            last[lane[k]] = i;
        }
    }
}

void lanes_clear(struct lanes *l)
{
    free(l->next);
    free(l->done);
}

/* First dependency that is not done, or -1. */
static int32_t waits_for(const struct lanes *l, int32_t i)
{
    const struct schedule *s = l->schedule;
    const struct op *op = &s->ops[i];

    for (int32_t d = 0; d < op->dep_count; d++)
        if (!l->done[s->deps[op->dep_first + d].op])
            return s->deps[op->dep_first + d].op;
    return -1;
}

int lanes_ready(const struct lanes *l, int32_t i)
{
    int lane[2];

    op_lanes(&l->schedule->ops[i], lane);
    for (int k = 0; k < 2; k++)
        if (lane[k] >= 0 && l->head[lane[k]] != i)
            return 0;
    return waits_for(l, i) < 0;
}

void lanes_done(struct lanes *l, int32_t i)
{
    int lane[2];

    op_lanes(&l->schedule->ops[i], lane);
    for (int k = 0; k < 2; k++)
        if (lane[k] >= 0)
            l->head[lane[k]] = l->next[2 * i + k];
    l->done[i] = 1;
    l->left--;
}

void lanes_describe(const struct lanes *l, char *text, size_t size)
{
    const struct schedule *s = l->schedule;
    size_t at = 0;

    text[0] = 0;
    for (int k = 0; k < LANES && at + 1 < size; k++) {
        int32_t i = l->head[k];
        char name[96];
        int lane[2];

        if (i < 0)
            continue;
        op_lanes(&s->ops[i], lane);
        if (lane[0] != k)       /* named once */
            continue;
        op_name(s, &s->ops[i], name, sizeof name);
        int n = snprintf(text + at, size - at, "%s op %d %s", at ? "," : "", i,
                         name);
        at += n > 0 ? (size_t)n : 0;
        if (at + 1 < size && s->ops[i].kind >= OP_SEND
            && s->ops[i].kind <= OP_RECV) {
            n = snprintf(text + at, size - at, " %s rank %d",
                         s->ops[i].kind == OP_SEND ? "to" : "from",
                         s->ops[i].peer);
            at += n > 0 ? (size_t)n : 0;
        }
        int32_t dep = waits_for(l, i);
        if (dep >= 0 && at + 1 < size) {
            n = snprintf(text + at, size - at, " (after op %d)", dep);
            at += n > 0 ? (size_t)n : 0;
        }
    }
}
