/* SPDX-License-Identifier: Apache-2.0
 *
 * What makes ranks and links unlike each other: `jitter` of a scenario.  A run
 * delays and slows ranks down, the simulator does the same to them, and derates
 * links. */
#ifndef SPAR_JITTER_H
#define SPAR_JITTER_H

#include <stdint.h>

struct jitter_rank {
    int64_t rank;
    double delay;               /* s that it begins a repeat late */
    double slow;                /* what it computes takes so many times as long;
                                   >= 1 */
};
/* Of the ports of a rank, or of its slot's edges; or of the edges between two
 * vertices of the machine's graph. */
struct jitter_link {
    int64_t rank;               /* -1: from, to */
    char *from, *to;            /* owned */
    double bandwidth;           /* part of it that is left, (0, 1] */
};
struct jitter {
    int64_t n_ranks, n_links;
    struct jitter_rank *ranks;  /* owned */
    struct jitter_link *links;  /* owned */
};

/* Of a rank; 0, 1 where nothing is said of it.  j NULL: none. */
double jitter_delay(const struct jitter *j, int64_t rank);
double jitter_slow(const struct jitter *j, int64_t rank);
void jitter_clear(struct jitter *j);

#endif
