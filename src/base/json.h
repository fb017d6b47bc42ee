/* SPDX-License-Identifier: Apache-2.0
 *
 * A small JSON writer.  Values inside an object take a key, values inside an
 * array NULL.  Objects get a line per member, arrays of plain values one line.
 */
#ifndef SPAR_JSON_H
#define SPAR_JSON_H

#include "base/base.h"

#include <stdio.h>

struct json {
    FILE *out;
    int depth;
    char open[32];              /* '{' or '[' of each level */
    int filled[32];             /* something was written on that level */
};

void json_begin(struct json *j, FILE *out);
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end(struct json *j);                  /* of object or array */
void json_text(struct json *j, const char *key, const char *value);
void json_int(struct json *j, const char *key, int64_t value);
void json_real(struct json *j, const char *key, double value);
void json_bool(struct json *j, const char *key, int value);
void json_null(struct json *j, const char *key);
/* An array of integers; NULL: null. */
void json_ints(struct json *j, const char *key, const int64_t *values,
               int64_t n);
/* NULL text and reals that are not finite are written as null. */

#endif
