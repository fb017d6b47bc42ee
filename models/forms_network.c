/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of messages: on a flat machine as the network model `loggp` has
 * them, on a machine with a graph with every link shared by those who send at
 * once (forms_ways.c). */
#include <config.h>

#include "models/forms_internal.h"
#include "models/links.h"

#include <math.h>

/* Without a graph. */
static struct collective_group flat_group(const struct scene *c)
{
    const struct machine *m = c->f->m;

    return (struct collective_group){
        .ranks = c->members, .hosts = 1, .cores = m->shared_core,
        .groups = groups_at_once(c->f, c->members, m->cores) };
}

/* As models/collective.c: timed as one, where the group has its links to itself
 * or was measured; -1: it goes by messages. */
static double library_seconds(struct scene *c, const struct move *m)
{
    static const struct collective_path nowhere = { .class = CLASS_SELF };
    const struct machine *x = c->f->m;
    const struct flows_of *to = c->f->ways ? flows_known(c, m) : NULL;
    struct collective_group group = to ? to->group : flat_group(c);
    const struct collective_path *path = to ? &to->paths[m->kind] : &nowhere;
    double payload = m->bytes * (double)c->members, seconds = -1;
    const struct collective_table *t = machine_collective(x, m->kind, &group);

    if (to && !group.cores && c->members != c->f->ranks
        && path->class != CLASS_NVLINK)
        return -1;
    if (t)
        seconds = collective_table_seconds(t, (int64_t)payload)
            * spread_slower(x, (const double[]){ t->p10, t->p90 });
    else if (path->class != CLASS_SELF)
        seconds = collective_constants(path, m->kind, c->members,
                                       (int64_t)payload)
            * spread_slower(x, constants_spread);
    if (seconds >= 0 && m->kind == OF_ALL_TO_ALL && x->memory_bandwidth > 0)
        seconds += 2.0 * x->packs * payload / x->memory_bandwidth;
    return seconds;
}

/* Members of a collective begin and end their messages apart, and each time the
 * rates of all that share links are found again: of a host, or of all hosts. */
static double sharing_effort(const struct scene *c, const struct flows_of *x)
{
    const double as_ops = 0.2;  /* of an op, for one of those sharing */
    double beyond = x->sent[CLASS_LEAF] + x->sent[CLASS_FABRIC];

    if (x->to != TO_ALL)
        return 0;
    return as_ops * (double)(x->members - 1)
        * (double)(beyond > 0 ? c->f->ranks : x->members);
}

static void graph_move(struct scene *c, struct load *l, struct move m)
{
    double part = m.to == TO_ANOTHER ? 1 / (double)(c->members - 1) : 1;

    if (m.to == TO_ANOTHER)     /* in the mean over all */
        m.to = TO_ALL;
    const struct flows_of *x = flows_known(c, &m);
    l->effort += part < 1 ? 0 : sharing_effort(c, x);
    l->wire = fmax(l->wire, part * (x->latency + m.bytes * x->seconds));
    for (int t = 0; t < EDGE_TYPES; t++)
        l->busy[t] += part * m.bytes * x->busy[t];
}

static double message_seconds(const struct machine *m, double bytes)
{
    const struct link_segment *s = link_segment(&m->link, (int64_t)bytes);

    return machine_message_seconds(m, (int64_t)bytes)
        * (s ? segment_slower(m, s) : 1);
}

static double copy_rate(const struct machine *m, int64_t block)
{
    double rate = machine_copy_bandwidth(m, m->devices == 1 ? COPY_DEVICE
                                         : COPY_PEER, block);

    return rate > 0 || m->link.n == 0 ? rate
        : m->link.segments[m->link.n - 1].bandwidth;
}

/* As models/ports.c: bytes share the way out, latencies do not. */
static void device_move(const struct scene *c, struct load *l, struct move m)
{
    const struct machine *x = c->f->m;
    double rate = copy_rate(x, (int64_t)m.block);
    double whole = copy_rate(x, (int64_t)m.bytes);
    double alone = message_seconds(x, m.bytes);

    if (rate > 0)
        l->wire += m.peers * m.bytes / rate;
    if (whole > 0)
        l->wire += fmax(0, alone - m.bytes / whole);
    l->wire += (m.peers * m.tiles - 1) * x->push_overhead;
}

void load_move(struct scene *c, struct load *l, struct move m)
{
    const struct machine *x = c->f->m;

    if (m.peers <= 0 || m.bytes <= 0)
        return;
    double call = m.to == TO_ALL ? library_seconds(c, &m) : -1;
    if (call >= 0)
        l->wire = fmax(l->wire, call);
    else if (c->f->ways)
        graph_move(c, l, m);
    else if (x->devices)
        device_move(c, l, m);
    else        /* Channels: without contention the longest counts. */
        l->wire = fmax(l->wire, m.peers * message_seconds(x, m.bytes));
    if (x->shared_core)
        l->host += 2 * m.peers * (m.tiles * x->link.overhead
                                  + m.bytes * x->link.host_per_byte)
            + 2 * m.apart * m.peers * m.bytes * x->link.apart_per_byte;
}

void load_repeat(struct load *l, double times)
{
    l->effort *= times;
    l->compute *= times;
    l->host *= times;
    l->wire *= times;
    for (int t = 0; t < EDGE_TYPES; t++)
        l->busy[t] *= times;
}

void load_beside(const struct scene *c, struct load *l,
                 const struct load *other)
{
    l->effort += other->effort;
    l->compute += other->compute;
    l->host += other->host;
    l->wire = c->f->m->devices && !c->f->ways ? l->wire + other->wire
        : fmax(l->wire, other->wire);
    for (int t = 0; t < EDGE_TYPES; t++)
        l->busy[t] += other->busy[t];
}

double load_seconds(const struct scene *c, struct load l)
{
    const struct machine *m = c->f->m;

    for (int t = 0; c->f->ways && t < EDGE_TYPES; t++)
        l.wire = fmax(l.wire, l.busy[t]);
    if (m->devices && l.wire > 0 && m->attend_beside > 1)
        l.compute *= m->attend_beside;
    return c->f->share * fmax(l.compute + l.host, l.wire);
}
