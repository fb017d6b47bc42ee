/* SPDX-License-Identifier: Apache-2.0
 *
 * What there must be room for before a run, and what cannot have happened in
 * it. */
#include <config.h>

#include "base/units.h"
#include "mpi/pipeline.h"
#include "mpi/run_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Memory ------------------------------------------------------------- */

/* A device, together with the other ranks that work on it. */
static int device_fits(const struct session *s,
                       const struct schedule *schedule, struct error *e)
{
    const struct device *d = session_device(s);
    size_t now = 0, total = 0;
    int64_t need, all, available;

    if (d == &device_host)
        return 0;
    available = d->memory(&now, &total) ? INT64_MAX : (int64_t)now;
    need = (int64_t)(schedule->peak_bytes + pipeline_needs(schedule, s->ranks));
    MPI_Allreduce(&need, &all, 1, MPI_INT64_T, MPI_SUM, s->sharers);
    MPI_Allreduce(MPI_IN_PLACE, &available, 1, MPI_INT64_T, MPI_MIN,
                  s->sharers);
    if (all <= available)
        return 0;
    char others[64] = "";
    if (s->sharing > 1)
        snprintf(others, sizeof others, ", its %d ranks together %.3f GiB",
                 s->sharing, (double)all / 0x1p30);
    return fail(e, "out of memory: rank %d needs %.3f GiB on %s %s%s; %.3f "
                "GiB available", s->rank, (double)need / 0x1p30, s->facts.name,
                s->facts.pci, others, (double)available / 0x1p30);
}

int memory_fits(const struct session *s, const struct schedule *schedule,
                struct error *e)
{
    int on_host = session_device(s) == &device_host;
    int64_t peak = on_host ? (int64_t)schedule->peak_bytes : 0;
    int64_t extra = s->rank ? 0 : verify_needs(s, schedule), all = peak + extra;
    int64_t available = topo_memory_available();

    MPI_Allreduce(MPI_IN_PLACE, &all, 1, MPI_INT64_T, MPI_SUM, s->node);
    MPI_Bcast(&available, 1, MPI_INT64_T, 0, s->node);
    if (!available || all <= available)
        return device_fits(s, schedule, e);
    char verify[96] = "", others[64] = "";
    if (extra)
        snprintf(verify, sizeof verify, ", %.3f GiB of it to verify "
                 "(run.verify: sampled, none)", (double)extra / 0x1p30);
    if (s->node_ranks > 1)
        snprintf(others, sizeof others, " for the %d ranks of its node, that "
                 "need %.3f GiB", s->node_ranks, (double)all / 0x1p30);
    return fail(e, "out of memory: rank %d needs %.3f GiB%s; %.3f GiB "
                "available%s", s->rank, (double)(peak + extra) / 0x1p30,
                verify, (double)available / 0x1p30, others);
}

/* ---- Physics ------------------------------------------------------------ */

static int bytes_match(const struct session *s, const struct entry *x,
                       const char *name)
{
    for (int r = 0; r < s->ranks; r++) {
        if (x->bytes_sent[r] == x->bytes_expected[r])
            continue;
        fprintf(stderr, "spar: %s: rank %d sent %lld bytes, expected %lld\n",
                name, r, (long long)x->bytes_sent[r],
                (long long)x->bytes_expected[r]);
        return 0;
    }
    return 1;
}

static double fastest(const struct entry *x)
{
    int64_t ns = x->spans_ns;

    for (int64_t i = 0; i < x->repeats; i++)
        ns = min64(ns, x->repeat_ns[i]);
    return (double)ns * 1e-9;
}

enum { FLOPS, BYTES, RATES };
static const struct {
    const char *unit, *verb;
} rates[RATES] = { { "flop/s", "computed" }, { "B/s", "sent" } };

/* A rate and what it cannot exceed. */
struct rate_claim {
    double rate, limit;
};

/* Mine; flops: together with the ranks of my device. */
static void claim(const struct session *s, const struct entry *x,
                  const struct schedule *schedule, int64_t sent,
                  struct rate_claim *c)
{
    double flops = schedule_flops(schedule), seconds = fastest(x);
    const struct device_facts *f = &s->facts;

    MPI_Allreduce(MPI_IN_PLACE, &flops, 1, MPI_DOUBLE, MPI_SUM, s->sharers);
    c[FLOPS] = (struct rate_claim){ flops / seconds, f->flops };
    /* Within a device a byte is read and written. */
    c[BYTES] = (struct rate_claim){ (double)sent / seconds, f->link
                                    + (s->sharing > 1 ? f->copy / 2 : 0) };
}

static int believable(const char *name, int rank, const struct rate_claim *c,
                      int what)
{
    char rate[24], limit[24];

    if (c[what].rate <= c[what].limit)
        return 1;
    quantity_print(c[what].rate, rates[what].unit, rate, sizeof rate);
    quantity_print(c[what].limit, rates[what].unit, limit, sizeof limit);
    fprintf(stderr, "spar: %s: rank %d %s %s, more than the %s that its device "
            "can do\n", name, rank, rates[what].verb, rate, limit);
    return 0;
}

/* What computes or moves nothing measures the frame, as fast as it likes. */
static int is_frame(const char *name)
{
    return strncmp(name, "none", 4) == 0;
}

int limits_hold(const struct session *s, const struct entry *x,
                const char *name, const struct schedule *schedule,
                int64_t sent, const char *transport)
{
    struct rate_claim mine[RATES], *all = NULL;
    int hold = 1;

    claim(s, x, schedule, sent, mine);
    if (s->rank == 0)
        all = xcalloc((size_t)s->ranks, sizeof mine);
    MPI_Gather(mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, 0,
               s->comm);
    if (s->rank)
        return 1;
    for (int r = 0; r < s->ranks && hold; r++) {
        const struct rate_claim *c = all + r * RATES;
        if (!is_frame(s->kernel->name))
            hold = believable(name, r, c, FLOPS);
        if (!is_frame(transport))
            hold &= believable(name, r, c, BYTES);
    }
    free(all);
    return bytes_match(s, x, name) && hold;
}
