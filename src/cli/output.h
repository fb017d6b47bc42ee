/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs are tried before the work, not after it. */
#ifndef SPAR_OUTPUT_H
#define SPAR_OUTPUT_H

#include "base/base.h"

/* Could `path` be written, as a temporary file that is then renamed, and is it
 * none of the n files (NULL: none) that the command reads or writes besides? */
int output_check(const char *path, const char *const *taken, int n,
                 struct error *e);

#endif
