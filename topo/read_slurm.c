/* SPDX-License-Identifier: Apache-2.0
 *
 * Slurm: topology.conf(5), and the variables of a job (srun(1)). */
#include <config.h>

#include "base/file.h"
#include "topo/hostlist.h"
#include "topo/reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A switch, or a block, which is one with the others under a switch of all. */
struct element {
    char *name;
    struct names nodes, children;
    int32_t vertex, level;
    enum { NEW, OPEN, DONE } state;     /* of set_level() */
};
struct tree {
    const char *path;
    int64_t n, cap;
    struct element *elements;
    int blocks;
    struct names nodes;         /* in the order of the file */
};

static void tree_clear(struct tree *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        free(t->elements[i].name);
        names_clear(&t->elements[i].nodes);
        names_clear(&t->elements[i].children);
    }
    free(t->elements);
    names_clear(&t->nodes);
}

static struct element *find_element(struct tree *t, const char *name)
{
    for (int64_t i = 0; i < t->n; i++)
        if (strcmp(t->elements[i].name, name) == 0)
            return &t->elements[i];
    return NULL;
}

/* ---- Lines -------------------------------------------------------------- */

/* Keys of a line, Level and BlockIndex as scontrol prints them; what says
 * nothing of the tree is passed over. */
enum key { KEY_SWITCH, KEY_BLOCK, KEY_SWITCHES, KEY_NODES, KEY_PASSED };
static const struct {
    const char *name;
    enum key key;
} keys[] = {
    { "SwitchName", KEY_SWITCH }, { "BlockName", KEY_BLOCK },
    { "Switches", KEY_SWITCHES }, { "Nodes", KEY_NODES },
    { "LinkSpeed", KEY_PASSED }, { "Level", KEY_PASSED },
    { "BlockIndex", KEY_PASSED }, { "BlockSize", KEY_PASSED },
    { "BlockSizes", KEY_PASSED },
};
enum { N_KEYS = sizeof keys / sizeof keys[0] };

static int find_key(const char *word, size_t n)
{
    for (int k = 0; k < N_KEYS; k++)
        if (strlen(keys[k].name) == n
            && strncasecmp(keys[k].name, word, n) == 0)
            return k;
    return -1;
}

/* Key=Value, of the element of the line, which the first word makes. */
static int read_word(struct tree *t, const char *word, int first,
                     struct error *e)
{
    size_t n = strcspn(word, "=");
    int k = find_key(word, n);
    const char *value = word + n + (word[n] == '=');

    if (k < 0 || word[n] != '=')
        return fail_usage(e, "\"%.100s\" is not one of SwitchName=, Switches=, "
                          "Nodes=, LinkSpeed=, BlockName=, BlockSizes=", word);
    if (keys[k].key == KEY_PASSED)
        return 0;
    if (*value == '\0')
        return fail_usage(e, "%s= says nothing", keys[k].name);
    if (keys[k].key == KEY_SWITCH || keys[k].key == KEY_BLOCK) {
        if (find_element(t, value))
            return fail_usage(e, "\"%.100s\" is there twice", value);
        struct element x = { .name = xstrdup(value), .vertex = -1 };
        ARRAY_PUSH(t->elements, t->n, t->cap, x);
        t->blocks |= keys[k].key == KEY_BLOCK;
        return 0;
    }
    if (first)
        return fail_usage(e, "a line starts with SwitchName= or BlockName=");
    struct element *x = &t->elements[t->n - 1];
    return hostlist_expand(value, keys[k].key == KEY_NODES ? &x->nodes
                           : &x->children, e);
}

static int read_line(struct tree *t, char *line, struct error *e)
{
    char *rest = line;
    int first = 1;

    line[strcspn(line, "#\r")] = '\0';
    for (char *word; (word = strtok_r(rest, " \t", &rest)); first = 0)
        if (read_word(t, word, first, e) != 0)
            return -1;
    return 0;
}

static int read_lines(struct tree *t, const char *text, struct error *e)
{
    char *copy = xstrdup(text), *rest = copy;
    int rc = 0;

    for (int number = 1; rc == 0 && rest; number++) {
        struct error why = { 0 };
        char *line = strsep(&rest, "\n");
        if (read_line(t, line, &why) != 0)
            rc = fail_usage(e, "%s:%d: %s", t->path, number, why.text);
    }
    free(copy);
    return rc;
}

/* ---- The tree ----------------------------------------------------------- */

/* Levels from below, 0 where nodes hang. What is open when a walk down comes to
 * it is below itself. */
static int set_level(struct tree *t, struct element *x, struct error *e)
{
    if (x->state == DONE)
        return 0;
    if (x->state == OPEN)
        return fail_usage(e, "%s: switch \"%s\" is below itself: a cycle",
                          t->path, x->name);
    x->state = OPEN;
    for (int64_t i = 0; i < x->children.n; i++) {
        struct element *c = find_element(t, x->children.items[i]);
        if (c == NULL)
            return fail_usage(e, "%s: switch \"%s\" has \"%s\" below it, which "
                              "is not there", t->path, x->name,
                              x->children.items[i]);
        if (set_level(t, c, e) != 0)
            return -1;
        if (c->level >= x->level)
            x->level = c->level + 1;
    }
    x->state = DONE;
    return 0;
}

