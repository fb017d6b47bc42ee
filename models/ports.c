/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages between devices: copy engines push tiles out of a device, all that
 * are under way at once share its port.  What they take besides: flags, copies
 * within the device, sums. */
#include <config.h>

#include "models/internal.h"

#include <math.h>
#include <stdlib.h>

/* ---- The port ----------------------------------------------------------- */

static void settle(const struct simulation *sim, struct port *p)
{
    double passed = (sim->now - p->last) / (double)max64(1, p->n);

    for (int64_t i = 0; i < p->n; i++)
        p->flows[i].left = fmax(0, p->flows[i].left - passed);
    p->last = sim->now;
}

static int64_t first_through(const struct port *p)
{
    int64_t best = 0;

    for (int64_t i = 1; i < p->n; i++)
        if (p->flows[i].left < p->flows[best].left)
            best = i;
    return best;
}

static void announce(struct simulation *sim, int64_t place)
{
    struct port *p = &sim->ports[place];

    p->version++;
    if (p->n > 0)
        events_push(&sim->events, (struct event){
            sim->now + p->flows[first_through(p)].left * (double)p->n,
            (int32_t)place, p->version, EVENT_PUSHED });
}

void port_add(struct simulation *sim, int64_t place, struct flow f)
{
    struct port *p = &sim->ports[place];

    settle(sim, p);
    ARRAY_PUSH(p->flows, p->n, p->cap, f);
    announce(sim, place);
}

int port_pushed(struct simulation *sim, int64_t place, int32_t version,
                struct flow *f)
{
    struct port *p = &sim->ports[place];

    if (version != p->version)
        return 0;
    settle(sim, p);
    int64_t i = first_through(p);
    *f = p->flows[i];
    p->flows[i] = p->flows[--p->n];
    announce(sim, place);
    return 1;
}

/* ---- Tiles -------------------------------------------------------------- */

int64_t tile_block(const struct schedule *s, struct tile t)
{
    const struct buffer *b = &s->buffers[t.buffer];
    int64_t n, bytes = (int64_t)tile_bytes(s, t);
    const struct run *runs = pool_rows_get(s->pool, t.rows, &n);
    int64_t rows = max64(1, tile_row_count(s, t));

    if (t.head_count == b->heads && n == 1
        && (runs->stride == 1 || runs->count == 1))
        return bytes;
    if (t.head_count == b->heads && n > 1 && runs->stride == 1)
        return bytes / n;
    return bytes / rows;
}

/* The last segment's: of messages whose latency does not count. */
static double copy_seconds(const struct machine *m, enum copy_path path,
                           int64_t bytes, int64_t block)
{
    const struct link *l = &m->link;
    double rate = machine_copy_bandwidth(m, path, block);

    if (rate <= 0 && path == COPY_PEER && l->n > 0)
        rate = l->segments[l->n - 1].bandwidth;
    return rate > 0 ? (double)bytes / rate : 0;
}

/* What a message of one block takes besides its bytes. */
static double latency(const struct machine *m, int64_t bytes)
{
    return fmax(0, machine_message_seconds(m, bytes)
                - copy_seconds(m, COPY_PEER, bytes, bytes));
}

static double flag_seconds(const struct machine *m)
{
    return machine_message_seconds(m, 0);
}

static enum copy_path path_between(const struct rank *a, const struct rank *b)
{
    return a->place == b->place ? COPY_DEVICE : COPY_PEER;
}

/* Tile `from` of a into `to` of b. */
static double tile_seconds(const struct simulation *sim, const struct rank *a,
                           struct tile from, const struct rank *b,
                           struct tile to)
{
    const struct schedule *s = a->shape->s;
    int64_t block = min64(tile_block(s, from), tile_block(b->shape->s, to));

    return copy_seconds(sim->m, path_between(a, b),
                        (int64_t)tile_bytes(s, from), block);
}

/* ---- Messages ----------------------------------------------------------- */

