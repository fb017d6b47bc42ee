/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/blocks.h"

#include <stdio.h>
#include <stdlib.h>

int64_t member_at(const struct view *v, int64_t distance)
{
    int64_t N = v->members;

    return ((v->me + distance) % N + N) % N;
}

/* ---- Cargo --------------------------------------------------------------- */

struct cargo cargo_of(struct pair p)
{
    return (struct cargo){ 2, { p.k, p.v } };
}

struct cargo cargo_rows(const struct schedule *s, struct cargo c,
                        struct part p)
{
    for (int64_t i = 0; i < c.n; i++)
        c.tiles[i] = tile_rows(s, c.tiles[i].buffer, p.first, p.count);
    return c;
}

const char *const dq_label[] = { "dq" };
const char *const dkv_labels[] = { "dk", "dv" };

void cargo_sum(struct schedule *s, const char *const *labels,
               struct cargo dst, enum access access, const struct cargo *from,
               int64_t n)
{
    struct tile tiles[8];

    if (n > 8)
        die("cargo_sum: %lld sources, 8 at most", (long long)n);
    for (int64_t i = 0; i < dst.n; i++) {
        for (int64_t k = 0; k < n; k++)
            tiles[k] = from[k].tiles[i];
        schedule_sum(s, labels[i], dst.tiles[i], access, tiles, n);
    }
}

/* ---- Circuits ------------------------------------------------------------ */

static int64_t turns(const struct view *v)
{
    return v->options->turns ? v->options->turns : 2;
}

struct circuit circuit_make(struct schedule *s, const struct view *v,
                            const char *label, enum channel channel,
                            const struct item *items, int64_t n)
{
    struct circuit c = { .label = label, .channel = channel, .n = n };

    for (int64_t i = 0; i < n; i++)
        c.items[i] = items[i];
    c.turn = schedule_alloc(s, (size_t)turns(v) * sizeof *c.turn);
    return c;
}

static struct cargo make_turn(struct schedule *s, const struct view *v,
                              const struct circuit *c, int64_t turn)
{
    struct cargo cargo = { .n = c->n };
    char label[32];

    for (int64_t i = 0; i < c->n; i++) {
        const struct item *x = &c->items[i];
        snprintf(label, sizeof label, "%s%lld", x->label, (long long)turn);
        cargo.tiles[i] = (x->kv ? view_kv_tile : view_q_tile)(
            s, v, label, ROLE_SCRATCH, x->dtype, view_rows_most(v), x->width);
    }
    return cargo;
}

struct cargo circuit_take(struct schedule *s, const struct view *v,
                          struct circuit *c, struct part p)
{
    int64_t turn = c->taken % turns(v);

    if (!p.count)
        return (struct cargo){ 0 };
    if (c->taken++ < turns(v))
        c->turn[turn] = make_turn(s, v, c, turn);
    return cargo_rows(s, c->turn[turn], p);
}

void circuit_send(struct schedule *s, const struct circuit *c, int32_t peer,
                  struct cargo cargo)
{
    if (cargo.n)
        schedule_send(s, c->label, c->channel, peer, cargo.tiles, cargo.n);
}

void circuit_recv(struct schedule *s, const struct circuit *c, int32_t peer,
                  struct cargo cargo)
{
    if (cargo.n)
        schedule_recv(s, c->label, c->channel, peer, cargo.tiles, cargo.n);
}

struct cargo circuit_hop(struct schedule *s, const struct view *v,
                         struct circuit *c, int32_t from, struct part coming,
                         int32_t to, struct cargo held)
{
    struct cargo next = circuit_take(s, v, c, coming);

    circuit_recv(s, c, from, next);
    circuit_send(s, c, to, held);
    return next;
}

struct circuit pair_circuit(struct schedule *s, const struct view *v,
                            const char *label, enum channel channel,
                            const char *k_label, const char *v_label,
                            enum dtype dtype)
{
    const struct transformer *t = &v->job->transformer;

