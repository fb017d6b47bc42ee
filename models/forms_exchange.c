/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of Ulysses and of meshes: an exchange of heads around a strategy
 * on fewer ranks. */
#include <config.h>

#include "models/forms_internal.h"

#include <math.h>

struct mesh {
    double h;                   /* members of a head group */
    double holders;             /* of them, that have heads */
    int64_t heads, kv_heads;    /* of a part of a member's */
    double turns;               /* parts, one after the other */
    double rows;                /* tokens that a rank holds */
};

/* The largest divisor of `ranks` up to `most`, as make_mesh(). */
static int64_t divisor(int64_t ranks, int64_t most)
{
    int64_t d = min64(ranks, most);

    while (ranks % d)
        d--;
    return d;
}

static struct mesh make_mesh(const struct scene *c, int64_t h)
{
    struct mesh m = { .h = (double)h, .rows = c->rows };
    int64_t heads = ceil_div(c->heads, h), kv = ceil_div(c->kv_heads, h);
    int64_t each = c->o->head_group ? min64(c->o->head_group, kv) : kv;

    m.holders = (double)min64(h, c->heads);
    m.turns = (double)ceil_div(kv, each);
    m.heads = ceil_div(heads, ceil_div(kv, each));
    m.kv_heads = each;
    return m;
}

/* What a part sends each other member; `back`: rows of the whole group. */
static struct load all_to_all(struct scene *c, const struct mesh *m,
                              double tiles, double token, double heads)
{
    struct scene group = *c;
    struct load l = { 0 };
    double slice = m->rows * token;

    group.members = (int64_t)m->h;
    if (c->o->placement == CONTEXT_FIRST)
        group.stride *= c->members / group.members;
    load_collective(&group, &l, all_slices(OF_ALL_TO_ALL, m->h - 1, tiles,
                                           slice, token / heads, 1),
                    2 * slice);
    return l;
}

/* Buffers of a member's heads, of all rows of its group. */
static void exchange_memory(struct scene *c, const struct scene *in,
                            const struct mesh *m, int pass)
{
    double rows = in->rows, parts = m->turns;
    enum dtype type = scene_dtype(c), wire = scene_grad(c);
    double held = rows * (q_bytes(in, type) + kv_bytes(in, type)
                          + o_bytes(in, type));

    if (pass == FORWARD && job_has_backward(c->f->job))
        c->saved += parts * (held + 4 * rows * (double)in->heads);
    else if (pass == FORWARD)
        c->scratch[pass] += fmin(parts, 2) * held
            + 4 * rows * (double)in->heads;
    else
        c->scratch[pass] += fmin(parts, 2) * rows
            * (o_bytes(in, type) + q_bytes(in, wire) + kv_bytes(in, wire))
            + (wire != type || m->h > (double)c->kv_heads
               ? m->rows * m->holders * parts * (q_bytes(in, wire)
                                                 + kv_bytes(in, wire)) : 0);
}

/* Gradients of a KV head from all members that had it; casts. */
static void add_shares(struct scene *c, const struct scene *in,
                       const struct mesh *m)
{
    double bytes = 2 * m->rows * m->holders * m->turns
        * (q_bytes(in, scene_grad(c)) + kv_bytes(in, scene_grad(c)));
    struct load l = { .compute = memory_seconds_of(c, bytes) };

    if (scene_grad(c) != scene_dtype(c) || m->h > (double)c->kv_heads)
        scene_add(c, 1, l, 2 * (double)c->kv_heads);
}

/* Token shards to head shards, the context strategy on members / h ranks, and
 * back; the next part on its way meanwhile. */
static void mesh_pass(struct scene *c, int pass, int64_t h,
                      void (*context)(struct scene *c, int pass))
{
    struct mesh m = make_mesh(c, h);
    enum dtype type = scene_dtype(c), wire = scene_grad(c);
    struct strategy_options plain = *c->o;
    struct scene in = *c;

    if (h == c->members)
        plain.layout = LAYOUT_CONTIGUOUS;
    in.o = &plain;
    in.heads = m.heads;
    in.kv_heads = m.kv_heads;
    in.e = (struct estimate){ 0 };
    in.ops = in.effort = in.saved = in.scratch[pass] = 0;
    if (c->o->placement == HEAD_FIRST)
        in.stride *= h;
    scene_enter(&in, c->members / h);
    double there = pass ? o_bytes(&in, type)
                        : q_bytes(&in, type) + kv_bytes(&in, type);
    double back = pass ? q_bytes(&in, wire) + kv_bytes(&in, wire)
                       : o_bytes(&in, type);
    struct load to = all_to_all(c, &m, pass ? 1 : 3, there, pass ? 1 : 3);
    struct load from = all_to_all(c, &m, pass ? 3 : 1, back, pass ? 3 : 1);
    struct load both = to;

    load_beside(c, &both, &from);
    context(&in, pass);
    c->saved += m.turns * in.saved;
    c->scratch[pass] += fmin(m.turns, 2) * in.scratch[pass];
    exchange_memory(c, &in, &m, pass);
    c->e.seconds += load_seconds(c, to) + load_seconds(c, from) + in.e.seconds
        + (m.turns - 1) * fmax(in.e.seconds, load_seconds(c, both));
    c->e.computed += m.turns * in.e.computed;
    c->e.sent += m.turns * (in.e.sent + m.rows * ((m.holders - 1) * there
                                                  + (m.h - 1) * back));
    c->ops += m.turns * (in.ops + 2);
    c->effort += m.turns * (to.effort + from.effort + in.effort);
    if (pass == BACKWARD)
        add_shares(c, &in, &m);
}

void ulysses_form(struct scene *c, int pass)
{
    mesh_pass(c, pass, c->members, ring_pass);
}

static int64_t head_degree(const struct scene *c)
{
    return c->o->head ? c->o->head : divisor(c->members, c->kv_heads);
}

void usp_form(struct scene *c, int pass)
{
    mesh_pass(c, pass, head_degree(c), ring_pass);
}

void twod_form(struct scene *c, int pass)
{
    mesh_pass(c, pass, head_degree(c), double_ring_pass);
}
