/* SPDX-License-Identifier: Apache-2.0
 *
 * What a calibration says about a CUDA device, and host memory that its copy
 * engines reach by themselves.  Present where the build found nvcc. */
#ifndef SPAR_CUDA_VERSIONS_H
#define SPAR_CUDA_VERSIONS_H

#include "base/base.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of the device that the thread has opened: "NVIDIA H100 80GB HBM3". */
void cuda_device_name(char *text, size_t size);
/* "CUDA 13.0, driver 580.95.05, cuDNN 9.19.0" */
void cuda_versions(char *text, size_t size);

/* Pinned; NULL: refused. */
void *cuda_host_alloc(size_t bytes);
void cuda_host_free(void *p);

#ifdef __cplusplus
}
#endif

#endif
