/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives as one library call: by the machine's table, or by constants;
 * else they go by messages (messages.c). */
#include <config.h>

#include "models/internal.h"
#include "topo/collective.h"

#include <math.h>
#include <stdlib.h>

static enum collective_kind kind_of(enum collective what)
{
    switch (what) {
    case ALL_GATHER:
        return OF_ALL_GATHER;
    case REDUCE_SCATTER:
        return OF_REDUCE_SCATTER;
    case ALL_TO_ALL:
        return OF_ALL_TO_ALL;
    case ALL_REDUCE_MAX:
    case ALL_REDUCE_SUM:
    case ALL_REDUCE_MERGE:
        return OF_ALL_REDUCE;
    case COLLECTIVE_NONE:
    case EXCLUSIVE_SCAN:
    case COLLECTIVES:
        break;
    }
    return COLLECTIVE_KINDS;
}

/* The payload as nccl-tests counts it, from what a member sends; the largest.
 */
static int64_t payload(const struct simulation *sim,
                       const struct collective_op *x)
{
    int64_t P = x->c.members, most = 0;
    int twice = kind_of(x->op.collective) == OF_ALL_REDUCE;

    for (int64_t i = 0; i < P; i++) {
        struct collective_op member;
        int32_t own;
        struct rank *p = collective_member(sim, x, i, &own);
        sim_collective(sim, p, own, &member);
        most = max64(most, op_work(&member.s, &member.op).sent_bytes);
    }
    return most * P / ((P - 1) * (twice ? 2 : 1));
}

/* Slots of the members into slots[]; how many hosts they are on, 0 where some
 * are no GPUs. */
static int64_t hosts_of(const struct simulation *sim,
                        const struct collective_op *x, int32_t *slots)
{
    const struct graph *g = sim->m->graph;
    int64_t hosts = 0;
    int32_t before = -1;

    for (int64_t i = 0; i < x->c.members; i++) {
        slots[i] = (int32_t)sim->rank[x->c.ranks[i]].place;
        if (!g)
            continue;
        const struct vertex *v = &g->vertices[g->slots[slots[i]]];
        if (v->kind != VERTEX_GPU)
            return 0;
        hosts += v->host != before;
        before = v->host;
    }
    return g ? hosts : 1;
}

static double moved(const struct machine *m, double seconds, double low,
                    double high)
{
    return m->quantile == 0 || low <= 0 ? seconds
        : seconds * (m->quantile < 0 ? low : high);
}

double collective_seconds(const struct simulation *sim,
                          const struct collective_op *x,
                          enum collective_how *how)
{
    const struct machine *m = sim->m;
    enum collective_kind kind = kind_of(x->op.collective);
    int64_t P = x->c.members;
    double seconds = -1;

    *how = COLLECTIVE_MESSAGES;
    if (kind == COLLECTIVE_KINDS || P < 2 || !sim->o.network->host)
        return -1;
    int32_t *slots = xcalloc((size_t)P, sizeof *slots);
    struct collective_path path = { .class = CLASS_SELF };
    int64_t hosts = hosts_of(sim, x, slots);
    const struct collective_table *t = machine_collective(m, kind, P, hosts);
    if (m->graph && hosts == 1)
        collective_path(m, slots, P, kind, &path);
    /* Who shares links with other groups goes by messages. */
    int alone = P == sim->ranks || !m->graph || path.class == CLASS_NVLINK;
    if (t && alone) {
        *how = COLLECTIVE_TABLE;
        seconds = moved(m, collective_table_seconds(t, payload(sim, x)),
                        t->p10, t->p90);
    } else if (m->graph && hosts == 1 && alone && path.class != CLASS_SELF) {
        *how = COLLECTIVE_CONSTANTS;
        seconds = moved(m, collective_constants(&path, kind, P,
                                                payload(sim, x)),
                        constants_spread[0], constants_spread[1]);
    }
    if (seconds >= 0 && kind == OF_ALL_TO_ALL && m->memory_bandwidth > 0)
        seconds += 2.0 * m->packs * (double)payload(sim, x)
            / m->memory_bandwidth;
    free(slots);
    return seconds;
}
