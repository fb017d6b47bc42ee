/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives, lowered. */
#include <config.h>

#include "schedule/lower_internal.h"

#include <stdlib.h>

enum { MOST_SOURCES = 8 };

/* ---- Collectives -------------------------------------------------------- */

static struct collective_shape shape_of(const struct lowering *l)
{
    int64_t n;
    struct collective_shape c = op_collective(l->s, l->op);
    const struct operand *o =
        pool_operands_get(l->s->pool, l->op->operands, &n);

    c.send = l->operands + (c.send - o);
    c.recv = c.recv ? l->operands + (c.recv - o) : NULL;
    c.result = c.result ? l->operands + (c.result - o) : NULL;
    c.staging = c.staging ? l->operands + (c.staging - o) : NULL;
    return c;
}

/* All tiles of a slice that are not empty, in one message. */
static void exchange_whole(struct lowering *l, enum op_kind kind, int32_t peer,
                           const struct operand *slice, int64_t tiles)
{
    struct operand *o = xmalloc((size_t)tiles * sizeof *o);
    struct op op = lower_child(l, kind);
    int64_t n = 0;

    op.peer = peer;
    for (int64_t t = 0; t < tiles; t++)
        if (tile_bytes(l->s, slice[t].tile))
            o[n++] = slice[t];
    if (n)
        lower_emit(l, op, o, n);
    free(o);
}

/* To and from those in reach, in the order of exchange_piece(). */
static void exchange_near(struct lowering *l, const struct collective_shape *c)
{
    int gathers = l->op->collective == ALL_GATHER;
    int64_t n = c->members;

    for (int64_t k = 1; k < n; k++) {
        int64_t to = (c->me + k) % n, from = (c->me + n - k) % n;
        if (lower_reaches(l, c->ranks[to]))
            exchange_whole(l, OP_SEND, c->ranks[to],
                           c->send + (gathers ? 0 : to * c->tiles), c->tiles);
        if (lower_reaches(l, c->ranks[from]))
            exchange_whole(l, OP_RECV, c->ranks[from],
                           c->recv + from * c->tiles, c->tiles);
    }
}

/* Piece p of tile t, to and from all members out of reach in turn: at step k to
 * the k-th behind me, from the k-th before me. */
static void exchange_piece(struct lowering *l, const struct collective_shape *c,
                           int64_t p, int64_t t)
{
    int gathers = l->op->collective == ALL_GATHER;
    int32_t *peers = xmalloc((size_t)c->members * sizeof *peers);
    int64_t n = c->members, far = 0;

    for (int64_t k = 1; k < n; k++)
        if (!lower_reaches(l, c->ranks[(c->me + k) % n]))
            peers[far++] = c->ranks[(c->me + k) % n];
    if (gathers && far && p < lower_pieces(l, c->send[t].tile))
        lower_send_piece(l, peers, far,
                         lower_piece(l, c->send[t].tile,
                                     lower_pieces(l, c->send[t].tile), p));
    for (int64_t k = 1; k < n; k++) {
        int64_t to = (c->me + k) % n, from = (c->me + n - k) % n;
        struct tile in = c->recv[from * c->tiles + t].tile;
        if (!gathers && !lower_reaches(l, c->ranks[to])) {
            struct tile out = c->send[to * c->tiles + t].tile;
            if (p < lower_pieces(l, out))
                lower_send_piece(l, &c->ranks[to], 1,
                                 lower_piece(l, out, lower_pieces(l, out), p));
        }
        if (!lower_reaches(l, c->ranks[from]) && p < lower_pieces(l, in))
            lower_recv_piece(l, c->ranks[from],
                             lower_piece(l, in, lower_pieces(l, in), p));
    }
    free(peers);
}

static int64_t rows_in_run(const struct lowering *l, struct tile t,
                           int64_t first)
{
    int64_t n;
    const struct run *r = pool_rows_get(l->s->pool, t.rows, &n);

    while (n > 0 && first >= r->count) {
        first -= r->count;
        r++;
        n--;
    }
    return n > 0 ? r->count - first : 0;
}

/* result = the slices of all members, rows that are one run in each of them;
 * what a sum cannot take at once it adds. */
