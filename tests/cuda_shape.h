/* SPDX-License-Identifier: Apache-2.0
 *
 * For the trials of attention: lists of visible segments, groups of heads. */
#ifndef SPAR_TESTS_CUDA_SHAPE_H
#define SPAR_TESTS_CUDA_SHAPE_H

#include "tests/cuda_trial.h"

enum { MOST_SEGMENTS = 140 };

struct visible {
    const char *name;
    struct segment list[MOST_SEGMENTS];
    int64_t n;
};

/* Full, causal, strict, a window, packed, bands, nothing, ... */
struct visible visible_draw(int64_t nq, int64_t nk);

/* Query heads q_first .. q_first + q, and the KV heads that they use. */
struct heads {
    int64_t group;
    int32_t q, q_first, kv, kv_first;
};

/* Any part of the query heads of some KV heads; mostly whole groups. */
struct heads heads_draw(void);

#endif
