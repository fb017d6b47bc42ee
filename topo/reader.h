/* SPDX-License-Identifier: Apache-2.0
 *
 * Where graphs come from: machine files, and what other programs write. */
#ifndef SPAR_READER_H
#define SPAR_READER_H

#include "topo/graph.h"

struct topology_reader {
    const char *word;           /* what stands for it, WORD or WORD:TEXT; NULL:
                                   a file */
    const char *what;           /* "hwloc XML" */
    /* A file with this text is one; NULL: any. */
    int (*takes)(const char *text);
    /* `path` names it in errors; of a word, text is what follows ':', "" if
     * nothing does. A frozen graph with a name, or NULL and *e (usage). */
    struct graph *(*read)(const char *path, const char *text, size_t size,
                          struct error *e);
};
extern const struct topology_reader topology_readers[];     /* what NULL last */

/* The row whose word `name` starts with, *text behind it; NULL: none. */
const struct topology_reader *topology_word(const char *name,
                                            const char **text);
/* A file, by what is in it. */
struct graph *topology_read(const char *path, const char *text, size_t size,
                            struct error *e);

/* ---- The rows ------------------------------------------------------------ */

/* This node as hwloc sees it; a synthetic description, "pack:2 core:4 pu:1";
 * XML of lstopo, versions 1 and 2.  Slots are the GPUs that are accelerators,
 * else the cores.  hwloc knows the speed of PCI links and, with NVML, of
 * NVLink. */
struct graph *read_hwloc_host(const char *path, const char *text, size_t size,
                              struct error *e);
struct graph *read_hwloc_synthetic(const char *path, const char *text,
                                   size_t size, struct error *e);
struct graph *read_hwloc_xml(const char *path, const char *text, size_t size,
                             struct error *e);

/* Slurm's topology.conf, of plugin tree or block, what `scontrol show topology`
 * prints of it, and topology.yaml; nodes are slots, bandwidths unknown.  And
 * the job that this process is in: its tasks are the slots, on the tree of the
 * file beside $SLURM_CONF (/etc/slurm/slurm.conf) if there is one. */
struct graph *read_slurm_file(const char *path, const char *text, size_t size,
                              struct error *e);
struct graph *read_slurm_job(const char *path, const char *text, size_t size,
                             struct error *e);

/* What NCCL writes to $NCCL_TOPO_DUMP_FILE, of one host, with the bandwidths
 * that NCCL assumes (src/graph/topo.h, topo.cc of 2.27). */
struct graph *read_nccl_xml(const char *path, const char *text, size_t size,
                            struct error *e);

/* A machine file with a cluster. */
struct graph *read_machine_file(const char *path, const char *text,
                                size_t size, struct error *e);

#endif
