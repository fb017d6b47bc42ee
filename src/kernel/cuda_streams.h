/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams of the device that the thread has opened, for those that enqueue work
 * there themselves. */
#ifndef SPAR_CUDA_STREAMS_H
#define SPAR_CUDA_STREAMS_H

#include <cuda_runtime_api.h>

#include "kernel/device.h"

#ifdef __cplusplus
extern "C" {
#endif

cudaStream_t cuda_stream(int number);   /* 0 .. DEVICE_STREAMS - 1 */
cudaStream_t cuda_stream_current(void);

/* Work space of the current stream, in the order of its work: what was written
 * is lost at the next call for the same use.  Kept and reused; it grows, then
 * waiting for the device, only when more is asked for than ever before. */
enum cuda_work {
    CUDA_WORK_LIST, CUDA_WORK_SLOPES, CUDA_WORK_PARTIAL, CUDA_WORK_CUDNN,
    CUDA_WORK_USES
};
void *cuda_workspace(enum cuda_work use, size_t bytes);

/* device.copy_rows() within the open device, by a kernel. */
void cuda_copy_strided(void *dst, size_t dst_step, const void *src,
                       size_t src_step, size_t block, size_t rows);

#ifdef __cplusplus
}
#endif

#endif
