/* SPDX-License-Identifier: Apache-2.0
 *
 * What `plan` prints, and the scenario that it writes. */
#ifndef SPAR_PLAN_REPORT_H
#define SPAR_PLAN_REPORT_H

#include "cli/scenario.h"
#include "models/sensitivity.h"

struct plan_report {
    const struct scenario *scenario;
    const struct question *question;
    const struct answer *answer;
    struct sensitivity *sensitivity;
    double capacity;            /* bytes of a rank; 0: unknown */
    int64_t reserve;            /* percent of it left alone */
};

void plan_text(FILE *out, const struct plan_report *r);
void plan_json(FILE *out, const struct plan_report *r);

/* The scenario with the best `entries` contenders as its strategies, presets by
 * name, files by their whole path; written whole or not at all. */
int plan_emit(const char *path, struct scenario *s, const struct answer *a,
              int64_t entries, const char *line, struct error *e);

#endif
