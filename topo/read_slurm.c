/* SPDX-License-Identifier: Apache-2.0
 *
 * Graphs from Slurm: of its tree of switches, of a job. */
#include <config.h>

#include "topo/reader.h"
#include "topo/slurm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- The graph ---------------------------------------------------------- */

static void join(struct graph *g, int32_t a, int32_t b, enum edge_type type)
{
    struct edge like = { .type = type, .bandwidth = { INFINITY, INFINITY } };

    graph_edge(g, a, b, &like);
}

/* The vertex that hosts[i] is plugged in by. */
static int32_t add_host(struct graph *g, const char *name, int64_t slots)
{
    int32_t host = graph_host(g, name, (int32_t)slots);
    int32_t nic = graph_vertex(g, VERTEX_NIC, host, NULL);
    int32_t numa = graph_vertex(g, VERTEX_NUMA, host, NULL);

    join(g, numa, nic, EDGE_PCIE);
    for (int64_t i = 0; i < slots; i++)
        join(g, numa, graph_vertex(g, VERTEX_CORE, host, NULL), EDGE_MEMORY);
    return nic;
}

static int32_t add_switch(struct graph *g, const char *name, int32_t level)
{
    int32_t v = graph_vertex(g, VERTEX_SWITCH, -1, name);

    g->vertices[v].level = level;
    return v;
}

/* scontrol lists the nodes of a switch at those above it again. */
static int hangs_below(const struct slurm_tree *t,
                       const struct slurm_element *x, const char *node)
{
    for (int64_t i = 0; i < t->n; i++)
        if (t->elements[i].level < x->level
            && names_find(&t->elements[i].nodes, node) >= 0)
            return 1;
    return 0;
}

/* Switches of the tree; nics[i] is that of hosts->items[i], those of other
 * nodes are not there. */
static void add_tree(struct graph *g, struct slurm_tree *t,
                     const struct names *hosts, const int32_t *nics)
{
    for (int64_t i = 0; i < t->n; i++)
        t->elements[i].vertex = add_switch(g, t->elements[i].name,
                                           t->elements[i].level);
    for (int64_t i = 0; i < t->n; i++) {
        struct slurm_element *x = &t->elements[i];
        for (int64_t k = 0; k < x->nodes.n; k++) {
            int64_t host = names_find(hosts, x->nodes.items[k]);
            if (host >= 0 && !hangs_below(t, x, x->nodes.items[k]))
                join(g, x->vertex, nics[host], EDGE_NETWORK);
        }
        for (int64_t k = 0; k < x->children.n; k++)
            join(g, x->vertex, slurm_find(t, x->children.items[k])->vertex,
                 EDGE_FABRIC);
    }
    int32_t all = t->blocks && t->n > 1 ? add_switch(g, "blocks", 1) : -1;
    for (int64_t i = 0; all >= 0 && i < t->n; i++)
        join(g, all, t->elements[i].vertex, EDGE_FABRIC);
}

/* One slot a host where `slots` is NULL. */
static struct graph *make_graph(struct slurm_tree *t, const struct names *hosts,
                                const int64_t *slots, struct error *e)
{
    struct graph *g = graph_create();
    struct error why = { 0 };
    int32_t *nics = xcalloc((size_t)hosts->n + 1, sizeof *nics);

    for (int64_t i = 0; i < hosts->n; i++)
        nics[i] = add_host(g, hosts->items[i], slots ? slots[i] : 1);
    if (t) {
        add_tree(g, t, hosts, nics);
    } else if (hosts->n > 1) {
        int32_t network = add_switch(g, "network", 0);
        for (int64_t i = 0; i < hosts->n; i++)
            join(g, network, nics[i], EDGE_NETWORK);
    }
    free(nics);
    if (graph_freeze(g, &why) == 0)
        return g;
    fail_usage(e, "%s: %s", t ? t->path : "slurm", why.text);
    graph_destroy(g);
    return NULL;
}

struct graph *read_slurm_file(const char *path, const char *text, size_t size,
                              struct error *e)
{
    struct slurm_tree t;
    struct graph *g = NULL;

    if (slurm_tree_read(&t, path, text, size, e) == 0)
        g = make_graph(&t, &t.nodes, NULL, e);
    if (g)
        snprintf(g->about, sizeof g->about, "Slurm topology, %s",
                 t.blocks ? "blocks" : "tree");
    slurm_tree_clear(&t);
    return g;
}

/* ---- A job -------------------------------------------------------------- */

static int job_hosts(const struct slurm_job *job, struct names *hosts,
                     int64_t **tasks, int64_t *n, struct error *e)
{
    struct error why = { 0 };

    if (hostlist_expand(job->nodes, hosts, &why) != 0)
        return fail_usage(e, "SLURM_JOB_NODELIST: %s", why.text);
    if (!job->tasks)
        return 0;
    if (tasks_expand(job->tasks, tasks, n, &why) != 0)
        return fail_usage(e, "SLURM_TASKS_PER_NODE: %s", why.text);
    if (*n != hosts->n)
        return fail_usage(e, "SLURM_TASKS_PER_NODE is of %d nodes, "
                          "SLURM_JOB_NODELIST of %d", (int)*n, (int)hosts->n);
    return 0;
}

static void describe_job(struct graph *g, const struct slurm_job *job)
{
    snprintf(g->name, sizeof g->name, "job%s%s", job->id ? " " : "",
             job->id ? job->id : "");
    if (job->place)
        snprintf(g->about, sizeof g->about, "this node is %.80s", job->place);
}

struct graph *read_slurm_job(const char *path, const char *text, size_t size,
                             struct error *e)
{
    struct names hosts = { 0 };
    int64_t *tasks = NULL, n = 0;
    struct slurm_tree t = { 0 };
    struct slurm_job job;
    struct graph *g = NULL;
    char *file = NULL, *tree = NULL;

    (void)text;
    if (!slurm_job(&job)) {
        fail_usage(e, "%s: SLURM_JOB_NODELIST is not set: this is not inside "
                   "a job", path);
    } else if (job_hosts(&job, &hosts, &tasks, &n, e) == 0) {
        tree = slurm_job_topology(&file, &size);
        if (!tree || slurm_tree_read(&t, file, tree, size, e) == 0)
            g = make_graph(tree ? &t : NULL, &hosts, tasks, e);
    }
    if (g)
        describe_job(g, &job);
    slurm_tree_clear(&t);
    names_clear(&hosts);
    free(tasks);
    free(tree);
    free(file);
    return g;
}
