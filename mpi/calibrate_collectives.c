/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives of CPU ranks, as the executor does them: of all ranks, and of the
 * groups into which strategies divide them. */
#include <config.h>

#include "base/units.h"
#include "mpi/calibrate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 32 << 20, LONGEST = 64, LEAST_TRIES = 7, MOST_TRIES = 40,
       MOST_HEADS = 4 };

/* Groups that are at it: each of neighbours (stride 1), or with a member every
 * `stride` ranks. */
struct circles {
    struct collective_group group;
    int64_t stride;
    MPI_Comm all, own;          /* of those in a group; of my group */
    struct transport *transport;        /* NULL: in none */
    struct job job;
    int32_t *ranks;
    struct chain chain;
};

/* ---- Times --------------------------------------------------------------- */

/* Seconds of one of the chain, of the slowest member: the shortest of the
 * tries, since all must have had their cores for it. */
static double chain_seconds(const struct calibration *c,
                            const struct circles *x, const struct schedule *s,
                            struct memory *m, int tries)
{
    struct execute_options o = { .kernel = c->kernel };
    double all[MOST_TRIES], least = INFINITY;

    for (int t = -1; t < tries; t++) {
        MPI_Barrier(x->all);
        int64_t start = clock_now();
        execute(s, m, x->transport, &o);
        if (t >= 0)
            all[t] = (double)(clock_now() - start) * 1e-9 / x->chain.length;
    }
    MPI_Allreduce(MPI_IN_PLACE, all, tries, MPI_DOUBLE, MPI_MAX, x->all);
    for (int t = 0; t < tries; t++)
        least = fmin(least, all[t]);
    return least;
}

/* The payload, as tables count it. */
static int64_t chain_payload(const struct circles *x, enum collective_kind kind,
                             const struct schedule *s)
{
    int64_t sent = op_work(s, &s->ops[0]).sent_bytes;

    MPI_Allreduce(MPI_IN_PLACE, &sent, 1, MPI_INT64_T, MPI_MAX, x->own);
    return collective_payload(kind, x->group.ranks, sent);
}

static struct link_point measure_point(const struct calibration *c,
                                       const struct circles *x,
                                       const struct chain_kind *k, int tries)
{
    struct schedule *s = chain_schedule(k, &x->chain);
    struct link_point point = { chain_payload(x, k->kind, s), 0 };
    struct memory m;
    struct error e = { 0 };

    if (memory_create(&m, s, &device_host, 0, &e) != 0
        || transport_prepare(x->transport, NULL, s, &m, &e) != 0)
        die("calibrate: %s", e.text);
    m.device->fill(m.base, 0, s->peak_bytes);
    point.seconds = chain_seconds(c, x, s, &m, tries);
    memory_destroy(&m);
    schedule_destroy(s);
    return point;
}

/* Chains of about `part` seconds, `whole` for all tries. */
static struct link_point measure_next(const struct calibration *c,
                                      struct circles *x,
                                      const struct chain_kind *k,
                                      double expected)
{
    double part = c->request->quick ? 4e-4 : 1e-3;
    double whole = c->request->quick ? 0.02 : 0.1;

    x->chain.length = (int)max64(1, min64(LONGEST,
                                          (int64_t)(part / expected)));
    double each = expected * x->chain.length;
    int64_t tries = (int64_t)(whole / each);
    return measure_point(c, x, k, (int)max64(LEAST_TRIES,
                                             min64(MOST_TRIES, tries)));
}

/* From the shortest to the longest, sizes doubled; [*n], the caller frees. */
static struct link_point *measure_points(const struct calibration *c,
                                         struct circles *x,
                                         const struct chain_kind *k, int64_t *n)
{
    struct link_point *p = NULL, now = { 0, 1e-6 };
    struct chain *chain = &x->chain;
    int64_t cap = 0;

    *n = 0;
    chain->rows = chain->heads = 1;
    while (now.bytes < LARGEST) {
        now = measure_next(c, x, k, now.seconds);
        ARRAY_PUSH(p, *n, cap, now);
        if (chain->heads < MOST_HEADS)
            chain->heads *= 2;
        else
            chain->rows *= 2;
    }
    return p;
}

/* ---- Tables -------------------------------------------------------------- */

static void report(const struct calibration *c,
                   const struct collective_table *t,
                   const struct link_point *last)
{
    const struct collective_group *g = &t->group;
    char rate[32], size[32], groups[32] = "";

    if (g->groups > 1)
        snprintf(groups, sizeof groups, " in each of %d groups",
                 (int)g->groups);
    say(c, "%s, %d ranks%s through %s: from %.1f us to %s at %s, sizes left "
        "out %.2f to %.2f of it", collective_words[t->kind], (int)g->ranks,
        groups, class_names[g->class], 1e6 * t->segments[0].latency,
        quantity_print((double)last->bytes / last->seconds, "B/s", rate,
                       sizeof rate),
        quantity_print((double)last->bytes, "B", size, sizeof size), t->p10,
        t->p90);
}

static void add_table(const struct calibration *c, const struct circles *x,
                      enum collective_kind kind, const struct link_point *p,
                      int64_t n)
{
    struct machine *m = c->m;
    struct collective_table t = { .kind = kind, .group = x->group };
    char host[MPI_MAX_PROCESSOR_NAME];
    int length;

    MPI_Get_processor_name(host, &length);
    snprintf(t.host, sizeof t.host, "%.*s", (int)sizeof t.host - 1, host);
    snprintf(t.versions, sizeof t.versions, "%.*s", (int)sizeof t.versions - 1,
             m->versions);
    MPI_Bcast(t.host, sizeof t.host, MPI_CHAR, 0, c->comm);
    collective_fit(&t, p, n);
    m->collectives = xrealloc(m->collectives, ((size_t)m->n_collectives + 1)
                              * sizeof *m->collectives);
    m->collectives[m->n_collectives++] = t;
    report(c, &t, &p[n - 1]);
}

