/* SPDX-License-Identifier: Apache-2.0
 *
 * Which ranks reach each other's memory: each tries to map a little of every
 * other's on its host.
 *
 * A hook for tests, which have one host: SPAR_HOST_RANKS=N, as if every N ranks
 * had one of their own. */
#include <config.h>

#include "mpi/pipeline_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR, APART, HIDDEN };   /* as one rank sees another */

struct probe {
    char *seen;                 /* [ranks][ranks] */
    struct error why;           /* of the first that is hidden */
};

/* ---- Hosts -------------------------------------------------------------- */

static int host_ranks(void)
{
    const char *text = getenv("SPAR_HOST_RANKS");
    int n = text ? atoi(text) : 0;

    if (text && n < 1)
        die("SPAR_HOST_RANKS=%s: a number of ranks", text);
    return n;
}

/* [ranks]: the same number, the same host. */
static int *find_hosts(const struct pipeline *p)
{
    int *hosts = xcalloc((size_t)p->ranks, sizeof *hosts);
    int own = p->rank, each = host_ranks();
    MPI_Comm node;

    MPI_Comm_split_type(p->comm, MPI_COMM_TYPE_SHARED, p->rank, MPI_INFO_NULL,
                        &node);
    MPI_Allreduce(MPI_IN_PLACE, &own, 1, MPI_INT, MPI_MIN, node);
    MPI_Comm_free(&node);
    if (each && own < p->rank / each * each)
        own = p->rank / each * each;
    MPI_Allgather(&own, 1, MPI_INT, hosts, 1, MPI_INT, p->comm);
    return hosts;
}

int pipeline_one_host(const struct pipeline *p, struct error *e)
{
    int *hosts = find_hosts(p), failed = 0;

    for (int r = 0; r < p->ranks && !failed; r++)
        if (hosts[r] != hosts[p->rank])
            failed = fail(e, "ranks %d and %d are not on one host", p->rank, r);
    free(hosts);
    return pipeline_agree(p, failed, e);
}

/* ---- Mapping ------------------------------------------------------------ */

static char try_map(const struct pipeline *p, const struct cuda_handle *h,
                    int rank, struct error *first)
{
    struct error why = { 0 };
    void *base = NULL;

    if (!cuda_import(h, &base, &why)) {
        cuda_unimport(base);
        return NEAR;
    }
    if (!*first->text)
        fail(first, "rank %d cannot map the memory of rank %d, %s", p->rank,
             rank, why.text);
    return HIDDEN;
}

/* What each sees of each, on every rank; the first reason, too. */
static void look_round(const struct pipeline *p, const struct cuda_handle *own,
                       struct probe *x)
{
    size_t n = (size_t)p->ranks;
    struct cuda_handle *handles = xcalloc(n, sizeof *handles);
    int *hosts = find_hosts(p), first = p->ranks;
    char *mine = x->seen + n * (size_t)p->rank;

    MPI_Allgather(own, sizeof *own, MPI_BYTE, handles, sizeof *own, MPI_BYTE,
                  p->comm);
    for (int r = 0; r < p->ranks; r++)
        if (r != p->rank)
            mine[r] = hosts[r] != hosts[p->rank]
                ? APART : try_map(p, &handles[r], r, &x->why);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, x->seen, p->ranks,
                  MPI_CHAR, p->comm);
    for (int r = p->ranks - 1; r >= 0; r--)
        if (memchr(x->seen + n * (size_t)r, HIDDEN, n))
            first = r;
    if (first < p->ranks)
        MPI_Bcast(&x->why, sizeof x->why, MPI_BYTE, first, p->comm);
    free(handles);
    free(hosts);
}

/* ---- What came of it ---------------------------------------------------- */

/* Pairs by what separates them, if anything does. */
static void count_pairs(struct pipeline *p, const struct probe *x,
                        int64_t pairs[3])
{
    for (int a = 0; a < p->ranks; a++)
        for (int b = 0; b < a; b++) {
            int ab = x->seen[a * p->ranks + b], ba = x->seen[b * p->ranks + a];
            pairs[ab > ba ? ab : ba]++;
            if (!ab && !ba)
                reach_add(p->near, a, b);
        }
}

static void describe(struct pipeline *p, const struct probe *x,
                     const int64_t pairs[3])
{
    size_t n = sizeof p->about, at = 0;

    at += (size_t)snprintf(p->about, n, "ipc (%lld pairs of ranks)",
                           (long long)pairs[NEAR]);
    if (pairs[APART])
        at += (size_t)snprintf(p->about + at, n - at,
                               ", staged (%lld: not on one host)",
                               (long long)pairs[APART]);
    if (pairs[HIDDEN] && at < n)
        snprintf(p->about + at, n - at, ", staged (%lld: %.160s; Slurm: "
                 "--gpu-bind=none)", (long long)pairs[HIDDEN], x->why.text);
}

int pipeline_reach(struct pipeline *p, struct error *e)
{
    size_t n = (size_t)p->ranks;
    struct probe x = { .seen = xcalloc(n, n) };
    struct cuda_handle own = { { 0 } };
    int64_t pairs[3] = { 0 };
    void *little = p->device->alloc(64, e);
    int failed = pipeline_agree(p, !little || cuda_export(little, &own, e), e);

    if (!failed) {
        p->near = reach_create(p->ranks);
        look_round(p, &own, &x);
        count_pairs(p, &x, pairs);
        describe(p, &x, pairs);
        if (!pairs[NEAR] && p->ranks > 1)
            failed = fail(e, "no two ranks reach each other's memory");
    }
    MPI_Barrier(p->comm);       /* nobody frees what another looks at */
    if (little)
        p->device->free(little);
    free(x.seen);
    return failed;
}

const char *pipeline_about(const struct pipeline *p)
{
    return p->about;
}
