/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of `spar list` that the program works out itself. */
#ifndef SPAR_LIST_H
#define SPAR_LIST_H

#include "cli/scenario.h"

#include <stdio.h>

/* Cost sheet: for each entry of the scenario (NULL: each strategy, on a job of
 * its family), on a few numbers of ranks, bytes that the rank that sends most
 * sends by the closed forms, and what its schedule moves. */
void list_costs(FILE *out, const struct scenario *s, int json);

/* Which strategy takes which mask, pass, layout, heads and attention, asked of
 * plan_create(); in JSON with the reason where it does not. */
void list_support(FILE *out, int json);

/* A small job that a family of strategies is for; job_clear() it. */
struct job list_job(const char *family, int64_t tokens);

#endif