    return circuit_make(s, v, label, channel, (const struct item[]){
        { k_label, 1, dtype, t->head_dim },
        { v_label, 1, dtype, t->value_dim } }, 2);
}

/* ---- Backward ------------------------------------------------------------ */

void pair_sum(struct schedule *s, struct pair dst, enum access access,
              const struct pair *p, int64_t n)
{
    struct cargo from[8];

    for (int64_t i = 0; i < n && i < 8; i++)
        from[i] = cargo_of(p[i]);
    cargo_sum(s, dkv_labels, cargo_of(dst), access, from, n);
}

struct tile gradients_delta(struct schedule *s, const struct view *v)
{
    struct tile delta = view_q_tile(s, v, "delta", ROLE_SCRATCH, DTYPE_FP32,
                                    view_rows(v, v->me), 1);

    schedule_delta(s, "", v->o, v->d_o, delta);
    return delta;
}

struct gradients gradients_start(struct schedule *s, const struct view *v)
{
    return (struct gradients){ .delta = gradients_delta(s, v), .o = v->o,
                               .dq = parts_of_dq(s, v, v->members) };
}

void gradients_attend(struct schedule *s, const struct view *v,
                      struct gradients *g, int own, struct cargo kv,
                      struct cargo out, struct segment *list, int64_t n)
{
    struct target t = parts_take(s, v, &g->dq, own, list, n);
    const struct tile in[6] = {
        target_rows(s, t, v->q), kv.tiles[0], kv.tiles[1],
        target_rows(s, t, v->d_o), target_rows(s, t, v->lse),
        target_rows(s, t, g->delta) };
    const struct tile o = target_rows(s, t, g->o);
    const struct tile to[3] = { t.tiles[0], out.tiles[0], out.tiles[1] };
    const enum access access[3] = { t.access, ACCESS_WRITE, ACCESS_WRITE };

    schedule_attend_backward(s, "", in, &o, to, access, list, n);
}

int gradients_part(struct schedule *s, const struct view *v,
                   struct gradients *g, int64_t owner, struct cargo kv,
                   struct cargo out)
{
    struct segment *list;
    int64_t n = view_segments(v, v->maps[owner], &list);

    if (n)
        gradients_attend(s, v, g, owner == v->me, kv, out, list, n);
    free(list);
    return n > 0;
}

/* Everybody's part of my rows, one behind the other; of my own, nothing. */
static struct tile staging_tile(const struct schedule *s, const struct view *v,
                                struct tile all, int64_t member)
{
    int64_t rows = view_rows(v, v->me);

    if (member == v->me)
        return tile_rows(s, all.buffer, 0, 0);
    return tile_rows(s, all.buffer, (member - (member > v->me)) * rows, rows);
}

void gradients_scatter(struct schedule *s, const struct view *v,
                       struct pair all, const int32_t *rows)
{
    int64_t N = v->members, n = 4 * N + 2;
    struct pair parts = view_pair(s, v, "dk_parts", "dv_parts", ROLE_SCRATCH,
                                  v->job->wire_grad,
                                  (N - 1) * view_rows(v, v->me));
    struct tile *t = schedule_alloc(s, (size_t)n * sizeof *t);

    t[2 * N] = v->dk;
    t[2 * N + 1] = v->dv;
    for (int64_t i = 0; i < N; i++) {
        t[2 * i] = all.k;
        t[2 * i + 1] = all.v;
        t[2 * i].rows = t[2 * i + 1].rows = rows[i];
        t[2 * N + 2 + 2 * i] = staging_tile(s, v, parts.k, i);
        t[2 * N + 3 + 2 * i] = staging_tile(s, v, parts.v, i);
    }
    schedule_collective(s, "dkv", CHANNEL_DKV, REDUCE_SCATTER, v->ranks, N, 2,
                        t, n);
}
