/* SPDX-License-Identifier: Apache-2.0
 *
 * The prediction that stands beside a measurement. */
#ifndef SPAR_PREDICT_H
#define SPAR_PREDICT_H

#include "job/jitter.h"
#include "schedule/schedule.h"
#include "topo/machine.h"

/* Simulated makespan on `m`, s, with network_default(); NaN where the
 * machine cannot time what the schedules compute.  `kernel`, `slots`: of the
 * scenario's run. */
double predict_seconds(const struct schedule *const *schedules, int64_t ranks,
                       const struct machine *m, const char *kernel,
                       const int32_t *slots, const struct jitter *jitter);

#endif
