/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "mpi/reduce.h"

#include <stdlib.h>
#include <string.h>

/* Those of a group, on one channel. */
struct circle {
    int channel;
    int64_t n;
    int32_t *ranks;             /* [n] */
    MPI_Comm comm;
};

struct record_type {
    int64_t width;
    MPI_Datatype type;
};

struct reducer {
    MPI_Op ops[COLLECTIVES];
    int64_t n, cap, n_types, types_cap;
    struct circle *circles;
    struct record_type *types;
};

/* ---- Operators ---------------------------------------------------------- */

/* MPI hands over whole records: an element of its type is one. */
static void combine(enum collective what, void *in, void *inout, int n,
                    MPI_Datatype type)
{
    int bytes;

    MPI_Type_size(type, &bytes);
    reduce_with[what](in, inout, n, bytes / (int)sizeof(float));
}

static void merge_op(void *in, void *inout, int *n, MPI_Datatype *type)
{
    combine(ALL_REDUCE_MERGE, in, inout, *n, *type);
}

static void scan_op(void *in, void *inout, int *n, MPI_Datatype *type)
{
    combine(EXCLUSIVE_SCAN, in, inout, *n, *type);
}

struct reducer *reducer_create(void)
{
    struct reducer *r = xcalloc(1, sizeof *r);

    r->ops[ALL_REDUCE_MAX] = MPI_MAX;
    r->ops[ALL_REDUCE_SUM] = MPI_SUM;
    /* A merge commutes, but in members' order it gives the same bits twice. */
    MPI_Op_create(merge_op, 0, &r->ops[ALL_REDUCE_MERGE]);
    MPI_Op_create(scan_op, 0, &r->ops[EXCLUSIVE_SCAN]);
    return r;
}

void reducer_destroy(struct reducer *r)
{
    for (int64_t i = 0; i < r->n; i++) {
        MPI_Comm_free(&r->circles[i].comm);
        free(r->circles[i].ranks);
    }
    for (int64_t i = 0; i < r->n_types; i++)
        MPI_Type_free(&r->types[i].type);
    MPI_Op_free(&r->ops[ALL_REDUCE_MERGE]);
    MPI_Op_free(&r->ops[EXCLUSIVE_SCAN]);
    free(r->circles);
    free(r->types);
    free(r);
}

static MPI_Datatype record_type(struct reducer *r, int64_t width)
{
    struct record_type t = { width, MPI_DATATYPE_NULL };

    for (int64_t i = 0; i < r->n_types; i++)
        if (r->types[i].width == width)
            return r->types[i].type;
    MPI_Type_contiguous((int)width, MPI_FLOAT, &t.type);
    MPI_Type_commit(&t.type);
    ARRAY_PUSH(r->types, r->n_types, r->types_cap, t);
    return t.type;
}

/* ---- Communicators ------------------------------------------------------ */

static int by_content(const void *a, const void *b)
{
    const struct circle *x = a, *y = b;

    if (x->channel != y->channel)
        return x->channel - y->channel;
    if (x->n != y->n)
        return x->n < y->n ? -1 : 1;
    for (int64_t i = 0; i < x->n; i++)
        if (x->ranks[i] != y->ranks[i])
            return x->ranks[i] < y->ranks[i] ? -1 : 1;
    return 0;
}

static struct circle circle_of(const struct schedule *s, const struct op *op)
{
    struct circle c = { .channel = op->channel, .comm = MPI_COMM_NULL };
    const int32_t *ranks = pool_group_get(s->pool, op->peer, &c.n);
    size_t bytes = (size_t)c.n * sizeof *ranks;

    c.ranks = xmalloc(bytes);
    memcpy(c.ranks, ranks, bytes);
    return c;
}

static struct circle *find_circle(struct reducer *r, const struct circle *c)
{
    for (int64_t i = 0; i < r->n; i++)
        if (by_content(&r->circles[i], c) == 0)
            return &r->circles[i];
    return NULL;
}

static void open_circle(struct circle *c, MPI_Comm all)
{
    MPI_Group whole, group;

    MPI_Comm_group(all, &whole);
    MPI_Group_incl(whole, (int)c->n, c->ranks, &group);
    MPI_Comm_create_group(all, group, 0, &c->comm);
    MPI_Group_free(&group);
    MPI_Group_free(&whole);
}

/* Every rank opens its communicators in the same order, by content: in the
 * order of their ops, ranks could wait for each other. */
void reducer_prepare(struct reducer *r, const struct schedule *s,
                     const MPI_Comm *channels)
{
    int64_t before = r->n;

    for (int64_t i = 0; i < s->n_ops; i++) {
        if (s->ops[i].kind != OP_COLLECTIVE
            || !collective_reduces(s->ops[i].collective))
            continue;
        struct circle c = circle_of(s, &s->ops[i]);
        if (find_circle(r, &c))
            free(c.ranks);
        else
            ARRAY_PUSH(r->circles, r->n, r->cap, c);
    }
    if (r->n > before)
        qsort(r->circles + before, (size_t)(r->n - before),
              sizeof *r->circles, by_content);
    for (int64_t i = before; i < r->n; i++)
        open_circle(&r->circles[i], channels[r->circles[i].channel]);
}

/* ---- Reductions --------------------------------------------------------- */

MPI_Request reducer_start(struct reducer *r, const struct schedule *s,
                          const struct op *op, struct records x)
{
    struct circle key = circle_of(s, op);
    struct circle *c = find_circle(r, &key);
    MPI_Op how = r->ops[op->collective];
    MPI_Request request;

    free(key.ranks);
    if (!c || x.n > INT32_MAX)
        die("rank %d: a reduction of %lld records on a group that nobody "
            "prepared", s->rank, (long long)x.n);
    if (op->collective == EXCLUSIVE_SCAN)
        MPI_Iexscan(MPI_IN_PLACE, x.data, (int)x.n, record_type(r, x.width),
                    how, c->comm, &request);
    else if (op->collective == ALL_REDUCE_MERGE)
        MPI_Iallreduce(MPI_IN_PLACE, x.data, (int)x.n, record_type(r, x.width),
                       how, c->comm, &request);
    else
        MPI_Iallreduce_c(MPI_IN_PLACE, x.data, x.n * x.width, MPI_FLOAT, how,
                         c->comm, &request);
    return request;
}
