/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the mover that writes into its peers' memory.
 *
 * The sender copies once the receiver's flag says that the tiles may be
 * overwritten; its own flag then says that they are there.  Flags are words of
 * device memory that count messages of a channel from one rank to another; they
 * only rise, from repetition to repetition.  The first flag is left out where
 * nothing in the repetition has used the memory yet, or where the sender follows
 * on messages that say as much: both sides know that from the two schedules, and
 * a repetition begins when all ranks have met. */
#ifndef SPAR_PIPELINE_IPC_H
#define SPAR_PIPELINE_IPC_H

#include "mpi/pipeline_internal.h"

/* Of the messages of a channel from one rank to another; in the memory of the
 * rank that waits for it. */
struct flags {
    uint32_t ready;             /* mine to a peer: its tiles may be written */
    uint32_t arrived;           /* a peer's to me: they are written */
};

/* What is known of a rank. */
struct peer {
    struct schedule *schedule;  /* NULL: own */
    uint8_t *fresh;             /* [its n_ops] a message needs no word that it
                                   may be sent */
    int32_t *same;              /* [my n_ops] its op of a collective; else -1 */
    struct memory memory;       /* mapped: base of its block */
    struct flags *flags;        /* mapped: [CHANNELS][ranks] */
    char *records;              /* mapped: of reductions, see below */
};

struct ipc {
    struct peer *peers;         /* [ranks] */
    int32_t *match;             /* [n_ops] the peers' op of a send; else -1 */
    uint32_t *number;           /* [n_ops] of the message that a recv awaits */
    /* Bytes of the largest reduction of a channel on any rank, and where those
     * of its members, [ranks][most], begin. */
    uint64_t most[CHANNELS], first[CHANNELS];
    /* Messages so far, [CHANNELS][ranks]. */
    uint32_t *sent, *received;
};

/* pipeline_known.c: of the messages between two ranks those that the sender knows
 * to be ready when it gives them: sets fresh [n_ops] of the receiver's op. */
void pipeline_find_known(const struct schedule *sender,
                         const struct schedule *receiver, uint8_t *fresh);

/* The k-th op of `s` that receives from `from` on the channel. */
int32_t pipeline_nth_recv(const struct schedule *s, int channel,
                          int32_t from, int64_t k);

/* pipeline_map.c: open and close of the mover. */
int ipc_open(struct pipeline *p, struct plan *plan, struct error *e);
void ipc_close(struct pipeline *p);

#endif
