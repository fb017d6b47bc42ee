/* SPDX-License-Identifier: Apache-2.0
 *
 * The work of an op: flops, visible triples, bytes; from shapes and segments
 * alone. */
#include <config.h>

#include "schedule/internal.h"

/* An op at hand. */
struct task {
    const struct schedule *s;
    const struct op *op;
    const struct operand *o;
    int64_t n;
};

static int64_t tiles_bytes(const struct schedule *s, const struct operand *o,
                           int64_t n)
{
    int64_t bytes = 0;

    for (int64_t i = 0; i < n; i++)
        bytes += (int64_t)tile_bytes(s, o[i].tile);
    return bytes;
}

static double width(const struct task *t, int64_t i)
{
    return t->s->buffers[t->o[i].tile.buffer].width;
}

/* Visible pairs times the heads of operand i. */
static int64_t pairs(const struct task *t, int64_t i)
{
    int64_t n;
    const struct segment *list = pool_segments_get(t->s->pool,
                                                   t->op->segments, &n);

    return segments_pairs(list, n) * t->o[i].tile.head_count;
}

/* ---- Communication ------------------------------------------------------- */

/* All-reduce: 2(N-1)/N of the buffer; scan: one record, of all but the last. */
static void reduction_work(const struct task *t, struct work *w)
{
    struct collective_shape c = op_collective(t->s, t->op);
    int64_t bytes = (int64_t)tile_bytes(t->s, c.staging->tile);

    if (t->op->collective == EXCLUSIVE_SCAN) {
        w->sent_bytes = c.me < c.members - 1 ? bytes : 0;
        w->received_bytes = c.me > 0 ? bytes : 0;
        return;
    }
    w->sent_bytes = w->received_bytes = all_reduce_bytes(c.members, bytes);
}

static void collective_work(const struct task *t, struct work *w)
{
    struct collective_shape c = op_collective(t->s, t->op);

    for (int64_t i = 0; i < c.members; i++) {
        if (i == c.me)
            continue;
        const struct operand *send = t->op->collective == ALL_GATHER ? c.send
            : c.send + i * c.tiles;
        w->sent_bytes += tiles_bytes(t->s, send, c.tiles);
        w->received_bytes += tiles_bytes(t->s, c.recv + i * c.tiles, c.tiles);
    }
}

/* ---- Products ------------------------------------------------------------ */

/* S = Q Kt and O = P V; backward S, dP, dV, dQ, dK: two flops a product. */
static void attend_work(const struct task *t, struct work *w)
{
    double D = width(t, 0), E = width(t, 2);

    w->pairs = pairs(t, 0);
    w->flops = (double)w->pairs
        * (t->op->kind == OP_ATTEND ? 2 * (D + E) : 6 * D + 4 * E);
}

/* Scores, weigh, weigh_transposed: one product each; pairs are counted where
 * scores are made from q and k. */
static void scores_work(const struct task *t, struct work *w)
{
    int is_scores = t->op->kind == OP_SCORES;
    int64_t n = pairs(t, is_scores ? 2 : 1);

    w->pairs = is_scores && !t->op->backward ? n : 0;
    w->flops = (double)n * 2 * width(t, 0);
}

/* Causal pairs inside of blocks of n rows in all. */
static double block_pairs(int64_t n)
{
    double B = LINEAR_BLOCK, tail = (double)(n % LINEAR_BLOCK);

    return (double)(n / LINEAR_BLOCK) * B * (B + 1) / 2 + tail * (tail + 1) / 2;
}

/* The running state: rows of all blocks but one go into it, and come out. */
static void intra_work(const struct task *t, struct work *w)
{
    double D = width(t, 0), E = width(t, 2), h = t->o[0].tile.head_count;
    int64_t n = tile_row_count(t->s, t->o[0].tile);
    double carried = (double)max64(0, n - LINEAR_BLOCK);
    int forward = t->op->kind == OP_LINEAR_INTRA;

    w->pairs = forward ? pairs(t, 0) : 0;
    w->flops = h * (block_pairs(n) * (forward ? 2 * (D + E) : 6 * D + 4 * E)
                    + carried * (forward ? 4 : 10) * D * E);
}

