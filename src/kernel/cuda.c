/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend: kernels of our own on the CUDA device that the thread has
 * opened (device.h). */
#include <config.h>

#include "kernel/backends.h"
#include "kernel/cuda_kernels.h"

static int cuda_available(struct error *e)
{
    if (device_cuda.count() > 0)
        return 0;
    return fail(e, "kernel \"cuda\": there is no CUDA device here");
}

const struct kernel_backend kernel_cuda = {
    .name = "cuda",
    .summary = "our own kernels on a CUDA device, tensor cores for 16 bits",
    .device = &device_cuda,
    .available = cuda_available,
    .attend = cuda_attend,
    .attend_backward = cuda_attend_backward,
    CUDA_ENTRIES
};
