/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages by what lies between two ranks, and what pairs leave one another
 * that send at once: capacities of the links of the machine's tree. */
#include <config.h>

#include "base/units.h"
#include "mpi/calibrate_internal.h"
#include "topo/estimate.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* ---- Pairs at once ------------------------------------------------------- */

enum { STREAM_TAG = 2, STREAM_BYTES = 1 << 20, IN_FLIGHT = 4, TRIES = 5 };

/* One end of a pair. */
struct stream {
    MPI_Comm comm;              /* of all that send or receive */
    int peer, sends, receives;
    int64_t messages;
    char *out, *in;             /* [STREAM_BYTES] */
};

static void post(const struct stream *s, int way, MPI_Request *r)
{
    if (way == 0)
        MPI_Irecv(s->in, STREAM_BYTES, MPI_BYTE, s->peer, STREAM_TAG, s->comm,
                  r);
    else
        MPI_Isend(s->out, STREAM_BYTES, MPI_BYTE, s->peer, STREAM_TAG, s->comm,
                  r);
}

/* B/s that this end receives. */
static double stream_once(const struct stream *s)
{
    MPI_Request r[2 * IN_FLIGHT];
    int64_t left[2] = { s->receives ? s->messages : 0,
                        s->sends ? s->messages : 0 };
    int which[2 * IN_FLIGHT], n = 0, active = 0;
    MPI_Status status[2 * IN_FLIGHT];

    MPI_Barrier(s->comm);
    int64_t start = clock_now();
    for (int i = 0; i < 2 * IN_FLIGHT; i++) {
        r[i] = MPI_REQUEST_NULL;
        if (left[i / IN_FLIGHT]-- > 0) {
            post(s, i / IN_FLIGHT, &r[i]);
            active++;
        }
    }
    while (active) {
        MPI_Testsome(2 * IN_FLIGHT, r, &n, which, status);
        for (int i = 0; i < n; i++) {
            int way = which[i] / IN_FLIGHT;
            if (left[way]-- > 0)
                post(s, way, &r[which[i]]);
            else
                active--;
        }
        if (n <= 0)
            sched_yield();
    }
    return s->receives ? (double)s->messages * STREAM_BYTES
        / (1e-9 * (double)(clock_now() - start)) : 0;
}

/* B/s of all ends together: the median of the tries. */
static double stream_all(const struct stream *s)
{
    double tries[TRIES];

    for (int t = 0; t < TRIES; t++) {
        double own = stream_once(s);
        MPI_Allreduce(&own, &tries[t], 1, MPI_DOUBLE, MPI_SUM, s->comm);
    }
    return quantile_of(tries, TRIES, 0.5);
}

/* Messages that last long enough, all pairs together. */
static int64_t stream_messages(const struct calibration *c,
                               const struct link *l, int64_t pairs)
{
    double seconds = c->request->quick ? 0.01 : 0.05;

    return max64(4 * IN_FLIGHT, min64(2000, (int64_t)(
        seconds / (link_seconds(l, STREAM_BYTES) * (double)pairs))));
}

/* The pair that has this rank, else -1. */
static int own_pair(const struct calibration *c, int (*pairs)[2], int n)
{
    for (int i = 0; i < n; i++)
        if (pairs[i][0] == c->rank || pairs[i][1] == c->rank)
            return i;
    return -1;
}

static void measure_pairs(const struct calibration *c, const struct link *l,
                          int (*pairs)[2], struct contention *out)
{
    int own = own_pair(c, pairs, (int)out->pairs);
    struct stream s = { .messages = stream_messages(c, l, out->pairs) };
    double rate = 0;

    MPI_Comm_split(c->comm, own < 0, c->rank, &s.comm);
    if (own >= 0) {
        int first = pairs[own][0] == c->rank, world, local;
        MPI_Group all, some;
        world = pairs[own][first];
        MPI_Comm_group(c->comm, &all);
        MPI_Comm_group(s.comm, &some);
        MPI_Group_translate_ranks(all, 1, &world, some, &local);
        MPI_Group_free(&all);
        MPI_Group_free(&some);
        s.peer = local;
        s.sends = first || out->both;
        s.receives = !first || out->both;
        s.out = xalign(STREAM_BYTES);
        s.in = xalign(STREAM_BYTES);
        memset(s.out, 1, STREAM_BYTES);
        memset(s.in, 1, STREAM_BYTES);
        rate = stream_all(&s);
        free(s.out);
        free(s.in);
    }
    MPI_Comm_free(&s.comm);
    quiet_barrier(c);
    MPI_Allreduce(&rate, &out->bandwidth, 1, MPI_DOUBLE, MPI_MAX, c->comm);
    out->bandwidth = digits(out->bandwidth);
}

