/* SPDX-License-Identifier: Apache-2.0
 *
 * What hwloc knows of the surroundings of a device. */
#include <config.h>

#include "topo/machine.h"
#include "topo/slots.h"
#include "topo/topology.h"

#include <stdio.h>
#include <string.h>

/* Its cores hang from the nearest object that is not one of input and output.
 * NULL: unknown. */
static hwloc_obj_t home_of(hwloc_topology_t t, const char *pci)
{
    hwloc_obj_t device = *pci ? hwloc_get_pcidev_by_busidstring(t, pci) : NULL;

    return device ? hwloc_get_non_io_ancestor_obj(t, device) : NULL;
}

static uint64_t hash_of(hwloc_const_bitmap_t set)
{
    char text[1024];

    hwloc_bitmap_list_snprintf(text, sizeof text, set);
    return hash_bytes(1, text, strlen(text));
}

/* ---- Network interfaces -------------------------------------------------- */

/* Ancestors that two devices have in common: the more, the nearer.  hwloc's own
 * function is not for objects of input and output. */
static int common_ancestors(hwloc_obj_t a, hwloc_obj_t b)
{
    int n = 0;

    for (; a; a = a->parent)
        for (hwloc_obj_t x = b; x; x = x->parent)
            n += x == a;
    return n;
}

/* InfiniBand before Ethernet, and the nearest of them. */
static int is_better(hwloc_obj_t o, int depth, hwloc_obj_t best, int best_depth)
{
    int fabric = o->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS;

    if (!best)
        return 1;
    if (fabric != (best->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS))
        return fabric;
    return depth > best_depth;
}

static void find_nic(hwloc_topology_t t, hwloc_obj_t device,
                     struct slot_device *d)
{
    hwloc_obj_t best = NULL, o = NULL;
    int best_depth = 0;

    while ((o = hwloc_get_next_osdev(t, o))) {
        if (o->attr->osdev.type != HWLOC_OBJ_OSDEV_OPENFABRICS
            && o->attr->osdev.type != HWLOC_OBJ_OSDEV_NETWORK)
            continue;
        int depth = common_ancestors(device, o);
        if (!is_better(o, depth, best, best_depth))
            continue;
        best = o;
        best_depth = depth;
    }
    if (best && best->name)
        snprintf(d->nic, sizeof d->nic, "%s", best->name);
}

void topo_near(const char *pci, struct slot_device *d)
{
    hwloc_topology_t t = topology_load(1);

    d->cores = 0;
    d->near = 0;
    d->nic[0] = '\0';
    if (!t)
        return;
    hwloc_obj_t home = home_of(t, pci);
    if (home) {
        hwloc_bitmap_t mine = topology_usable(t);
        d->cores = hash_of(home->cpuset);
        d->near = hwloc_bitmap_intersects(home->cpuset, mine);
        find_nic(t, hwloc_get_pcidev_by_busidstring(t, pci), d);
        hwloc_bitmap_free(mine);
    }
    hwloc_topology_destroy(t);
}

/* ---- Binding ------------------------------------------------------------- */

/* Cores `first` and following, `n` of them, of those in `set`; never none. */
static void take_cores(hwloc_topology_t t, hwloc_bitmap_t set, int index,
                       int of)
{
    int depth = hwloc_get_type_depth(t, HWLOC_OBJ_CORE), all = 0, at = 0;
    hwloc_bitmap_t share = hwloc_bitmap_alloc();
    hwloc_obj_t c = NULL;

    if (!share)
        die("hwloc: out of memory");
    while (depth >= 0 && (c = hwloc_get_next_obj_by_depth(t, depth, c)))
        all += hwloc_bitmap_intersects(c->cpuset, set);
    int first = all >= of ? all * index / of : index % (all ? all : 1);
    int end = all >= of ? all * (index + 1) / of : first + 1;
    while (depth >= 0 && (c = hwloc_get_next_obj_by_depth(t, depth, c)))
        if (hwloc_bitmap_intersects(c->cpuset, set) && at++ >= first
            && at <= end)
            hwloc_bitmap_or(share, share, c->cpuset);
    if (!hwloc_bitmap_iszero(share))
        hwloc_bitmap_and(set, set, share);
    hwloc_bitmap_free(share);
}

int topo_bind_near(const char *pci, int index, int of)
{
    topo_cores();               /* counted before anything binds */
    hwloc_topology_t t = topology_load(1);
    int bound = 0;

    if (!t)
        return 0;
    hwloc_bitmap_t set = topology_usable(t);
    /* A launcher that chose has left fewer than all. */
    if (hwloc_bitmap_isequal(set, hwloc_topology_get_allowed_cpuset(t))) {
        hwloc_obj_t home = home_of(t, pci);
        if (home && hwloc_bitmap_intersects(home->cpuset, set))
            hwloc_bitmap_and(set, set, home->cpuset);
        take_cores(t, set, index, of);
        bound = hwloc_set_cpubind(t, set, HWLOC_CPUBIND_PROCESS) == 0;
    }
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(t);
    return bound;
}

void topo_bound(char *text, size_t size)
{
    hwloc_topology_t t = topology_load(1);

    text[0] = '\0';
    if (!t)
        return;
    hwloc_bitmap_t set = topology_usable(t);
    hwloc_bitmap_list_snprintf(text, size, set);
    hwloc_bitmap_free(set);
    hwloc_topology_destroy(t);
}
