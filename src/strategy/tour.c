/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/tour.h"

#include <stdlib.h>

struct tour {
    const struct view *v;
    const struct route *route;
    struct part *here, *on, *mine;      /* [members + 1] by step: route.h */
    int backward, carried;
    struct circuit *cargo;
    struct cargo own, last;     /* last.n 0: nothing is kept */
    struct cargo stay;          /* queries: where dk, dv of my keys add up */
    struct parts parts;         /* keys, forward: where o of my queries does */
    struct gradients g;         /* keys, backward: where dq does */
    /* Results of the side that travels; made.n 0: none. */
    struct circuit made, home;  /* of others' cargo; of mine, as they come */
    struct cargo sum;           /* where mine add up */
    struct cargo part;          /* carried: of one step */
    struct cargo arriving;
    const char *const *labels;  /* of the ops that add in backward */
};

/* ---- Attending ----------------------------------------------------------- */

static int64_t step_segments(const struct tour *t, int64_t step,
                             struct segment **list)
{
    const struct view *v = t->v;
    struct part p = t->here[step];
    int64_t owner = member_at(v, -t->route->d * step);
    struct position_map *cargo = position_map_slice(
        pool_map_get(v->pool, v->maps[owner]), p.first, p.count);
    int64_t n = t->route->side == SIDE_KEYS
        ? segments_between(v->job, pool_map_get(v->pool, v->q_map), cargo, list)
        : segments_between(v->job, cargo, pool_map_get(v->pool,
                                                       v->maps[v->me]), list);

    position_map_destroy(cargo);
    return n;
}

/* in: the cargo; out: results of its side, overwritten; n segments. own: the
 * cargo is mine. */
static void attend_keys(struct schedule *s, struct tour *t, int own,
                        struct cargo in, struct cargo out,
                        struct segment *list, int64_t n)
{
    const struct view *v = t->v;

    if (!t->backward)
        parts_attend(s, v, &t->parts, "", own, in.tiles[0], in.tiles[1], list,
                     n);
    else if (own || n)
        gradients_attend(s, v, &t->g, own, in, out, list, n);
    else
        cargo_sum(s, t->labels, out, ACCESS_WRITE, NULL, 0);
}

static void attend_queries(struct schedule *s, struct tour *t, int own,
                           struct cargo in, struct cargo out,
                           struct segment *list, int64_t n)
{
    const struct view *v = t->v;
    const struct tile *mine = t->stay.tiles, *q = in.tiles, *to = out.tiles;
    enum access stay = own ? ACCESS_WRITE : ACCESS_UPDATE;

    if (t->backward)
        schedule_attend_backward(
            s, "", (const struct tile[]){ q[0], v->k, v->v, q[1], q[2], q[3] },
            own ? &v->o : NULL,
            (const struct tile[]){ to[0], mine[0], mine[1] },
            (const enum access[]){ ACCESS_WRITE, stay, stay }, list, n);
    else
        schedule_attend(s, "", q[0], v->k, v->v, to[0], to[1], ACCESS_WRITE,
                        list, n);
}

/* Attend at a step.  `arrived`: what the steps before it made of this cargo's
 * results.  Returns these results. */
static struct cargo attend(struct schedule *s, struct tour *t, int64_t step,
                           struct cargo in, struct cargo arrived)
{
    struct part p = t->here[step];
    struct cargo out = step ? t->part : t->sum;
    int adds = t->carried && step >= 2;
    struct segment *list;

    if (step && !p.count)
        return out;
    int64_t n = step_segments(t, step, &list);
    if (adds)
        out = cargo_rows(s, out, p);
    else if (step && t->made.n)
        out = circuit_take(s, t->v, &t->made, p);
    if (n || !adds)
        (t->route->side == SIDE_KEYS ? attend_keys : attend_queries)(
            s, t, step == 0, in, out, list, n);
    if (n && adds)
        cargo_sum(s, t->labels, arrived, ACCESS_UPDATE, &out, 1);
    free(list);
    return adds ? arrived : out;
}

/* ---- Moving -------------------------------------------------------------- */

static struct cargo pass_on(struct schedule *s, struct tour *t, int64_t step,
                            struct cargo held)
{
    const struct view *v = t->v;
    struct part coming = t->here[step + 1], going = t->on[step];
    struct cargo next = t->last;

    if (step < v->members - 2 || !t->last.n)
        next = circuit_take(s, v, t->cargo, coming);
    circuit_recv(s, t->cargo, view_neighbour(v, -t->route->d), next);
    if (going.count)
        circuit_send(s, t->cargo, view_neighbour(v, t->route->d),
                     cargo_rows(s, held, going));
    return next;
}

