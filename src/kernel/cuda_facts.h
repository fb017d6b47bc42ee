/* SPDX-License-Identifier: Apache-2.0
 *
 * What a CUDA device is and the most that it can do (device.h). */
#ifndef SPAR_CUDA_FACTS_H
#define SPAR_CUDA_FACTS_H

#include "kernel/device.h"

#ifdef __cplusplus
extern "C" {
#endif

int cuda_facts(int number, struct device_facts *f, struct error *e);

#ifdef __cplusplus
}
#endif

#endif
