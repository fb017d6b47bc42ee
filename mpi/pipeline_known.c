/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first repetition of the mover that writes into its peers' memory:
 * messages whose sender knows by an earlier one that they may be sent. */
#include <config.h>

#include "mpi/pipeline_ipc.h"

/* How many messages of this mover come before op i on its channel, from or to
 * the same rank. */
static int64_t messages_before(const struct schedule *s, int64_t i)
{
    const struct op *op = &s->ops[i];
    int64_t n = 0;

    for (int64_t j = 0; j < i; j++)
        n += s->ops[j].kind == op->kind && s->ops[j].channel == op->channel
            && s->ops[j].peer == op->peer && !op_is_host(s, &s->ops[j]);
    return n;
}

/* Does op i of `s` follow on the n-th message from `peer` on the channel? */
static int follows_message(const struct schedule *s, int64_t i, int channel,
                           int32_t peer, int64_t n)
{
    const struct op *op = &s->ops[i];

    for (int32_t d = 0; d < op->dep_count; d++) {
        int32_t k = s->deps[op->dep_first + d].op;
        const struct op *before = &s->ops[k];
        if (before->kind == OP_RECV && before->channel == channel
            && before->peer == peer && !op_is_host(s, before)
            && messages_before(s, k) >= n)
            return 1;
    }
    return 0;
}

/* Does the receiving lane of op r have messages of one rank only, up to r? */
static int one_sender(const struct schedule *s, int64_t r)
{
    const struct op *op = &s->ops[r];
    int lane[2], other[2];

    op_lanes(op, lane);
    for (int64_t i = 0; i < r; i++) {
        op_lanes(&s->ops[i], other);
        if ((other[0] == lane[0] || other[1] == lane[0])
            && (s->ops[i].kind != OP_RECV || s->ops[i].peer != op->peer
                || op_is_host(s, &s->ops[i])))
            return 0;
    }
    return 1;
}

/* Does the sender, giving op i, know that op r of the receiver is ready?  All
 * that r follows on are messages to the sender that op i follows on in turn:
 * these are then not only sent, but there. */
static int is_known(const struct schedule *sender, int64_t i,
                    const struct schedule *receiver, int64_t r)
{
    const struct op *op = &receiver->ops[r];

    for (int32_t d = 0; d < op->dep_count; d++) {
        int32_t k = receiver->deps[op->dep_first + d].op;
        const struct op *before = &receiver->ops[k];
        if (before->kind != OP_SEND || before->peer != sender->rank
            || op_is_host(receiver, before)
            || !follows_message(sender, i, before->channel, receiver->rank,
                                messages_before(receiver, k)))
            return 0;
    }
    return op->dep_count && one_sender(receiver, r);
}

void pipeline_find_known(const struct schedule *sender,
                         const struct schedule *receiver, uint8_t *fresh)
{
    for (int64_t i = 0; i < sender->n_ops; i++) {
        const struct op *op = &sender->ops[i];
        if (op->kind != OP_SEND || op->peer != receiver->rank
            || op_is_host(sender, op))
            continue;
        int32_t r = pipeline_nth_recv(receiver, op->channel, sender->rank,
                                      messages_before(sender, i));
        fresh[r] |= is_known(sender, i, receiver, r);
    }
}
