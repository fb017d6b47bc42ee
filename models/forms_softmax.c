/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of the strategies of softmax attention.  Each follows the
 * schedule of its file in src/strategy: what is computed while what is on its
 * way, what is left alone at the ends. */
#include <config.h>

#include "models/forms_internal.h"

#include <math.h>

enum { PARTS_HELD = 8 };        /* PARTS of parts.h */

/* options.turns where nothing waits for a buffer; of many ranks untried. */
static double turns(const struct scene *c)
{
    return c->f->ranks > 64 ? 3 : 2;
}

static enum dtype dtype_of(const struct scene *c)
{
    return c->f->job->dtype;
}

static enum dtype grad_of(const struct scene *c)
{
    return c->f->job->wire_grad;
}

static enum dtype partial_of(const struct scene *c)
{
    return c->f->job->wire_partial;
}

static struct move message(double tiles, double bytes)
{
    return (struct move){ .peers = 1, .tiles = tiles, .bytes = bytes,
                          .block = bytes / tiles, .to = TO_NEXT };
}

static void enter(struct scene *c, int64_t members)
{
    c->members = members;
    c->p = forms_profile(c->f, c->o->layout, c->o->block, members);
    c->rows = (double)c->f->job->tokens / (double)members;
}

/* ---- What steps add ----------------------------------------------------- */

/* s more for elements added to a sum in fp32, or stored in fp32, where heads
 * are at work at once (machine.h, struct surface). */
static double results_more(const struct scene *c, int pass, double added,
                           double stored)
{
    const struct transformer *t = &c->f->job->transformer;
    struct block_shape shape = { dtype_of(c), t->head_dim, t->value_dim,
                                 job_group(c->f->job), c->heads };
    const struct surface *x;

    if (!c->f->m->devices || added + stored <= 0)
        return 0;
    x = machine_surface(c->f->m, op_names[pass == FORWARD ? OP_ATTEND
                                          : OP_ATTEND_BACKWARD],
                        c->f->kernel, &shape, BLOCK_FULL);
    return x && x->heads ? added * x->update + stored * x->store_fp32 : 0;
}

/* Bytes of a partial result of all my queries: (o, lse), or dq. */
static double partial_bytes(const struct scene *c, int pass)
{
    return pass == FORWARD
        ? c->rows * (o_bytes(c, partial_of(c)) + 4 * (double)c->heads)
        : c->rows * q_bytes(c, grad_of(c));
}

static int parts_apart(const struct scene *c, int pass)
{
    return (pass == FORWARD ? partial_of(c) : grad_of(c)) != DTYPE_FP32;
}

/* Of a step: the results of my queries, added at once or apart and later. */
static double step_results(const struct scene *c, int pass)
{
    double elements = c->rows * (pass == FORWARD ? o_bytes(c, DTYPE_FP32)
                                 : q_bytes(c, DTYPE_FP32)) / 4;

    if (c->members == 1)
        return 0;
    return parts_apart(c, pass)
        ? memory_seconds_of(c, partial_bytes(c, pass))
        : results_more(c, pass, elements, 0);
}

static double parts_memory(const struct scene *c, int pass)
{
    double held = (double)min64(c->members - 1, PARTS_HELD);
    double sum = c->rows * (pass == FORWARD ? o_bytes(c, DTYPE_FP32)
                            : q_bytes(c, DTYPE_FP32));

    if (c->members == 1)
        return 0;
    if (parts_apart(c, pass))
        return held * partial_bytes(c, pass)
            + (c->members - 1 > PARTS_HELD ? sum : 0);
    return dtype_of(c) == DTYPE_FP32 ? 0 : sum;
}

static double delta_memory(const struct scene *c)
{
    return 4 * c->rows * (double)c->heads;
}

/* delta = rowsum(do * o), before all else of backward. */
static void add_delta(struct scene *c)
{
    struct load l = { .compute = memory_seconds_of(
        c, 2 * c->rows * o_bytes(c, dtype_of(c))) };

    scene_add(c, 1, l, 1);
}

/* ---- Rings -------------------------------------------------------------- */

