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
    [OP_COPY] = "copy", [OP_RESCALE] = "rescale",
    [OP_NORMALIZE] = "normalize", [OP_SCORES] = "scores",
    [OP_SOFTMAX] = "softmax", [OP_SOFTMAX_BACKWARD] = "softmax_backward",
    [OP_WEIGH] = "weigh", [OP_WEIGH_TRANSPOSED] = "weigh_transposed",
    [OP_STATE] = "state", [OP_STATE_SCAN] = "state_scan",
    [OP_LINEAR_INTRA] = "linear_intra", [OP_LINEAR_INTER] = "linear_inter",
    [OP_LINEAR_INTRA_BACKWARD] = "linear_intra_backward",
    [OP_LINEAR_INTER_DQ] = "linear_inter_dq",
    [OP_LINEAR_INTER_DKV] = "linear_inter_dkv",
    [OP_SEND] = "send", [OP_RECV] = "recv",
    [OP_COLLECTIVE] = "collective", [OP_STAGE_OUT] = "stage_out",
    [OP_STAGE_IN] = "stage_in", [OP_KINDS] = NULL
};
const char *const collective_names[] = {
    [COLLECTIVE_NONE] = "none", [ALL_GATHER] = "all_gather",
    [ALL_TO_ALL] = "all_to_all", [REDUCE_SCATTER] = "reduce_scatter",
    [ALL_REDUCE_MAX] = "all_reduce_max", [ALL_REDUCE_SUM] = "all_reduce_sum",
    [ALL_REDUCE_MERGE] = "all_reduce_merge",
    [EXCLUSIVE_SCAN] = "exclusive_scan",
    [COLLECTIVES] = NULL
};
const char *const channel_names[] = {
    [CHANNEL_NONE] = "none", [CHANNEL_KV] = "kv", [CHANNEL_DKV] = "dkv",
    [CHANNEL_Q] = "q", [CHANNEL_OUT] = "out", [CHANNEL_INTRA] = "intra",
    [CHANNEL_INTER] = "inter", [CHANNELS] = NULL
};
const char *const role_names[] = { "input", "output", "saved", "scratch",
                                   "staging", NULL };
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
    [LANE_STAGE_OUT(CHANNEL_KV)] = "kv.stage_out",
    [LANE_STAGE_IN(CHANNEL_KV)] = "kv.stage_in",
    [LANE_STAGE_OUT(CHANNEL_DKV)] = "dkv.stage_out",
    [LANE_STAGE_IN(CHANNEL_DKV)] = "dkv.stage_in",
    [LANE_STAGE_OUT(CHANNEL_Q)] = "q.stage_out",
    [LANE_STAGE_IN(CHANNEL_Q)] = "q.stage_in",
    [LANE_STAGE_OUT(CHANNEL_OUT)] = "out.stage_out",
    [LANE_STAGE_IN(CHANNEL_OUT)] = "out.stage_in",
    [LANE_STAGE_OUT(CHANNEL_INTRA)] = "intra.stage_out",
    [LANE_STAGE_IN(CHANNEL_INTRA)] = "intra.stage_in",
    [LANE_STAGE_OUT(CHANNEL_INTER)] = "inter.stage_out",
    [LANE_STAGE_IN(CHANNEL_INTER)] = "inter.stage_in",
};

const char *lane_name(int lane)
{
    return lane >= 0 && lane < LANES ? lane_names[lane] : "none";
}

void op_lanes(const struct op *op, int lane[2])
{
    lane[0] = op->kind == OP_COPY ? LANE_COPY : LANE_COMPUTE;
    lane[1] = -1;
    if (op->channel)            /* the local part of a lowered collective */
        lane[0] = LANE_STAGE_IN(op->channel);
    if (op->kind == OP_STAGE_OUT)
        lane[0] = LANE_STAGE_OUT(op->channel);
    if (op->kind == OP_SEND || op->kind == OP_COLLECTIVE)
        lane[0] = LANE_SEND(op->channel);
    if (op->kind == OP_RECV)
        lane[0] = LANE_RECV(op->channel);
    if (op->kind == OP_COLLECTIVE)
        lane[1] = LANE_RECV(op->channel);
}

static int is_message(const struct op *op)
{
    return op->kind == OP_SEND || op->kind == OP_RECV
        || op->kind == OP_COLLECTIVE;
}

int op_is_host(const struct schedule *s, const struct op *op)
{
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);

    return is_message(op) && n
        && s->buffers[o[0].tile.buffer].role == ROLE_STAGING;
}

int op_has_numbers(const struct op *op)
{
    return op->kind == OP_STATE_SCAN
        || (op->kind == OP_COLLECTIVE && op->collective == EXCLUSIVE_SCAN);
}

int collective_reduces(enum collective what)
{
    return what >= ALL_REDUCE_MAX && what <= EXCLUSIVE_SCAN;
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

/* Parts that the operands of a collective are T each of. */
static int64_t collective_parts(enum collective what, int64_t members)
{
    if (what == ALL_GATHER)
        return 1 + members;
    return what == ALL_TO_ALL ? 2 * members : 2 * members + 1;
}

/* T own tiles, T results, staging. */
static void reduction_shape(struct collective_shape *c,
                            const struct operand *o, int64_t n)
{
    c->tiles = (n - 1) / 2;
    c->send = o;
    c->result = o + c->tiles;
    c->staging = o + 2 * c->tiles;
}

struct collective_shape op_collective(const struct schedule *s,
                                      const struct op *op)
{
    struct collective_shape c = { 0 };
    int64_t n;
    const struct operand *o = pool_operands_get(s->pool, op->operands, &n);
    int reduces = collective_reduces(op->collective);

    c.ranks = pool_group_get(s->pool, op->peer, &c.members);
    while (c.me < c.members && c.ranks[c.me] != s->rank)
        c.me++;
    int64_t parts = reduces ? 1 : collective_parts(op->collective, c.members);
    if (c.me == c.members || n % parts || (reduces && n % 2 == 0))
        die("op_collective: rank %d: %lld operands for %lld members",
            (int)s->rank, (long long)n, (long long)c.members);
    if (reduces) {
        reduction_shape(&c, o, n);
        return c;
    }
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
