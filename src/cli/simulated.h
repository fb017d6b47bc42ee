/* SPDX-License-Identifier: Apache-2.0
 *
 * A planned entry, simulated: schedules are built one by one, ranks that do the
 * same are folded into one. */
#ifndef SPAR_SIMULATED_H
#define SPAR_SIMULATED_H

#include "cli/planned.h"
#include "models/simulate.h"

/* What is known of a rank's schedule. */
struct rank_facts {
    uint64_t hash;              /* 0: it was not built */
    int64_t ops;
    int64_t sent_bytes, pairs, peak_bytes;
    double flops;
};
struct simulated {
    struct simulate_result result;
    /* Ranks 0 .. period - 1 were simulated, r for all r + i period. */
    int64_t period;
    int whole;                  /* all schedules are kept; spans are of all
                                   ranks, else of those that were simulated, or
                                   of none, being too many */
    struct rank_facts *facts;   /* [ranks] */
};

/* Simulate with o, whose period and record are chosen here.  p, planned, gets
 * schedules [ranks]: all, or those that were simulated, or none, which are
 * NULL.  -1 and *e: something cannot be timed; *x is cleared. */
int simulated_run(struct simulated *x, struct planned *p, int fold,
                  const struct machine *m, struct simulate_options o, struct error *e);
/* Makespan of the same on another machine; all schedules are kept. */
double simulated_again(const struct simulated *x, const struct planned *p,
                       const struct machine *m, struct simulate_options o);
void simulated_clear(struct simulated *x);
/* The ranks that are enough: simulate_period() of what plan_period() says. */
int64_t simulated_period(const struct planned *p, const struct machine *m,
                         const struct simulate_options *o);

/* 0: not all were built. */
uint64_t simulated_hash(const struct simulated *x, int64_t ranks);
double simulated_flops(const struct simulated *x, int64_t ranks);
/* One of the numbers by rank, and the closed form; the caller's to free. */
int64_t *simulated_by_rank(const struct simulated *x, int64_t ranks,
                           size_t offset);
int64_t *simulated_bytes_expected(const struct simulated *x,
                                  const struct planned *p);

#endif