/* All steps of the group, beside `hops` times the moves; `more` s of each. */
static void add_steps(struct scene *c, int pass, const struct move *moves,
                      int n, double hops, double more, double ops)
{
    double left = hops;

    for (int64_t i = 0; i < c->p->n; i++) {
        struct sight *w = &c->p->works[i];
        struct load l = { .compute = attend_step(c, w, pass) };
        double with = fmin((double)w->steps, left);

        if (w->pairs)
            l.compute += more;
        scene_add(c, (double)w->steps - with, l, 1);
        for (int k = 0; k < n; k++)
            load_move(c, &l, moves[k]);
        scene_add(c, with, l, ops);
        left -= with;
    }
    for (int k = 0; k < n; k++)
        c->e.sent += hops * moves[k].bytes;
}

/* A message with nothing beside it. */
static void add_tail(struct scene *c, struct move m)
{
    struct load l = { 0 };

    load_move(c, &l, m);
    scene_add(c, 1, l, 2);
}

/* Of a causal zigzag one chunk stays behind at every other rank. */
static double travelling(const struct scene *c, int halves)
{
    const struct job *job = c->f->job;

    return halves && c->o->layout == LAYOUT_ZIGZAG && job->sequences == 1
        && job->mask.left < 0 && job->mask.right == 0 ? 0.75 : 1;
}

static double ring_hops(const struct scene *c)
{
    return (double)(c->o->needed ? c->p->reach : c->members) - 1;
}

static double turns_held(const struct scene *c, double hops)
{
    return fmin(hops, turns(c));
}

/* K, V circulate; in backward dK, dV one step behind. */
static void keys_pass(struct scene *c, int pass)
{
    double part = travelling(c, c->o->reverse), hops = ring_hops(c);
    double home = c->rows * kv_bytes(c, grad_of(c));
    struct move moves[2] = {
        message(2, part * c->rows * kv_bytes(c, dtype_of(c))),
        message(2, part * home) };
    double more = step_results(c, pass);

    if (pass == BACKWARD && c->members > 1)
        more += memory_seconds_of(c, 3 * home);
    add_steps(c, pass, moves, 1 + pass, hops, more, pass ? 7 : 3);
    if (pass == BACKWARD && hops > 0)
        add_tail(c, moves[1]);
    c->scratch[pass] += turns_held(c, hops) * moves[0].bytes / part
        + parts_memory(c, pass);
    if (pass == BACKWARD)
        c->scratch[pass] += (turns_held(c, hops) + 1) * home + delta_memory(c);
}

/* Q, dO, lse, delta circulate, dQ one step behind; dK, dV stay. */
static void queries_pass(struct scene *c)
{
    double part = travelling(c, c->o->reverse), hops = ring_hops(c);
    double dq = c->rows * q_bytes(c, grad_of(c));
    double sums = c->rows * kv_bytes(c, DTYPE_FP32);
    struct move moves[2] = {
        message(4, part * c->rows * (q_bytes(c, dtype_of(c))
                                     + o_bytes(c, dtype_of(c))
                                     + 8 * (double)c->heads)),
        message(1, part * dq) };

    add_steps(c, BACKWARD, moves, 2, hops, c->members > 1
              ? memory_seconds_of(c, 3 * dq)
              + results_more(c, BACKWARD, sums / 4, 0) : 0, 7);
    if (hops > 0)
        add_tail(c, moves[1]);
    c->scratch[BACKWARD] += turns_held(c, hops)
        * (moves[0].bytes / part + 2 * dq) + dq + delta_memory(c)
        + (dtype_of(c) == DTYPE_FP32 ? 0
           : sums + c->rows * q_bytes(c, DTYPE_FP32));
}

void ring_pass(struct scene *c, int pass)
{
    int turns_back = c->o->backward == CIRCULATE_KV && !c->o->reverse
        && !c->o->needed;

    if (pass == BACKWARD)
        add_delta(c);
    if (pass == BACKWARD && c->o->backward == CIRCULATE_Q) {
        queries_pass(c);
        return;
    }
    if (pass == BACKWARD && turns_back && c->members > 1)
        c->saved += c->rows * kv_bytes(c, dtype_of(c));
    keys_pass(c, pass);
}

static void ring_form(struct scene *c, int pass)
{
    enter(c, c->members);
    ring_pass(c, pass);
}

