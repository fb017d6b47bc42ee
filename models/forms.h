/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed forms of strategies: how long one takes, what a rank sends and the
 * memory it needs, without a schedule.  From the pairs and segments of the rank
 * that has most to compute, even shards, and the machine's tables; a few
 * microseconds each, where building and simulating takes milliseconds to
 * seconds.  What they leave out: unevenness between ranks beyond the busiest
 * one's, waiting, jitter. */
#ifndef SPAR_FORMS_H
#define SPAR_FORMS_H

#include "strategy/strategy.h"
#include "topo/machine.h"

struct estimate {
    double seconds;             /* of a repeat; NaN: there is no form */
    double computed;            /* of these, the busiest rank computes */
    double sent;                /* bytes that leave a rank; even shards */
    double memory;              /* bytes of a rank's buffers */
    double effort;              /* to build and simulate it: ops of a rank */
};

/* A job on some ranks, with what its candidates have in common: who sees how
 * much of whom in each layout, and how long that takes. */
struct forms;
/* `job` and `ranks` outlive the forms. */
struct forms *forms_create(const struct job *job, int64_t ranks);
void forms_destroy(struct forms *f);
/* The machine to time on, borrowed, and run.kernel: before any estimate, and
 * again whenever numbers of the machine have changed. */
void forms_machine(struct forms *f, const struct machine *m,
                   const char *kernel);
/* The same with what others have found of its routes, borrowed: looked at for
 * as many ranks. */
struct ways;
struct ways *ways_create(struct graph *g, int64_t ranks);
void ways_destroy(struct ways *w);
void forms_machine_known(struct forms *f, const struct machine *m,
                         const char *kernel, struct ways *ways);
/* Of a strategy that applies. */
struct estimate forms_estimate(struct forms *f, const struct strategy *st,
                               const struct strategy_options *o);

#endif
