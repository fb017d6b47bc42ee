/* SPDX-License-Identifier: Apache-2.0
 *
 * Mistakes that other implementations of sequence parallelism made, one test
 * each: would it show here? */
#ifndef SPAR_TESTS_TRAPS_H
#define SPAR_TESTS_TRAPS_H

#include "rig.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define CAUSAL { MASK_CAUSAL, -1, 0 }
#define ALL    { MASK_FULL, -1, -1 }

/* A causal training step of 61 tokens; fields that follow override. */
#define STEP(...)                                                             \
    (&(struct trial){ .strategy = "ring", .mask = CAUSAL,                     \
        .pass = PASS_FORWARD_BACKWARD, .ranks = 4, .lengths = { 61 },         \
        .heads = 4, .kv_heads = 2, .head_dim = 8, .value_dim = 8,             \
        __VA_ARGS__ })
/* Overriding is the point. */
#pragma GCC diagnostic ignored "-Woverride-init"

static inline void must_run(const struct trial *t)
{
    char text[320];

    trial_text(t, text, sizeof text);
    if (!trial_run(t, NULL))
        fail_msg("%s does not apply", text);
}

/* Every strategy of a family. */
#define FOR_FAMILY(st, of)                                                    \
    for (int i_ = 0; strategies[i_]; i_++)                                    \
        for (const struct strategy *st = strategies[i_];                      \
             st && strcmp(st->family, of) == 0; st = NULL)

#endif
