/* SPDX-License-Identifier: Apache-2.0
 *
 * NCCL's topology: <system> of <cpu>s, which are memory domains, of a tree of
 * <pci>, at whose leaves are <gpu> with its <nvlink>s, <nic> with its <net>s.
 * Other elements (c2c, pcilink) are passed over. */
#include <config.h>

#include "topo/reader.h"
#include "topo/xml.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nvlink {
    int32_t gpu;                /* vertex */
    char target[24];            /* bus id of a GPU or of an NVSwitch */
    int to_switch;
    double rate;                /* B/s */
};
struct device {
    int32_t vertex;
    char busid[24];
};
struct site {
    struct xml x;
    struct graph *g;
    struct error *e;
    int32_t at[XML_DEEPEST + 1];        /* vertex of each open element; -1 */
    int32_t gpus, nics, n_cpus;
    char host[24];              /* host_hash; "" not stated */
    int sm;                     /* of the open gpu */
    int64_t n_nvlinks, nvlinks_cap, n_devices, devices_cap, n_nets, nets_cap;
    struct nvlink *nvlinks;
    struct device *devices;
    struct nvlink *nets;        /* gpu: vertex of the interface */
};

/* ---- Attributes --------------------------------------------------------- */

static const char *text_of(const struct site *s, const char *key)
{
    const char *value = xml_attribute(&s->x, key);

    return value ? value : "";
}

static int int_of(const struct site *s, const char *key)
{
    return (int)strtol(text_of(s, key), NULL, 0);
}

/* GB/s of a lane (src/graph/topo.cc, kvDictPciGen); a width of 0 is 16. */
static double pci_rate(const struct site *s)
{
    static const struct {
        const char *speed;
        double lane;
    } speeds[] = { { "2.5", 0.1875 }, { "5", 0.375 }, { "8", 0.75 },
                   { "16", 1.5 }, { "32", 3 }, { "64", 6 } };
    const char *speed = text_of(s, "link_speed");
    int width = int_of(s, "link_width");

    for (size_t i = sizeof speeds / sizeof speeds[0]; i-- > 0;)
        if (strtod(speed, NULL) == strtod(speeds[i].speed, NULL))
            return 1e9 * speeds[i].lane * (width > 0 ? width : 16);
    return INFINITY;
}

/* Between two sockets (topo.h, ncclTopoGetInterCpuBw). */
static double socket_rate(const struct site *s)
{
    static const struct {
        const char *vendor;
        int family, model;      /* 0: any; the model, or a later one */
        double rate;
    } rates[] = {
        { "GenuineIntel", 6, 0xcf, 40e9 }, { "GenuineIntel", 6, 0x8f, 22e9 },
        { "GenuineIntel", 6, 0x55, 10e9 }, { "GenuineIntel", 0, 0, 6e9 },
        { "AuthenticAMD", 0, 0, 16e9 },
    };

    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (strcmp(text_of(s, "vendor"), rates[i].vendor) == 0
            && (!rates[i].family || int_of(s, "familyid") == rates[i].family)
            && int_of(s, "modelid") >= rates[i].model)
            return rates[i].rate;
    return INFINITY;
}

/* Of one NVLink (topo.h) by compute capability. */
static double nvlink_rate(int sm)
{
    static const struct {
        int sm;
        double rate;
    } rates[] = { { 100, 40.1e9 }, { 90, 20.6e9 }, { 80, 20e9 }, { 70, 20e9 },
                  { 60, 18e9 } };

    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
        if (sm >= rates[i].sm)
            return rates[i].rate;
    return INFINITY;
}

/* ---- Elements ----------------------------------------------------------- */

static void join(struct site *s, int32_t a, int32_t b, enum edge_type type,
                 double rate)
{
    struct edge like = { .type = type, .bandwidth = { rate, rate } };

    graph_edge(s->g, a, b, &like);
}