static void add_contention(const struct calibration *c,
                           const struct contention *x)
{
    struct machine *m = c->m;
    char rate[32];

    m->contention = xrealloc(m->contention, ((size_t)m->n_contention + 1)
                             * sizeof *m->contention);
    m->contention[m->n_contention++] = *x;
    say(c, "through %s, %d pair%s at once%s: %s together",
        class_names[x->class], (int)x->pairs, x->pairs > 1 ? "s" : "",
        x->both ? ", both ways" : "",
        quantity_print(x->bandwidth, "B/s", rate, sizeof rate));
}

/* 1, 2, 4, ... pairs, as many as there are; and one both ways. */
static void measure_contention(const struct calibration *c,
                               const struct ways *w, enum route_class class)
{
    int (*pairs)[2] = xcalloc((size_t)w->ranks, sizeof *pairs);
    int n = ways_pairs(w, class, w->ranks, pairs);

    for (int k = 0; k <= n; k = k ? 2 * k : 1) {
        struct contention x = { class, k ? k : 1, !k, 0 };
        measure_pairs(c, &c->m->classes[class], pairs, &x);
        add_contention(c, &x);
    }
    free(pairs);
}

/* ---- The tree ------------------------------------------------------------ */

static const struct contention *find_contention(const struct machine *m,
                                                enum route_class class,
                                                int64_t pairs, int both)
{
    for (int64_t i = 0; i < m->n_contention; i++) {
        const struct contention *x = &m->contention[i];
        if (x->class == class && x->pairs == pairs && x->both == both)
            return x;
    }
    return NULL;
}

/* Of the link that pairs of the class share: the most that any number of them
 * had together. */
static double capacity(const struct machine *m, enum route_class class)
{
    double most = 0;

    for (int64_t i = 0; i < m->n_contention; i++)
        if (m->contention[i].class == class && !m->contention[i].both)
            most = fmax(most, m->contention[i].bandwidth);
    return most;
}

static struct cluster_link tree_link(const struct machine *m,
                                     enum route_class class, int shared)
{
    const struct contention *one = find_contention(m, class, 1, 0);
    const struct contention *both = find_contention(m, class, 1, 1);
    const struct link *alone = &m->classes[class];
    struct cluster_link l = { .given = 1, .usable = fmax(one->bandwidth,
                              alone->segments[alone->n - 1].bandwidth) };

    if (shared)
        l.usable = capacity(m, class);
    l.half = both->bandwidth < 1.25 * one->bandwidth;
    return l;
}

/* Is there such a way on the machine, between whichever cores? */
static int has_class(const struct ways *w, enum route_class class)
{
    int group = w->host.caches ? w->host.cores / w->host.caches : 1;

    switch ((int)class) {
    case CLASS_CACHE:
        return group > 1;
    case CLASS_NUMA:
        return w->host.cores > group;
    case CLASS_SOCKET:
        return w->host.sockets > 1;
    case CLASS_LEAF:
        return w->nodes > 1;
    default:
        return 0;
    }
}

/* What links of a type are told by, and whether pairs of that class share
 * them. A type that no way of its own goes through has what the nearest way
 * has. */
static const struct {
    enum edge_type type;
    enum route_class class;
    int shared;
} tree_rows[] = {
    { EDGE_CACHE, CLASS_CACHE, 0 }, { EDGE_MEMORY, CLASS_NUMA, 1 },
    { EDGE_SOCKET, CLASS_SOCKET, 1 }, { EDGE_PCIE, CLASS_LEAF, 1 },
    { EDGE_NETWORK, CLASS_LEAF, 1 }, { EDGE_TYPES, CLASS_SELF, 0 },
};

static void make_links(const struct machine *m, const struct ways *w,
                       struct cluster *k)
{
    struct cluster_link last = { 0 };

