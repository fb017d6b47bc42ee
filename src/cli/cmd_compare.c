/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "trace/trace.h"

struct compare_options {
    int format;
};

static const struct option_row compare_rows[] = {
    ROW_FORMAT(compare_options),
    ROW_END
};

static int compare_exec(const struct call *call, struct error *e)
{
    const struct compare_options *o = call->options;
    struct trace *measured = trace_read(call->operands[0], e);
    struct trace *simulated = measured ? trace_read(call->operands[1], e)
                                       : NULL;
    int rc = -1;

    if (simulated)
        rc = trace_compare(measured, simulated, o->format == FORMAT_JSON,
                           stdout, e);
    trace_destroy(measured);
    trace_destroy(simulated);
    return rc;
}

const struct command command_compare = {
    "compare", "MEASURED SIMULATED", "Compare two traces of the same "
    "schedules, op by op.", compare_rows, sizeof(struct compare_options), NULL,
    2, 2, 0, compare_exec
};
