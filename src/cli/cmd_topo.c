/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "topo/machine.h"

struct topo_options {
    int format;
};

static const struct option_row topo_rows[] = {
    ROW_FORMAT(topo_options),
    ROW_END
};

static int topo_exec(const struct call *call, struct error *e)
{
    const struct topo_options *o = call->options;

    return topo_print(o->format == FORMAT_JSON, stdout, e);
}

const struct command command_topo = {
    "topo", "", "Print what hwloc sees of this node.", topo_rows,
    sizeof(struct topo_options), NULL, 0, 0, 0, topo_exec
};
