/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives of CPU ranks, as schedules have them and as the executor does
 * them: of all ranks, and of the groups into which strategies divide them. */
#include <config.h>

#include "base/units.h"
#include "mpi/calibrate_internal.h"
#include "mpi/run.h"
#include "topo/collective.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 32 << 20, CHAIN = 64, MOST_TRIES = 15, DIM = 64,
       MOST_HEADS = 4 };

/* Ranks first, first + stride, ... of each group, and as many groups as are at
 * it. */
struct circles {
    struct collective_group group;
    int64_t stride;
    MPI_Comm all, own;          /* those in a group; my group's */
    int me, members;
    struct pool *pool;
    struct job job;
    struct transport *transport;
};

/* ---- Schedules ----------------------------------------------------------- */

/* A member's part of one tile: [rows, heads, DIM] fp32. */
struct part {
    int64_t rows, heads;
};

static struct tile new_tile(struct schedule *s, const char *label,
                            int64_t rows, int64_t heads, int64_t width)
{
    struct buffer b = { .role = ROLE_SCRATCH, .dtype = DTYPE_FP32, .map = -1,
                        .rows = rows, .heads = (int32_t)heads,
                        .width = (int32_t)width };

    return tile_whole(s, schedule_buffer(s, label, b));
}

static const char *const tile_labels[2][3] = { { "q", "k", "v" },
                                               { "q_all", "k_all", "v_all" } };

/* Of n tensors, as parts of mine (labels 0) or of all members' rows. */
static void new_tiles(struct schedule *s, int of_all, int64_t rows,
                      int64_t heads, int n, struct tile *out)
{
    for (int i = 0; i < n; i++)
        out[i] = new_tile(s, tile_labels[of_all][i], rows, heads, DIM);
}

/* K and V of everyone, as in `allgather`. */
static void add_gather(struct schedule *s, const struct circles *c,
                       struct part p, int chain, const int32_t *ranks)
{
    int64_t P = c->members, n = 2 + 2 * P;
    struct tile own[2], all[2], *t = xcalloc((size_t)n, sizeof *t);

    new_tiles(s, 0, p.rows, p.heads, 2, own);
    new_tiles(s, 1, P * p.rows, p.heads, 2, all);
    for (int64_t i = -1; i < P; i++)
        for (int k = 0; k < 2; k++)
            t[2 + 2 * i + k] = i < 0 ? own[k]
                : tile_rows(s, all[k].buffer, i * p.rows, p.rows);
    for (int i = 0; i < chain; i++)
        schedule_collective(s, "", CHANNEL_KV, ALL_GATHER, ranks, P, 2, t, n);
    free(t);
}

/* Gradients of K and V of everyone to whom they belong. */
static void add_scatter(struct schedule *s, const struct circles *c,
                        struct part p, int chain, const int32_t *ranks)
{
    int64_t P = c->members, n = 4 * P + 2;
    struct tile all[2], parts[2], *t = xcalloc((size_t)n, sizeof *t);

    new_tiles(s, 1, P * p.rows, p.heads, 2, all);
    new_tiles(s, 0, p.rows, p.heads, 2, t + 2 * P);
    for (int k = 0; k < 2; k++)
        parts[k] = new_tile(s, "parts", (P - 1) * p.rows, p.heads, DIM);
    for (int64_t i = 0; i < P; i++)
        for (int k = 0; k < 2; k++) {
            int64_t at = (i - (i > c->me)) * p.rows;
            t[2 * i + k] = tile_rows(s, all[k].buffer, i * p.rows, p.rows);
            t[2 * P + 2 + 2 * i + k] = tile_rows(
                s, parts[k].buffer, i == c->me ? 0 : at,
                i == c->me ? 0 : p.rows);
        }
    for (int i = 0; i < chain; i++)
        schedule_collective(s, "", CHANNEL_DKV, REDUCE_SCATTER, ranks, P, 2, t,
                            n);
    free(t);
}

/* Q, K and V from shards of tokens to shards of heads, as in `ulysses`. */
static void add_exchange(struct schedule *s, const struct circles *c,
                         struct part p, int chain, const int32_t *ranks)
{
    int64_t P = c->members, n = 6 * P;
    struct tile from[3], to[3], *t = xcalloc((size_t)n, sizeof *t);

    new_tiles(s, 0, p.rows, P * p.heads, 3, from);
    new_tiles(s, 1, P * p.rows, p.heads, 3, to);
    for (int64_t i = 0; i < P; i++)
        for (int k = 0; k < 3; k++) {
            t[3 * i + k] = tile_heads(from[k], (int32_t)(i * p.heads),
                                      (int32_t)p.heads);
            t[3 * (P + i) + k] = tile_rows(s, to[k].buffer, i * p.rows, p.rows);
        }
    for (int i = 0; i < chain; i++)
        schedule_collective(s, "", CHANNEL_Q, ALL_TO_ALL, ranks, P, 3, t, n);
    free(t);
}

