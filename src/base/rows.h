/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of equally spaced integers: rows of a buffer, tokens of a sequence. */
#ifndef SPAR_ROWS_H
#define SPAR_ROWS_H

#include <stdint.h>

/* first, first + stride, ..., count of them; stride >= 1. */
struct run {
    int64_t first, stride, count;
};

/* Number of rows in n runs. */
int64_t runs_count(const struct run *r, int64_t n);

/* Append a run to *runs (n, cap: as in ARRAY_PUSH), joining it to the last
 * run where the two make one run.  Empty runs vanish. */
void runs_push(struct run **runs, int64_t *n, int64_t *cap, struct run r);

#endif
