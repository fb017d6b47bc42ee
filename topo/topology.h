/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files that read hwloc. */
#ifndef SPAR_TOPOLOGY_H
#define SPAR_TOPOLOGY_H

#include <hwloc.h>

/* Of this node, `devices`: also those of input and output; NULL: hwloc failed.
 * The caller destroys it. */
hwloc_topology_t topology_load(int devices);
/* The PUs that this process may run on; caller frees. */
hwloc_bitmap_t topology_usable(hwloc_topology_t t);

#endif
