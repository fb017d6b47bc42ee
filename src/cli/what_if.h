/* SPDX-License-Identifier: Apache-2.0
 *
 * `what_if` of a scenario: keys with lists of values, whose cross product is
 * planned point by point. */
#ifndef SPAR_WHAT_IF_H
#define SPAR_WHAT_IF_H

#include "cli/anchor.h"
#include "cli/scenario.h"
#include "models/planner.h"
#include "trace/sweep.h"

struct what_axis {
    char *key;                  /* "machine.nic.bandwidth" */
    int64_t n;
    char **texts;               /* [n] values in YAML flow text */
    double *values;             /* [n] numbers in `unit`; NULL: words */
    const char *unit;           /* "1": none */
};

struct what_if {
    int n_axes;
    struct what_axis axes[SWEEP_AXES];
    int64_t points;             /* row-major, the last axis fastest */
};

/* What to ask at each point. */
struct what_question {
    const struct network_model *network;        /* NULL: as fits the machine */
    double memory;              /* bytes of a rank; 0: the machine's */
    int64_t reserve;            /* percent */
    const struct anchor *kept;  /* kernel times of a run; NULL: none */
    int64_t simulate;           /* candidates of a point; 0: closed forms */
};

/* By point. */
struct what_best {
    int strategy;               /* index in strategies[]; -1: nothing fits */
    double seconds, memory, sent;
    char *options;
};
struct what_result {
    int64_t points, n_strategies;
    struct what_best *best;     /* [points] */
    double *by_strategy;        /* [points][n_strategies] s; NaN: none */
    int64_t candidates, simulated;      /* in all */
    double seconds;             /* of processor time */
};

/* -1 and *e (usage): no mapping of keys to lists, or a value that the scenario
 * does not take. */
int what_if_read(struct what_if *w, struct scenario *s, struct error *e);
void what_if_clear(struct what_if *w);
/* -1 and *e: a combination is no scenario, the machine cannot time it, or there
 * is no answer to any. */
int what_if_run(struct what_result *r, const struct what_if *w,
                struct scenario *s, const struct what_question *q,
                struct error *e);
void what_result_clear(struct what_result *r);

/* Which value of an axis a point has. */
int64_t what_index(const struct what_if *w, int64_t point, int axis);
/* Points from one value of the axis to the next. */
int64_t what_stride(const struct what_if *w, int axis);

/* Does the longest sequence depend on it? */
int what_needs_memory(const struct what_axis *x);
/* The most tokens that fit, of all combinations of values that count for it and
 * leave the memory of a rank known: *n of them, the caller's to free. */
struct what_longest {
    int64_t point;              /* whose values these are */
    int64_t tokens;             /* 0: nothing */
    int known;                  /* is it known how much memory a rank has? */
    const struct strategy *strategy;
};
struct what_longest *what_if_longest(const struct what_if *w,
                                     struct scenario *s,
                                     const struct what_question *q, int64_t *n);

#endif
