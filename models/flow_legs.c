/* SPDX-License-Identifier: Apache-2.0
 *
 * The network model `flow`: the messages of a member of a collective, one after
 * the other. */
#include <config.h>

#include "models/flow_internal.h"

/* Reductions go by halves, to and from the member twice as far on each time; on
 * devices everything goes to everyone. */
static int reduction_leg(const struct collective_op *x, int devices,
                         int64_t leg, int64_t *to, int64_t *bytes)
{
    int64_t P = x->c.members, rounds = 0;
    int scans = x->op.collective == EXCLUSIVE_SCAN;

    *bytes = (int64_t)tile_bytes(&x->s, x->c.staging->tile);
    if (devices) {
        *to = (x->c.me + 1 + leg) % P;
        return leg < P - 1;
    }
    while ((int64_t)1 << rounds < P)
        rounds++;
    int64_t reach = leg < rounds ? leg : 2 * rounds - 1 - leg;
    if (leg >= rounds * (scans ? 1 : 2))
        return 0;
    *to = (x->c.me + ((int64_t)1 << reach)) % P;
    if (!scans)
        *bytes = ceil_div(*bytes, (int64_t)2 << reach);
    return 1;
}

int collective_leg(const struct collective_op *x, int devices, int64_t leg,
                   int64_t *to, int64_t *bytes)
{
    const struct collective_shape *c = &x->c;

    if (collective_reduces(x->op.collective))
        return reduction_leg(x, devices, leg, to, bytes);
    if (leg >= c->members - 1)
        return 0;
    *to = (c->me + 1 + leg) % c->members;
    const struct operand *slice = c->send;
    if (x->op.collective != ALL_GATHER)
        slice += *to * c->tiles;
    *bytes = 0;
    for (int64_t i = 0; i < c->tiles; i++)
        *bytes += (int64_t)tile_bytes(&x->s, slice[i].tile);
    return 1;
}

double legs_bandwidth(const struct collective_op *x, double seconds)
{
    int64_t to, bytes, sum = 0;

    for (int64_t leg = 0; collective_leg(x, 1, leg, &to, &bytes); leg++)
        sum += bytes;
    return (double)sum / seconds;
}
