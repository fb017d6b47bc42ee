/* SPDX-License-Identifier: Apache-2.0
 *
 * What a planner may choose from: every strategy, with every combination of
 * its options that applies and makes a difference. */
#ifndef SPAR_CANDIDATES_H
#define SPAR_CANDIDATES_H

#include "models/forms.h"

struct candidate {
    const struct strategy *strategy;
    struct strategy_options options;
    struct estimate estimate;
};
/* Why a strategy has no candidate, or how many combinations do not apply and
 * why the first does not. */
struct refusal {
    const struct strategy *strategy;
    int64_t count;
    struct error reason;
};
struct candidates {
    int64_t n, cap;
    struct candidate *list;     /* by strategy, then by option */
    int64_t n_refusals, refusals_cap;
    struct refusal *refusals;
};

/* Options: layouts, head and inner degrees that divide the ranks, head groups,
 * forms of backward, directions, hops, placements, reductions.  An option at a
 * value that makes no difference (a head degree of one, say) is left out.
 * Strategies whose results are approximate are refused: nobody asked. */
void candidates_find(struct candidates *c, const struct job *job,
                     int64_t ranks);
void candidates_clear(struct candidates *c);

/* Estimates of all; then by seconds, those without a form last. */
void candidates_estimate(struct candidates *c, struct forms *f);
void candidates_sort(struct candidates *c);

#endif