static int open_cpu(struct site *s)
{
    const char *host = text_of(s, "host_hash");

    if (s->n_cpus > 0 && strcmp(host, s->host) != 0)
        return xml_fail(&s->x, s->e, "a second host: a dump of one host is "
                        "read");
    snprintf(s->host, sizeof s->host, "%s", host);
    int32_t v = graph_vertex(s->g, VERTEX_NUMA, 0, NULL);
    for (int32_t u = 0; u < v; u++)
        if (s->g->vertices[u].kind == VERTEX_NUMA)
            join(s, u, v, EDGE_SOCKET, socket_rate(s));
    s->n_cpus++;
    s->at[s->x.depth] = v;
    return 0;
}

/* What hangs here is known when its gpu or nic opens. */
static int open_pci(struct site *s)
{
    int32_t parent = s->at[s->x.depth - 1];

    if (parent < 0)
        return xml_fail(&s->x, s->e, "a <pci> that is not in a <cpu>");
    int32_t v = graph_vertex(s->g, VERTEX_PCIE, 0, NULL);
    join(s, parent, v, EDGE_PCIE, pci_rate(s));
    struct device d = { .vertex = v };
    snprintf(d.busid, sizeof d.busid, "%s", text_of(s, "busid"));
    ARRAY_PUSH(s->devices, s->n_devices, s->devices_cap, d);
    s->at[s->x.depth] = v;
    return 0;
}

static void become(struct site *s, int32_t v, enum vertex_kind kind,
                   int32_t index)
{
    struct vertex *x = &s->g->vertices[v];

    x->kind = kind;
    x->index = index;
    snprintf(x->name, sizeof x->name, "%s%d", vertex_names[kind], index);
}

static int open_gpu(struct site *s)
{
    int32_t v = s->at[s->x.depth - 1];

    if (v < 0 || s->g->vertices[v].kind != VERTEX_PCIE)
        return xml_fail(&s->x, s->e, "a <gpu> that is not in a <pci> of its "
                        "own");
    become(s, v, VERTEX_GPU, s->gpus++);
    s->sm = int_of(s, "sm");
    s->at[s->x.depth] = v;
    return 0;
}

static int open_nvlink(struct site *s)
{
    struct nvlink l = { .gpu = s->at[s->x.depth - 1] };
    int count = int_of(s, "count");

    if (l.gpu < 0 || s->g->vertices[l.gpu].kind != VERTEX_GPU)
        return xml_fail(&s->x, s->e, "an <nvlink> that is not of a <gpu>");
    if (count < 1)
        return xml_fail(&s->x, s->e, "an <nvlink> of count \"%.20s\"",
                        text_of(s, "count"));
    snprintf(l.target, sizeof l.target, "%s", text_of(s, "target"));
    l.to_switch = strcmp(text_of(s, "tclass"), "0x068000") == 0;
    l.rate = count * nvlink_rate(s->sm);
    ARRAY_PUSH(s->nvlinks, s->n_nvlinks, s->nvlinks_cap, l);
    return 0;
}

/* On a cpu itself it has a way of its own, of unknown speed. */
static int open_nic(struct site *s)
{
    int32_t v = s->at[s->x.depth - 1];

    if (v < 0)
        return xml_fail(&s->x, s->e, "a <nic> that is not in a <cpu>");
    if (s->g->vertices[v].kind == VERTEX_NUMA) {
        int32_t nic = graph_vertex(s->g, VERTEX_PCIE, 0, NULL);
        join(s, v, nic, EDGE_PCIE, INFINITY);
        v = nic;
    }
    if (s->g->vertices[v].kind == VERTEX_PCIE)
        become(s, v, VERTEX_NIC, s->nics++);
    s->at[s->x.depth] = v;
    return 0;
}

