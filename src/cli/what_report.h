/* SPDX-License-Identifier: Apache-2.0
 *
 * What a what-if prints, and the file that it writes. */
#ifndef SPAR_WHAT_REPORT_H
#define SPAR_WHAT_REPORT_H

#include "cli/what_if.h"

struct what_report {
    const struct scenario *scenario;
    const struct what_if *what_if;
    const struct what_result *result;
    const struct what_longest *longest;
    int64_t n_longest;
    int64_t simulate;           /* candidates of a point; 0: none */
};

/* Points where they are few, crossovers, the longest sequence that fits. */
void what_text(FILE *out, const struct what_report *r);
void what_json(FILE *out, const struct what_report *r);
int what_write(const char *path, const struct what_report *r, const char *line,
               struct error *e);

#endif
