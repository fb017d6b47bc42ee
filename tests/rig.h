/* SPDX-License-Identifier: Apache-2.0
 *
 * A strategy's schedules of all ranks in one process: what tests build, check,
 * run by loopback and hold against the oracle. */
#ifndef SPAR_TESTS_RIG_H
#define SPAR_TESTS_RIG_H

#include "run/compute.h"
#include "run/verify.h"
#include "schedule/check.h"
#include "schedule/lower.h"
#include "strategy/strategy.h"

/* What is tried; what is 0 is the default of a scenario, but for wire_partial
 * (fp32) and lengths (to be given; sequences 0: one). */
struct trial {
    const char *strategy, *kernel;
    const struct strategy *custom;      /* NULL: the one named */
    struct strategy_options options;
    struct mask mask;
    enum pass pass;
    int32_t ranks;
    int64_t lengths[8], sequences;
    int64_t heads, kv_heads, head_dim, value_dim;
    enum dtype dtype, wire_grad, wire_partial;
    enum attention attention;
    enum feature feature;
    const double *slopes;       /* [heads]; NULL: no decay */
    const char *pattern;
    int64_t queries;
    enum verify_mode verify;
    row_fn row;                 /* inputs; NULL: seeded */
    const struct lower_options *lower;  /* schedules are lowered; NULL: not */
    const struct reach *near;           /* but between these; NULL: all */
};

void trial_text(const struct trial *t, char *text, size_t size);
struct job trial_job(const struct trial *t);
/* Of all inputs of a rig. */
extern uint64_t rig_seed;

struct rig {
    struct trial trial;         /* a copy */
    struct job job;
    struct plan *plan;
    struct schedule **schedules;        /* [trial.ranks] */
    struct loopback loop;
    const struct kernel_backend *kernel;
    struct error why;           /* why it does not apply */
};

/* 0: the strategy does not apply, why in g->why; nothing to destroy. */
int rig_create(struct rig *g, const struct trial *t);
void rig_load(struct rig *g);
void rig_destroy(struct rig *g);

/* Results of one layer, global. */
struct results {
    float *x[RESULTS];
    size_t bytes[RESULTS];
};
struct results rig_results(const struct rig *g, int64_t layer);
void results_clear(struct results *r);
/* Worst over layers. */
void rig_judge(const struct rig *g, struct verdict *verdict);
/* The symbolic checker. */
struct check_report rig_check(const struct rig *g);

/* Checked, run, verified, bytes and pairs as the closed forms say; a failure
 * ends the test.  0: it does not apply.  *v, if not NULL: the verdict. */
int trial_run(const struct trial *t, struct verdict *v);

#endif
