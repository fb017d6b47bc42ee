/* SPDX-License-Identifier: Apache-2.0
 *
 * What a thread keeps of cuDNN: a handle, and the plans of its device, built
 * when they are first asked for (0.1 s; a new kind of mask 1 to 1.5 s). */
#ifndef SPAR_CUDNN_STATE_H
#define SPAR_CUDNN_STATE_H

#include "kernel/cudnn_attention.h"

/* The handle for the device that the thread has opened, its work going to the
 * thread's current stream. Dies if cuDNN does not start. */
cudnnHandle_t cudnn_open(void);

/* After cudnn_open().  NULL if cuDNN has none for the shape, or this thread has
 * too many. */
const struct attention_plan *cudnn_plan(const struct attention_shape *s);

#endif
