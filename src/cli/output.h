/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs are tried before the work, not after it. */
#ifndef SPAR_OUTPUT_H
#define SPAR_OUTPUT_H

#include "base/base.h"

#include <stdio.h>

/* Could `path` be written, as a temporary file that is then renamed, and is it
 * none of the n files (NULL: none) that the command reads or writes besides? */
int output_check(const char *path, const char *const *taken, int n,
                 struct error *e);

/* A text file that is there whole or not at all: into file, NULL if it cannot
 * be opened; output_finish() gives it its name, unless `failed`, and closes it. 0,
 * or -1 and *e. */
struct output {
    const char *path;           /* borrowed */
    char *temporary;
    FILE *file;
};
FILE *output_begin(struct output *o, const char *path);
int output_finish(struct output *o, int failed, struct error *e);

#endif
