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

/* SWEEP: bytes that a rank writes before each try.  Like those of a run, what
 * moves is in no cache, nor what MPI moves it with. */
enum { SWEEP = 16 << 20, LARGEST = 32 << 20, ROUNDS = 3, LEAST_TRIES = 4,
       MOST_TRIES = 100, ALIKE = 3, MOST_HEADS = 4 };

/* Groups that are at it: each of neighbours (stride 1), or with a member every
 * `stride` ranks. */
struct circles {
    struct collective_group group;
    int64_t stride;
    MPI_Comm all, own;          /* of those in a group; of my group */
    struct transport *transport;        /* NULL: in none */
    struct job job;
    int32_t *ranks;
    struct bench_part part;
    char *sweep;                /* [SWEEP] */
};

/* ---- Times --------------------------------------------------------------- */

/* Of the slowest member.  Waiting members poll: what keeps the cores for long
 * is told by their time, since others may have them meanwhile. */
static double time_once(const struct calibration *c, const struct circles *x,
                        const struct schedule *s, struct memory *m)
{
    const double is_long = 1e-4;
    struct execute_options o = { .kernel = c->kernel };

    memset(x->sweep, x->part.me, SWEEP);
    MPI_Barrier(x->all);
    int64_t start = clock_now();
    double core = core_seconds();
    execute(s, m, x->transport, &o);
    core = core_seconds() - core;
    double seconds = core > is_long ? core
        : (double)(clock_now() - start) * 1e-9;
    MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, x->all);
    return seconds;
}

/* The shortest, since all must have had their cores for it: until some are
 * about as short, or it takes too long.  The same on all ranks. */
static double shortest(const struct calibration *c, const struct circles *x,
                       const struct schedule *s, struct memory *m)
{
    double best[ALIKE], spent = 0;
    double most = c->request->quick ? 0.03 : 0.15;

    for (int i = 0; i < ALIKE; i++)
        best[i] = INFINITY;
    time_once(c, x, s, m);
    for (int n = 0; n < LEAST_TRIES || (best[ALIKE - 1] > 1.05 * best[0]
                                        && n < MOST_TRIES && spent < most);
         n++) {
        double now = time_once(c, x, s, m);
        spent += now;
        for (int i = 0; i < ALIKE; i++)
            if (now < best[i]) {
                double longer = best[i];
                best[i] = now;
                now = longer;
            }
    }
    return fmax(0.1 * best[0], best[0] - c->m->repeat_overhead);
}

/* The payload, as tables count it. */
static int64_t payload_of(const struct circles *x, enum collective_kind kind,
                          const struct schedule *s)
{
    int64_t sent = op_work(s, &s->ops[0]).sent_bytes;

    MPI_Allreduce(MPI_IN_PLACE, &sent, 1, MPI_INT64_T, MPI_MAX, x->own);
    return collective_payload(kind, x->group.ranks, sent);
}

static struct link_point measure_point(const struct calibration *c,
                                       const struct circles *x,
                                       const struct bench_kind *k)
{
    struct schedule *s = bench_schedule(k, &x->part);
    struct link_point point = { payload_of(x, k->kind, s), 0 };
    struct memory m;
    struct error e = { 0 };

    if (memory_create(&m, s, &device_host, 0, &e) != 0
        || transport_prepare(x->transport, NULL, s, &m, &e) != 0)
        die("calibrate: %s", e.text);
    m.device->fill(m.base, 0, s->peak_bytes);
    point.seconds = shortest(c, x, s, &m);
    memory_destroy(&m);
    schedule_destroy(s);
    return point;
}

/* Fewer bytes take no longer. */
static void straighten(struct link_point *p, int64_t n)
{
    for (int64_t i = n - 2; i >= 0; i--)
        p[i].seconds = fmin(p[i].seconds, p[i + 1].seconds);
}

static int by_bytes(const void *a, const void *b)
{
    const struct link_point *x = a, *y = b;

    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

struct points {
    int64_t n, cap;
    struct link_point *p;
};

/* From the shortest to the longest, sizes doubled, some times over: who else
 * has the cores for a while is not in the way of all. */
static void measure_points(const struct calibration *c, struct circles *x,
                           const struct bench_kind *k, struct points *out)
{
    struct bench_part *part = &x->part;
    int64_t first = out->n;

    for (int round = 0; round < ROUNDS; round++) {
        struct link_point now = { 0, 0 };
        part->rows = part->heads = 1;
        for (int64_t i = first; now.bytes < LARGEST; i++) {
            now = measure_point(c, x, k);
            if (round == 0)
                ARRAY_PUSH(out->p, out->n, out->cap, now);
            out->p[i].seconds = fmin(out->p[i].seconds, now.seconds);
            if (part->heads < MOST_HEADS)
                part->heads *= 2;
            else
                part->rows *= 2;
        }
    }
    straighten(out->p + first, out->n - first);
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

/* Of all rows of k's kind.  Those in no group have the points from rank 0,
 * which is in one. */
static void measure_kind(const struct calibration *c, struct circles *x,
                         const struct bench_kind *k)
{
    struct points all = { .n = 0 };

    for (int i = 0; x->transport && k[i].kind == k->kind; i++)
        measure_points(c, x, &k[i], &all);
    quiet_barrier(c);
    MPI_Bcast(&all.n, 1, MPI_INT64_T, 0, c->comm);
    size_t bytes = (size_t)all.n * sizeof *all.p;
    all.p = xrealloc(all.p, bytes);
    MPI_Bcast(all.p, (int)bytes, MPI_BYTE, 0, c->comm);
    qsort(all.p, (size_t)all.n, sizeof *all.p, by_bytes);
    add_table(c, x, k->kind, all.p, all.n);
    free(all.p);
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
    x->part = (struct bench_part){ .pool = pool_create(), .job = &x->job,
                                   .ranks = x->ranks, .me = me,
                                   .members = (int32_t)x->group.ranks };
    x->sweep = xalign(SWEEP);
}

static void circles_close(struct circles *x)
{
    if (!x->transport)
        return;
    transport_destroy(x->transport);
    pool_destroy(x->part.pool);
    job_clear(&x->job);
    free(x->ranks);
    free(x->sweep);
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
    for (const struct bench_kind *k = bench_kinds; k->add; k++)
        if (k == bench_kinds || k->kind != k[-1].kind)
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
