/* SPDX-License-Identifier: Apache-2.0
 *
 * Schedules in the words of a trace: names, kinds and lanes, and a record of
 * each op.  The same for measured and simulated traces. */
#ifndef SPAR_RECORDS_H
#define SPAR_RECORDS_H

#include "schedule/schedule.h"
#include "trace/trace.h"

struct records {
    const char **names;         /* interned */
    int64_t n, cap;
    int64_t *slots, n_slots;    /* open addressing; 0 empty, else index + 1 */
};

void records_init(struct records *r);
void records_clear(struct records *r);
/* A record of each op of `s`, the caller's to free. */
struct op_record *records_of(struct records *r, const struct schedule *s);
/* Names, kinds and lanes into `t`, which borrows them. */
void records_describe(const struct records *r, struct trace *t);

/* One entry of a trace; strategy, hash, layout, ops and peaks of the frozen
 * schedules of all ranks (0: it did not apply).  Of NULL among them nothing is
 * known, and the hash is 0.  The other fields are left zero. */
struct trace_entry records_entry(struct records *r, const char *strategy,
                                 const char *layout,
                                 const struct schedule *const *schedules,
                                 int64_t ranks);
void records_entry_clear(struct trace_entry *x);        /* repeat_ns too */

#endif
