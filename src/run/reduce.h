/* SPDX-License-Identifier: Apache-2.0
 *
 * Reductions: all-reduces and the exclusive scan.  They work on records: what
 * the tiles of the op hold of one row and head, one after another in fp32.
 *   max, sum    any numbers, elementwise
 *   merge       (o [E], lse): a partial result of attention
 *   scan        (state [D * E], factor), the factor by which what was before
 *               the member's tokens has decayed after them
 * The records of an op lie in its staging tile. */
#ifndef SPAR_REDUCE_H
#define SPAR_REDUCE_H

#include "run/memory.h"

struct records {
    float *data;                /* [n, width] */
    int64_t n, width;
    float *device;              /* where they are, while `data` is a copy */
};

/* Where the records of a reduction are. */
struct records reduce_records(const struct schedule *s, const struct op *op,
                              const struct memory *m);
/* The op's own tiles into its records. */
void reduce_pack(const struct schedule *s, const struct op *op,
                 struct memory *m);
/* The records, reduced, into the op's results; zeros at the first member of a
 * scan, which gets no records. */
void reduce_unpack(const struct schedule *s, const struct op *op,
                   struct memory *m);

/* Records of a device to the host, where they can be reduced, and back. */
void reduce_to_host(struct records *r, const struct device *device);
void reduce_from_host(struct records *r, const struct device *device);

/* b = a o b for n records of `width` floats; `a` is of earlier members.
 * Merge: weights are relative to the larger lse, (0, -inf) is the identity.
 * Scan (LASP-2, arXiv:2502.07563, as a scan): (Ma, fa) o (Mb, fb) =
 * (fb Ma + Mb, fa fb), associative but not commutative. */
typedef void (*reduce_fn)(const float *a, float *b, int64_t n, int64_t width);
extern const reduce_fn reduce_with[COLLECTIVES];    /* NULL: reduces not */

/* The records of n members in order, alike in shape: each becomes the reduction
 * of all; scan: of those before it, while those of the first stay. */
void reduce_all(enum collective what, const struct records *r, int64_t n);

/* Payload that member `me` sends when `bytes` of records are reduced
 * (interface.md, section 4). */
int64_t reduce_sent_bytes(enum collective what, int64_t members, int64_t me,
                          int64_t bytes);

#endif
