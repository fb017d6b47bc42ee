/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/knobs.h"

#include <string.h>

/* ---- Fields of the machine ----------------------------------------------- */

static double get_field(const struct machine *m, int offset)
{
    return *(const double *)((const char *)m + offset);
}

static void scale_field(struct machine *m, int offset, double factor)
{
    *(double *)((char *)m + offset) *= factor;
}

static double get_memory(const struct machine *m, int which)
{
    (void)which;
    return (double)m->memory_bytes;
}

static void scale_memory(struct machine *m, int which, double factor)
{
    (void)which;
    m->memory_bytes = (int64_t)((double)m->memory_bytes * factor + 0.5);
}

/* ---- Computing ----------------------------------------------------------- */

static double get_compute(const struct machine *m, int which)
{
    (void)which;
    return m->n_surfaces + m->n_rates > 0 || m->peak > 0;
}

static void scale_compute(struct machine *m, int which, double factor)
{
    (void)which;
    m->peak *= factor;
    for (int64_t i = 0; i < m->n_surfaces; i++)
        for (int64_t k = 0; k < m->surfaces[i].n; k++)
            m->surfaces[i].points[k].seconds /= factor;
    for (int64_t i = 0; i < m->n_rates; i++)
        for (int64_t k = 0; k < m->rates[i].n; k++)
            m->rates[i].points[k].flops *= factor;
}

/* ---- The link, copies ---------------------------------------------------- */

enum { OF_LATENCY, OF_BANDWIDTH };

/* Of the shortest messages, of the longest. */
static double get_link(const struct machine *m, int which)
{
    const struct link *l = &m->link;

    if (l->n == 0)
        return 0;
    return which == OF_LATENCY ? l->segments[0].latency
                               : l->segments[l->n - 1].bandwidth;
}

static void scale_link(struct machine *m, int which, double factor)
{
    for (int64_t i = 0; i < m->link.n; i++)
        if (which == OF_LATENCY)
            m->link.segments[i].latency *= factor;
        else
            m->link.segments[i].bandwidth *= factor;
}

static double get_copy(const struct machine *m, int which)
{
    (void)which;
    return machine_copy_bandwidth(m, m->devices == 1 ? COPY_DEVICE : COPY_PEER,
                                  INT64_MAX);
}

static void scale_copy(struct machine *m, int which, double factor)
{
    (void)which;
    for (int64_t i = 0; i < m->n_copies; i++)
        for (int64_t k = 0; k < m->copies[i].n; k++)
            m->copies[i].points[k].bandwidth *= factor;
}

/* ---- Links and routes of a cluster --------------------------------------- */

/* Of the narrowest. */
static double get_edges(const struct machine *m, int type)
{
    double least = 0;

    for (int64_t i = 0; m->graph && i < m->graph->n_edges; i++) {
        const struct edge *x = &m->graph->edges[i];
        for (int k = 0; x->type == (enum edge_type)type && k < 2; k++)
            if (!(least > 0) || x->bandwidth[k] < least)
                least = x->bandwidth[k];
    }
    return least;
}

static void scale_edges(struct machine *m, int type, double factor)
{
    graph_scale(m->graph, (enum edge_type)type, factor);
}

static void scale_network(struct machine *m, int type, double factor)
{
    graph_scale(m->graph, EDGE_FABRIC, factor);
    graph_scale(m->graph, (enum edge_type)type, factor);
}

static double get_start(const struct machine *m, int class)
{
    return m->graph ? m->graph->start[class] : 0;
}

/* The class and the one after it: pcie and numa, leaf and fabric. */
static void scale_starts(struct machine *m, int class, double factor)
{
    m->graph->start[class] *= factor;
    m->graph->start[class + 1] *= factor;
}

static void scale_start(struct machine *m, int class, double factor)
{
    m->graph->start[class] *= factor;
}

/* ---- The table ----------------------------------------------------------- */

#define FIELD(name, unit, member)                                             \
    { name, unit, get_field, scale_field,                                     \
      (int)offsetof(struct machine, member) }
const struct knob machine_knobs[] = {
    { "compute", "1", get_compute, scale_compute, 0 },
    { "memory", "B", get_memory, scale_memory, 0 },
    FIELD("memory.bandwidth", "B/s", memory_bandwidth),
    FIELD("op.overhead", "s", op_overhead),
    FIELD("repeat.overhead", "s", repeat_overhead),
    { "link.latency", "s", get_link, scale_link, OF_LATENCY },
    { "link.bandwidth", "B/s", get_link, scale_link, OF_BANDWIDTH },
    FIELD("link.overhead", "s", link.overhead),
    { "copy.bandwidth", "B/s", get_copy, scale_copy, 0 },
    { "nvlink.bandwidth", "B/s", get_edges, scale_edges, EDGE_NVLINK },
    { "pcie.bandwidth", "B/s", get_edges, scale_edges, EDGE_PCIE },
    { "socket.bandwidth", "B/s", get_edges, scale_edges, EDGE_SOCKET },
    { "nic.bandwidth", "B/s", get_edges, scale_network, EDGE_NETWORK },
    { "nvlink.latency", "s", get_start, scale_start, CLASS_NVLINK },
    { "pcie.latency", "s", get_start, scale_starts, CLASS_PCIE },
    { "socket.latency", "s", get_start, scale_start, CLASS_SOCKET },
    { "nic.latency", "s", get_start, scale_starts, CLASS_LEAF },
    { NULL, NULL, NULL, NULL, 0 }
};
#undef FIELD

const struct knob *knob_find(const char *name)
{
    for (const struct knob *k = machine_knobs; k->name; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

double knob_value(const struct knob *k, const struct machine *m)
{
    return k->get(m, k->which);
}

void knob_scale(const struct knob *k, struct machine *m, double factor)
{
    k->scale(m, k->which, factor);
}

int knob_set(const struct knob *k, struct machine *m, double value,
             struct error *e)
{
    double now = knob_value(k, m);

    if (k->get == get_field)
        *(double *)((char *)m + k->which) = value;
    else if (k->get == get_memory)
        m->memory_bytes = (int64_t)(value + 0.5);
    else if (!(now > 0))
        return fail_usage(e, "machine %s has no %s", m->name, k->name);
    else
        knob_scale(k, m, value / now);
    return 0;
}
