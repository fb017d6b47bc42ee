/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#define CPU_ISA cpu_avx512
#define CPU_ISA_NAME "avx512"
#include "kernel/cpu_isa.h"