/* Those in no group have the points from rank 0, which is in one. */
static void measure_kind(const struct calibration *c, struct circles *x,
                         const struct chain_kind *k)
{
    struct link_point *p = NULL;
    int64_t n = 0;

    if (x->transport)
        p = measure_points(c, x, k, &n);
    quiet_barrier(c);
    MPI_Bcast(&n, 1, MPI_INT64_T, 0, c->comm);
    p = xrealloc(p, (size_t)n * sizeof *p);
    MPI_Bcast(p, (int)((size_t)n * sizeof *p), MPI_BYTE, 0, c->comm);
    add_table(c, x, k->kind, p, n);
    free(p);
}

/* ---- Groups -------------------------------------------------------------- */

static void circles_open(const struct calibration *c, struct circles *x)
{
    int64_t number = x->stride == 1 ? c->rank / x->group.ranks
        : c->rank % x->stride;
    int in = number < x->group.groups;
    struct error e = { 0 };
    int64_t one = 1;

    MPI_Comm_split(c->comm, in ? 0 : MPI_UNDEFINED, c->rank, &x->all);
    MPI_Comm_split(c->comm, in ? (int)number : MPI_UNDEFINED, c->rank, &x->own);
    if (!in)
        return;
    x->job = (struct job){ .transformer = { .heads = 1, .kv_heads = 1,
                                            .head_dim = 1 } };
    if (job_finish(&x->job, &one, 1, &e) != 0
        || !(x->transport = transport_create("host", &device_host, x->own,
                                              &e)))
        die("calibrate: %s", e.text);
    x->ranks = xcalloc((size_t)x->group.ranks, sizeof *x->ranks);
    for (int32_t i = 0; i < x->group.ranks; i++)
        x->ranks[i] = i;
    int me;
    MPI_Comm_rank(x->own, &me);
    x->chain = (struct chain){ .pool = pool_create(), .job = &x->job,
                               .ranks = x->ranks, .me = me,
                               .members = (int32_t)x->group.ranks };
}

static void circles_close(struct circles *x)
{
    if (!x->transport)
        return;
    transport_destroy(x->transport);
    pool_destroy(x->chain.pool);
    job_clear(&x->job);
    free(x->ranks);
    MPI_Comm_free(&x->own);
    MPI_Comm_free(&x->all);
}

/* Member i of group `group`. */
static int member_of(const struct circles *x, int64_t group, int64_t i)
{
    return (int)(x->stride == 1 ? group * x->group.ranks + i
                 : group + i * x->stride);
}

/* Hosts and class of a group. */
static void place_group(const struct ways *w, const struct circles *x,
                        int64_t group, struct collective_group *g)
{
    *g = x->group;
    g->hosts = 0;
    g->class = CLASS_SELF;
    for (int64_t i = 0; i < g->ranks; i++) {
        int new_host = 1;
        for (int64_t k = 0; k < i; k++) {
            enum route_class class = ways_class(w, member_of(x, group, i),
                                                member_of(x, group, k));
            new_host &= class >= CLASS_LEAF;
            g->class = class > g->class ? class : g->class;
        }
        g->hosts += new_host;
    }
}

/* All groups alike? */
static int are_alike(const struct ways *w, const struct circles *x)
{
    for (int64_t i = 1; i < x->group.groups; i++) {
        struct collective_group g;
        place_group(w, x, i, &g);
        if (g.hosts != x->group.hosts || g.class != x->group.class)
            return 0;
    }
    return 1;
}

/* Does every rank that is in a group have a core of its own? */
static int has_cores(const struct ways *w, const struct circles *x)
{
    int64_t P = x->group.ranks, n = P * x->group.groups;

    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < i; k++)
            if (ways_class(w, member_of(x, i / P, i % P),
                           member_of(x, k / P, k % P)) == CLASS_SELF)
                return 0;
    return 1;
}

/* Already measured: ranks beside each other may be as far apart as others. */
static int is_known(const struct machine *m, const struct collective_group *g)
{
    for (int64_t i = 0; i < m->n_collectives; i++) {
        const struct collective_group *k = &m->collectives[i].group;
        if (k->ranks == g->ranks && k->hosts == g->hosts
            && k->groups == g->groups && k->class == g->class)
            return 1;
    }
    return 0;
}

static void measure_groups(const struct calibration *c, const struct ways *w,
                           int64_t members, int64_t groups, int64_t stride)
{
    struct circles x = { .group = { .ranks = members, .groups = groups,
                                    .cores = 1 }, .stride = stride };

    place_group(w, &x, 0, &x.group);
    if (!has_cores(w, &x) || !are_alike(w, &x) || is_known(c->m, &x.group))
        return;
    circles_open(c, &x);
    for (const struct chain_kind *k = chain_kinds; k->add; k++)
        measure_kind(c, &x, k);
    circles_close(&x);
}

void calibrate_collectives(const struct calibration *c, const struct ways *w)
{
    int64_t N = c->ranks;

    for (int64_t P = N; P >= 2; P--) {
        if (N % P)
            continue;
        for (int64_t groups = 1;; groups = min64(2 * groups, N / P)) {
            measure_groups(c, w, P, groups, 1);
            measure_groups(c, w, P, groups, N / P);
            if (groups == N / P)
                break;
        }
    }
    if (!c->m->n_collectives)
        say(c, "ranks share cores: collectives not measured");
}
