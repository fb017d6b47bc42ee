/* SPDX-License-Identifier: Apache-2.0
 *
 * Where ranks work: nodes, devices of a node, the cores near them. */
#include <config.h>

#include "mpi/run_internal.h"
#include "topo/slots.h"
#include "topo/slurm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* run.slots: the launcher's processes are on the slots in their order; a rank
 * is the process on its slot. */
int renumber(struct session *s, struct error *e)
{
    const int32_t *slots = s->scenario->slots;
    int key = s->rank;

    (void)e;
    if (!slots)
        return 0;
    for (int r = 0; r < s->ranks; r++) {
        int before = 0;
        for (int k = 0; k < s->ranks; k++)
            before += slots[k] < slots[r];
        if (before == s->rank)
            key = r;
    }
    MPI_Comm_split(MPI_COMM_WORLD, 0, key, &s->comm);
    MPI_Comm_rank(s->comm, &s->rank);
    return 0;
}

int join_node(struct session *s, struct error *e)
{
    int process, first = s->rank, cores = topo_cores();

    (void)e;
    /* In the launcher's order: that of cores and devices. */
    MPI_Comm_rank(MPI_COMM_WORLD, &process);
    MPI_Comm_split_type(s->comm, MPI_COMM_TYPE_SHARED, process, MPI_INFO_NULL,
                        &s->node);
    MPI_Comm_rank(s->node, &s->node_rank);
    MPI_Comm_size(s->node, &s->node_ranks);
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, s->node);
    s->near_zero = first == 0;
    if (s->rank == 0 && s->node_ranks > cores)
        fprintf(stderr, "spar: %d ranks share %d core%s: oversubscribed, "
                "measured times say little\n", s->node_ranks, cores,
                cores == 1 ? "" : "s");
    return 0;
}

/* ---- Devices ------------------------------------------------------------ */

static uint64_t id_of(const struct device_facts *f)
{
    return hash_bytes(1, f->id, strlen(f->id));
}

int see_devices(struct session *s, struct error *e)
{
    const struct device *d = session_device(s);
    int n = d == &device_host ? 0 : d->count();

    s->view.n = (int32_t)min64(n, SLOT_DEVICES);
    for (int i = 0; i < s->view.n; i++) {
        struct device_facts f;
        if (d->facts(i, &f, e))
            return -1;
        topo_near(f.pci, &s->view.devices[i]);
        s->view.devices[i].id = id_of(&f);
    }
    if (d != &device_host && n < 1)
        return fail(e, "rank %d sees no %s device", s->rank, d->name);
    return 0;
}

/* Ranks on the host take a core each. */
static int open_host(struct session *s, struct error *e)
{
    s->bound = topo_bind(s->node_rank);
    return device_host.facts(0, &s->facts, e);
}

/* Which of the ranks whose devices are near the same cores I am, of how many:
 * they share these cores. */
static void count_neighbours(const struct session *s,
                             const struct slot_view *all, const int *chosen,
                             int *index, int *of)
{
    uint64_t cores = all[s->node_rank].devices[chosen[s->node_rank]].cores;

    *index = *of = 0;
    for (int r = 0; r < s->node_ranks; r++) {
        if (all[r].devices[chosen[r]].cores != cores)
            continue;
        *index += r < s->node_rank;
        ++*of;
    }
}

int open_device(struct session *s, struct error *e)
{
    const struct device *d = session_device(s);
    size_t n = (size_t)s->node_ranks;
    int index, of;

    if (d == &device_host)
        return open_host(s, e);
    struct slot_view *all = xcalloc(n, sizeof *all);
    int *chosen = xcalloc(n, sizeof *chosen);
    MPI_Allgather(&s->view, sizeof s->view, MPI_BYTE, all, sizeof s->view,
                  MPI_BYTE, s->node);
    slots_deal(all, s->node_ranks, chosen);
    int mine = chosen[s->node_rank];
    count_neighbours(s, all, chosen, &index, &of);
    s->near = s->view.devices[mine];
    free(all);
    free(chosen);
    if (d->facts(mine, &s->facts, e))
        return -1;
    s->bound = topo_bind_near(s->facts.pci, index, of);
    return d->open(mine, e);
}

/* ---- Who shares one ------------------------------------------------------ */

/* Where I work, for people; for the trace. */
static void describe(struct session *s, char *text, size_t size)
{
    const struct device_facts *f = &s->facts;
    char cpus[64];

    topo_bound(cpus, sizeof cpus);
    if (session_device(s) == &device_host)
        snprintf(s->slot, sizeof s->slot, "CPUs %s", cpus);
    else
        snprintf(s->slot, sizeof s->slot, "%s %s", f->pci, f->id);
    snprintf(text, size, "rank %d: %s %s, %s CPUs %s%s%s%s", s->rank, f->name,
             f->pci, s->bound ? "bound to" : "left on", cpus,
             !s->near.cores ? "" : s->near.near ? " near it" : " far from it",
             *s->near.nic ? ", nearest network " : "", s->near.nic);
}

/* One process tells of the host of rank 0. */
static void tell(const struct session *s, const char *mine, size_t size)
{
    char *all = s->node_rank ? NULL : xcalloc((size_t)s->node_ranks, size);

    MPI_Gather(mine, (int)size, MPI_CHAR, all, (int)size, MPI_CHAR, 0,
               s->node);
    for (int r = 0; all && s->near_zero && r < s->node_ranks; r++)
        fprintf(stderr, "spar: %s\n", all + (size_t)r * size);
    free(all);
}

int share_device(struct session *s, struct error *e)
{
    int on_host = session_device(s) == &device_host;
    int colour = on_host ? s->node_rank : (int)(id_of(&s->facts) >> 34);
    char text[320];

    (void)e;
    MPI_Comm_split(s->node, colour, s->node_rank, &s->sharers);
    MPI_Comm_size(s->sharers, &s->sharing);
    describe(s, text, sizeof text);
    if (!on_host)
        tell(s, text, sizeof text);
    if (s->rank == 0 && s->sharing > 1 && !s->facts.shares)
        fprintf(stderr, "spar: %d ranks share a device without MPS: every "
                "message between them waits for a time slice, some ms "
                "(nvidia-cuda-mps-control -d starts it)\n", s->sharing);
    return 0;
}

/* Where ranks work.  A launcher that is not srun hands on the variables of the
 * node that it runs on itself. */
int gather_places(struct session *s, struct error *e)
{
    struct slurm_job job;
    int process;
    char host[64] = "", place[256] = "";

    gethostname(host, sizeof host - 1);
    MPI_Comm_rank(MPI_COMM_WORLD, &process);
    if (slurm_job(&job) && job.place && job.rank == process)
        snprintf(place, sizeof place, "%s", job.place);
    if (s->rank == 0) {
        s->hosts = xcalloc((size_t)s->ranks, sizeof *s->hosts);
        s->slots = xcalloc((size_t)s->ranks, sizeof *s->slots);
        s->places = xcalloc((size_t)s->ranks, sizeof *s->places);
    }
    MPI_Gather(host, sizeof host, MPI_CHAR, s->hosts, sizeof host, MPI_CHAR, 0,
               s->comm);
    MPI_Gather(s->slot, sizeof s->slot, MPI_CHAR, s->slots, sizeof s->slot,
               MPI_CHAR, 0, s->comm);
    MPI_Gather(place, sizeof place, MPI_CHAR, s->places, sizeof place,
               MPI_CHAR, 0, s->comm);
    (void)e;
    return 0;
}
