/* SPDX-License-Identifier: Apache-2.0
 *
 * The members of the table of kernel backends. */
#ifndef SPAR_BACKENDS_H
#define SPAR_BACKENDS_H

#include "kernel/kernel.h"

extern struct kernel_backend kernel_cpu;        /* chosen before main() */
extern const struct kernel_backend kernel_reference, kernel_null;
#ifdef HAVE_CUDA
extern const struct kernel_backend kernel_cuda, kernel_null_cuda;
#endif
#ifdef HAVE_CUDNN
extern const struct kernel_backend kernel_cudnn;
#endif

#endif
