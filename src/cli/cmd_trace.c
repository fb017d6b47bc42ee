/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "trace/trace.h"

struct trace_options {
    int format;
};

static const struct option_row trace_rows[] = {
    ROW_FORMAT(trace_options),
    ROW_END
};

static int trace_exec(const struct call *call, struct error *e)
{
    const struct trace_options *o = call->options;

    return trace_summary(call->operands[0], o->format == FORMAT_JSON, stdout,
                         e);
}

const struct command command_trace = {
    "trace", "TRACE", "Summarise a trace, or what a killed run left (.part).",
    trace_rows, sizeof(struct trace_options), NULL, 1, 1, 0, trace_exec
};