/* Carried results go on after their cargo; what comes so. */
static struct cargo carry(struct schedule *s, struct tour *t, int64_t made,
                          struct cargo result)
{
    const struct view *v = t->v;
    struct part going = t->on[made];
    struct cargo next = circuit_take(s, v, &t->made, t->here[made + 1]);

    circuit_recv(s, &t->made, view_neighbour(v, -t->route->d), next);
    if (going.count)
        circuit_send(s, &t->made, view_neighbour(v, t->route->d),
                     cargo_rows(s, result, going));
    return next;
}

/* Of the rows at step `made` those whose results go home then. */
static struct part ending(const struct tour *t, struct part here,
                          struct part on)
{
    return t->carried ? part_without(here, on) : here;
}

static struct part mine_ending(const struct tour *t, int64_t made)
{
    return ending(t, t->mine[made], t->mine[made + 1]);
}

/* The results of step `made` leave; some of mine come.  Returns what others
 * made of the results of the next step. */
static struct cargo deliver(struct schedule *s, struct tour *t, int64_t made,
                            struct cargo result)
{
    const struct view *v = t->v;
    int64_t away = t->route->d * made;
    struct part home = ending(t, t->here[made], t->on[made]);
    struct cargo arrived = { 0 };

    if (t->carried && made + 1 < v->members)
        arrived = carry(s, t, made, result);
    t->arriving = circuit_take(s, v, &t->home, mine_ending(t, made));
    circuit_recv(s, &t->home, view_neighbour(v, away), t->arriving);
    if (home.count)
        circuit_send(s, &t->home, view_neighbour(v, -away),
                     cargo_rows(s, result, home));
    return arrived;
}

static void collect(struct schedule *s, const struct tour *t, int64_t made)
{
    struct cargo sum = cargo_rows(s, t->sum, mine_ending(t, made));
    const struct tile *in = t->arriving.tiles;

    if (!t->arriving.n)
        return;
    if (t->backward)
        cargo_sum(s, t->labels, sum, ACCESS_UPDATE, &t->arriving, 1);
    else
        schedule_merge(s, "", sum.tiles[0], sum.tiles[1], ACCESS_UPDATE,
                       (const struct tile[][2]){ { in[0], in[1] } }, 1);
}

static void find_parts(struct schedule *s, struct tour *t)
{
    int64_t n = t->v->members + 1;

    t->here = schedule_alloc(s, (size_t)(3 * n) * sizeof *t->here);
    t->on = t->here + n;
    t->mine = t->on + n;
    for (int64_t step = 0; step < n; step++) {
        t->here[step] = route_here(t->route, step);
        t->on[step] = route_on(t->route, step);
        t->mine[step] = route_mine(t->route, step);
    }
}

static void tour_run(struct schedule *s, struct tour *t)
{
    int64_t N = t->v->members;
    struct cargo held = t->own, result = { 0 }, arrived = { 0 };

    find_parts(s, t);
    for (int64_t step = 0; step < N; step++) {
        int leave = t->made.n && step >= 2;
        struct cargo next = held;

        schedule_step(s, (int32_t)step);
        if (step < N - 1)
            next = pass_on(s, t, step, held);
        if (leave)
            arrived = deliver(s, t, step - 1, result);
        result = attend(s, t, step, held, arrived);
        if (leave)
            collect(s, t, step - 1);
        held = next;
    }
    if (N == 1 || !t->made.n)
        return;
    schedule_step(s, (int32_t)N);
    deliver(s, t, N - 1, result);
    collect(s, t, N - 1);
}

/* ---- Sides and passes ---------------------------------------------------- */

void tour_keys_forward(struct schedule *s, struct view *v,
                       const struct route *r, struct circuit *kv,
                       const struct cargo *last)
{
    struct tour t = { .v = v, .route = r, .cargo = kv,
                      .own = { 2, { v->k, v->v } },
                      .parts = parts_of_output(s, v, v->members) };

    if (last)
        t.last = *last;
    tour_run(s, &t);
    parts_finish(s, v, &t.parts);
}

static struct tile accumulator(struct schedule *s, const struct view *v,
                               const char *label, struct tile result)
{
    return v->members > 1 ? view_accumulator(s, label, result) : result;
}

void tour_keys_backward(struct schedule *s, struct view *v,
                        const struct route *r, struct circuit *kv)
{
    enum dtype wire = v->job->wire_grad;
    struct gradients g = gradients_start(s, v);
    struct tile dk = accumulator(s, v, "dk_acc", v->dk);
    struct tile dv = accumulator(s, v, "dv_acc", v->dv);
    struct tour t = {
        .v = v, .route = r, .backward = 1, .carried = 1, .cargo = kv,
        .own = { 2, { v->k, v->v } }, .g = g, .sum = { 2, { dk, dv } },
        .made = pair_circuit(s, v, "dkv", CHANNEL_DKV, "dk", "dv", wire),
        .home = pair_circuit(s, v, "home", CHANNEL_OUT, "dk_home", "dv_home",
                             wire),
        .labels = dkv_labels };

    if (v->members > 2)
        t.part = cargo_of(view_pair(s, v, "dk_part", "dv_part", ROLE_SCRATCH,
                                    v->job->wire_grad, view_rows_most(v)));
    tour_run(s, &t);
    parts_finish(s, v, &t.g.dq);
    view_finish(s, "dk", dk, v->dk);
    view_finish(s, "dv", dv, v->dv);
}

