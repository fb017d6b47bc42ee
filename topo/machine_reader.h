/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files that read machine files. */
#ifndef SPAR_MACHINE_READER_H
#define SPAR_MACHINE_READER_H

#include "base/yaml.h"
#include "topo/machine_fields.h"

extern const struct field no_fields[];

/* `key`.`last` */
void machine_join(char *out, size_t size, const char *key, const char *last);
/* A plain number in `unit`, or "400 GB/s". */
int machine_read_real(struct yaml *y, int node, const char *key,
                      const char *unit, double *out, struct error *e);
/* The fields of a mapping, of two tables; `others`: keys that the caller reads
 * itself. */
int machine_read_fields(struct yaml *y, int map, const char *key,
                        const struct field *fields, const struct field *more,
                        const char *const *others, void *base,
                        struct error *e);
int machine_need(struct yaml *y, int map, const char *key, const char *last,
                 struct error *e);

/* An item of a list, into a struct of that name. */
int machine_read_surface(struct yaml *y, int map, const char *key, void *out,
                         struct error *e);
int machine_read_rate(struct yaml *y, int map, const char *key, void *out,
                      struct error *e);
int machine_read_copy(struct yaml *y, int map, const char *key, void *out,
                      struct error *e);
int machine_read_collective(struct yaml *y, int map, const char *key,
                            void *out, struct error *e);
/* `class` of a mapping, which must be there. */
int machine_read_class(struct yaml *y, int map, const char *key, int *class,
                       struct error *e);
/* `segments` of a mapping: allocated, also if it fails. */
int machine_read_segments(struct yaml *y, int map, const char *key,
                          int64_t *n, struct link_segment **out,
                          struct error *e);

#endif