static void token_form(struct scene *c, int pass)
{
    enter(c, c->members);
    double part = travelling(c, 1), hops = (double)c->members - 1;
    double there = c->rows * (pass == FORWARD ? q_bytes(c, dtype_of(c))
                              : q_bytes(c, dtype_of(c))
                              + o_bytes(c, dtype_of(c)) + 8 * (double)c->heads);
    double back = partial_bytes(c, pass);
    struct move moves[2] = { message(pass ? 4 : 1, part * there),
                             message(pass ? 1 : 2, part * back) };

    moves[1].to = TO_ANOTHER;
    if (pass == BACKWARD)
        add_delta(c);
    add_steps(c, pass, moves, 2, hops, memory_seconds_of(c, 3 * part * back),
              6);
    if (hops > 0)
        add_tail(c, moves[1]);
    c->scratch[pass] += fmin(hops, turns(c) + 1) * (there + 2 * back)
        + (dtype_of(c) == DTYPE_FP32 ? 0 : c->rows
           * (pass ? q_bytes(c, DTYPE_FP32) + kv_bytes(c, DTYPE_FP32)
              : o_bytes(c, DTYPE_FP32)))
        + (pass ? delta_memory(c) : 0);
}

/* ---- Double ring -------------------------------------------------------- */

static int64_t inner_ranks(const struct scene *c)
{
    int64_t w = c->o->window;

    for (int64_t d = 1; !c->o->window && d * d <= c->members; d++)
        if (c->members % d == 0)
            w = d;
    return w;
}

/* Computing of a mean step. */
static double mean_step(const struct scene *c, int pass)
{
    double seconds = 0;

    for (int64_t i = 0; i < c->p->n; i++)
        seconds += (double)c->p->works[i].steps
            * attend_step(c, &c->p->works[i], pass);
    return seconds / (double)c->members;
}

/* W windows of w steps.  The hops of a window need its first block only, which
 * comes during the window before: they run ahead of the attends, so that of a
 * window the longest counts. */
void double_ring_pass(struct scene *c, int pass)
{
    double w = (double)inner_ranks(c), W = (double)c->members / w;
    double home = c->rows * kv_bytes(c, grad_of(c));
    struct move moves[2] = {
        message(2, c->rows * kv_bytes(c, dtype_of(c))), message(2, home) };
    struct load intra = { 0 }, window = { 0 };

    window.compute = w * (mean_step(c, pass) + step_results(c, pass));
    if (pass == BACKWARD) {
        add_delta(c);
        window.compute += c->members > 1 ? w * memory_seconds_of(c, 3 * home)
                                         : 0;
    }
    for (int k = 0; k <= pass; k++) {
        struct move inner = moves[k];
        inner.window = moves[k].window = (int64_t)w;
        inner.interleaved = moves[k].interleaved = c->o->interleaved;
        inner.to = TO_INNER;
        moves[k].to = TO_OUTER;
        if (w > 1)
            load_move(c, &intra, inner);
        if (W > 1)
            load_move(c, &window, moves[k]);
    }
    load_repeat(&intra, w - 1);
    struct load last = { .compute = window.compute };
    load_beside(c, &window, &intra);
    load_beside(c, &last, &intra);
    scene_add(c, W - 1, window, w * (pass ? 7 : 3));
    scene_add(c, 1, last, w * (pass ? 7 : 3));
    c->e.sent += ((w > 1) * W * (w - 1) + (W - 1)) * moves[0].bytes;
    if (pass == BACKWARD) {
        add_tail(c, moves[1]);
        c->e.sent += ((w > 1) * (W * w - 1) + (W > 1) * (W - 1)) * home;
        c->scratch[pass] += delta_memory(c) + home
            * (((w > 1) + (W > 1)) * turns(c) + 1)
            + (dtype_of(c) == DTYPE_FP32 ? 0 : c->rows
               * kv_bytes(c, DTYPE_FP32));
    }
    c->scratch[pass] += ((w > 1) * turns_held(c, w - 1)
                         + (W > 1) * turns_held(c, W - 1)) * moves[0].bytes
        + parts_memory(c, pass);
}

