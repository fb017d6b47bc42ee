/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs from hwloc: this node, synthetic descriptions, XML. */
#include <config.h>

#include "topo/reader.h"
#include "topo/topology.h"

#include <hwloc/distances.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where a conversion is.  A vertex of an object is in its userdata, plus 1. */
struct site {
    hwloc_topology_t t;
    struct graph *g;
    int32_t n_numa, *numa;      /* vertices */
    hwloc_obj_t *nodes;         /* [n_numa] */
};

static void mark(hwloc_obj_t o, int32_t vertex)
{
    o->userdata = (void *)(intptr_t)(vertex + 1);
}

static int32_t marked(hwloc_obj_t o)
{
    return (int32_t)(intptr_t)o->userdata - 1;
}

/* `rate` B/s, 0: unknown. */
static void join(struct site *s, int32_t a, int32_t b, enum edge_type type,
                 double rate)
{
    rate = rate > 0 ? rate : INFINITY;
    struct edge like = { .type = type, .bandwidth = { rate, rate } };

    graph_edge(s->g, a, b, &like);
}

/* ---- Memory, caches, cores ---------------------------------------------- */

/* Memory of the same cores, or of none, is no domain of its own. */
static int is_domain(const struct site *s, hwloc_obj_t node)
{
    if (node->cpuset == NULL || hwloc_bitmap_iszero(node->cpuset))
        return 0;
    for (int32_t i = 0; i < s->n_numa; i++)
        if (hwloc_bitmap_isequal(s->nodes[i]->cpuset, node->cpuset))
            return 0;
    return 1;
}

/* NUMA nodes, or packages where these are more. */
static void add_domains(struct site *s)
{
    int n = hwloc_get_nbobjs_by_type(s->t, HWLOC_OBJ_NUMANODE);
    int packages = hwloc_get_nbobjs_by_type(s->t, HWLOC_OBJ_PACKAGE);
    hwloc_obj_type_t type = packages > n ? HWLOC_OBJ_PACKAGE
        : HWLOC_OBJ_NUMANODE;

    n = packages > n ? packages : n;
    s->numa = xcalloc((size_t)n + 1, sizeof *s->numa);
    s->nodes = xcalloc((size_t)n + 1, sizeof *s->nodes);
    for (int i = 0; i < n; i++) {
        hwloc_obj_t node = hwloc_get_obj_by_type(s->t, type, (unsigned)i);
        if (!is_domain(s, node))
            continue;
        int32_t v = graph_vertex(s->g, VERTEX_NUMA, 0, NULL);
        for (int32_t k = 0; k < s->n_numa; k++)
            join(s, s->numa[k], v, EDGE_SOCKET, 0);
        s->nodes[s->n_numa] = node;
        s->numa[s->n_numa++] = v;
    }
}

/* The domain of most of these cores, the first where none has any. */
static int32_t domain_of(const struct site *s, hwloc_const_cpuset_t cpus)
{
    for (int32_t i = 0; cpus && i < s->n_numa; i++)
        if (hwloc_bitmap_intersects(s->nodes[i]->cpuset, cpus))
            return s->numa[i];
    return s->numa[0];
}

static int cores_below(const struct site *s, hwloc_obj_t o,
                       hwloc_obj_type_t core)
{
    return hwloc_get_nbobjs_inside_cpuset_by_type(s->t, o->cpuset, core);
}

/* The largest cache that a core shares with others within its domain. */
static hwloc_obj_t shared_cache(const struct site *s, hwloc_obj_t core)
{
    hwloc_obj_t best = NULL;

    for (hwloc_obj_t o = core->parent; o; o = o->parent)
        if (hwloc_obj_type_is_dcache(o->type)
            && cores_below(s, o, core->type) > 1)
            best = o;
    return best;
}

