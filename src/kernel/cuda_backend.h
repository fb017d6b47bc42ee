/* SPDX-License-Identifier: Apache-2.0
 *
 * The CUDA backend, so far only a probe: launchers of cuda_backend.cu, present
 * where the build found nvcc (HAVE_CUDA). */
#ifndef SPAR_CUDA_BACKEND_H
#define SPAR_CUDA_BACKEND_H

#ifdef __cplusplus
extern "C" {
#endif

/* The number of CUDA devices that ran a kernel and returned the right answer;
 * 0 where there is no device or no driver. */
int cuda_device_count(void);

#ifdef __cplusplus
}
#endif

#endif
