/* SPDX-License-Identifier: Apache-2.0
 *
 * What an op is: names, lanes, work. */
#include <config.h>

#include "schedule/internal.h"

#include <stdio.h>
#include <string.h>

const char *const op_names[] = {
    [OP_ATTEND] = "attend", [OP_ATTEND_BACKWARD] = "attend_backward",
    [OP_DELTA] = "delta", [OP_MERGE] = "merge", [OP_SUM] = "sum",
    [OP_COPY] = "copy", [OP_SEND] = "send", [OP_RECV] = "recv",
    [OP_COLLECTIVE] = "collective", [OP_KINDS] = NULL
};
const char *const collective_names[] = {
    [COLLECTIVE_NONE] = "none", [ALL_GATHER] = "all_gather",
    [ALL_TO_ALL] = "all_to_all", [REDUCE_SCATTER] = "reduce_scatter",
    [COLLECTIVES] = NULL
};
const char *const channel_names[] = {
    [CHANNEL_NONE] = "none", [CHANNEL_KV] = "kv", [CHANNEL_DKV] = "dkv",
    [CHANNEL_Q] = "q", [CHANNEL_OUT] = "out", [CHANNEL_INTRA] = "intra",
    [CHANNEL_INTER] = "inter", [CHANNELS] = NULL
};
const char *const role_names[] = { "input", "output", "saved", "scratch",
                                   NULL };
const char *const tensor_names[] = {
    [TENSOR_NONE] = "-", [TENSOR_Q] = "q", [TENSOR_K] = "k", [TENSOR_V] = "v",
    [TENSOR_DO] = "do", [TENSOR_O] = "o", [TENSOR_LSE] = "lse",
    [TENSOR_DQ] = "dq", [TENSOR_DK] = "dk", [TENSOR_DV] = "dv",
    [TENSORS] = NULL
};

static const char *const lane_names[LANES] = {
    [LANE_COMPUTE] = "compute", [LANE_COPY] = "copy",
    [LANE_SEND(CHANNEL_KV)] = "kv.send", [LANE_RECV(CHANNEL_KV)] = "kv.recv",
    [LANE_SEND(CHANNEL_DKV)] = "dkv.send",
    [LANE_RECV(CHANNEL_DKV)] = "dkv.recv",
    [LANE_SEND(CHANNEL_Q)] = "q.send", [LANE_RECV(CHANNEL_Q)] = "q.recv",
    [LANE_SEND(CHANNEL_OUT)] = "out.send",
    [LANE_RECV(CHANNEL_OUT)] = "out.recv",
    [LANE_SEND(CHANNEL_INTRA)] = "intra.send",
    [LANE_RECV(CHANNEL_INTRA)] = "intra.recv",
    [LANE_SEND(CHANNEL_INTER)] = "inter.send",
    [LANE_RECV(CHANNEL_INTER)] = "inter.recv",
};

const char *lane_name(int lane)
{
    return lane >= 0 && lane < LANES ? lane_names[lane] : "none";
}

void op_lanes(const struct op *op, int lane[2])
{
    lane[1] = -1;
    switch ((enum op_kind)op->kind) {
    case OP_ATTEND:
    case OP_ATTEND_BACKWARD:
    case OP_DELTA:
    case OP_MERGE:
    case OP_SUM:
        lane[0] = LANE_COMPUTE;
        return;
    case OP_COPY:
        lane[0] = LANE_COPY;
        return;
    case OP_SEND:
        lane[0] = LANE_SEND(op->channel);
        return;
    case OP_RECV:
        lane[0] = LANE_RECV(op->channel);
        return;
    case OP_COLLECTIVE:
        lane[0] = LANE_SEND(op->channel);
        lane[1] = LANE_RECV(op->channel);
        return;
    case OP_KINDS:
        break;
    }
    die("op_lanes: no kind %d", op->kind);
}

