/* SPDX-License-Identifier: Apache-2.0
 *
 * Slurm's lists of hosts. */
#ifndef SPAR_HOSTLIST_H
#define SPAR_HOSTLIST_H

#include "base/base.h"

struct names {
    int64_t n, cap;
    char **items;               /* owned */
};
/* Appends the names of "tux[0-2,07],r[1-2]n[1-2],login": in that order, with
 * the zeros of their numbers. 0, or -1 and *e (usage). */
int hostlist_expand(const char *text, struct names *out, struct error *e);
/* Appends the counts of "2(x3),1", which is 2,2,2,1, to *counts. */
int tasks_expand(const char *text, int64_t **counts, int64_t *n,
                 struct error *e);
void names_clear(struct names *l);
/* Its place, -1: it is not there. */
int64_t names_find(const struct names *l, const char *name);

#endif
