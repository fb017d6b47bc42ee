/* SPDX-License-Identifier: Apache-2.0
 *
 * Which device each rank of a host works on, and which cores and which network
 * interface are near it. */
#ifndef SPAR_SLOTS_H
#define SPAR_SLOTS_H

#include "base/base.h"

/* ---- Near a device, as hwloc sees it (near.c) ---------------------------- */

struct slot_device {
    uint64_t id;                /* the same in every process of the host */
    uint64_t cores;             /* names the set of cores near it; 0 unknown */
    int32_t near;               /* this process may run on some of them */
    char nic[32];               /* nearest network interface; "" none */
};
/* `pci`: its address, "0000:18:00.0". Sets all but the id. */
void topo_near(const char *pci, struct slot_device *d);

/* Binds the process to its share, number `index` of `of`, of the cores near the
 * device; of all that it may use, where hwloc does not know it.  Left alone if
 * the launcher bound it to fewer than all. 1: bound, 0: left alone. */
int topo_bind_near(const char *pci, int index, int of);

/* The hardware threads that the process may run on, "0-7,16". */
void topo_bound(char *text, size_t size);

/* ---- Dealing (slots.c) -------------------------------------------------- */

enum { SLOT_DEVICES = 16 };

/* What one rank of a host sees. */
struct slot_view {
    int32_t n;
    struct slot_device devices[SLOT_DEVICES];
};
/* Deals the devices of one host evenly among its ranks, each a near one where
 * there is one: chosen[r] is of the list of rank r, -1 if that is empty. */
void slots_deal(const struct slot_view *views, int ranks, int *chosen);

#endif
