/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs are tried before the work, not after it. */
#ifndef SPAR_OUTPUT_H
#define SPAR_OUTPUT_H

#include "base/base.h"

/* Could `path` be written, as a temporary file that is then renamed? */
int output_check(const char *path, struct error *e);

#endif