/* Numerators and denominators, or o and lse, as in `tree`. */
static void add_reduce(struct schedule *s, const struct circles *c,
                       struct part p, int chain, const int32_t *ranks,
                       enum collective what)
{
    struct tile in[2], out[2];

    for (int k = 0; k < 2; k++) {
        in[k] = new_tile(s, "in", p.rows, p.heads, k ? 1 : DIM);
        out[k] = new_tile(s, "out", p.rows, p.heads, k ? 1 : DIM);
    }
    for (int i = 0; i < chain; i++)
        schedule_reduce(s, "", CHANNEL_OUT, what, ranks, c->members, in, out,
                        2, 0);
}

static void add_sum(struct schedule *s, const struct circles *c,
                    struct part p, int chain, const int32_t *ranks)
{
    add_reduce(s, c, p, chain, ranks, ALL_REDUCE_SUM);
}

static void add_merge(struct schedule *s, const struct circles *c,
                      struct part p, int chain, const int32_t *ranks)
{
    add_reduce(s, c, p, chain, ranks, ALL_REDUCE_MERGE);
}

/* States of linear attention, as in `lasp2`: a member's is wide. */
static void add_scan(struct schedule *s, const struct circles *c,
                     struct part p, int chain, const int32_t *ranks)
{
    enum { STATE = 16 * DIM };
    struct tile in = new_tile(s, "in", p.rows, p.heads, STATE);
    struct tile out = new_tile(s, "out", p.rows, p.heads, STATE);

    for (int i = 0; i < chain; i++)
        schedule_reduce(s, "", CHANNEL_KV, EXCLUSIVE_SCAN, ranks, c->members,
                        &in, &out, 1, 1);
}

static const struct kind_row {
    enum collective_kind kind;
    void (*add)(struct schedule *s, const struct circles *c, struct part p,
                int chain, const int32_t *ranks);
} kind_rows[] = {
    { OF_ALL_GATHER, add_gather }, { OF_REDUCE_SCATTER, add_scatter },
    { OF_ALL_TO_ALL, add_exchange }, { OF_ALL_REDUCE, add_sum },
    { OF_MERGE, add_merge }, { OF_SCAN, add_scan },
};
enum { KIND_ROWS = sizeof kind_rows / sizeof *kind_rows };

/* `chain` of them, one after the other. */
static struct schedule *make_schedule(const struct circles *c,
                                      const struct kind_row *k, struct part p,
                                      int chain)
{
    struct schedule *s = schedule_create(c->pool, &c->job, c->members, c->me);
    int32_t *ranks = xcalloc((size_t)c->members, sizeof *ranks);

    for (int32_t i = 0; i < c->members; i++)
        ranks[i] = i;
    k->add(s, c, p, chain, ranks);
    schedule_freeze(s);
    free(ranks);
    return s;
}

/* ---- Times --------------------------------------------------------------- */

/* Seconds of one of the chain, of the slowest member: the shortest of the
 * tries, since all must have had their cores for it. */
static double chain_seconds(const struct calibration *c,
                            const struct circles *x, const struct schedule *s,
                            struct memory *m, int chain)
{
    struct execute_options o = { .kernel = c->kernel };
    double tries[MOST_TRIES];
    int n = c->request->quick ? 7 : MOST_TRIES;

    for (int t = -1; t < n; t++) {
        MPI_Barrier(x->all);
        int64_t start = clock_now();
        execute(s, m, x->transport, &o);
        if (t >= 0)
            tries[t] = (double)(clock_now() - start) * 1e-9 / chain;
    }
    MPI_Allreduce(MPI_IN_PLACE, tries, n, MPI_DOUBLE, MPI_MAX, x->all);
    double least = tries[0];
    for (int t = 1; t < n; t++)
        least = fmin(least, tries[t]);
    return least;
}

/* The payload, as tables count it. */
static int64_t chain_payload(const struct circles *x, const struct kind_row *k,
                             const struct schedule *s)
{
    int64_t sent = op_work(s, &s->ops[0]).sent_bytes;

    MPI_Allreduce(MPI_IN_PLACE, &sent, 1, MPI_INT64_T, MPI_MAX, x->own);
    return collective_payload(k->kind, x->members, sent);
}

static struct link_point measure_point(const struct calibration *c,
                                       const struct circles *x,
                                       const struct kind_row *k,
                                       struct part p, int chain)
{
    struct schedule *s = make_schedule(x, k, p, chain);
    struct memory m;
    struct error e = { 0 };
    struct link_point point = { chain_payload(x, k, s), 0 };

    if (memory_create(&m, s, &device_host, 0, &e) != 0)
        die("calibrate: %s", e.text);
    m.device->fill(m.base, 0, s->peak_bytes);
    if (transport_prepare(x->transport, NULL, s, &m, &e) != 0)
        die("calibrate: %s", e.text);
    point.seconds = chain_seconds(c, x, s, &m, chain);
    memory_destroy(&m);
    schedule_destroy(s);
    return point;
}

