/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of the device that the thread has opened: for CUDA sources only. */
#ifndef SPAR_CUDA_STREAMS_H
#define SPAR_CUDA_STREAMS_H

#include <cuda_runtime.h>

#include "kernel/device.h"

cudaStream_t cuda_stream(int number);   /* 0 .. DEVICE_STREAMS - 1 */
cudaStream_t cuda_stream_current(void);

#endif
