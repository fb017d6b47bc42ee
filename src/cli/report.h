/* SPDX-License-Identifier: Apache-2.0
 *
 * What `run` and `sim` report of each entry of `strategies`: the fields of
 * interface.md, section 4, as a table or as JSON. */
#ifndef SPAR_REPORT_H
#define SPAR_REPORT_H

#include "cli/scenario.h"
#include "job/job.h"
#include "models/history.h"
#include "run/verify.h"

#include <stdio.h>

/* All pointers are borrowed.  NaN stands for what is not known (JSON null). */
struct result_row {
    const char *strategy, *layout;
    const char *transport;      /* simulated: NULL, and no such key */
    const struct scenario_strategy *asked;      /* for the table; or NULL */
    const char *reason;         /* does not apply: why; the rest is not read */
    int64_t ranks;
    const char *network;        /* simulated: the model; NULL: measured */
    int64_t classes;            /* ranks that were simulated, others being like
                                   them; 0: measured */
    enum pass pass;
    int64_t steps;              /* of a decode session, each verified; else 0 */
    enum dtype dtype;
    uint64_t schedule_hash;
    double median, p95, min;    /* s, measured; simulated: NaN */
    double predicted;           /* s */
    double interval[2];         /* s, P10 and P90 of it; simulated only */
    int64_t collectives[COLLECTIVE_HOWS];       /* that were timed so */
    const struct leans *leans;  /* what it leans on; NULL: not known */
    double flops;               /* visible, all ranks */
    const int64_t *bytes_sent, *bytes_expected;         /* [ranks] each */
    const int64_t *pairs, *peak_bytes;
    const int64_t *work_bytes;  /* [ranks] beside peak_bytes, that kernels work
                                   in; NULL: not run on a device */
    int64_t attends, left;      /* ops of softmax attention; how many of them
                                   another backend's kernels did, */
    const char *why_left;       /* and why the first; NULL */
    double error[RESULTS], gate[RESULTS];       /* of the worst layer */
    int has_lse;                /* linear attention has none: no such key */
    double overlap;             /* 0 .. 1 */
    int passed;
    int64_t n_links;            /* simulated with shared links; 0 */
    const struct trace_link *links;
    const struct critical_path *path;   /* NULL: not known */
};

/* A row in which nothing is known. */
struct result_row result_unknown(void);

/* Does a layer of the job have an lse? */
int job_has_lse(const struct job *job);

/* One JSON value: an array, an object per row. */
void results_json(FILE *out, const struct result_row *rows, int64_t n);
/* A table, a line per row. */
void results_text(FILE *out, const struct result_row *rows, int64_t n);

/* The largest of n values, for tables; NaN if `values` is NULL. */
double largest(const int64_t *values, int64_t n);

#endif
