/* SPDX-License-Identifier: Apache-2.0
 *
 * Schedules for other people's tools: DOT and GOAL. */
#include <config.h>

#include "schedule/print.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- DOT ------------------------------------------------------------------- */

static void dot_rank(FILE *out, const struct schedule *s)
{
    int64_t tail[LANES];

    for (int l = 0; l < LANES; l++)
        tail[l] = -1;
    fprintf(out, "subgraph cluster_%d {\nlabel=\"rank %d\";\n", (int)s->rank,
            (int)s->rank);
    for (int64_t i = 0; i < s->n_ops; i++) {
        char name[128];
        op_name(s, &s->ops[i], name, sizeof name);
        fprintf(out, "r%d_%" PRId64 " [label=\"%" PRId64 " %s\"];\n",
                (int)s->rank, i, i, name);
    }
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        int lane[2];
        for (int32_t d = 0; d < op->dep_count; d++)
            fprintf(out, "r%d_%d -> r%d_%" PRId64 ";\n", (int)s->rank,
                    (int)s->deps[op->dep_first + d].op, (int)s->rank, i);
        op_lanes(op, lane);
        for (int k = 0; k < 2 && lane[k] >= 0; k++) {
            if (tail[lane[k]] >= 0)
                fprintf(out, "r%d_%" PRId64 " -> r%d_%" PRId64
                        " [style=dashed];\n", (int)s->rank, tail[lane[k]],
                        (int)s->rank, i);
            tail[lane[k]] = i;
        }
    }
    fputs("}\n", out);
}

/* The n-th op of this kind on `channel` with `peer`; -1: none. */
static int64_t nth_message(const struct schedule *s, enum op_kind kind,
                           int channel, int32_t peer, int64_t n)
{
    for (int64_t i = 0; i < s->n_ops; i++)
        if (s->ops[i].kind == kind && s->ops[i].channel == channel
            && s->ops[i].peer == peer && n-- == 0)
            return i;
    return -1;
}

static void dot_messages(FILE *out, const struct schedule *const *all,
                         int64_t ranks, int64_t r)
{
    const struct schedule *s = all[r];
    int64_t *sent = xcalloc((size_t)ranks * CHANNELS, sizeof *sent);

    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind != OP_SEND || op->peer < 0 || op->peer >= ranks)
            continue;
        int64_t to = nth_message(all[op->peer], OP_RECV, op->channel,
                                 s->rank,
                                 sent[op->peer * CHANNELS + op->channel]++);
        if (to >= 0)
            fprintf(out, "r%d_%" PRId64 " -> r%d_%" PRId64
                    " [style=bold,constraint=false];\n", (int)r, i,
                    (int)op->peer, to);
    }
    free(sent);
}

void print_dot(FILE *out, const struct schedule *const *schedules,
               int64_t ranks)
{
    fputs("digraph schedule {\nnode [shape=box];\n", out);
    for (int64_t r = 0; r < ranks; r++)
        dot_rank(out, schedules[r]);
    for (int64_t r = 0; r < ranks; r++)
        dot_messages(out, schedules, ranks, r);
    fputs("}\n", out);
}

/* ---- GOAL ------------------------------------------------------------------ */

/* Computing is CPU 0's, each channel has a CPU and network interface of its own,
 * so that messages go on while a rank computes.  (LogGOPSim knows time within a
 * CPU: what follows on another CPU's op may start too early there, so a chain
 * that goes back and forth between messages and computing comes out short.) */
static int goal_cpu(int channel)
{
    return 1 + channel;
}

static int64_t goal_tiles_bytes(const struct schedule *s,
                                const struct operand *o, int64_t n)
{
    int64_t bytes = 0;

    for (int64_t i = 0; i < n; i++)
        bytes += (int64_t)tile_bytes(s, o[i].tile);
    return bytes;
}

/* One message between the start (l<op>) and the end (l<op>e) of a collective;
 * `name` tells it from its others. */
struct goal_message {
    int64_t op;
    const char *name;
    int64_t bytes;
    int32_t peer;
    int is_recv;
    int tag;
};

static void goal_move(FILE *out, int is_recv, int64_t bytes, int32_t peer,
                      int channel)
{
    fprintf(out, "%s %" PRId64 "b %s %d tag %d cpu %d nic %d\n",
            is_recv ? "recv" : "send", bytes, is_recv ? "from" : "to",
            (int)peer, channel, goal_cpu(channel), goal_cpu(channel));
}

static void goal_message(FILE *out, struct goal_message m, int64_t number)
{
    if (m.bytes == 0)
        return;
    fprintf(out, "l%" PRId64 "%s%" PRId64 ": ", m.op, m.name, number);
    goal_move(out, m.is_recv, m.bytes, m.peer, m.tag);
    fprintf(out, "l%" PRId64 "%s%" PRId64 " requires l%" PRId64 "\n", m.op,
            m.name, number, m.op);
    fprintf(out, "l%" PRId64 "e requires l%" PRId64 "%s%" PRId64 "\n", m.op,
            m.op, m.name, number);
}

/* Slices to and from every other member. */
static void goal_exchange(FILE *out, const struct schedule *s, int64_t i,
                          const struct collective_shape *c)
{
    const struct op *op = &s->ops[i];

    for (int64_t m = 0; m < c->members; m++) {
        int64_t at = op->collective == ALL_GATHER ? 0 : m * c->tiles;
        int64_t bytes[2] = { goal_tiles_bytes(s, c->send + at, c->tiles),
                             goal_tiles_bytes(s, c->recv + m * c->tiles,
                                              c->tiles) };
        for (int way = 0; way < 2 && m != c->me; way++)
            goal_message(out, (struct goal_message){
                i, way ? "r" : "s", bytes[way], c->ranks[m], way,
                op->channel }, m);
    }
}

