/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives as one: by the machine's table, or by constants; else they go by
 * messages (messages.c). */
#include <config.h>

#include "models/internal.h"
#include "models/links.h"
#include "topo/collective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
        return OF_ALL_REDUCE;
    case ALL_REDUCE_MERGE:
        return OF_MERGE;
    case EXCLUSIVE_SCAN:
        return OF_SCAN;
    case COLLECTIVE_NONE:
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
    int64_t most = 0;

    for (int64_t i = 0; i < x->c.members; i++) {
        struct collective_op member;
        int32_t own;
        struct rank *p = collective_member(sim, x, i, &own);
        if (!p)
            continue;
        sim_collective(sim, p, own, &member);
        most = max64(most, op_work(&member.s, &member.op).sent_bytes);
    }
    return collective_payload(kind_of(x->op.collective), x->c.members, most);
}

/* Of GPUs, over NVLink or within a host; who shares links with other groups
 * goes by messages, unless so many groups were measured. */
static int is_call(const struct machine *m, const struct known_group *g,
                   int64_t ranks)
{
    if (!m->graph || g->group.cores)
        return 1;
    return g->group.hosts > 0 && g->path.class != CLASS_SELF
        && (g->path.class == CLASS_NVLINK
            || (g->group.ranks == ranks && g->path.class < CLASS_LEAF));
}

/* Remembered by group and kind. */
static const struct known_group *group_of(struct simulation *sim,
                                          const struct collective_op *x,
                                          enum collective_kind kind)
{
    int64_t at = (int64_t)x->op.peer * COLLECTIVE_KINDS + (int64_t)kind;
    int64_t n = (int64_t)(x->op.peer + 1) * COLLECTIVE_KINDS;

    if (n > sim->n_groups) {
        sim->groups = xrealloc(sim->groups, (size_t)n * sizeof *sim->groups);
        memset(sim->groups + sim->n_groups, 0, (size_t)(n - sim->n_groups)
               * sizeof *sim->groups);
        sim->n_groups = n;
    }
    struct known_group *g = &sim->groups[at];
    if (g->known)
        return g;
    int32_t *slots = xcalloc((size_t)x->c.members, sizeof *slots);
    g->known = 1;
    for (int64_t i = 0; i < x->c.members; i++)
        slots[i] = sim_place_of(sim, x->c.ranks[i]);
    int whole = !links_derated(sim->links, slots, x->c.members);
    if (sim->m->graph)
        collective_path(sim->m, slots, x->c.members, kind, &g->path);
    int64_t groups = sim->shared_places || sim->ranks % x->c.members ? 0
        : sim->ranks / x->c.members;
    collective_place(sim->m, slots, x->c.members, groups, &g->group);
    g->calls = whole && is_call(sim->m, g, sim->ranks);
    free(slots);
    return g;
}

static double call_seconds(const struct machine *m,
                           const struct known_group *g,
                           enum collective_kind kind, int64_t bytes,
                           enum collective_how *how)
{
    const struct collective_table *t = machine_collective(m, kind, &g->group);

    if (t) {
        *how = COLLECTIVE_TABLE;
        return collective_table_seconds(t, bytes)
            * spread_slower(m, (const double[]){ t->p10, t->p90 });
    }
    if (!m->graph || g->group.cores || kind == OF_SCAN)
        return -1;
    *how = COLLECTIVE_CONSTANTS;
    return collective_constants(&g->path, kind, g->group.ranks, bytes)
        * spread_slower(m, constants_spread);
}

double collective_seconds(struct simulation *sim,
                          const struct collective_op *x,
                          enum collective_how *how)
{
    const struct machine *m = sim->m;
    enum collective_kind kind = kind_of(x->op.collective);

    *how = COLLECTIVE_MESSAGES;
    if (kind == COLLECTIVE_KINDS || x->c.members < 2 || !sim->o.network->host
        || (!m->graph && !m->n_collectives))
        return -1;
    const struct known_group *g = group_of(sim, x, kind);
    if (!g->calls)
        return -1;
    int64_t bytes = payload(sim, x);
    double seconds = call_seconds(m, g, kind, bytes, how);
    if (seconds >= 0 && kind == OF_ALL_TO_ALL && m->memory_bandwidth > 0)
        seconds += 2.0 * m->packs * (double)bytes / m->memory_bandwidth;
    return seconds;
}
