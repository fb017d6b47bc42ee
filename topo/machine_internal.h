/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files that answer for a machine. */
#ifndef SPAR_MACHINE_INTERNAL_H
#define SPAR_MACHINE_INTERNAL_H

#include "topo/machine.h"

/* Visible pairs. */
double block_pairs(enum block_kind block, int64_t q, int64_t k);
/* Causal blocks, and full ones that were measured so; not a single point. */
int surface_squares_only(const struct surface *s);
/* Between a and b in logarithms; exactly a at weight 0. */
double log_blend(double a, double b, double weight);
/* At x on the line through (x1, y1) and (x2, y2), all positive: y = a + b x with
 * a, b >= 0, through the first point alone if the two say otherwise. */
double affine(double x1, double y1, double x2, double y2, double x);
/* NULL, "" or "auto". */
int machine_any_kernel(const char *kernel);
double machine_log_distance(double a, double b);        /* octaves */

#endif