/* Products of rows with a state (operand `state`), `products` of them. */
static void state_work(const struct task *t, int64_t state, double products,
                       struct work *w)
{
    double rows = (double)tile_row_count(t->s, t->o[0].tile);

    w->flops = 2 * products * rows * width(t, state)
        * t->o[state].tile.head_count;
}

static void compute_work(const struct task *t, struct work *w)
{
    switch ((enum op_kind)t->op->kind) {
    case OP_ATTEND:
    case OP_ATTEND_BACKWARD:
        attend_work(t, w);
        return;
    case OP_SCORES:
    case OP_WEIGH:
    case OP_WEIGH_TRANSPOSED:
        scores_work(t, w);
        return;
    case OP_LINEAR_INTRA:
    case OP_LINEAR_INTRA_BACKWARD:
        intra_work(t, w);
        return;
    case OP_STATE:
    case OP_LINEAR_INTER_DQ:
    case OP_LINEAR_INTER_DKV:
        state_work(t, 2, t->op->kind == OP_LINEAR_INTER_DKV ? 2 : 1, w);
        return;
    case OP_LINEAR_INTER:
        state_work(t, 1, 1, w);
        w->pairs = pairs(t, 0);
        return;
    case OP_DELTA:
    case OP_MERGE:
    case OP_SUM:
    case OP_COPY:
    case OP_STAGE_OUT:
    case OP_STAGE_IN:
    case OP_RESCALE:
    case OP_NORMALIZE:
    case OP_SOFTMAX:
    case OP_SOFTMAX_BACKWARD:
    case OP_STATE_SCAN:
        w->flops = (double)w->memory_bytes / 4;
        return;
    case OP_SEND:
    case OP_RECV:
    case OP_COLLECTIVE:
    case OP_KINDS:
        return;
    }
}

/* ---- All ----------------------------------------------------------------- */

struct work op_work(const struct schedule *s, const struct op *op)
{
    struct work w = { 0 };
    struct task t = { .s = s, .op = op };

    t.o = pool_operands_get(s->pool, op->operands, &t.n);
    for (int64_t i = 0; i < t.n; i++)
        w.memory_bytes += (int64_t)tile_bytes(s, t.o[i].tile)
            * (t.o[i].access == ACCESS_UPDATE ? 2 : 1);
    if (op->kind == OP_SEND)
        w.sent_bytes = w.memory_bytes;
    else if (op->kind == OP_RECV)
        w.received_bytes = w.memory_bytes;
    else if (op->kind != OP_COLLECTIVE)
        compute_work(&t, &w);
    else if (collective_reduces(op->collective))
        reduction_work(&t, &w);
    else
        collective_work(&t, &w);
    return w;
}

int64_t all_reduce_bytes(int64_t members, int64_t bytes)
{
    return 2 * (members - 1) * bytes / members;
}

int op_is_product(const struct op *op)
{
    static const uint8_t product[OP_KINDS] = {
        [OP_ATTEND] = 1, [OP_ATTEND_BACKWARD] = 1, [OP_SCORES] = 1,
        [OP_WEIGH] = 1, [OP_WEIGH_TRANSPOSED] = 1, [OP_STATE] = 1,
        [OP_LINEAR_INTRA] = 1, [OP_LINEAR_INTER] = 1,
        [OP_LINEAR_INTRA_BACKWARD] = 1, [OP_LINEAR_INTER_DQ] = 1,
        [OP_LINEAR_INTER_DKV] = 1,
    };

    return product[op->kind];
}

int64_t schedule_sent_bytes(const struct schedule *s)
{
    int64_t bytes = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == OP_SEND || s->ops[i].kind == OP_COLLECTIVE)
            bytes += op_work(s, &s->ops[i]).sent_bytes;
    return bytes;
}

int64_t schedule_pairs(const struct schedule *s)
{
    int64_t pairs = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        if (!s->ops[i].backward && op_is_product(&s->ops[i]))
            pairs += op_work(s, &s->ops[i]).pairs;
    return pairs;
}

double schedule_flops(const struct schedule *s)
{
    double flops = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        if (op_is_product(&s->ops[i]))
            flops += op_work(s, &s->ops[i]).flops;
    return flops;
}