/* From the shortest to the longest, sizes doubled; [*n], the caller frees. */
static struct link_point *measure_points(const struct calibration *c,
                                         const struct circles *x,
                                         const struct kind_row *k, int64_t *n)
{
    int64_t cap = 0;
    double batch = c->request->quick ? 4e-4 : 1e-3;
    struct link_point *p = NULL, now = { 0, 0 };
    struct part part = { 1, 1 };

    for (*n = 0; now.bytes < LARGEST;) {
        int chain = now.bytes ? (int)(batch / now.seconds) : CHAIN;
        now = measure_point(c, x, k, part, (int)max64(1, min64(CHAIN, chain)));
        ARRAY_PUSH(p, *n, cap, now);
        if (part.heads < MOST_HEADS)
            part.heads *= 2;
        else
            part.rows *= 2;
    }
    return p;
}

/* ---- Tables --------------------------------------------------------------- */

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
static void measure_kind(const struct calibration *c, const struct circles *x,
                         const struct kind_row *k)
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

/* ---- Groups --------------------------------------------------------------- */

static void circles_open(const struct calibration *c, struct circles *x)
{
    int64_t P = x->group.ranks, block = P * x->stride;
    int64_t number = x->stride == 1 ? c->rank / P : c->rank % x->stride;
    int in = x->stride == 1 ? c->rank / block < x->group.groups
        : number < x->group.groups;
    struct error e = { 0 };
    int64_t one = 1;

    MPI_Comm_split(c->comm, in ? 0 : MPI_UNDEFINED, c->rank, &x->all);
    MPI_Comm_split(c->comm, in ? (int)number : MPI_UNDEFINED, c->rank, &x->own);
    if (!in)
        return;
    MPI_Comm_rank(x->own, &x->me);
    MPI_Comm_size(x->own, &x->members);
    x->pool = pool_create();
    x->job = (struct job){ .transformer = { .heads = 1, .kv_heads = 1,
                                            .head_dim = DIM } };
    if (job_finish(&x->job, &one, 1, &e) != 0
        || !(x->transport = transport_create("host", &device_host, x->own,
                                              &e)))
        die("calibrate: %s", e.text);
}

static void circles_close(struct circles *x)
{
    if (!x->transport)
        return;
    transport_destroy(x->transport);
    job_clear(&x->job);
    pool_destroy(x->pool);
    MPI_Comm_free(&x->own);
    MPI_Comm_free(&x->all);
}

/* Of the group that begins at rank `first`. */
static void place_group(const struct calibration *c, const struct ways *w,
                        int64_t first, int64_t stride,
                        struct collective_group *g)
{
    g->hosts = g->cores = 0;
    g->class = CLASS_SELF;
    for (int64_t i = 0; i < g->ranks; i++) {
        int new_host = 1, new_core = 1;
        for (int64_t k = 0; k < i; k++) {
            enum route_class class = ways_class(w, (int)(first + i * stride),
                                                (int)(first + k * stride));
            new_core &= class != CLASS_SELF;
            new_host &= class >= CLASS_LEAF;
            g->class = class > g->class ? class : g->class;
        }
        g->hosts += new_host;
        g->cores += new_core;
    }
    if (!w->host.sockets)       /* who is where may not be known */
        g->cores = min64(g->ranks, c->m->cores);
}

/* All groups alike? */
static int are_alike(const struct calibration *c, const struct ways *w,
                     const struct circles *x)
{
    for (int64_t i = 1; i < x->group.groups; i++) {
        struct collective_group g = x->group;
        place_group(c, w, x->stride == 1 ? i * g.ranks : i, x->stride, &g);
        if (g.hosts != x->group.hosts || g.cores != x->group.cores
            || g.class != x->group.class)
            return 0;
    }
    return 1;
}

/* Already measured: ranks beside each other may be as far apart as others. */
static int is_known(const struct machine *m, const struct collective_group *g)
{
    for (int64_t i = 0; i < m->n_collectives; i++) {
        const struct collective_group *k = &m->collectives[i].group;
        if (k->ranks == g->ranks && k->hosts == g->hosts
            && k->cores == g->cores && k->groups == g->groups
            && k->class == g->class)
            return 1;
    }
    return 0;
}

static void measure_groups(const struct calibration *c, const struct ways *w,
                           int64_t members, int64_t groups, int64_t stride)
{
    struct circles x = { .group = { .ranks = members, .groups = groups },
                         .stride = stride };

    place_group(c, w, 0, stride, &x.group);
    if (!are_alike(c, w, &x) || is_known(c->m, &x.group))
        return;
    circles_open(c, &x);
    for (int k = 0; k < KIND_ROWS; k++)
        measure_kind(c, &x, &kind_rows[k]);
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
}
