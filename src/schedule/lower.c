/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "schedule/lower_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct lower_options lower_default = { 2 << 20, 4 };

/* ---- Dependencies ------------------------------------------------------- */

void lower_list_add(struct list *l, int32_t op)
{
    for (int64_t i = 0; i < l->n; i++)
        if (l->ops[i] == op)
            return;
    ARRAY_PUSH(l->ops, l->n, l->cap, op);
}

void lower_list_join(struct list *l, const int32_t *ops, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        lower_list_add(l, ops[i]);
}

static void wait_for_logical(struct lowering *l, int32_t i)
{
    int64_t first = l->exit_first[i];

    lower_list_join(&l->entry, l->exits.ops + first,
                    l->exit_first[i + 1] - first);
}

int lower_reaches(const struct lowering *l, int32_t peer)
{
    return l->near && reach_has(l->near, l->s->rank, peer);
}

/* Do what they become run in one lane?  Order in that goes without saying; a
 * collective spans two. */
static int stay_in_order(const struct lowering *l, const struct op *before,
                         const struct op *op)
{
    if (before->kind == OP_COLLECTIVE || op->kind == OP_COLLECTIVE)
        return 0;
    return op->peer < 0
        || lower_reaches(l, before->peer) == lower_reaches(l, op->peer);
}

static void enter(struct lowering *l, int32_t i)
{
    const struct op *op = &l->s->ops[i];
    int lane[2];

    l->number = i;
    l->op = op;
    l->entry.n = 0;
    memset(l->tail, 0xff, sizeof l->tail);
    for (int32_t d = 0; d < op->dep_count; d++)
        wait_for_logical(l, l->s->deps[op->dep_first + d].op);
    op_lanes(op, lane);
    for (int k = 0; k < 2 && lane[k] >= 0; k++) {
        int32_t before = l->last[lane[k]];
        if (before >= 0 && !stay_in_order(l, &l->s->ops[before], op))
            wait_for_logical(l, before);
        l->last[lane[k]] = i;
    }
    const struct operand *o =
        pool_operands_get(l->s->pool, op->operands, &l->n_operands);
    l->operands = xmalloc((size_t)l->n_operands * sizeof *o + 1);
    memcpy(l->operands, o, (size_t)l->n_operands * sizeof *o);
}

static void leave(struct lowering *l)
{
    int none = 1;

    for (int k = 0; k < PARTS; k++)
        if (l->tail[k] >= 0) {
            ARRAY_PUSH(l->exits.ops, l->exits.n, l->exits.cap, l->tail[k]);
            none = 0;
        }
    for (int64_t i = 0; none && i < l->entry.n; i++)
        ARRAY_PUSH(l->exits.ops, l->exits.n, l->exits.cap, l->entry.ops[i]);
    l->exit_first[l->number + 1] = l->exits.n;
    free(l->operands);
}

/* ---- Ops ---------------------------------------------------------------- */

struct op lower_child(const struct lowering *l, enum op_kind kind)
{
    struct op op = *l->op;

    op.kind = (uint8_t)kind;
    op.collective = COLLECTIVE_NONE;
    op.peer = op.segments = -1;
    return op;
}

static enum part part_of(const struct op *op)
{
    if (op->kind == OP_SEND || op->kind == OP_COLLECTIVE)
        return PART_SEND;
    if (op->kind == OP_RECV)
        return PART_RECV;
    return op->channel && op->kind != OP_STAGE_OUT ? PART_IN : PART_OUT;
}

/* Append an op that waits for l->wait; its number. */
int32_t lower_emit(struct lowering *l, struct op op, const struct operand *o,
                   int64_t n)
{
    struct schedule *out = l->out;
    int32_t number = (int32_t)out->n_ops;

    op.operands = pool_operands(out->pool, o, n);
    if (!op_is_host(out, &op)) {
        int32_t *tail = &l->tail[part_of(&op)];
        if (*tail < 0)
            lower_list_join(&l->wait, l->entry.ops, l->entry.n);
        *tail = number;
    }
    op.dep_first = (int32_t)out->n_deps;
    op.dep_count = (int32_t)l->wait.n;
    for (int64_t i = 0; i < l->wait.n; i++) {
        struct dep dep = { l->wait.ops[i], DEP_READ_AFTER_WRITE };
        ARRAY_PUSH(out->deps, out->n_deps, l->deps_cap, dep);
    }
    l->wait.n = 0;
    ARRAY_PUSH(out->ops, out->n_ops, l->ops_cap, op);
    ARRAY_PUSH(out->parents, l->n_parents, l->parents_cap, l->number);
    return number;
}

