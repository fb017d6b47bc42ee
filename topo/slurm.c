/* SPDX-License-Identifier: Apache-2.0
 *
 * Slurm's trees and jobs. */
#include <config.h>

#include "topo/slurm.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* ---- The tree ----------------------------------------------------------- */

void slurm_tree_clear(struct slurm_tree *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        free(t->elements[i].name);
        names_clear(&t->elements[i].nodes);
        names_clear(&t->elements[i].children);
    }
    free(t->elements);
    names_clear(&t->nodes);
}

struct slurm_element *slurm_find(const struct slurm_tree *t, const char *name)
{
    for (int64_t i = 0; i < t->n; i++)
        if (strcmp(t->elements[i].name, name) == 0)
            return &t->elements[i];
    return NULL;
}

struct slurm_element *slurm_add(struct slurm_tree *t, const char *name,
                                int is_block, struct error *e)
{
    struct slurm_element x = { .vertex = -1 };

    if (slurm_find(t, name)) {
        fail_usage(e, "\"%.100s\" is there twice", name);
        return NULL;
    }
    x.name = xstrdup(name);
    ARRAY_PUSH(t->elements, t->n, t->cap, x);
    t->blocks |= is_block;
    return &t->elements[t->n - 1];
}

/* Levels from below, 0 where nodes hang. What is open when a walk down comes to
 * it is below itself. */
static int set_level(struct slurm_tree *t, struct slurm_element *x,
                     struct error *e)
{
    if (x->state == SLURM_DONE)
        return 0;
    if (x->state == SLURM_OPEN)
        return fail_usage(e, "%s: switch \"%s\" is below itself: a cycle",
                          t->path, x->name);
    x->state = SLURM_OPEN;
    for (int64_t i = 0; i < x->children.n; i++) {
        struct slurm_element *c = slurm_find(t, x->children.items[i]);
        if (c == NULL)
            return fail_usage(e, "%s: switch \"%s\" has \"%s\" below it, which "
                              "is not there", t->path, x->name,
                              x->children.items[i]);
        if (set_level(t, c, e) != 0)
            return -1;
        if (c->level >= x->level)
            x->level = c->level + 1;
    }
    x->state = SLURM_DONE;
    return 0;
}

int slurm_tree_check(struct slurm_tree *t, struct error *e)
{
    for (int64_t i = 0; i < t->n; i++) {
        struct slurm_element *x = &t->elements[i];
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

int slurm_tree_read(struct slurm_tree *t, const char *path, const char *text,
                    size_t size, struct error *e)
{
    return slurm_is_yaml(text) ? slurm_tree_yaml(t, path, text, size, e)
        : slurm_tree_conf(t, path, text, e);
}

/* ---- A job -------------------------------------------------------------- */

int slurm_job(struct slurm_job *job)
{
    const char *rank = getenv("SLURM_PROCID");

    *job = (struct slurm_job){
        .id = getenv("SLURM_JOB_ID"), .nodes = getenv("SLURM_JOB_NODELIST"),
        .tasks = getenv("SLURM_TASKS_PER_NODE"),
        .place = getenv("SLURM_TOPOLOGY_ADDR"), .rank = rank ? atoi(rank) : -1
    };
    return job->nodes != NULL;
}

/* Slurm looks at topology.conf only where topology.yaml is not. */
char *slurm_job_topology(char **path, size_t *size)
{
    static const char *const names[] = { "topology.yaml", "topology.conf" };
    const char *conf = getenv("SLURM_CONF");
    char *text = NULL;

    *path = NULL;
    for (int i = 0; i < 2 && !text; i++) {
        free(*path);
        *path = file_beside(conf && *conf ? conf : "/etc/slurm/slurm.conf",
                            names[i]);
        text = file_read_local(*path, size, NULL);
    }
    return text;
}