static void double_ring_form(struct scene *c, int pass)
{
    enter(c, c->members);
    double_ring_pass(c, pass);
}

/* ---- All-gather --------------------------------------------------------- */

/* Slices of so many bytes, each of `tiles` tiles, to all others. */
static struct move slices(enum collective_kind kind, double peers, double tiles,
                          double bytes, double block)
{
    return (struct move){ .peers = peers, .tiles = tiles, .bytes = bytes,
                          .block = block, .to = TO_ALL, .kind = kind };
}

/* A collective's messages, and what a member does with its own slice. */
static void load_collective(struct scene *c, struct load *l,
                            struct move m, double finish)
{
    const struct machine *x = c->f->m;

    load_move(c, l, m);
    if (m.peers > 0 && x->memory_bandwidth > 0)
        l->wire += finish / x->memory_bandwidth;
}

static void allgather_form(struct scene *c, int pass)
{
    enter(c, c->members);
    double kv = (double)c->kv_heads, hops = (double)c->members - 1;
    double each = c->o->head_group ? fmin((double)c->o->head_group, kv) : kv;
    double groups = hops > 0 ? ceil(kv / each) : 1;
    double block = c->rows * kv_bytes(c, dtype_of(c)) / groups;
    double home = c->rows * kv_bytes(c, grad_of(c)) / groups;
    struct scene some = *c;
    struct load gather = { 0 }, scatter = { 0 }, both, step = { 0 };

    some.heads = llround((double)c->heads / groups);
    some.kv_heads = llround(kv / groups);
    step.compute = attend_whole(&some, pass);
    if (grad_of(c) != dtype_of(c))
        step.compute += pass * results_more(
            &some, pass, 0, hops * c->rows * kv_bytes(&some, DTYPE_FP32) / 4);
    load_collective(c, &gather, slices(OF_ALL_GATHER, hops, 2, block,
                                        block / 2), 2 * block);
    if (pass == BACKWARD) {
        add_delta(c);
        load_collective(c, &scatter, slices(OF_REDUCE_SCATTER, hops, 2, home,
                                             home / 2),
                        (hops + 2) * home);
    }
    both = step;
    load_beside(c, &both, &gather);
    load_beside(c, &both, &scatter);
    scene_add(c, 1, gather, 1);
    scene_add(c, groups - 1, both, 3);
    scene_add(c, 1, step, 1);
    scene_add(c, pass, scatter, 1);
    c->e.sent += groups * hops * (block + pass * home);
    if (hops > 0)
        c->scratch[pass] += fmin(groups, 2) * (hops + 1)
            * (block + pass * home);
    c->scratch[pass] += pass * delta_memory(c);
}

/* ---- Exchanges ---------------------------------------------------------- */

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
    load_collective(&group, &l, slices(OF_ALL_TO_ALL, m->h - 1, tiles, slice,
                                        token / heads),
                    2 * slice);
    return l;
}

/* Buffers of a member's heads, of all rows of its group. */
static void exchange_memory(struct scene *c, const struct scene *in,
                            const struct mesh *m, int pass)
{
    double rows = in->rows, parts = m->turns;
    enum dtype type = dtype_of(c), wire = grad_of(c);
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
        * (q_bytes(in, grad_of(c)) + kv_bytes(in, grad_of(c)));
    struct load l = { .compute = memory_seconds_of(c, bytes) };

    if (grad_of(c) != dtype_of(c) || m->h > (double)c->kv_heads)
        scene_add(c, 1, l, 2 * (double)c->kv_heads);
}

/* Token shards to head shards, the context strategy on members / h ranks, and
 * back; the next part on its way meanwhile. */
