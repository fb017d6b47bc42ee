/* SPDX-License-Identifier: Apache-2.0
 *
 * LASP-2: all states are gathered at once, intra runs beside it.
 *
 *   forward   M of my chunks; all-gather M, beside it intra; P = the sum of
 *             the M before, decayed by the tokens between; what P adds
 *   backward  W of my chunks; all-gather W, beside it the gradients of intra
 *             and dq of P; R = the sum of the W after; what R adds
 *
 * One collective a pass.  A zigzag shard has two states a sequence, and the sum
 * goes by their tokens.  With a full mask P and R are sums of all.
 *
 * Source: Sun et al., "LASP-2" (arXiv:2502.07563), algorithms 1 to 4. */
#include <config.h>

#include "strategy/chunks.h"

#include <stdlib.h>

/* A chunk of any rank whose state is gathered. */
struct piece {
    int64_t sequence, first, last;      /* tokens first .. last - 1 */
    int64_t state;                      /* row of `states` */
};

struct gathered {
    struct tile states;                 /* of all members in order */
    int64_t n;
    struct piece *list;                 /* by sequence and token */
};

static int in_order(const void *x, const void *y)
{
    const struct piece *a = x, *b = y;

    if (a->sequence != b->sequence)
        return a->sequence < b->sequence ? -1 : 1;
    return (a->first > b->first) - (a->first < b->first);
}

static void add_pieces(const struct view *v, int64_t member,
                       struct gathered *g)
{
    const struct position_map *map = pool_map_get(v->pool, v->maps[member]);

    for (int64_t i = 0; i < map->n; i++) {
        const struct place *p = &map->places[i];
        if (p->count == v->job->lengths[p->sequence])
            continue;
        g->list[g->n] = (struct piece){ p->sequence, p->first,
                                        p->first + p->count, g->n };
        g->n++;
    }
}

static void gather(struct schedule *s, const struct view *v,
                   struct gathered *g, enum outside pass, struct tile own)
{
    struct tile *tiles = schedule_alloc(s, (size_t)(1 + v->members)
                                        * sizeof *tiles);
    int64_t all = 0;

    for (int64_t i = 0; i < v->members; i++)
        all += shard_states(v, i);
    g->list = schedule_alloc(s, (size_t)all * sizeof *g->list);
    g->states = states_tile(s, v, pass == OUTSIDE_P ? "M_all" : "W_all",
                            ROLE_SCRATCH, all);
    tiles[0] = own;
    for (int64_t i = 0; i < v->members; i++) {
        tiles[1 + i] = tile_rows(s, g->states.buffer, g->n,
                                 shard_states(v, i));
        add_pieces(v, i, g);
    }
    qsort(g->list, (size_t)g->n, sizeof *g->list, in_order);
    if (g->n)
        schedule_collective(s, "states", pass == OUTSIDE_P ? CHANNEL_KV
                            : CHANNEL_DKV, ALL_GATHER, v->ranks, v->members,
                            1, tiles, 1 + v->members);
}

/* M or W of my chunks.  One that is its whole sequence is for itself. */
static struct tile make_states(struct schedule *s, const struct view *v,
                               const struct chunks *x, enum outside pass)
{
    struct tile own = states_tile(s, v, state_labels[pass], ROLE_SCRATCH,
                                  x->states);

    for (int64_t i = 0; i < x->n; i++) {
        const struct chunk *c = &x->list[i];
        if (c->state >= 0)
            chunk_state(s, v, c, pass, states_row(s, own, c->state));
        else if (c->takes[pass] >= 0)
            chunk_state(s, v, c, pass, states_row(s, x->outside[pass],
                                                  c->takes[pass]));
    }
    return own;
}

/* Is the piece part of P or R of the chunk? */
static int counts(const struct chunks *x, enum outside pass,
                  const struct chunk *c, const struct piece *p)
{
    return x->full
        || (pass == OUTSIDE_P ? p->first < c->first : p->first > c->first);
}

/* Tokens between the chunk and a piece before or after it. */
static int64_t span(const struct chunk *c, const struct piece *p)
{
    return p->first < c->first ? c->first - p->last
                               : p->first - c->first - c->count;
}

/* The first piece of a chunk's sequence. */
static const struct piece *first_piece(const struct gathered *g,
                                       const struct chunk *c)
{
    const struct piece key = { c->sequence, c->first, 0, 0 };
    const struct piece *p = bsearch(&key, g->list, (size_t)g->n, sizeof key,
                                    in_order);

    while (p > g->list && p[-1].sequence == c->sequence)
        p--;
    return p;
}

/* P or R of a chunk. */
static void scan_one(struct schedule *s, const struct chunks *x,
                     const struct gathered *g, enum outside pass,
                     const struct chunk *c)
{
    const struct piece *p = first_piece(g, c), *end = g->list + g->n;
    struct tile *from = xmalloc((size_t)g->n * sizeof *from);
    int64_t *spans = xmalloc((size_t)g->n * sizeof *spans), n = 0;

    for (; p < end && p->sequence == c->sequence; p++) {
        if (!counts(x, pass, c, p))
            continue;
        from[n] = states_row(s, g->states, p->state);
        spans[n++] = x->full ? 0 : span(c, p);
    }
    states_scan(s, states_row(s, x->outside[pass], c->takes[pass]),
                ACCESS_WRITE, from, n, spans);
    free(from);
    free(spans);
}

static void lasp2_pass(struct schedule *s, struct view *v, enum outside pass)
{
    struct chunks *x = chunks_begin(s, v, pass);
    struct gathered g = { .n = 0 };

    gather(s, v, &g, pass, make_states(s, v, x, pass));
    chunks_local(s, v, x, pass);
    for (int64_t i = 0; i < x->n; i++)
        if (x->list[i].state >= 0 && x->list[i].takes[pass] >= 0)
            scan_one(s, x, &g, pass, &x->list[i]);
    chunks_outside(s, v, x, pass);
}

static void lasp2_forward(struct schedule *s, struct view *v)
{
    lasp2_pass(s, v, OUTSIDE_P);
}

static void lasp2_backward(struct schedule *s, struct view *v)
{
    lasp2_pass(s, v, OUTSIDE_R);
}

/* The same in both passes. */
static int64_t lasp2_bytes(const struct view *v)
{
    return (v->members - 1) * shard_states(v, v->me) * state_bytes(v);
}

static const char *const lasp2_options[] = { "layout", NULL };

const struct strategy strategy_lasp2 = {
    .name = "lasp2",
    .family = "linear",
    .summary = "states are gathered once a pass, intra runs beside it",
    .options = lasp2_options,
    .applies = chunks_apply,
    .forward = lasp2_forward,
    .backward = lasp2_backward,
    .bytes_forward = lasp2_bytes,
    .bytes_backward = lasp2_bytes,
};
