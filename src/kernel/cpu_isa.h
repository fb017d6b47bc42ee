/* SPDX-License-Identifier: Apache-2.0
 *
 * One instruction set's cpu kernels: defines CPU_ISA, a struct cpu_isa named
 * CPU_ISA_NAME, from the templates.  Included once in a file that is compiled
 * for the set. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/cpu.h"
#include "kernel/vector.h"

#include "kernel/cpu_gemm.h"
#include "kernel/cpu_rows.h"

#include "kernel/cpu_attend.h"
#include "kernel/cpu_backward.h"
#include "kernel/cpu_scores.h"
#include "kernel/cpu_linear.h"
#include "kernel/cpu_linear_state.h"
#include "kernel/cpu_linear_intra.h"

const struct cpu_isa CPU_ISA = {
    .kernels = {
        .name = CPU_ISA_NAME,
        .attend = isa_attend,
        .attend_backward = isa_attend_backward,
        .delta = isa_delta,
        .merge = isa_merge,
        .sum = isa_sum,
        .rescale = isa_rescale,
        .normalize = isa_normalize,
        .scores = isa_scores,
        .weigh = isa_weigh,
        .weigh_transposed = isa_weigh_transposed,
        .softmax = isa_softmax,
        .softmax_backward = isa_softmax_backward,
        .state = isa_state,
        .state_scan = isa_state_scan,
        .linear_intra = isa_linear_intra,
        .linear_inter = isa_linear_inter,
        .linear_intra_backward = isa_linear_intra_backward,
        .linear_inter_dq = isa_linear_inter_dq,
        .linear_inter_dkv = isa_linear_inter_dkv,
    },
    .convert = isa_convert,
    .exp = isa_exp,
};