static const struct operand *operands(const struct rank *r, int32_t op,
                                      int64_t *n)
{
    const struct schedule *s = r->shape->s;

    return pool_operands_get(s->pool, s->ops[op].operands, n);
}

struct flow message_flow(const struct simulation *sim, const struct rank *r,
                         int32_t send, const struct rank *peer, int32_t recv)
{
    const struct machine *m = sim->m;
    int64_t n, into;
    const struct operand *from = operands(r, send, &n);
    const struct operand *to = operands(peer, recv, &into);
    struct flow f = { .rank = (int32_t)(r - sim->rank), .op = send };
    int64_t bytes = sim->messages[sim_step(r, send)->cost].bytes;
    double flag = peer->heads[sim_step(peer, recv)->lane[0]].since
        + flag_seconds(m) - sim->now;

    if (op_is_host(r->shape->s, &r->shape->s->ops[send])) {
        f.latency = machine_message_seconds(m, bytes);  /* of the host */
        return f;
    }
    for (int64_t i = 0; i < min64(n, into); i++)
        f.left += tile_seconds(sim, r, from[i].tile, peer, to[i].tile);
    f.latency = latency(m, bytes) + (double)(n - 1) * m->push_overhead
        + fmax(0, flag);        /* that the tiles may be overwritten */
    return f;
}

/* ---- Collectives -------------------------------------------------------- */

/* Records: to everyone; made, combined and taken apart as memory traffic. */
static struct flow reduction_flow(const struct simulation *sim, const struct rank *r,
                                  const struct collective_shape *c)
{
    const struct machine *m = sim->m;
    int64_t bytes = (int64_t)tile_bytes(r->shape->s, c->staging->tile);
    struct flow f = { .latency = m->memory_bandwidth > 0
                      ? (double)((5 + c->members) * bytes)
                      / m->memory_bandwidth : 0 };

    for (int64_t i = 0; i < c->members; i++)
        if (i != c->me)
            f.left += copy_seconds(m, path_between(r, &sim->rank[c->ranks[i]]),
                                   bytes, bytes);
    return f;
}

/* Slices to the others; then my own, or the sum of all. */
static struct flow slices_flow(const struct simulation *sim,
                               const struct collective_op *all, int64_t me)
{
    const struct machine *m = sim->m;
    const struct collective_shape *c = &all[me].c;
    const struct rank *r = &sim->rank[c->ranks[me]];
    int gather = all[me].op.collective == ALL_GATHER;
    int sums = all[me].op.collective == REDUCE_SCATTER;
    struct flow f = { .left = 0 };
    double sum = 0;

    for (int64_t i = 0; i < c->members; i++)
        for (int64_t t = 0; t < c->tiles; t++) {
            struct tile from = c->send[(gather ? 0 : i * c->tiles) + t].tile;
            struct tile to = all[i].c.recv[me * c->tiles + t].tile;
            if (i != me)
                f.left += tile_seconds(sim, r, from, &sim->rank[c->ranks[i]],
                                       to);
            else if (!sums)
                f.latency += tile_seconds(sim, r, from, r, to);
            sum += (double)tile_bytes(r->shape->s, from);
        }
    if (sums && m->memory_bandwidth > 0)
        f.latency += sum * (1 + 1.0 / (double)c->members)
            / m->memory_bandwidth;
    return f;
}

struct flow collective_flow(const struct simulation *sim,
                            const struct collective_op *all, int64_t me)
{
    const struct collective_op *x = &all[me];
    const struct machine *m = sim->m;
    const struct rank *r = &sim->rank[x->c.ranks[me]];
    struct flow f = collective_reduces(x->op.collective)
        ? reduction_flow(sim, r, &x->c) : slices_flow(sim, all, me);
    int64_t others = x->c.members - 1;
    int64_t bytes = op_work(&x->s, &x->op).sent_bytes;

    if (others > 0)
        f.latency += flag_seconds(m) + latency(m, bytes / others)
            + (double)(others * x->c.tiles - 1) * m->push_overhead;
    f.rank = (int32_t)(r - sim->rank);
    f.op = x->number;
    return f;
}
