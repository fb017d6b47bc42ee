/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SPAR_TRACE_FILE_H
#define SPAR_TRACE_FILE_H

#include "trace/h5.h"
#include "trace/trace.h"

/* Attribute schema_version; one more whenever a reader would go wrong. */
enum { TRACE_SCHEMA = 1 };

/* /clock, of t->ranks rows. */
int clock_put(hid_t file, const struct trace *t);
int clock_get(const struct h5_in *in, struct trace *t);

/* Groups links and memory of an entry, where it has them. */
int trace_put_links(hid_t entry, const struct trace_entry *x);
int trace_put_memory(hid_t entry, const struct trace_entry *x);

#endif
