/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the cuDNN backend: what of a call both passes need. */
#ifndef SPAR_CUDNN_CALL_H
#define SPAR_CUDNN_CALL_H

#include "kernel/cudnn_attention.h"
#include "kernel/cudnn_result.h"

enum { CALL_SEGMENTS = 32 };    /* with more the cuda backend does it */

/* Why cuDNN does not take a call; NULL: it does, as far as the inputs say. */
const char *call_refusal(const struct attend_args *a);
/* Of the inputs' type, its rows as cuDNN reads them. */
int call_is_input(const struct tensor *t, enum dtype type);

/* What forward and backward of a segment have in common. */
struct attention_shape call_shape(const struct attend_args *a,
                                  const struct segment *s);

/* The numbers that operands point to. */
struct call_numbers {
    float scale, masked, one, high_plus_one;
    int32_t minus_low;
};
/* q, k, v, the mask and the scale of a segment into data[ATTENTION_NAMES]. */
void call_inputs(void **data, struct call_numbers *n,
                 const struct attend_args *a, const struct segment *s);

/* Gives work space to every t[i] that has no memory.  Returns `bytes` more for
 * cuDNN; all is lost at the next call. */
void *call_allocate(struct tensor *const *t, int n, int64_t bytes);

/* Where cuDNN's part of a result goes: the rows of the segment, or nowhere
 * yet. */
struct tensor call_destination(const struct result *r, const struct segment *s,
                               enum dtype type);

/* ---- Backward (cudnn_backward.c) ----------------------------------------- */

/* `repeatable`: the same bits every time. */
const char *backward_refusal(const struct attend_args *a, int repeatable);
void cudnn_attend_backward(const struct attend_args *a);
void cudnn_attend_backward_repeatable(const struct attend_args *a);

#endif
