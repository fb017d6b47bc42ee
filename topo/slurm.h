/* SPDX-License-Identifier: Apache-2.0
 *
 * What Slurm knows of its nodes: the tree of topology.conf(5) or
 * topology.yaml(5), and the job that this process is in (srun(1)). */
#ifndef SPAR_SLURM_H
#define SPAR_SLURM_H

#include "topo/hostlist.h"

/* A switch, or a block, which is one with the others under a switch of all. */
struct slurm_element {
    char *name;
    struct names nodes, children;
    int32_t vertex, level;      /* level 0: nodes hang on it */
    enum { SLURM_NEW, SLURM_OPEN, SLURM_DONE } state;   /* while levels are
                                                           found */
};
struct slurm_tree {
    const char *path;           /* names it in errors */
    int64_t n, cap;
    struct slurm_element *elements;
    int blocks;
    struct names nodes;         /* in the order of the file */
};

/* topology.conf, also as `scontrol show topology` prints it; topology.yaml, of
 * which the tree that is the cluster's default, else the first, is taken.  0,
 * or -1 and *e (usage); to be cleared in any case. */
int slurm_tree_conf(struct slurm_tree *t, const char *path, const char *text,
                    struct error *e);
int slurm_tree_yaml(struct slurm_tree *t, const char *path, const char *text,
                    size_t size, struct error *e);
/* What text is like. */
int slurm_tree_read(struct slurm_tree *t, const char *path, const char *text,
                    size_t size, struct error *e);
int slurm_is_conf(const char *text);
int slurm_is_yaml(const char *text);
void slurm_tree_clear(struct slurm_tree *t);

/* Between the readers. */
struct slurm_element *slurm_find(const struct slurm_tree *t, const char *name);
/* The element, or NULL and *e: it is there twice. */
struct slurm_element *slurm_add(struct slurm_tree *t, const char *name,
                                int is_block, struct error *e);
/* Levels, cycles, the list of nodes. */
int slurm_tree_check(struct slurm_tree *t, struct error *e);

/* ---- A job -------------------------------------------------------------- */

/* What its variables say; NULL: nothing. */
struct slurm_job {
    const char *id;             /* SLURM_JOB_ID */
    const char *nodes;          /* SLURM_JOB_NODELIST, "node[1-4]" */
    const char *tasks;          /* SLURM_TASKS_PER_NODE, "2(x3),1" */
    const char *place;          /* SLURM_TOPOLOGY_ADDR, "spine.leaf1.node1":
                                   where the node of this process hangs */
    int rank;                   /* SLURM_PROCID; -1 */
};
/* 1: this process is in a job. */
int slurm_job(struct slurm_job *job);
/* The text of topology.yaml or topology.conf beside $SLURM_CONF, by default
 * /etc/slurm/slurm.conf; NULL: there is none.  The caller frees it and
 * *path. */
char *slurm_job_topology(char **path, size_t *size);

#endif