static void goal_after(FILE *out, int64_t i, const char *what, int64_t m,
                       const char *before, int64_t k)
{
    fprintf(out, "l%" PRId64 "%s%" PRId64 " requires l%" PRId64 "%s%" PRId64
            "\n", i, what, m, i, before, k);
}

/* A slice to every other member, which adds up what it gets (l<op>m), then that
 * sum back. */
static void goal_all_reduce(FILE *out, const struct schedule *s, int64_t i,
                            const struct collective_shape *c)
{
    int64_t all = (int64_t)tile_bytes(s, c->staging->tile), N = c->members;
    int64_t own = chunk_first(all, N, c->me + 1) - chunk_first(all, N, c->me);
    int tag = s->ops[i].channel;

    fprintf(out, "l%" PRId64 "m0: calc 0 cpu %d\n", i, goal_cpu(tag));
    for (int64_t m = 0; m < N; m++) {
        int64_t theirs = chunk_first(all, N, m + 1) - chunk_first(all, N, m);
        int32_t peer = c->ranks[m];
        const struct goal_message list[] = {
            { i, "s", theirs, peer, 0, tag }, { i, "r", own, peer, 1, tag },
            { i, "S", own, peer, 0, tag }, { i, "R", theirs, peer, 1, tag },
        };
        for (int k = 0; k < 4 && m != c->me; k++)
            goal_message(out, list[k], m);
        if (m == c->me || own == 0)
            continue;
        goal_after(out, i, "m", 0, "r", m);
        goal_after(out, i, "S", m, "m", 0);
    }
}

/* From member to member. */
static void goal_scan(FILE *out, const struct schedule *s, int64_t i,
                      const struct collective_shape *c)
{
    struct work w = op_work(s, &s->ops[i]);
    int tag = s->ops[i].channel;

    if (c->me > 0)
        goal_message(out, (struct goal_message){
            i, "r", w.received_bytes, c->ranks[c->me - 1], 1, tag },
            c->me - 1);
    if (c->me < c->members - 1)
        goal_message(out, (struct goal_message){
            i, "s", w.sent_bytes, c->ranks[c->me + 1], 0, tag }, c->me + 1);
    if (w.received_bytes && w.sent_bytes)
        goal_after(out, i, "s", c->me + 1, "r", c->me - 1);
}

static void goal_collective(FILE *out, const struct schedule *s, int64_t i)
{
    const struct op *op = &s->ops[i];
    struct collective_shape c = op_collective(s, op);
    int cpu = goal_cpu(op->channel);

    fprintf(out, "l%" PRId64 ": calc 0 cpu %d\nl%" PRId64 "e: calc 0 cpu %d\n"
            "l%" PRId64 "e requires l%" PRId64 "\n", i, cpu, i, cpu, i, i);
    if (op->collective == EXCLUSIVE_SCAN)
        goal_scan(out, s, i, &c);
    else if (collective_reduces((enum collective)op->collective))
        goal_all_reduce(out, s, i, &c);
    else
        goal_exchange(out, s, i, &c);
}

static void goal_op(FILE *out, const struct schedule *s, int64_t i,
                    const struct op_timer *timer)
{
    const struct op *op = &s->ops[i];
    struct work w = op_work(s, op);

    if (op->kind == OP_COLLECTIVE) {
        goal_collective(out, s, i);
        return;
    }
    fprintf(out, "l%" PRId64 ": ", i);
    if (op->kind == OP_SEND)
        goal_move(out, 0, w.sent_bytes, op->peer, op->channel);
    else if (op->kind == OP_RECV)
        goal_move(out, 1, w.received_bytes, op->peer, op->channel);
    else
        fprintf(out, "calc %.0f\n", timer
                ? 1e9 * timer->seconds(timer->arg, s, op) : w.flops);
}

static void goal_requires(FILE *out, const struct schedule *s, int64_t i,
                          int64_t before)
{
    fprintf(out, "l%" PRId64 " requires l%" PRId64 "%s\n", i, before,
            s->ops[before].kind == OP_COLLECTIVE ? "e" : "");
}

static void goal_rank(FILE *out, const struct schedule *s,
                      const struct op_timer *timer)
{
    int64_t tail[LANES];

    for (int l = 0; l < LANES; l++)
        tail[l] = -1;
    fprintf(out, "rank %d {\n", (int)s->rank);
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        int lane[2];
        goal_op(out, s, i, timer);
        for (int32_t d = 0; d < op->dep_count; d++)
            goal_requires(out, s, i, s->deps[op->dep_first + d].op);
        op_lanes(op, lane);
        for (int k = 0; k < 2 && lane[k] >= 0; k++) {
            if (tail[lane[k]] >= 0)
                goal_requires(out, s, i, tail[lane[k]]);
            tail[lane[k]] = i;
        }
    }
    fputs("}\n", out);
}

void print_goal(FILE *out, const struct schedule *const *schedules,
                int64_t ranks, const struct op_timer *timer)
{
    fprintf(out, "num_ranks %" PRId64 "\n", ranks);
    for (int64_t r = 0; r < ranks; r++)
        goal_rank(out, schedules[r], timer);
}