int32_t lower_copy(struct lowering *l, enum op_kind kind, struct tile dst,
                   struct tile src)
{
    const struct operand o[] = { { dst, ACCESS_WRITE }, { src, ACCESS_READ } };

    return lower_emit(l, lower_child(l, kind), o, 2);
}

static int32_t emit_message(struct lowering *l, enum op_kind kind, int32_t peer,
                            struct tile host)
{
    const struct operand o = { host,
                               kind == OP_SEND ? ACCESS_READ : ACCESS_WRITE };
    struct op op = lower_child(l, kind);

    op.peer = peer;
    return lower_emit(l, op, &o, 1);
}

/* ---- Pieces ------------------------------------------------------------- */

int64_t lower_pieces(const struct lowering *l, struct tile t)
{
    size_t bytes = tile_bytes(l->s, t);

    return min64((int64_t)((bytes + l->o.chunk - 1) / l->o.chunk),
                 tile_row_count(l->s, t));
}

/* Rows first .. first+count of a tile, counted in it. */
struct tile lower_rows(const struct lowering *l, struct tile t, int64_t first,
                       int64_t count)
{
    struct run *part = NULL;
    int64_t n, parts = 0, cap = 0;
    const struct run *runs = pool_rows_get(l->s->pool, t.rows, &n);

    for (int64_t i = 0; i < n && count > 0; i++) {
        struct run r = runs[i];
        int64_t skipped = min64(first, r.count);
        first -= skipped;
        r.first += skipped * r.stride;
        r.count = min64(r.count - skipped, count);
        count -= r.count;
        runs_push(&part, &parts, &cap, r);
    }
    t.rows = pool_rows(l->s->pool, part, parts);
    free(part);
    return t;
}

struct tile lower_piece(const struct lowering *l, struct tile t, int64_t pieces,
                        int64_t p)
{
    int64_t rows = tile_row_count(l->s, t), first = rows * p / pieces;

    return lower_rows(l, t, first, rows * (p + 1) / pieces - first);
}

/* ---- Staging buffers ---------------------------------------------------- */

static struct ring *make_ring(struct lowering *l, const struct ring *like)
{
    static const char *const labels[] = { "out", "in", "records" };
    struct ring ring = *like;
    struct buffer b = like->shape;

    ring.slots = xcalloc((size_t)l->o.slots, sizeof *ring.slots);
    for (int32_t i = 0; i < l->o.slots; i++) {
        char label[48];
        snprintf(label, sizeof label, "%s.%s%lld", channel_names[ring.channel],
                 labels[ring.way], (long long)(l->n_rings * l->o.slots + i));
        b.label = pool_label(l->s->pool, label);
        ring.slots[i].buffer = (int32_t)l->out->n_buffers;
        ARRAY_PUSH(l->out->buffers, l->out->n_buffers, l->buffers_cap, b);
        l->out->role_bytes[ROLE_STAGING] +=
            buffer_bytes(l->out, ring.slots[i].buffer);
    }
    ARRAY_PUSH(l->rings, l->n_rings, l->rings_cap, ring);
    return &l->rings[l->n_rings - 1];
}

static int same_ring(const struct ring *a, const struct ring *b)
{
    const struct buffer *x = &a->shape, *y = &b->shape;

    return a->way == b->way && a->channel == b->channel && x->rows == y->rows
           && x->heads == y->heads && x->width == y->width
           && x->dtype == y->dtype && x->head_first == y->head_first;
}

/* The next buffer for a tile of this shape; the next op waits until it may be
 * written.  head_first: of the job, where it matters, else 0. */
struct slot *lower_take_slot(struct lowering *l, enum way way, struct tile t,
                             int32_t head_first)
{
    const struct buffer *b = &l->s->buffers[t.buffer];
    struct ring key = { .way = way,
                        .channel = l->op->channel,
                        .shape = { .map = -1,
                                   .role = ROLE_STAGING,
                                   .dtype = b->dtype,
                                   .heads = t.head_count,
                                   .head_first = head_first,
                                   .width = b->width,
                                   .rows = 1 } };
    struct ring *ring = NULL;

    while (key.shape.rows < tile_row_count(l->s, t))
        key.shape.rows *= 2; /* few shapes */
    for (int64_t i = 0; i < l->n_rings && !ring; i++)
        if (same_ring(&l->rings[i], &key))
            ring = &l->rings[i];
    if (!ring)
        ring = make_ring(l, &key);
    struct slot *slot = &ring->slots[ring->taken++ % l->o.slots];
    lower_list_join(&l->wait, slot->users.ops, slot->users.n);
    slot->users.n = 0;
    return slot;
}

