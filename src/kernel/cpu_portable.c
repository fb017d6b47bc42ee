/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#define CPU_ISA cpu_portable
#define CPU_ISA_NAME "portable"
#include "kernel/cpu_isa.h"