static void add_cores(struct site *s)
{
    hwloc_obj_type_t type
        = hwloc_get_nbobjs_by_type(s->t, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE
        : HWLOC_OBJ_PU;

    for (hwloc_obj_t c = NULL; (c = hwloc_get_next_obj_by_type(s->t, type,
                                                               c));) {
        int32_t on = domain_of(s, c->cpuset);
        hwloc_obj_t cache = shared_cache(s, c);
        if (cache && marked(cache) < 0) {
            mark(cache, graph_vertex(s->g, VERTEX_CACHE, 0, NULL));
            join(s, on, marked(cache), EDGE_MEMORY, 0);
        }
        int32_t v = graph_vertex(s->g, VERTEX_CORE, 0, NULL);
        if (cache)
            join(s, marked(cache), v, EDGE_CACHE, 0);
        else
            join(s, on, v, EDGE_MEMORY, 0);
    }
}

/* ---- PCI ---------------------------------------------------------------- */

/* The vertex that a PCI device becomes; VERTEX_KINDS: none. An accelerator has
 * a library's device, or is a 3D controller; others only show pictures. */
static enum vertex_kind device_kind(hwloc_obj_t pci)
{
    enum vertex_kind kind = VERTEX_KINDS;

    for (hwloc_obj_t o = pci->io_first_child; o; o = o->next_sibling) {
        const char *backend = hwloc_obj_get_info_by_name(o, "Backend");
        if (o->type != HWLOC_OBJ_OS_DEVICE)
            continue;
        if (o->attr->osdev.type == HWLOC_OBJ_OSDEV_COPROC
            || (o->attr->osdev.type == HWLOC_OBJ_OSDEV_GPU && backend))
            return VERTEX_GPU;
        if (o->attr->osdev.type == HWLOC_OBJ_OSDEV_NETWORK
            || o->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS)
            kind = VERTEX_NIC;
    }
    return pci->attr->pcidev.class_id == 0x0302 ? VERTEX_GPU : kind;
}

static int has_device(hwloc_obj_t o)
{
    if (o->type == HWLOC_OBJ_PCI_DEVICE)
        return device_kind(o) != VERTEX_KINDS;
    for (hwloc_obj_t c = o->io_first_child; c; c = c->next_sibling)
        if (has_device(c))
            return 1;
    return 0;
}

/* "mlx5_0" rather than "ib0"; NULL: as numbered. */
static const char *nic_name(hwloc_obj_t pci)
{
    const char *name = NULL;

    for (hwloc_obj_t o = pci->io_first_child; o; o = o->next_sibling)
        if (o->type == HWLOC_OBJ_OS_DEVICE
            && (!name || o->attr->osdev.type == HWLOC_OBJ_OSDEV_OPENFABRICS))
            name = o->name;
    return name;
}

static void add_io(struct site *s, hwloc_obj_t o, int32_t parent)
{
    int32_t v = parent;

    if (!has_device(o))
        return;
    if (o->type == HWLOC_OBJ_BRIDGE
        && o->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_PCI) {
        v = graph_vertex(s->g, VERTEX_PCIE, 0, NULL);
        join(s, parent, v, EDGE_PCIE,
             1e9 * (double)o->attr->bridge.upstream.pci.linkspeed);
    } else if (o->type == HWLOC_OBJ_PCI_DEVICE) {
        enum vertex_kind kind = device_kind(o);
        v = graph_vertex(s->g, kind, 0, kind == VERTEX_NIC ? nic_name(o)
                         : NULL);
        join(s, parent, v, EDGE_PCIE,
             1e9 * (double)o->attr->pcidev.linkspeed);
        mark(o, v);
    }
    for (hwloc_obj_t c = o->io_first_child; c; c = c->next_sibling)
        if (c->type != HWLOC_OBJ_OS_DEVICE)
            add_io(s, c, v);
}

static void add_devices(struct site *s, hwloc_obj_t o)
{
    for (hwloc_obj_t c = o->io_first_child; c; c = c->next_sibling)
        add_io(s, c, domain_of(s, o->cpuset));
    for (hwloc_obj_t c = o->first_child; c; c = c->next_sibling)
        add_devices(s, c);
}

/* ---- NVLink ------------------------------------------------------------- */

static int32_t nvlink_vertex(struct site *s, hwloc_obj_t o)
{
    for (hwloc_obj_t x = o; x; x = x->parent)
        if (x->type == HWLOC_OBJ_PCI_DEVICE && marked(x) >= 0)
            return marked(x);
    if (!o->subtype || strcmp(o->subtype, "NVSwitch") != 0)
        return -1;
    if (marked(o) < 0)
        mark(o, graph_vertex(s->g, VERTEX_NVSWITCH, 0, NULL));
    return marked(o);
}

/* hwloc has them in MB/s. */
static void add_nvlinks(struct site *s)
{
    struct hwloc_distances_s *d = NULL;
    unsigned n = 1;

    if (hwloc_distances_get_by_name(s->t, "NVLinkBandwidth", &n, &d, 0) != 0
        || n == 0)
        return;
    for (unsigned i = 0; i < d->nbobjs; i++)
        for (unsigned k = 0; k < i; k++) {
            double rate = 1e6 * (double)d->values[k * d->nbobjs + i];
            int32_t a = rate > 0 ? nvlink_vertex(s, d->objs[k]) : -1;
            int32_t b = rate > 0 ? nvlink_vertex(s, d->objs[i]) : -1;
            if (a >= 0 && b >= 0 && a != b)
                join(s, a, b, EDGE_NVLINK, rate);
        }
    hwloc_distances_release(s->t, d);
}

/* ---- All of it ---------------------------------------------------------- */

static struct graph *convert(hwloc_topology_t t, const char *path,
                             struct error *e)
{
    struct site s = { .t = t, .g = graph_create() };
    struct error why = { 0 };
    hwloc_obj_t root = hwloc_get_root_obj(t);
    hwloc_obj_t package = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
    const char *name = hwloc_obj_get_info_by_name(root, "HostName");
    const char *model = hwloc_obj_get_info_by_name(package ? package : root,
                                                   "CPUModel");

    graph_host(s.g, name ? name : "host", 0);
    snprintf(s.g->about, sizeof s.g->about, "%s", model ? model : "");
    add_domains(&s);
    int rc = s.n_numa ? 0 : fail_usage(&why, "it has no memory");
    if (rc == 0) {
        add_cores(&s);
        add_devices(&s, root);
        add_nvlinks(&s);
        rc = graph_freeze(s.g, &why);
    }
    free(s.numa);
    free(s.nodes);
    if (rc == 0)
        return s.g;
    fail_usage(e, "%s: %s", path, why.text);
    graph_destroy(s.g);
    return NULL;
}

/* hwloc can crash on XML that is not its own: a child tries it, silent and
 * without the handlers of libraries. */
static int survives(hwloc_topology_t t)
{
    int status = -1;
    pid_t child = fork();

    if (child == 0) {
        close(STDERR_FILENO);
        signal(SIGSEGV, SIG_DFL);
        _exit(hwloc_topology_load(t) != 0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* Load what was set, convert, destroy. */
static struct graph *load(hwloc_topology_t t, const char *path, int is_foreign,
                          struct error *e)
{
    struct graph *g = NULL;

    hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    if ((is_foreign && !survives(t)) || hwloc_topology_load(t) != 0)
        fail_usage(e, "%s: hwloc cannot load it: not whole, or not of hwloc",
                   path);
    else
        g = convert(t, path, e);
    hwloc_topology_destroy(t);
    return g;
}

static hwloc_topology_t open_topology(void)
{
    hwloc_topology_t t;

    if (hwloc_topology_init(&t) != 0)
        die("hwloc: out of memory");
    return t;
}

struct graph *read_hwloc_host(const char *path, const char *text, size_t size,
                              struct error *e)
{
    (void)text;
    (void)size;
    return load(open_topology(), path, 0, e);
}

struct graph *read_hwloc_synthetic(const char *path, const char *text,
                                   size_t size, struct error *e)
{
    hwloc_topology_t t = open_topology();

    (void)size;
    if (hwloc_topology_set_synthetic(t, text) == 0)
        return load(t, path, 0, e);
    fail_usage(e, "%s: hwloc does not understand this description, as in "
               "\"synthetic:pack:2 l3:2 core:4 pu:1\"", path);
    hwloc_topology_destroy(t);
    return NULL;
}

struct graph *read_hwloc_xml(const char *path, const char *text, size_t size,
                             struct error *e)
{
    if (strstr(text, "<topology version=\"3")) {
        fail_usage(e, "%s: hwloc XML of version 3: this is read up to version "
                   "2, which `lstopo --export-xml-flags v2` of hwloc 3 writes",
                   path);
        return NULL;
    }
    hwloc_topology_t t = open_topology();
    if (hwloc_topology_set_xmlbuffer(t, text, (int)size + 1) == 0)
        return load(t, path, 1, e);
    fail_usage(e, "%s: hwloc cannot read this XML: not whole, or not of hwloc",
               path);
    hwloc_topology_destroy(t);
    return NULL;
}
