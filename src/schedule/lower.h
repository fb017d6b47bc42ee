/* SPDX-License-Identifier: Apache-2.0
 *
 * Lowering for ranks that do not reach each other's memory: a schedule, frozen,
 * into another whose messages between them leave from and arrive in staging
 * buffers.
 *
 *   send          pieces of its tiles: stage_out, send
 *   recv          pieces: recv, stage_in
 *   all-gather, all-to-all, reduce-scatter
 *                 to and from members in reach a message each; pieces to and
 *                 from every other member, each staged once; own slices are
 *                 copied, what is scattered is summed, in the lane of the
 *                 stage_ins
 *   reductions    stage_out of the tiles, the collective on the host, stage_in
 *                 of the results
 *   others, and what is between ranks that reach each other: as they are
 *
 * A collective stays whole where each of its members reaches all others.  All
 * ranks must be told the same about who reaches whom.
 *
 * Both sides cut alike: a tile of b bytes and r rows into min(r, b / chunk)
 * pieces.  Copies have lanes of their own, so that those of a piece and the
 * messages of others overlap; the staging buffers of a lane are taken in turn.
 *
 * An op follows on what its parent followed on: all of that op's copies and
 * computing before any of its own.  So the memory plan of the logical schedule
 * holds, and a lowered one adds to it staging buffers alone. */
#ifndef SPAR_LOWER_H
#define SPAR_LOWER_H

#include "schedule/reach.h"
#include "schedule/schedule.h"

struct lower_options {
    size_t chunk;               /* bytes of a piece, unless a row has more */
    int32_t slots;              /* buffers in turn, of each lane and shape */
};
extern const struct lower_options lower_default;

/* Of the same pool, job and hash; the caller destroys it. near: the ranks that
 * reach each other, NULL: none. */
struct schedule *schedule_lower(const struct schedule *s,
                                const struct lower_options *o,
                                const struct reach *near);

#endif
