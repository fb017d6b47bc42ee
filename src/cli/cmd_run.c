/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "mpi/run.h"

struct run_options {
    int format;
    struct string_list sets;
    const char *output, *tensors;
};

static const struct option_row run_rows[] = {
    ROW_OUTPUT(run_options, "write the trace there (SCENARIO.run.h5)"),
    { "output-tensors", 0, OPTION_STRING, offsetof(struct run_options, tensors),
      "FILE", 0, 0, NULL, "write the results there, as HDF5" },
    ROW_SET(run_options),
    ROW_FORMAT(run_options),
    ROW_END
};

static int run_exec(const struct call *call, struct error *e)
{
    const struct run_options *o = call->options;
    struct run_request request = {
        .scenario = call->operands[0],
        .sets = (const char *const *)o->sets.items, .n_sets = (int)o->sets.n,
        .json = o->format == FORMAT_JSON, .output = o->output,
        .tensors = o->tensors, .command = call->line
    };

    (void)e;
    return run_command(&request);
}

const struct command command_run = {
    "run", "SCENARIO", "Run the strategies of a scenario under mpiexec, and "
    "verify them.", run_rows,
    sizeof(struct run_options), NULL, 1, 1, 1, run_exec
};
