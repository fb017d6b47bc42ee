/* SPDX-License-Identifier: Apache-2.0
 *
 * What the cuDNN backend needs of the device beyond cuDNN: launchers of
 * cudnn_device.cu, present where the build found nvcc and cuDNN.  They enqueue
 * on the thread's current stream. */
#ifndef SPAR_CUDNN_DEVICE_H
#define SPAR_CUDNN_DEVICE_H

#include "kernel/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Some o [n, H, E] of the type of d_o with rowsum(d_o * o) = delta to 2^-16 and
 * better, all but two elements a row 0; 0 where d_o is 0.  It stands for the
 * output in cuDNN's backward, which takes row sums in no other form.  d_o [n,
 * H, E] bf16 or fp16, E a multiple of 8, at most 256; rows of both aligned to
 * 16 bytes; delta [n, H, 1] fp32. */
void cudnn_output_of_sums(struct tensor d_o, struct tensor delta,
                          struct tensor o);

/* y [H, n] dense = x [n, H, 1], fp32. */
void cudnn_turn(struct tensor x, void *y);

/* to (+)= from, of equal shape; `from` bf16 or fp16, all alike. */
struct delivery {
    struct tensor to, from;
    int store;                  /* 0: add, fp32 */
    unsigned first_block;       /* set by cudnn_deliver() */
};
/* n <= 3 of them at once.  16 bytes at a time where `to` is fp32 and all rows
 * are aligned. */
void cudnn_deliver(struct delivery *d, int n);

#ifdef __cplusplus
}
#endif

#endif
