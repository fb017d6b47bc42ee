/* SPDX-License-Identifier: Apache-2.0
 *
 * Network models; formulas in models/simulate.h. */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <string.h>

double network_seconds(const struct simulation *sim, int64_t from, int64_t to,
                       int64_t bytes)
{
    const struct links *l = sim->links;
    int latency = sim->o.network->latency;
    struct way w;

    l->way(l, from, to, latency ? bytes : INT64_MAX - 1, &w);
    double bandwidth = w.bandwidth;
    for (int32_t i = 0; i < w.n; i++)
        bandwidth = fmin(bandwidth, l->capacity[w.links[i]]);
    return (latency ? w.latency : 0) + (double)bytes / bandwidth;
}

/* ---- Collectives -------------------------------------------------------- */

static int64_t slice_bytes(const struct schedule *s, const struct operand *o,
                           int64_t tiles)
{
    int64_t bytes = 0;

    for (int64_t i = 0; i < tiles; i++)
        bytes += (int64_t)tile_bytes(s, o[i].tile);
    return bytes;
}

/* So many bytes from me to the member `to`, or of `from` to me. */
static double member_message(const struct simulation *sim,
                             const struct collective_shape *c, int64_t from,
                             int64_t to, int64_t bytes)
{
    return network_seconds(sim, sim_place_of(sim, c->ranks[from]),
                           sim_place_of(sim, c->ranks[to]), bytes);
}

/* All-reduce: halves scattered and gathered again in log2 N rounds each; scan:
 * a record a round. */
static double reduction(const struct simulation *sim,
                        const struct collective_op *x)
{
    const struct collective_shape *c = &x->c;
    int64_t bytes = (int64_t)tile_bytes(&x->s, c->staging->tile);
    int scans = x->op.collective == EXCLUSIVE_SCAN;
    double seconds = 0;

    for (int64_t reach = 1; reach < c->members; reach *= 2) {
        int64_t to = (c->me + reach) % c->members;
        seconds += scans ? member_message(sim, c, c->me, to, bytes)
            : 2 * member_message(sim, c, c->me, to,
                                 ceil_div(bytes, 2 * reach));
    }
    return seconds;
}

static double rounds(const struct simulation *sim,
                     const struct collective_op *x)
{
    const struct collective_shape *c = &x->c;
    double seconds = 0;

    if (collective_reduces(x->op.collective))
        return reduction(sim, x);
    for (int64_t i = 1; i < c->members; i++) {
        int64_t to = (c->me + i) % c->members;
        int64_t from = (c->me + c->members - i) % c->members;
        /* All-gather: the same tiles to everyone. */
        int64_t slice = x->op.collective == ALL_GATHER ? 0 : to;
        int64_t out = slice_bytes(&x->s, c->send + slice * c->tiles, c->tiles);
        int64_t in = slice_bytes(&x->s, c->recv + from * c->tiles, c->tiles);
        double sent = out ? member_message(sim, c, c->me, to, out) : 0;
        seconds += in ? fmax(sent, member_message(sim, c, from, c->me, in))
            : sent;
    }
    return seconds;
}

/* What a member does itself: copy its own slice; reduce-scatter: read all
 * slices and write their sum; reductions: records made, combined, taken apart.
 */
double member_finish(const struct machine *m, const struct collective_op *x)
{
    const struct collective_shape *c = &x->c;
    int64_t bytes;

    if (collective_reduces(x->op.collective))
        bytes = 7 * (int64_t)tile_bytes(&x->s, c->staging->tile);
    else if (x->op.collective == REDUCE_SCATTER)
        bytes = (c->members + 1) * slice_bytes(&x->s, c->result, c->tiles);
    else
        bytes = 2 * slice_bytes(&x->s, c->recv + c->me * c->tiles, c->tiles);
    return m->memory_bandwidth > 0 ? (double)bytes / m->memory_bandwidth : 0;
}

double member_seconds(const struct simulation *sim,
                      const struct collective_op *x)
{
    double finish = sim->o.network->host ? member_finish(sim->m, x) : 0;

    return rounds(sim, x) + finish;
}

/* ---- The models --------------------------------------------------------- */

static const struct network_model ideal = {
    .name = "ideal", .summary = "bandwidth only: no latency, no host cost"
};
static const struct network_model loggp = {
    .name = "loggp", .summary = "latency and bandwidth by size or by class of "
    "route, host cost, no contention", .host = 1, .latency = 1
};
static const struct network_model flow = {
    .name = "flow", .summary = "as loggp, messages share links fairly",
    .host = 1, .latency = 1, .shares = 1
};

const struct network_model *const network_models[] = { &ideal, &loggp, &flow,
                                                       NULL };

const struct network_model *network_default(const struct machine *m)
{
    return m->graph && !m->devices ? &flow : &loggp;
}

const struct network_model *network_find(const char *name)
{
    for (int i = 0; network_models[i] != NULL; i++)
        if (strcmp(network_models[i]->name, name) == 0)
            return network_models[i];
    return NULL;
}