struct tile lower_slot_tile(const struct lowering *l, const struct slot *slot,
                            struct tile t)
{
    return tile_rows(l->out, slot->buffer, 0, tile_row_count(l->s, t));
}

/* ---- Messages ----------------------------------------------------------- */

void lower_send_piece(struct lowering *l, const int32_t *peers, int64_t n,
                      struct tile t)
{
    struct slot *slot = lower_take_slot(l, WAY_OUT, t, 0);
    struct tile host = lower_slot_tile(l, slot, t);
    int32_t staged = lower_copy(l, OP_STAGE_OUT, host, t);

    for (int64_t i = 0; i < n; i++) {
        lower_list_add(&l->wait, staged);
        lower_list_add(&slot->users, emit_message(l, OP_SEND, peers[i], host));
    }
}

void lower_recv_piece(struct lowering *l, int32_t peer, struct tile t)
{
    struct slot *slot = lower_take_slot(l, WAY_IN, t, 0);
    struct tile host = lower_slot_tile(l, slot, t);

    lower_list_add(&l->wait, emit_message(l, OP_RECV, peer, host));
    lower_list_add(&slot->users, lower_copy(l, OP_STAGE_IN, t, host));
}

static void lower_message(struct lowering *l)
{
    for (int64_t k = 0; k < l->n_operands; k++) {
        struct tile t = l->operands[k].tile;
        int64_t pieces = lower_pieces(l, t);
        for (int64_t p = 0; p < pieces; p++)
            if (l->op->kind == OP_SEND)
                lower_send_piece(l, &l->op->peer, 1,
                                 lower_piece(l, t, pieces, p));
            else
                lower_recv_piece(l, l->op->peer, lower_piece(l, t, pieces, p));
    }
}

/* ---- All ---------------------------------------------------------------- */

/* Does it stay on the device? */
static int stays(const struct lowering *l, const struct op *op)
{
    int64_t n;

    if (op->kind == OP_SEND || op->kind == OP_RECV)
        return lower_reaches(l, op->peer);
    if (op->kind != OP_COLLECTIVE)
        return 1;
    const int32_t *ranks = pool_group_get(l->s->pool, op->peer, &n);
    return l->near && reach_all(l->near, ranks, n);
}

static void lower_op(struct lowering *l, int32_t i)
{
    enter(l, i);
    if (stays(l, l->op))
        lower_emit(l, *l->op, l->operands, l->n_operands);
    else if (l->op->kind != OP_COLLECTIVE)
        lower_message(l);
    else if (collective_reduces(l->op->collective))
        lower_reduction(l);
    else
        lower_exchange(l);
    leave(l);
}

static void lowering_clear(struct lowering *l)
{
    for (int64_t i = 0; i < l->n_rings; i++) {
        for (int32_t k = 0; k < l->o.slots; k++)
            free(l->rings[i].slots[k].users.ops);
        free(l->rings[i].slots);
    }
    free(l->rings);
    free(l->exit_first);
    free(l->exits.ops);
    free(l->entry.ops);
    free(l->wait.ops);
}

struct schedule *schedule_lower(const struct schedule *s,
                                const struct lower_options *o,
                                const struct reach *near)
{
    struct lowering l = { .s = s, .o = *o, .near = near };
    struct schedule *out = xmalloc(sizeof *out);

    *out = *s;
    out->ops = NULL;
    out->deps = NULL;
    out->buffers = NULL;
    out->n_ops = out->n_deps = out->n_buffers = 0;
    l.out = out;
    for (int64_t i = 0; i < s->n_buffers; i++)
        ARRAY_PUSH(out->buffers, out->n_buffers, l.buffers_cap, s->buffers[i]);
    l.exit_first = xcalloc((size_t)s->n_ops + 1, sizeof *l.exit_first);
    memset(l.last, 0xff, sizeof l.last);
    for (int32_t i = 0; i < s->n_ops; i++)
        lower_op(&l, i);
    lowering_clear(&l);
    return out;
}