void op_name(const struct schedule *s, const struct op *op, char *text,
             size_t size)
{
    const char *label = pool_label_get(s->pool, op->label);
    const char *kind = op->kind == OP_COLLECTIVE
        ? collective_names[op->collective] : op_names[op->kind];
    char step[24] = "";

    if (op->step >= 0)
        snprintf(step, sizeof step, ".step%d", (int)op->step);
    snprintf(text, size, "%s%s%s%s.%s", op->backward ? "backward" : "forward",
             step, *label ? "." : "", label, kind);
}

struct collective_shape op_collective(const struct schedule *s,
                                      const struct op *op)
{
    struct collective_shape c = { 0 };
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);

    c.ranks = pool_group_get(s->pool, op->peer, &c.members);
    while (c.me < c.members && c.ranks[c.me] != s->rank)
        c.me++;
    int64_t parts = op->collective == ALL_GATHER ? 1 + c.members
        : op->collective == ALL_TO_ALL ? 2 * c.members : 2 * c.members + 1;
    if (c.me == c.members || n % parts)
        die("op_collective: rank %d: %lld operands for %lld members",
            (int)s->rank, (long long)n, (long long)c.members);
    c.tiles = n / parts;
    c.send = o;
    o += c.tiles * (op->collective == ALL_GATHER ? 1 : c.members);
    if (op->collective == REDUCE_SCATTER) {
        c.result = o;
        o += c.tiles;
    }
    c.recv = o;
    return c;
}

static int64_t tiles_bytes(const struct schedule *s, const struct operand *o,
                           int64_t n)
{
    int64_t bytes = 0;

    for (int64_t i = 0; i < n; i++)
        bytes += (int64_t)tile_bytes(s, o[i].tile);
    return bytes;
}

static void collective_work(const struct schedule *s, const struct op *op,
                            struct work *w)
{
    struct collective_shape c = op_collective(s, op);

    for (int64_t i = 0; i < c.members; i++) {
        if (i == c.me)
            continue;
        const struct operand *send = op->collective == ALL_GATHER ? c.send
            : c.send + i * c.tiles;
        w->sent_bytes += tiles_bytes(s, send, c.tiles);
        w->received_bytes += tiles_bytes(s, c.recv + i * c.tiles, c.tiles);
    }
}

/* S = Q Kt and O = P V; backward S, dP, dV, dQ, dK: two flops a product. */
static void attend_work(const struct schedule *s, const struct op *op,
                        const struct operand *o, struct work *w)
{
    int64_t n;
    const struct segment *list = pool_segments_get(s->pool, op->segments, &n);
    double D = s->buffers[o[0].tile.buffer].width;
    double E = s->buffers[o[2].tile.buffer].width;

    w->pairs = segments_pairs(list, n) * o[0].tile.head_count;
    w->flops = (double)w->pairs
        * (op->kind == OP_ATTEND ? 2 * (D + E) : 6 * D + 4 * E);
}

struct work op_work(const struct schedule *s, const struct op *op)
{
    struct work w = { 0 };
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);

    for (int64_t i = 0; i < n; i++)
        w.memory_bytes += (int64_t)tile_bytes(s, o[i].tile)
            * (o[i].access == ACCESS_UPDATE ? 2 : 1);
    switch ((enum op_kind)op->kind) {
    case OP_ATTEND:
    case OP_ATTEND_BACKWARD:
        attend_work(s, op, o, &w);
        break;
    case OP_SEND:
        w.sent_bytes = w.memory_bytes;
        break;
    case OP_RECV:
        w.received_bytes = w.memory_bytes;
        break;
    case OP_COLLECTIVE:
        collective_work(s, op, &w);
        break;
    case OP_DELTA:
    case OP_MERGE:
    case OP_SUM:
    case OP_COPY:
        w.flops = (double)w.memory_bytes / 4;
        break;
    case OP_KINDS:
        break;
    }
    return w;
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
        if (s->ops[i].kind == OP_ATTEND)
            pairs += op_work(s, &s->ops[i]).pairs;
    return pairs;
}

double schedule_flops(const struct schedule *s)
{
    double flops = 0;

    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == OP_ATTEND
            || s->ops[i].kind == OP_ATTEND_BACKWARD)
            flops += op_work(s, &s->ops[i]).flops;
    return flops;
}
