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
    .delta = cuda_delta,
    .merge = cuda_merge,
    .sum = cuda_sum,
    .rescale = cuda_rescale,
    .normalize = cuda_normalize,
    .scores = cuda_scores,
    .weigh = cuda_weigh,
    .weigh_transposed = cuda_weigh_transposed,
    .softmax = cuda_softmax,
    .softmax_backward = cuda_softmax_backward,
    .state = cuda_state,
    .state_scan = cuda_state_scan,
    .linear_intra = cuda_linear_intra,
    .linear_inter = cuda_linear_inter,
    .linear_intra_backward = cuda_linear_intra_backward,
    .linear_inter_dq = cuda_linear_inter_dq,
    .linear_inter_dkv = cuda_linear_inter_dkv,
};