    for (int i = 0; tree_rows[i].type != EDGE_TYPES; i++) {
        enum route_class class = tree_rows[i].class;
        if (has_class(w, class))
            last = tree_link(m, class, tree_rows[i].shared
                             && (class != CLASS_NUMA || w->host.caches));
        if (last.given && (has_class(w, class)
                           || tree_rows[i].type == EDGE_MEMORY))
            k->links[tree_rows[i].type] = last;
    }
    for (int i = 0; i < ROUTE_CLASSES; i++)
        if (m->classes[i].n)
            k->start[i] = m->classes[i].segments[0].latency;
}

/* Mean relative difference of what the tree says that pairs have together. */
static double tree_error(const struct machine *m)
{
    double sum = 0;
    int n = 0;

    for (int64_t i = 0; i < m->n_contention; i++) {
        const struct contention *x = &m->contention[i];
        if (x->both || x->pairs == 1)
            continue;
        double one = find_contention(m, x->class, 1, 0)->bandwidth;
        double all = fmin((double)x->pairs * one, x->class == CLASS_CACHE
                          ? INFINITY : capacity(m, x->class));
        sum += fabs(all / x->bandwidth - 1);
        n++;
    }
    return n ? sum / n : 0;
}

static void make_tree(const struct calibration *c, const struct ways *w)
{
    struct machine *m = c->m;

    if (!w->host.sockets) {
        say(c, "nodes differ, or their caches do: no tree of links is written");
        return;
    }
    for (int i = 0; i < ROUTE_CLASSES; i++)
        if (has_class(w, (enum route_class)i) && !m->classes[i].n) {
            say(c, "no two ranks have %s between them: no tree of links is "
                "written", class_names[i]);
            return;
        }
    struct cluster *k = m->cluster = xcalloc(1, sizeof *k);
    k->n_hosts = 1;
    k->hosts = xcalloc(1, sizeof *k->hosts);
    make_links(m, w, k);
    *k->hosts = w->host;
    snprintf(k->hosts->name, sizeof k->hosts->name, "host");
    k->hosts->count = w->nodes;
    k->hosts->nvlink_hosts = 1;
    memcpy(k->hosts->links, k->links, sizeof k->links);
    k->fabric = (struct cluster_fabric){ FABRIC_NONE, 0, 1, 1, { 1, 1, 1 } };
    if (w->nodes > 1) {
        k->fabric.kind = FABRIC_SWITCH;
        k->hosts->nics.n = 1;
        k->hosts->nics.items = xcalloc(1, sizeof(struct cluster_item));
        *k->hosts->nics.items = (struct cluster_item){ "", "socket0", 1, -1,
                                                       0 };
    }
    say(c, "the tree's capacities tell what several pairs have to %.1f %%",
        100 * tree_error(m));
}

/* ---- All of it ----------------------------------------------------------- */

static void copy_link(struct link *to, const struct link *from)
{
    size_t bytes = (size_t)from->n * sizeof *from->segments;

    *to = *from;
    to->segments = xmalloc(bytes);
    memcpy(to->segments, from->segments, bytes);
}

void calibrate_classes(const struct calibration *c)
{
    struct machine *m = c->m;
    struct ways w;

    if (c->ranks < 2) {
        say(c, "one rank: messages not measured");
        return;
    }
    ways_find(c, &w);
    enum route_class far = ways_class(&w, 0, c->ranks - 1);
    for (int i = CLASS_SELF + 1; i < ROUTE_CLASSES; i++) {
        enum route_class class = (enum route_class)i;
        char between[32];
        int pair[1][2];
        if (!ways_pairs(&w, class, 1, pair))
            continue;
        calibrate_link(c, pair[0][0], pair[0][1], &m->classes[i]);
        snprintf(between, sizeof between, "through %s ", class_names[i]);
        calibrate_link_report(c, between, &m->classes[i]);
        measure_contention(c, &w, class);
    }
    if (m->classes[far].n) {
        copy_link(&m->link, &m->classes[far]);
    } else {                    /* both on one core */
        calibrate_link(c, 0, c->ranks - 1, &m->link);
        calibrate_link_report(c, "", &m->link);
    }
    make_tree(c, &w);
    calibrate_collectives(c, &w);
    ways_clear(&w);
}
