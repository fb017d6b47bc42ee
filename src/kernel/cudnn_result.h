/* SPDX-License-Identifier: Apache-2.0
 *
 * Results of an attend of several segments that are computed one by one: where
 * each goes, and which rows none of them writes. */
#ifndef SPAR_CUDNN_RESULT_H
#define SPAR_CUDNN_RESULT_H

#include "kernel/kernel.h"

struct tensor tensor_rows(struct tensor t, int64_t first, int64_t count);
size_t tensor_bytes(const struct tensor *t);
/* Its shape in `type`, without gaps between the rows, nowhere yet. */
struct tensor tensor_dense_like(struct tensor t, enum dtype type);
/* All rows to 16 bytes. */
int tensor_is_aligned(const struct tensor *t);

struct range {
    int64_t first, count;
};
struct range segment_query_rows(const struct segment *s);
struct range segment_key_rows(const struct segment *s);

/* What a segment computes is stored in its rows, or added to them.  A result
 * that is to be stored by segments with rows in common is cleared, then added
 * to. */
struct result {
    struct tensor t;
    struct range (*rows)(const struct segment *s);
    int store, clear;
};

/* 1; 0 if the result cannot be computed segment by segment: it is of 16 bit and
 * more than `writers` of them would add to a row, rounding each time. */
int result_open(struct result *r, const struct attend_args *a,
                int64_t writers);
/* Is a segment's part stored, not added? */
int result_stores(const struct result *r);
/* Can a kernel that writes whole results in `type` write there itself? */
int result_is_direct(const struct result *r, enum dtype type);
/* The rows of a segment. */
struct tensor result_rows(const struct result *r, const struct segment *s);
/* The next rows from `from` on that the caller has to clear; count 0: none. */
struct range result_gap(const struct result *r, const struct attend_args *a,
                        int64_t from);

#endif
