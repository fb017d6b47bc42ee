/* SPDX-License-Identifier: Apache-2.0
 *
 * Network models without contention; formulas in models/simulate.h. */
#include <config.h>

#include "models/simulate.h"

#include <string.h>

static double ideal_message(const struct machine *m, int64_t bytes)
{
    const struct link *l = &m->link;

    return l->n ? (double)bytes / l->segments[l->n - 1].bandwidth : 0;
}

static int64_t slice_bytes(const struct schedule *s, const struct operand *o,
                           int64_t tiles)
{
    int64_t bytes = 0;

    for (int64_t i = 0; i < tiles; i++)
        bytes += (int64_t)tile_bytes(s, o[i].tile);
    return bytes;
}

/* All-reduce: halves scattered and gathered again in log2 N rounds each; scan:
 * a record a round. */
static double reduction(const struct machine *m, const struct schedule *s,
                        const struct op *op,
                        double (*message)(const struct machine *, int64_t))
{
    struct collective_shape c = op_collective(s, op);
    int64_t bytes = (int64_t)tile_bytes(s, c.staging->tile);
    double seconds = 0;

    for (int64_t reach = 1; reach < c.members; reach *= 2)
        seconds += op->collective == EXCLUSIVE_SCAN ? message(m, bytes)
            : 2 * message(m, ceil_div(bytes, 2 * reach));
    return seconds;
}

static double rounds(const struct machine *m, const struct schedule *s,
                     const struct op *op,
                     double (*message)(const struct machine *, int64_t))
{
    struct collective_shape c = op_collective(s, op);
    double seconds = 0;

    if (collective_reduces(op->collective))
        return reduction(m, s, op, message);
    for (int64_t i = 1; i < c.members; i++) {
        int64_t to = (c.me + i) % c.members;
        int64_t from = (c.me + c.members - i) % c.members;
        if (op->collective == ALL_GATHER)
            to = 0;             /* the same tiles to everyone */
        int64_t out = slice_bytes(s, c.send + to * c.tiles, c.tiles);
        int64_t in = slice_bytes(s, c.recv + from * c.tiles, c.tiles);
        if (out || in)
            seconds += message(m, max64(out, in));
    }
    return seconds;
}

static double ideal_collective(const struct machine *m,
                               const struct schedule *s, const struct op *op)
{
    return rounds(m, s, op, ideal_message);
}

/* What a member does itself: copy its own slice; reduce-scatter: read all
 * slices and write their sum; reductions: records made, combined, taken apart. */
static double finish_seconds(const struct machine *m, const struct schedule *s,
                             const struct op *op)
{
    struct collective_shape c = op_collective(s, op);
    int64_t bytes;

    if (collective_reduces(op->collective))
        bytes = 7 * (int64_t)tile_bytes(s, c.staging->tile);
    else if (op->collective == REDUCE_SCATTER)
        bytes = (c.members + 1) * slice_bytes(s, c.result, c.tiles);
    else
        bytes = 2 * slice_bytes(s, c.recv + c.me * c.tiles, c.tiles);
    return m->memory_bandwidth > 0 ? (double)bytes / m->memory_bandwidth : 0;
}

static double loggp_collective(const struct machine *m,
                               const struct schedule *s, const struct op *op)
{
    return rounds(m, s, op, machine_message_seconds) + finish_seconds(m, s, op);
}

static const struct network_model ideal = {
    "ideal", "bandwidth only: no latency, no host cost", 0, ideal_message,
    ideal_collective
};
static const struct network_model loggp = {
    "loggp", "measured latency and bandwidth by size, host cost, no contention",
    1, machine_message_seconds, loggp_collective
};

const struct network_model *const network_models[] = { &ideal, &loggp, NULL };

const struct network_model *network_find(const char *name)
{
    for (int i = 0; network_models[i] != NULL; i++)
        if (strcmp(network_models[i]->name, name) == 0)
            return network_models[i];
    return NULL;
}
