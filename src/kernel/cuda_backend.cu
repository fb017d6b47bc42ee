/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <cuda_runtime.h>

#include "kernel/cuda_backend.h"

static __global__ void add_one(int *x)
{
    *x += 1;
}

/* Does a kernel run on `device`? */
static int device_works(int device)
{
    int *x = NULL, value = 41;

    if (cudaSetDevice(device) != cudaSuccess ||
        cudaMalloc((void **)&x, sizeof *x) != cudaSuccess)
        return 0;
    cudaMemcpy(x, &value, sizeof value, cudaMemcpyHostToDevice);
    add_one<<<1, 1>>>(x);
    cudaMemcpy(&value, x, sizeof value, cudaMemcpyDeviceToHost);
    cudaFree(x);
    return cudaGetLastError() == cudaSuccess && value == 42;
}

int cuda_device_count(void)
{
    int devices = 0, works = 0;

    if (cudaGetDeviceCount(&devices) != cudaSuccess)
        return 0;
    for (int i = 0; i < devices; i++)
        works += device_works(i);
    return works;
}
