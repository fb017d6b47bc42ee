/* SPDX-License-Identifier: Apache-2.0
 *
 * Position maps: which global token each local row holds.  Masks come from
 * here and never from step numbers. */
#ifndef SPAR_POSITION_H
#define SPAR_POSITION_H

#include "base/rows.h"
#include "base/segment.h"
#include "job/job.h"

enum layout { LAYOUT_CONTIGUOUS, LAYOUT_ZIGZAG, LAYOUT_STRIPED, LAYOUTS };
extern const char *const layout_names[];    /* NULL-terminated */

/* `count` local rows at positions first, first + stride, ... of `sequence`
 * (position: counted from the start of the sequence). */
struct place {
    int64_t sequence, first, stride, count;
};

/* Local rows in order.
 * In a shard, positions within one sequence rise with the local row. */
struct position_map {
    int64_t n;
    struct place *places;
    int64_t rows;               /* sum of counts */
    uint64_t hash;              /* of the content */
};

/* The shard of rank r of N.  Contiguous cuts the packed axis in N; zigzag cuts
 * each sequence in 2N (rank r: chunks r and 2N-1-r); striped gives packed token
 * t to rank floor(t/block) mod N (block 0 as 1).  Any N, any length; empty shards are legal. */
struct position_map *position_map_shard(const struct job *job,
                                        enum layout layout, int64_t block,
                                        int64_t ranks, int64_t rank);
/* Rows first .. first+count of a map. */
struct position_map *position_map_slice(const struct position_map *map,
                                        int64_t first, int64_t count);
/* All tokens in packed order. */
struct position_map *position_map_whole(const struct job *job);
/* The rows of maps[0], then maps[1], ...: a gathered tensor in rank order. */
struct position_map *position_map_concat(
    const struct position_map *const *maps, int64_t n);
void position_map_destroy(struct position_map *map);

/* Packed tokens of the map, as runs; the caller frees *runs. */
int64_t position_map_tokens(const struct job *job,
                            const struct position_map *map, struct run **runs);

/* The visible segments of an attend whose queries are `q` and whose keys are
 * `k` (local rows of either).  The one place where masks are made.  Sorted by
 * (q_first, k_first), canonical (segment.h), disjoint; empty: nothing visible.
 * Returns the number; *list is the caller's to free (NULL if 0). */
int64_t segments_between(const struct job *job, const struct position_map *q,
                         const struct position_map *k, struct segment **list);

#endif
