/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker: executes the schedules of all ranks symbolically, on the worst
 * legal transport.  doc/DESIGN.md, section 2, "What check proves". */
#ifndef SPAR_CHECK_H
#define SPAR_CHECK_H

#include "schedule/schedule.h"

struct check_report {
    int64_t ranks;
    int64_t *bytes_sent;        /* [ranks] from the ops */
    int64_t *pairs;             /* [ranks] forward */
    int64_t expected_pairs;     /* sum over ranks: visible pairs x heads x
                                   layers */
    int64_t *peak_bytes;        /* [ranks] */
    int64_t ops;
    int deadlock;               /* some ops never ran, or did not match */
    int coverage;               /* every visible triple in every output once */
    int64_t reuse_stalls;       /* interface.md, section 4; one mean over the
                                   attends of both passes; where there are
                                   other products, flops in place of pairs;
                                   0 unless all ran */
    int passed;                 /* no deadlock, coverage, no other finding */
    struct error finding;       /* first thing that is wrong; text "" if none */
};

/* `schedules` of ranks 0 .. ranks-1, frozen, sharing one pool. */
void check_schedules(const struct schedule *const *schedules, int64_t ranks,
                     struct check_report *report);
void check_report_clear(struct check_report *report);

/* Reuse stalls alone, of schedules that are right; -1: a deadlock. */
int64_t check_reuse(const struct schedule *const *schedules, int64_t ranks);

#endif
