/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files that read scenarios. */
#ifndef SPAR_SCENARIO_INTERNAL_H
#define SPAR_SCENARIO_INTERNAL_H

#include "base/yaml.h"
#include "cli/scenario.h"

/* The `job` mapping into s->job; completes it where there is no input. */
int read_job(struct scenario *s, struct error *e);
/* attention, pattern, queries, decode of the mapping `job`, after its pass. */
int read_attention_keys(struct scenario *s, int job, struct error *e);
/* The slopes of the decay, once the heads are known. */
int finish_slopes(struct scenario *s, struct error *e);
/* After `run`, which says how many ranks there are. */
int read_jitter(struct scenario *s, struct error *e);
/* The machine, whose changes are read again by scenario_machine(). */
int read_machine_key(struct scenario *s, struct error *e);
/* Of the mapping `run`, after its ranks. */
int read_slots(struct scenario *s, int run, struct error *e);
int read_strategies(struct scenario *s, struct error *e);
/* As yaml_set(), of a scenario's tree. */
int scenario_assign(struct yaml *y, const char *set, struct error *e);

#endif
