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
#include "kernel/cpu_scores.h"
#include "kernel/cpu_linear.h"
#include "kernel/cpu_linear_state.h"
#include "kernel/cpu_linear_intra.h"

const struct cpu_isa cpu_avx2 = {
    .name = "avx2",
    .attend = isa_attend,
    .attend_backward = isa_attend_backward,
    .delta = isa_delta,
    .merge = isa_merge,
    .sum = isa_sum,
    .convert = isa_convert,
    .exp = isa_exp,
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
};