/* A port; its name is the interface's, its speed in Mbit/s. */
static int open_net(struct site *s)
{
    struct nvlink port = { .gpu = s->at[s->x.depth - 1] };
    double speed = strtod(text_of(s, "speed"), NULL);

    if (port.gpu < 0 || s->g->vertices[port.gpu].kind != VERTEX_NIC)
        return xml_fail(&s->x, s->e, "a <net> that is not in a <nic>");
    struct vertex *v = &s->g->vertices[port.gpu];
    if (*text_of(s, "name"))
        snprintf(v->name, sizeof v->name, "%s", text_of(s, "name"));
    port.rate = speed > 0 ? speed * 1e6 / 8 : INFINITY;
    ARRAY_PUSH(s->nets, s->n_nets, s->nets_cap, port);
    return 0;
}

static const struct {
    const char *name;
    int (*open)(struct site *s);
} elements[] = {
    { "cpu", open_cpu }, { "pci", open_pci }, { "gpu", open_gpu },
    { "nvlink", open_nvlink }, { "nic", open_nic }, { "net", open_net },
};

static int read_elements(struct site *s)
{
    enum xml_event event;

    s->at[0] = -1;
    while ((event = xml_next(&s->x, s->e)) != XML_END) {
        if (event == XML_ERROR)
            return -1;
        if (event == XML_CLOSE)
            continue;
        s->at[s->x.depth] = -1;
        for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++)
            if (strcmp(s->x.name, elements[i].name) == 0
                && elements[i].open(s) != 0)
                return -1;
    }
    return 0;
}

/* ---- What they refer to ------------------------------------------------- */

static int32_t find_device(const struct site *s, const char *busid)
{
    for (int64_t i = 0; i < s->n_devices; i++)
        if (strcasecmp(s->devices[i].busid, busid) == 0)
            return s->devices[i].vertex;
    return -1;
}

/* Both ends list a link, and each of the NVSwitches, which are one here. */
static void join_nvlink(struct site *s, int32_t a, int32_t b, double rate)
{
    for (int64_t i = 0; i < s->g->n_edges; i++) {
        struct edge *edge = &s->g->edges[i];
        if (edge->type != EDGE_NVLINK)
            continue;
        if (edge->end[0] == b && edge->end[1] == a)
            return;
        if (edge->end[0] == a && edge->end[1] == b) {
            edge->bandwidth[0] += rate;
            edge->bandwidth[1] += rate;
            return;
        }
    }
    join(s, a, b, EDGE_NVLINK, rate);
}

static void resolve(struct site *s)
{
    int32_t hub = -1, network = -1;

    for (int64_t i = 0; i < s->n_nvlinks; i++) {
        const struct nvlink *l = &s->nvlinks[i];
        int32_t to = find_device(s, l->target);
        if (l->to_switch && hub < 0)
            hub = graph_vertex(s->g, VERTEX_NVSWITCH, 0, "nvswitch");
        if (l->to_switch)
            join_nvlink(s, hub, l->gpu, l->rate);
        else if (to >= 0)
            join_nvlink(s, l->gpu, to, l->rate);
    }
    for (int64_t i = 0; i < s->n_nets; i++) {
        if (network < 0)
            network = graph_vertex(s->g, VERTEX_SWITCH, -1, "network");
        join(s, network, s->nets[i].gpu, EDGE_NETWORK, s->nets[i].rate);
    }
}

struct graph *read_nccl_xml(const char *path, const char *text, size_t size,
                            struct error *e)
{
    struct site s = { .g = graph_create(), .e = e };
    struct error why = { 0 };

    (void)size;
    xml_begin(&s.x, path, text);
    graph_host(s.g, "host", 0);
    snprintf(s.g->about, sizeof s.g->about, "NCCL topology");
    int rc = read_elements(&s);
    if (rc == 0) {
        resolve(&s);
        if (graph_freeze(s.g, &why) != 0)
            rc = fail_usage(e, "%s: %s", path, why.text);
    }
    xml_clear(&s.x);
    free(s.nvlinks);
    free(s.devices);
    free(s.nets);
    if (rc == 0)
        return s.g;
    graph_destroy(s.g);
    return NULL;
}
