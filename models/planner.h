/* SPDX-License-Identifier: Apache-2.0
 *
 * The planner: of all that applies what fits is ranked by closed forms, the
 * best are built and simulated in full, and those decide. */
#ifndef SPAR_PLANNER_H
#define SPAR_PLANNER_H

#include "models/candidates.h"
#include "models/placement.h"
#include "models/simulate.h"

struct question {
    const struct job *job;      /* borrowed, as all of these */
    int64_t ranks;
    const struct machine *machine;
    const char *kernel;         /* run.kernel */
    const struct network_model *network;
    double memory;              /* bytes that a rank's buffers may take; 0: any
                                   number */
    const int32_t *slots;       /* [ranks] where each works; NULL: in order */
};

/* Bytes of a rank by the machine: of a device, shared out among its ranks, or
 * of a node among its cores; 0: unknown. */
double question_memory(const struct machine *m, int64_t ranks);

/* A candidate built and simulated. */
struct contender {
    struct candidate candidate;
    double seconds;             /* predicted; NaN: stuck */
    double interval[2];         /* P10 and P90 of them, by what the machine's
                                   tables and links were off by */
    double computed;            /* of these, the rank that ends last computes */
    double overlap;             /* communication hidden / communication */
    double imbalance;           /* pairs of the busiest rank / mean */
    int64_t sent, peak;         /* bytes, of the rank that has most */
    double by_class[ROUTE_CLASSES];     /* bytes that a rank sends, the mean;
                                   zeros where the machine has no graph */
    uint64_t hash;
    int fits;                   /* peak <= memory */
    int asked;                  /* named by the caller */
};

enum { MOST_OPS = 6000000 };

struct answer {
    struct candidates all;      /* in order of estimates */
    int none;                   /* failed because nothing applies or fits */
    int64_t fit;                /* of them, that may fit by their forms */
    double ops;                 /* simulated so far, about */
    double ready_seconds;       /* to find all and estimate them once */
    double find_seconds;        /* the same again: routes, shards and times of
                                   kernels are known */
    struct forms *forms;        /* that estimated them */
    struct links *links;        /* that they were simulated on; NULL: the
                                   simulation's own */
    struct classes *classes;    /* NULL: the machine has no graph */
    int64_t n, cap;
    struct contender *contenders;       /* by seconds, what fits first */
    struct placements placed;   /* of the first; n 0: not looked at */
};

/* Estimate all, simulate about `most` of them, fewer where schedules are large
 * (MOST_OPS in all): the best of each strategy, then
 * the best of all, of those that cannot be told apart by their estimate one;
 * then what cannot be told from the best; and the n that are `asked`.  -1 and
 * *e: nothing applies, or the machine cannot time it. */
int planner_answer(struct answer *a, const struct question *q, int64_t most,
                   const struct candidate *asked, int64_t n, struct error *e);
/* Where the ranks of the choice work best, with up to about `most_ops`
 * simulated; nothing is done where the caller has said where, the machine has
 * no graph, or the schedules are larger. */
int planner_place(struct answer *a, const struct question *q, double most_ops,
                  struct error *e);
/* A placement that beats the order as it is; NULL: none does. */
const struct placed *answer_placement(const struct answer *a);
void answer_clear(struct answer *a);

/* Of one candidate, simulated on `m`. */
double planner_seconds(const struct question *q, const struct candidate *c,
                       const struct machine *m);

/* That the process has used. */
double processor_seconds(void);

/* Why `x` is not the choice `best`, a phrase. */
void contender_loses(const struct contender *x, const struct contender *best,
                     char *text, size_t size);

#endif
