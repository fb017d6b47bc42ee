/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "mpi/calibrate.h"

#include <stdlib.h>

struct calibrate_options {
    const char *output, *kernel;
    struct int_list head_dims, groups, heads, dtypes;
    int quick;
};

static const char *const dtype_words[] = { "fp32", "bf16", "fp16", NULL };

static const struct option_row calibrate_rows[] = {
    ROW_OUTPUT(calibrate_options,
               "the machine file ($SPAR_LOCAL, ~/.config/spar/local.yaml)"),
    { "kernel", 0, OPTION_STRING, offsetof(struct calibrate_options, kernel),
      "NAME", 0, 0, NULL, "kernel backend to measure (auto)" },
    { "head-dims", 0, OPTION_INTS,
      offsetof(struct calibrate_options, head_dims), "N,...", 1, 1 << 20, NULL,
      "head sizes to measure (64,128)" },
    { "groups", 0, OPTION_INTS, offsetof(struct calibrate_options, groups),
      "N,...", 1, 1 << 20, NULL, "query heads per KV head (1,4)" },
    { "heads", 0, OPTION_INTS, offsetof(struct calibrate_options, heads),
      "N,...", 1, 1 << 20, NULL,
      "query heads that a device computes at once (32,16,8,4)" },
    { "dtypes", 0, OPTION_WORDS, offsetof(struct calibrate_options, dtypes),
      "TYPE,...", 0, 0, dtype_words, "fp32, bf16, fp16 (fp32; device: bf16)" },
    { "quick", 0, OPTION_FLAG, offsetof(struct calibrate_options, quick), NULL,
      0, 0, NULL, "a coarse grid, in less than a minute" },
    ROW_END
};

static int calibrate_exec(const struct call *call, struct error *e)
{
    const struct calibrate_options *o = call->options;
    int64_t n = o->dtypes.n;
    enum dtype *dtypes = xcalloc((size_t)n + 1, sizeof *dtypes);

    (void)e;
    for (int64_t i = 0; i < n; i++)
        dtypes[i] = (enum dtype)o->dtypes.items[i];
    struct calibrate_request request = {
        .output = o->output, .kernel = o->kernel,
        .head_dims = o->head_dims.items, .n_head_dims = o->head_dims.n,
        .groups = o->groups.items, .n_groups = o->groups.n,
        .heads = o->heads.items, .n_heads = o->heads.n,
        .dtypes = n ? dtypes : NULL, .n_dtypes = n, .quick = o->quick
    };
    int status = calibrate_command(&request);
    free(dtypes);
    return status;
}

const struct command command_calibrate = {
    "calibrate", "", "Measure this machine, under mpiexec, for "
    "`machine: local`.",
    calibrate_rows, sizeof(struct calibrate_options), NULL, 0, 0, 1,
    calibrate_exec
};
