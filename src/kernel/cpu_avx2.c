/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#define CPU_ISA cpu_avx2
#define CPU_ISA_NAME "avx2"
#include "kernel/cpu_isa.h"
