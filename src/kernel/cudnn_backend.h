/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuDNN backend, kernel_cudnn: attention by cuDNN's fused engines
 * (cudnn_attention.h), everything else by the cuda backend. Present where the
 * build found nvcc and cuDNN (HAVE_CUDNN).
 *
 * Taken are calls in bf16 or fp16 with head sizes that are multiples of 8, rows
 * aligned to 16 bytes, heads in whole groups and up to 32 segments of 17 rows
 * and more; other calls go to the cuda backend as they are.  Forward: same
 * inputs, same bits.  Backward: dq is summed in the order in which blocks of
 * keys finish. Work space beside the memory plan, per stream and of one
 * segment: forward, what is merged; backward n_q x heads x (4 D + 2 E + 4)
 * bytes, n_k x heads x 2 (D + E) with grouped heads, and results that are
 * added. */
#ifndef SPAR_CUDNN_BACKEND_H
#define SPAR_CUDNN_BACKEND_H

#include "kernel/kernel.h"

/* 1 if cuDNN will take the call, whose plans are then there (building one takes
 * 0.1 to 1.5 s, once per shape and thread); 0: the cuda backend will.  Of the
 * tensors only shape and alignment matter. */
int cudnn_prepare(const struct attend_args *a, int backward);

#endif
