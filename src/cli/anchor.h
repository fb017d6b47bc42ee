/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernel times of a measured run, kept: what its ops took over what the machine
 * says they take, by kind, which then scales the machine's tables.  Planned and
 * simulated again after that, with one thing changed, the run's own ops take in
 * the mean what they took. */
#ifndef SPAR_ANCHOR_H
#define SPAR_ANCHOR_H

#include "schedule/schedule.h"
#include "topo/machine.h"

struct anchor {
    int64_t ops;                /* measured ones that were compared */
    struct {
        double measured, told;  /* s; told 0: no such op */
    } kinds[OP_KINDS];
    double measured, told;      /* of ops that the machine times by bytes */
};

/* From a trace of `spar run`: its scenario is planned again, and must give the
 * schedules that were run. -1 and *e: no such trace, or another version's. */
int anchor_measure(struct anchor *a, const char *path, const struct machine *m,
                   const char *kernel, struct error *e);
/* Surfaces, rates, the roofline, and the bandwidth of memory. */
void anchor_apply(const struct anchor *a, struct machine *m);
/* "attend x1.03, attend_backward x0.98, bytes x1.20" */
void anchor_text(const struct anchor *a, char *text, size_t size);

#endif