static void mesh_pass(struct scene *c, int pass, int64_t h,
                      void (*context)(struct scene *c, int pass))
{
    struct mesh m = make_mesh(c, h);
    enum dtype type = dtype_of(c), wire = grad_of(c);
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
    enter(&in, c->members / h);
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

static void ulysses_form(struct scene *c, int pass)
{
    mesh_pass(c, pass, c->members, ring_pass);
}

static int64_t head_degree(const struct scene *c)
{
    return c->o->head ? c->o->head : divisor(c->members, c->kv_heads);
}

static void usp_form(struct scene *c, int pass)
{
    mesh_pass(c, pass, head_degree(c), ring_pass);
}

static void twod_form(struct scene *c, int pass)
{
    mesh_pass(c, pass, head_degree(c), double_ring_pass);
}

/* ---- Ring self-attention ------------------------------------------------ */

/* Scores of the blocks in which anything is visible, of all heads; pairs. */
struct scores {
    double blocks, bytes, pairs;
    double like;                /* s of one product at the rate of attention */
};

static struct scores make_scores(const struct scene *c)
{
    struct scores x = { .like = (double)c->members * mean_step(c, FORWARD)
                        / 2 };

    for (int64_t i = 0; i < c->p->n; i++) {
        const struct sight *w = &c->p->works[i];
        x.pairs += (double)(w->steps * w->pairs) * (double)c->heads;
        x.blocks += w->pairs ? (double)w->steps : 0;
    }
    x.bytes = 4 * x.blocks * c->rows * c->rows * (double)c->heads;
    return x;
}

/* A product of `width` at its rate, or like attention; no faster than its
 * scores are read or written. */
static double product_seconds(const struct scene *c, enum op_kind kind,
                              const struct scores *x, int64_t width)
{
    const struct transformer *t = &c->f->job->transformer;
    struct block_shape shape = { dtype_of(c), t->head_dim, t->value_dim,
                                 job_group(c->f->job), c->heads };
    double rate = machine_rate(c->f->m, op_names[kind], c->f->kernel, &shape,
                               (int64_t)c->rows);

    return fmax(rate > 0 ? 2 * x->pairs * (double)width / rate : x->like,
                memory_seconds_of(c, x->bytes));
}

static double rsa_seconds(const struct scene *c, int pass,
                          const struct scores *x)
{
    const struct transformer *t = &c->f->job->transformer;
    double seconds = memory_seconds_of(c, (2 + pass) * x->bytes);

    if (pass == FORWARD)
        return seconds + product_seconds(c, OP_SCORES, x, t->head_dim)
            + product_seconds(c, OP_WEIGH, x, t->value_dim);
    return seconds + product_seconds(c, OP_SCORES, x, t->value_dim)
        + product_seconds(c, OP_WEIGH, x, t->head_dim)
        + product_seconds(c, OP_WEIGH_TRANSPOSED, x, t->head_dim)
        + product_seconds(c, OP_WEIGH_TRANSPOSED, x, t->value_dim);
}

/* A ring of K with the scores, one of V with the values; in backward all dK,
 * dV are scattered. */
static void rsa_form(struct scene *c, int pass)
{
    enter(c, c->members);
    double hops = (double)c->members - 1;
    double kv = c->rows * kv_bytes(c, dtype_of(c)) / 2;
    double home = c->rows * kv_bytes(c, grad_of(c));
    struct scores x = make_scores(c);
    struct load step = { 0 }, scatter = { 0 };

    if (pass == BACKWARD)
        add_delta(c);
    step.compute = rsa_seconds(c, pass, &x) / (2 * (hops + 1));
    scene_add(c, 2, step, 1);
    load_move(c, &step, message(1, kv));
    scene_add(c, 2 * hops, step, 3);
    load_collective(c, &scatter, slices(OF_REDUCE_SCATTER, hops, 2, home,
                                             home / 2),
                    (hops + 2) * home);
    scene_add(c, pass, scatter, 1);
    c->e.sent += hops * (2 * kv + pass * home);
    c->effort += hops * hops;   /* a buffer for each block, each with each */
    if (pass == job_has_backward(c->f->job))
        c->saved += x.bytes;
    c->scratch[pass] += fmin(2, hops) * kv + pass
        * (x.bytes + (hops > 0) * (hops + 1) * home + delta_memory(c));
}

const struct form softmax_forms[] = {
    { &strategy_ring, ring_form },
    { &strategy_allgather, allgather_form },
    { &strategy_ulysses, ulysses_form },
    { &strategy_double_ring, double_ring_form },
    { &strategy_usp, usp_form },
    { &strategy_2d, twod_form },
    { &strategy_token_ring, token_form },
    { &strategy_rsa, rsa_form },
    { NULL, NULL }
};
