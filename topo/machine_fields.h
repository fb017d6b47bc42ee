/* SPDX-License-Identifier: Apache-2.0
 *
 * The fields of a machine file, for reading and for writing. */
#ifndef SPAR_MACHINE_FIELDS_H
#define SPAR_MACHINE_FIELDS_H

#include "topo/machine.h"

enum field_kind { FIELD_TEXT, FIELD_INT, FIELD_COUNT, FIELD_BYTES, FIELD_BOOL,
                  FIELD_REAL };

/* `unit`: of FIELD_REAL and FIELD_BYTES: a plain number, or a quantity in it.
 * `size`: of FIELD_TEXT; 0: allocated. */
struct field {
    const char *key;
    enum field_kind kind;
    size_t offset, size;
    const char *unit, *comment;
};

/* key NULL last.  device_fields: written where there are devices, at_once
 * where `heads` are at work at once, collective_group where ranks are cores,
 * spread_fields where stated. */
extern const struct field machine_fields[], device_fields[], link_fields[],
    segment_fields[], contention_fields[], surface_fields[], at_once_fields[],
    spread_fields[], rate_fields[], rate_at_once_fields[],
    collective_fields[], collective_group_fields[],
    collective_spread_fields[];
/* Of a cluster. */
extern const struct field cluster_link_fields[],
    cluster_link_spread_fields[], cluster_switch_fields[],
    cluster_gpu_fields[], cluster_host_fields[], cluster_fabric_fields[];

/* "key: value, ...", without end of line (machine_write.c). */
void fields_write(FILE *out, const struct field *fields, const void *base);
/* The fewest digits that read back equal. */
const char *real_text(double value, char *text, size_t size);

#endif
