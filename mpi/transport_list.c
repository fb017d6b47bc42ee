/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/transport_list.h"

#include "mpi/transport.h"

void transport_list(FILE *out)
{
    for (int i = 0; transports[i]; i++)
        fprintf(out, "  %-12s %s\n", transports[i]->name,
                transports[i]->summary);
}
