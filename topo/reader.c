/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "topo/machine.h"
#include "topo/reader.h"
#include "topo/slurm.h"

#include <stdio.h>
#include <string.h>

static int is_hwloc_xml(const char *text)
{
    return strstr(text, "<topology") != NULL;
}

static int is_nccl_xml(const char *text)
{
    return strstr(text, "<system") != NULL;
}

const struct topology_reader topology_readers[] = {
    { "host", "this node, as hwloc sees it", NULL, read_hwloc_host },
    { "synthetic", "hwloc's synthetic description", NULL,
      read_hwloc_synthetic },
    { "slurm", "the Slurm job that this is in", NULL, read_slurm_job },
    { NULL, "hwloc XML", is_hwloc_xml, read_hwloc_xml },
    { NULL, "NCCL topology XML", is_nccl_xml, read_nccl_xml },
    { NULL, "Slurm topology.conf", slurm_is_conf, read_slurm_file },
    { NULL, "Slurm topology.yaml", slurm_is_yaml, read_slurm_file },
    { NULL, "machine file", NULL, read_machine_file },
    { NULL, NULL, NULL, NULL }
};

const struct topology_reader *topology_word(const char *name,
                                            const char **text)
{
    for (const struct topology_reader *r = topology_readers; r->what; r++) {
        size_t n = r->word ? strlen(r->word) : 0;
        if (n == 0 || strncmp(name, r->word, n) != 0
            || (name[n] != '\0' && name[n] != ':'))
            continue;
        *text = name + n + (name[n] == ':');
        return r;
    }
    return NULL;
}

struct graph *topology_read(const char *path, const char *text, size_t size,
                            struct error *e)
{
    const struct topology_reader *r = topology_readers;

    while (r->word || (r->takes && !r->takes(text)))
        r++;
    struct graph *g = r->read(path, text, size, e);
    const char *base = strrchr(path, '/');
    if (g && !*g->name)
        snprintf(g->name, sizeof g->name, "%s", base ? base + 1 : path);
    return g;
}

struct graph *read_machine_file(const char *path, const char *text,
                                size_t size, struct error *e)
{
    struct machine *m = machine_parse(path, text, size, e);
    struct graph *g = m ? m->graph : NULL;

    if (m && !g)
        fail_usage(e, "%s: nothing is said of how its slots are connected "
                   "(cluster)", path);
    if (m)
        m->graph = NULL;
    machine_destroy(m);
    return g;
}
