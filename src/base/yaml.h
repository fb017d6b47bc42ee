/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML files: libyaml's document tree, which keeps line and column, and typed
 * access that reports FILE:LINE:COL: KEY: what is wrong and what would be
 * right.  One document; mappings, lists and scalars; anchors work, merge keys
 * do not. All errors are SPAR_USAGE. */
#ifndef SPAR_YAML_H
#define SPAR_YAML_H

#include "base/base.h"

#include <stdio.h>

struct yaml;

/* Parse `size` bytes; `path` only names the file in errors. */
struct yaml *yaml_parse(const char *path, const char *text, size_t size,
                        struct error *e);
void yaml_destroy(struct yaml *y);

/* "key.path=value": replace or add a value, in YAML flow text; list items by
 * index; mappings on the way are made.  Errors name the assignment in place of
 * file and line. */
int yaml_set(struct yaml *y, const char *assignment, struct error *e);

/* Nodes are positive numbers; 0 is none. */
enum yaml_type { YAML_NONE, YAML_SCALAR, YAML_LIST, YAML_MAP };
int yaml_root(struct yaml *y);
enum yaml_type yaml_type(struct yaml *y, int node);
int yaml_get(struct yaml *y, int map, const char *key);
int64_t yaml_count(struct yaml *y, int node);       /* items or pairs */
int yaml_item(struct yaml *y, int list, int64_t i);
int yaml_pair(struct yaml *y, int map, int64_t i, const char **key);
const char *yaml_text(struct yaml *y, int scalar);
char *yaml_flow(struct yaml *y, int node);          /* in one line; free() */
int yaml_is_null(struct yaml *y, int node);         /* none, or a null scalar */

/* "FILE:LINE:COL: KEY: ..." of this node; returns -1. */
int yaml_fail(struct yaml *y, int node, const char *key, struct error *e,
              const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Put where the node stands in front of a message that already is in *e. */
int yaml_locate(struct yaml *y, int node, struct error *e);

/* The node is a mapping, its keys are among `known` (NULL last), none twice.
 * `key`: its own dotted name, "" at the root. */
int yaml_check_keys(struct yaml *y, int map, const char *key,
                    const char *const *known, struct error *e);

/* Typed scalars; 0 or -1.  An absent node (0) leaves *out alone. */
int yaml_int(struct yaml *y, int node, const char *key, int64_t least,
             int64_t most, int64_t *out, struct error *e);
int yaml_number(struct yaml *y, int node, const char *key, double least,
                double most, double *out, struct error *e);
int yaml_word(struct yaml *y, int node, const char *key,
              const char *const *words, int *out, struct error *e);
int yaml_bool(struct yaml *y, int node, const char *key, int *out,
              struct error *e);
/* Copied, owned by the caller. */
int yaml_string(struct yaml *y, int node, const char *key, char **out,
                struct error *e);

/* The tree as JSON; the caller frees it. */
char *yaml_json(struct yaml *y);
/* A mapping as YAML again, comments gone, without the key `but` (NULL: all). */
void yaml_print(struct yaml *y, FILE *out, const char *but);

#endif
