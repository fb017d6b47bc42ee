/* SPDX-License-Identifier: Apache-2.0
 *
 * Between scenario.c, scenario_job.c and scenario_data.c. */
#ifndef SPAR_SCENARIO_INTERNAL_H
#define SPAR_SCENARIO_INTERNAL_H

#include "cli/scenario.h"

/* The `job` mapping into s->job; completes it where there is no input. */
int read_job(struct scenario *s, struct error *e);

#endif