static void sum_slices(struct lowering *l, struct tile result,
                       const struct tile *slices, int64_t members)
{
    int64_t rows = tile_row_count(l->s, result), count;

    for (int64_t first = 0; first < rows; first += count) {
        count = rows_in_run(l, result, first);
        for (int64_t i = 0; i < members; i++)
            count = min64(count, rows_in_run(l, slices[i], first));
        if (count <= 0)
            die("rank %d: slices of a reduce-scatter differ in rows",
                (int)l->s->rank);
        for (int64_t i = 0; i < members; i += MOST_SOURCES) {
            struct operand o[1 + MOST_SOURCES] = {
                { lower_rows(l, result, first, count),
                  i ? ACCESS_UPDATE : ACCESS_WRITE }
            };
            int64_t n = min64(members - i, MOST_SOURCES);
            for (int64_t k = 0; k < n; k++)
                o[1 + k] = (struct operand){
                    lower_rows(l, slices[i + k], first, count), ACCESS_READ
                };
            if (l->tail[PART_RECV] >= 0)        /* from those in reach */
                lower_list_add(&l->wait, l->tail[PART_RECV]);
            lower_emit(l, lower_child(l, OP_SUM), o, 1 + n);
        }
    }
}

/* What a member does itself. */
static void lower_finish(struct lowering *l, const struct collective_shape *c)
{
    int gathers = l->op->collective == ALL_GATHER;
    struct tile *slices = xmalloc((size_t)c->members * sizeof *slices);

    for (int64_t t = 0; t < c->tiles; t++) {
        struct tile own = c->send[(gathers ? 0 : c->me * c->tiles) + t].tile;
        for (int64_t i = 0; i < c->members; i++)
            slices[i] = i == c->me ? own : c->recv[i * c->tiles + t].tile;
        if (l->op->collective == REDUCE_SCATTER)
            sum_slices(l, c->result[t].tile, slices, c->members);
        else if (tile_bytes(l->s, own))
            lower_copy(l, OP_COPY, c->recv[c->me * c->tiles + t].tile, own);
    }
    free(slices);
}

void lower_exchange(struct lowering *l)
{
    struct collective_shape c = shape_of(l);
    int64_t most = 0;

    for (int64_t i = 0; i < l->n_operands; i++)
        most = max64(most, lower_pieces(l, l->operands[i].tile));
    exchange_near(l, &c);
    for (int64_t p = 0; p < most; p++)
        for (int64_t t = 0; t < c.tiles; t++)
            exchange_piece(l, &c, p, t);
    lower_finish(l, &c);
}

/* The same reduction, of copies on the host. */
void lower_reduction(struct lowering *l)
{
    struct collective_shape c = shape_of(l);
    int64_t T = c.tiles, n = 2 * T + 1;
    struct slot **slots = xmalloc((size_t)n * sizeof *slots);
    struct operand *host = xmalloc((size_t)n * sizeof *host);
    struct list staged = { 0 };

    if (T > l->o.slots)
        die("rank %d: a reduction of %d tiles", (int)l->s->rank, (int)T);
    for (int64_t i = 0; i < n; i++) {
        struct tile t = l->operands[i].tile;
        enum way way = i < T ? WAY_OUT : i < 2 * T ? WAY_IN : WAY_RECORDS;
        slots[i] = lower_take_slot(
            l, way, t, l->s->buffers[t.buffer].head_first + t.head_first);
        host[i] = (struct operand){ lower_slot_tile(l, slots[i], t),
                                    l->operands[i].access };
        if (i < T)
            lower_list_add(&staged,
                           lower_copy(l, OP_STAGE_OUT, host[i].tile, t));
    }
    struct op op = lower_child(l, OP_COLLECTIVE);
    op.collective = l->op->collective;
    op.peer = l->op->peer;
    op.segments = l->op->segments;
    lower_list_join(&l->wait, staged.ops, staged.n);
    int32_t reduced = lower_emit(l, op, host, n);
    for (int64_t i = 0; i < n; i++) {
        int32_t user = reduced;
        if (i >= T && i < 2 * T) {
            lower_list_add(&l->wait, reduced);
            user =
                lower_copy(l, OP_STAGE_IN, l->operands[i].tile, host[i].tile);
        }
        lower_list_add(&slots[i]->users, user);
    }
    free(staged.ops);
    free(slots);
    free(host);
}
