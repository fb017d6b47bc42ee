/* SPDX-License-Identifier: Apache-2.0
 *
 * Lowering for transports that reach the host's memory only: a schedule,
 * frozen, into another whose messages leave from and arrive in staging buffers.
 *
 *   send          pieces of its tiles: stage_out, send
 *   recv          pieces: recv, stage_in
 *   all-gather, all-to-all, reduce-scatter
 *                 pieces to and from every other member, each staged once; own
 *                 slices are copied, what is scattered is summed, in the lane
 *                 of the stage_ins
 *   reductions    stage_out of the tiles, the collective on the host, stage_in
 *                 of the results
 *   others        as they are
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

#include "schedule/schedule.h"

struct lower_options {
    size_t chunk;               /* bytes of a piece, unless a row has more */
    int32_t slots;              /* buffers in turn, of each lane and shape */
};
extern const struct lower_options lower_default;

/* Of the same pool, job and hash; the caller destroys it. */
struct schedule *schedule_lower(const struct schedule *s,
                                const struct lower_options *o);

#endif
