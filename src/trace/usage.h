/* SPDX-License-Identifier: Apache-2.0
 *
 * What the spans of an entry say: where the time of each rank went, and how
 * long each op took. */
#ifndef SPAR_TRACE_USAGE_H
#define SPAR_TRACE_USAGE_H

#include "base/json.h"
#include "trace/trace.h"

/* How the lane that computes (lane 0) of one rank spent a repeat, from its
 * start to the last end of any span of any rank: ns, and
 *     busy + wait + delay + tail = that time.
 * Where a span starts after the previous one of the lane ended (or after the
 * start of the repeat), the gap up to its `ready` is wait, for data; the rest
 * of the gap is delay, the executor's own.  What follows the lane's last span
 * is tail.  Several repeats: the median of each. */
struct usage {
    double busy, wait, delay, tail;
    int64_t spans;              /* of all lanes and repeats */
    int32_t last_op;            /* ended last, in the last repeat; -1: none */
};
/* [ranks]; the caller frees. */
struct usage *usage_measure(const struct span *spans, int64_t n, int64_t entry,
                            int32_t ranks);

/* One rank in one repeat that ended at `end` (0: not known, tail 0): the
 * spans s[0 .. n).  The run of spans from i on that share entry, repeat and
 * rank ends at usage_slice_end(). */
struct usage usage_slice(const struct span *s, int64_t n, int64_t end);
int64_t usage_slice_end(const struct span *s, int64_t n, int64_t i);

/* Time of an op: the union of its spans (an op may be split, or hold two
 * lanes); several repeats: the median.  Sorted by (rank, op). */
struct op_time {
    int32_t rank, op;
    double ns;
};
int64_t usage_ops(const struct span *spans, int64_t n, int64_t entry,
                  struct op_time **ops);

/* Median of repeat_ns. 0 of none. */
double entry_makespan(const struct trace_entry *x);

/* Into (entry, repeat, rank, start) order. */
void spans_sort(struct span *spans, int64_t n);

/* ---- Words --------------------------------------------------------------- */

/* "1.234 ms"; returns text. */
const char *ns_text(char text[24], double ns);
/* Name of an op of an entry, host of a rank; "?" if the trace has none. */
const char *trace_op_name(const struct trace *t, int64_t entry, int32_t rank,
                          int32_t op);
const char *trace_host(const struct trace *t, int32_t rank);
const char *trace_slot(const struct trace *t, int32_t rank);
const char *trace_place(const struct trace *t, int32_t rank);
/* Members of JSON: seconds from ns, a schedule's hash, an object of seconds. */
void json_ns(struct json *j, const char *key, double ns);
void json_hash(struct json *j, const char *key, uint64_t hash);
void usage_json(struct json *j, const char *key, const struct usage *u);

#endif