void tour_queries_forward(struct schedule *s, struct view *v,
                          const struct route *r)
{
    int64_t E = v->job->transformer.value_dim;
    enum dtype wire = v->job->wire_partial;
    struct tile o = accumulator(s, v, "o_acc", v->o);
    struct circuit q = circuit_make(s, v, "q", CHANNEL_Q, (struct item[]){
        { "q", 0, v->job->dtype, v->job->transformer.head_dim } }, 1);
    struct tour t = {
        .v = v, .route = r, .cargo = &q, .own = { 1, { v->q } },
        .sum = { 2, { o, v->lse } },
        .made = circuit_make(s, v, "out", CHANNEL_OUT, (struct item[]){
            { "o_made", 0, wire, E }, { "lse_made", 0, DTYPE_FP32, 1 } }, 2),
        .home = circuit_make(s, v, "out", CHANNEL_OUT, (struct item[]){
            { "o_home", 0, wire, E }, { "lse_home", 0, DTYPE_FP32, 1 } }, 2)
    };

    tour_run(s, &t);
    view_finish(s, "o", o, v->o);
}

void tour_queries_backward(struct schedule *s, struct view *v,
                           const struct route *r, int carried)
{
    const struct transformer *x = &v->job->transformer;
    int64_t D = x->head_dim;
    enum dtype type = v->job->dtype, wire = v->job->wire_grad;
    struct tile delta = gradients_delta(s, v);
    struct tile dq = accumulator(s, v, "dq_acc", v->dq);
    struct tile dk = accumulator(s, v, "dk_acc", v->dk);
    struct tile dv = accumulator(s, v, "dv_acc", v->dv);
    struct circuit q = circuit_make(s, v, "q", CHANNEL_Q, (struct item[]){
        { "q", 0, type, D }, { "do", 0, type, x->value_dim },
        { "lse", 0, DTYPE_FP32, 1 }, { "delta", 0, DTYPE_FP32, 1 } }, 4);
    struct tour t = {
        .v = v, .route = r, .backward = 1, .carried = carried, .cargo = &q,
        .own = { 4, { v->q, v->d_o, v->lse, delta } },
        .stay = { 2, { dk, dv } }, .sum = { 1, { dq } },
        .made = circuit_make(s, v, "dq", CHANNEL_DKV, (struct item[]){
            { "dq_made", 0, wire, D } }, 1),
        .home = circuit_make(s, v, "out", CHANNEL_OUT, (struct item[]){
            { "dq_home", 0, wire, D } }, 1),
        .labels = dq_label };

    if (carried && v->members > 2)
        t.part = (struct cargo){ 1, { view_q_tile(
            s, v, "dq_part", ROLE_SCRATCH, wire, view_rows_most(v), D)
        } };
    tour_run(s, &t);
    view_finish(s, "dq", dq, v->dq);
    view_finish(s, "dk", dk, v->dk);
    view_finish(s, "dv", dv, v->dv);
}

/* ---- Closed forms -------------------------------------------------------- */

/* Bytes of one token: cargo and results of either side. */
static int64_t keys_bytes(const struct view *v, enum dtype type)
{
    return view_kv_bytes(v, type);
}

static int64_t size(enum dtype type)
{
    return (int64_t)dtype_size(type);
}

int64_t tour_bytes_forward(const struct route *r)
{
    const struct view *v = r->v;
    const struct transformer *t = &v->job->transformer;

    if (r->side == SIDE_KEYS)
        return route_cargo_rows(r) * keys_bytes(v, v->job->dtype);
    return v->heads
        * (route_cargo_rows(r) * t->head_dim * size(v->job->dtype)
           + route_result_rows(r)
           * (t->value_dim * size(v->job->wire_partial) + 4));
}

int64_t tour_bytes_backward(const struct route *r)
{
    const struct view *v = r->v;
    const struct transformer *t = &v->job->transformer;
    int64_t D = t->head_dim, E = t->value_dim;

    if (r->side == SIDE_KEYS)
        return route_cargo_rows(r) * keys_bytes(v, v->job->dtype)
            + route_result_rows(r) * keys_bytes(v, v->job->wire_grad);
    return v->heads
        * (route_cargo_rows(r) * ((D + E) * size(v->job->dtype) + 8)
           + route_result_rows(r) * D * size(v->job->wire_grad));
}
