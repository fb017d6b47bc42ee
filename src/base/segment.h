/* SPDX-License-Identifier: Apache-2.0
 *
 * The visible part of an attend: a list of segments, each a banded rectangle
 * of (query row, key row) pairs.  Derived from two position maps in one place
 * (job/position.h), taken by every kernel backend. */
#ifndef SPAR_SEGMENT_H
#define SPAR_SEGMENT_H

#include <stdint.h>

/* No bound on that side. */
#define BAND_LOW  (INT64_MIN / 4)
#define BAND_HIGH (INT64_MAX / 4)

/* Rows q_first .. q_first+q_count of the query tile, keys k_first ..
 * k_first+k_count of the key tile.  With i, j counted from q_first and k_first,
 * key j is visible to row i iff low <= i - j <= high.
 * Canonical: trimmed, so that the first and last row and the first and last
 * key have a visible pair; low is BAND_LOW where the lower bound excludes
 * nothing, high is BAND_HIGH likewise. */
struct segment {
    int64_t q_first, q_count, k_first, k_count, low, high;
};

/* Visible pairs of one segment, or of n. */
int64_t segment_pairs(const struct segment *s);
int64_t segments_pairs(const struct segment *s, int64_t n);

/* First and one-past-last visible key of row i (0 <= i < q_count), relative to
 * k_first; empty if first >= last. */
static inline void segment_row(const struct segment *s, int64_t i,
                               int64_t *first, int64_t *last)
{
    int64_t f = s->high >= BAND_HIGH ? 0 : i - s->high;
    int64_t l = s->low <= BAND_LOW ? s->k_count : i - s->low + 1;

    *first = f < 0 ? 0 : f;
    *last = l > s->k_count ? s->k_count : l;
}

/* Trim *s to its visible rows and keys and normalise its bounds.  Returns 0 if
 * nothing is visible (then *s is not to be used), else 1. */
int segment_trim(struct segment *s);

#endif