static int check_tree(struct tree *t, struct error *e)
{
    for (int64_t i = 0; i < t->n; i++) {
        struct element *x = &t->elements[i];
        if (set_level(t, x, e) != 0)
            return -1;
        for (int64_t k = 0; k < x->nodes.n; k++)
            if (names_find(&t->nodes, x->nodes.items[k]) < 0)
                ARRAY_PUSH(t->nodes.items, t->nodes.n, t->nodes.cap,
                           xstrdup(x->nodes.items[k]));
    }
    if (t->nodes.n == 0)
        return fail_usage(e, "%s: no nodes", t->path);
    return 0;
}

static int tree_read(struct tree *t, const char *path, const char *text,
                     struct error *e)
{
    *t = (struct tree){ .path = path };
    if (read_lines(t, text, e) == 0 && check_tree(t, e) == 0)
        return 0;
    return -1;
}

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
static int hangs_below(const struct tree *t, const struct element *x,
                       const char *node)
{
    for (int64_t i = 0; i < t->n; i++)
        if (t->elements[i].level < x->level
            && names_find(&t->elements[i].nodes, node) >= 0)
            return 1;
    return 0;
}

/* Switches of the tree; nics[i] is that of hosts->items[i], those of other
 * nodes are not there. */
static void add_tree(struct graph *g, struct tree *t, const struct names *hosts,
                     const int32_t *nics)
{
    for (int64_t i = 0; i < t->n; i++)
        t->elements[i].vertex = add_switch(g, t->elements[i].name,
                                           t->elements[i].level);
    for (int64_t i = 0; i < t->n; i++) {
        struct element *x = &t->elements[i];
        for (int64_t k = 0; k < x->nodes.n; k++) {
            int64_t host = names_find(hosts, x->nodes.items[k]);
            if (host >= 0 && !hangs_below(t, x, x->nodes.items[k]))
                join(g, x->vertex, nics[host], EDGE_NETWORK);
        }
        for (int64_t k = 0; k < x->children.n; k++)
            join(g, x->vertex, find_element(t, x->children.items[k])->vertex,
                 EDGE_FABRIC);
    }
    int32_t all = t->blocks && t->n > 1 ? add_switch(g, "blocks", 1) : -1;
    for (int64_t i = 0; all >= 0 && i < t->n; i++)
        join(g, all, t->elements[i].vertex, EDGE_FABRIC);
}

/* One slot a host where `slots` is NULL. */
static struct graph *make_graph(struct tree *t, const struct names *hosts,
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

struct graph *read_slurm_conf(const char *path, const char *text, size_t size,
                              struct error *e)
{
    struct tree t;
    struct graph *g = NULL;

    (void)size;
    if (tree_read(&t, path, text, e) == 0)
        g = make_graph(&t, &t.nodes, NULL, e);
    if (g)
        snprintf(g->about, sizeof g->about, "Slurm topology, %s",
                 t.blocks ? "blocks" : "tree");
    tree_clear(&t);
    return g;
}

/* ---- A job -------------------------------------------------------------- */

/* Beside slurm.conf; NULL: there is none. */
static char *job_topology(char **path)
{
    const char *conf = getenv("SLURM_CONF");
    size_t size;
    int which;

    *path = file_beside(conf && *conf ? conf : "/etc/slurm/slurm.conf",
                        "topology.conf");
    return file_read((const char *const *)path, 1, &which, &size, NULL);
}

static int job_hosts(struct names *hosts, int64_t **tasks, int64_t *n,
                     struct error *e)
{
    const char *list = getenv("SLURM_JOB_NODELIST");
    const char *per_node = getenv("SLURM_TASKS_PER_NODE");
    struct error why = { 0 };

    if (!list)
        return fail_usage(e, "slurm: SLURM_JOB_NODELIST is not set: this is "
                          "not inside a job");
    if (hostlist_expand(list, hosts, &why) != 0)
        return fail_usage(e, "SLURM_JOB_NODELIST: %s", why.text);
    if (!per_node)
        return 0;
    if (tasks_expand(per_node, tasks, n, &why) != 0)
        return fail_usage(e, "SLURM_TASKS_PER_NODE: %s", why.text);
    if (*n != hosts->n)
        return fail_usage(e, "SLURM_TASKS_PER_NODE is of %d nodes, "
                          "SLURM_JOB_NODELIST of %d", (int)*n, (int)hosts->n);
    return 0;
}

/* "s0.s1.tux3" is where the node of this process hangs. */
static void describe_job(struct graph *g)
{
    const char *job = getenv("SLURM_JOB_ID");
    const char *place = getenv("SLURM_TOPOLOGY_ADDR");

    snprintf(g->name, sizeof g->name, "job%s%s", job ? " " : "",
             job ? job : "");
    if (place)
        snprintf(g->about, sizeof g->about, "this node is %.80s", place);
}

struct graph *read_slurm_job(const char *path, const char *text, size_t size,
                             struct error *e)
{
    struct names hosts = { 0 };
    int64_t *tasks = NULL, n = 0;
    struct tree t = { 0 };
    struct graph *g = NULL;
    char *file = NULL, *conf = NULL;

    (void)path;
    (void)text;
    (void)size;
    if (job_hosts(&hosts, &tasks, &n, e) == 0) {
        conf = job_topology(&file);
        if (!conf || tree_read(&t, file, conf, e) == 0)
            g = make_graph(conf ? &t : NULL, &hosts, tasks, e);
    }
    if (g)
        describe_job(g);
    tree_clear(&t);
    names_clear(&hosts);
    free(tasks);
    free(conf);
    free(file);
    return g;
}
