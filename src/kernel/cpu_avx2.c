/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/cpu.h"
#include "kernel/vector.h"

#include "kernel/cpu_gemm.h"
#include "kernel/cpu_rows.h"

#include "kernel/cpu_attend.h"
#include "kernel/cpu_backward.h"

const struct cpu_isa cpu_avx2 = {
    .name = "avx2",
    .attend = isa_attend,
    .attend_backward = isa_attend_backward,
    .delta = isa_delta,
    .merge = isa_merge,
    .sum = isa_sum,
    .convert = isa_convert,
    .exp = isa_exp,
};
