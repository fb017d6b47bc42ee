/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantities with SI units: "400 GB/s", "1.5 us", "80 GiB", "989 Tflop/s".
 * Inside the program: bytes, seconds, flop. */
#ifndef SPAR_UNITS_H
#define SPAR_UNITS_H

#include "base/base.h"

/* Parse a number, an SI prefix (f p n u m k M G T P; Ki Mi Gi Ti before B) and
 * `unit` ("B", "B/s", "s", "flop/s", ...), blanks optional.  Bits ("Gbit/s",
 * "Gb/s") are taken for bytes, 8 to one.  The unit may be left out only of 0. */
int quantity_parse(const char *text, const char *unit, double *value,
                   struct error *e);
/* "4.096 kB", "400 GB/s": four digits and a prefix. */
const char *quantity_print(double value, const char *unit, char *text,
                           size_t size);

#endif
