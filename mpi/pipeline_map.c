/* SPDX-License-Identifier: Apache-2.0
 *
 * Before the first repetition of the mover that writes into its peers' memory:
 * schedules and memories of all ranks. */
#include <config.h>

#include "mpi/pipeline_ipc.h"

#include <stdlib.h>

/* ---- Who sends what whereto --------------------------------------------- */

/* Bytes of the largest reduction of each channel. */
static void largest_records(const struct schedule *s, uint64_t *most)
{
    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind != OP_COLLECTIVE || !collective_reduces(op->collective)
            || op_is_host(s, op))
            continue;
        uint64_t bytes = tile_bytes(s, op_collective(s, op).staging->tile);
        if (bytes > most[op->channel])
            most[op->channel] = bytes;
    }
}

size_t pipeline_needs(const struct schedule *own, int ranks)
{
    uint64_t most[CHANNELS] = { 0 }, each = CHANNELS * sizeof(struct flags);

    largest_records(own, most);
    for (int c = 0; c < CHANNELS; c++)
        each += most[c];
    return (size_t)(each * (uint64_t)ranks);
}

/* Room for the records of all members, by channel: reductions of two channels
 * may be under way at once. Returns its bytes. */
static size_t place_records(const struct pipeline *p, struct ipc *x)
{
    size_t at = 0;

    largest_records(p->s, x->most);
    MPI_Allreduce(MPI_IN_PLACE, x->most, CHANNELS, MPI_UINT64_T, MPI_MAX,
                  p->comm);
    for (int c = 0; c < CHANNELS; c++) {
        x->first[c] = at;
        at += x->most[c] * (size_t)p->ranks;
    }
    return at;
}

int32_t pipeline_nth_recv(const struct schedule *s, int channel,
                          int32_t from, int64_t k)
{
    int64_t seen = 0;

    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct op *op = &s->ops[i];
        if (op->kind == OP_RECV && op->channel == channel && op->peer == from
            && !op_is_host(s, op) && seen++ == k)
            return (int32_t)i;
    }
    die("rank %d: no message %lld from rank %d", (int)s->rank, (long long)k,
        (int)from);
}

static void match_sends(const struct pipeline *p, struct ipc *x)
{
    int64_t *count = xcalloc((size_t)(CHANNELS * p->ranks), sizeof *count);

    x->match = xmalloc((size_t)p->s->n_ops * sizeof *x->match);
    for (int64_t i = 0; i < p->s->n_ops; i++) {
        const struct op *op = &p->s->ops[i];
        x->match[i] = -1;
        if (op->kind != OP_SEND || p->by_host[i])
            continue;
        int64_t *k = &count[op->channel * p->ranks + op->peer];
        x->match[i] = pipeline_nth_recv(x->peers[op->peer].memory.schedule,
                                        op->channel, p->rank, (*k)++);
    }
    free(count);
}

/* The op at `other` of the k-th collective of a group on a channel. */
static int32_t nth_collective(const struct schedule *other,
                              const struct op *op, int64_t k)
{
    for (int64_t i = 0; i < other->n_ops; i++) {
        const struct op *their = &other->ops[i];
        if (their->kind == OP_COLLECTIVE && their->channel == op->channel
            && their->peer == op->peer && !op_is_host(other, their)
            && k-- == 0)
            return (int32_t)i;
    }
    die("rank %d: no partner in a collective", (int)other->rank);
}

/* How many collectives of its group on its channel come before op i. */
static int64_t collectives_before(const struct schedule *s, int64_t i)
{
    const struct op *op = &s->ops[i];
    int64_t k = 0;

    for (int64_t j = 0; j < i; j++)
        k += s->ops[j].kind == OP_COLLECTIVE && !op_is_host(s, &s->ops[j])
            && s->ops[j].channel == op->channel && s->ops[j].peer == op->peer;
    return k;
}

static void match_collectives(const struct pipeline *p, struct ipc *x)
{
    for (int r = 0; r < p->ranks; r++) {
        x->peers[r].same = xmalloc((size_t)p->s->n_ops * sizeof(int32_t) + 1);
        for (int64_t i = 0; i < p->s->n_ops; i++)
            x->peers[r].same[i] = -1;
    }
    for (int64_t i = 0; i < p->s->n_ops; i++) {
        if (p->s->ops[i].kind != OP_COLLECTIVE || p->by_host[i])
            continue;
        struct collective_shape c = op_collective(p->s, &p->s->ops[i]);
        int64_t k = collectives_before(p->s, i);
        for (int64_t m = 0; m < c.members; m++)
            if (m != c.me)
                x->peers[c.ranks[m]].same[i] = nth_collective(
                    x->peers[c.ranks[m]].memory.schedule, &p->s->ops[i], k);
    }
}

/* ---- Unused memory ------------------------------------------------------- */

/* Does a buffer lie where one of those does that were used? */
static int lies_on_used(const struct memory *m, int32_t b, const uint8_t *used)
{
    const struct schedule *s = m->schedule;

    for (int32_t other = 0; other < s->n_buffers; other++)
        if (used[other] && s->buffers[other].role != ROLE_STAGING
            && m->offsets[b] < m->offsets[other] + buffer_bytes(s, other)
            && m->offsets[other] < m->offsets[b] + buffer_bytes(s, b))
            return 1;
    return 0;
}

/* What a receiving op is sent into; 0: not such an op.  Records of reductions
 * have a place of their own, which the next one uses again. */
static int64_t received(const struct schedule *s, const struct op *op,
                        const struct operand **o)
{
    int64_t n;

    *o = pool_operands_get(s->pool, op->operands, &n);
    if (op->kind == OP_RECV)
        return n;
    if (op->kind != OP_COLLECTIVE || collective_reduces(op->collective))
        return 0;
    struct collective_shape c = op_collective(s, op);
    *o = c.recv;
    return c.members * c.tiles;
}

/* Ops that may be sent into before they are given.  A message that follows on
 * something is none of them: who follows on its flag relies on that. */
static uint8_t *find_fresh(const struct memory *m)
{
    const struct schedule *s = m->schedule;
    uint8_t *fresh = xcalloc((size_t)s->n_ops + 1, 1);
    uint8_t *used = xcalloc((size_t)s->n_buffers + 1, 1);

    for (int64_t i = 0; i < s->n_ops; i++) {
        const struct operand *o;
        int64_t n = received(s, &s->ops[i], &o);
        fresh[i] = n > 0 && (s->ops[i].kind == OP_COLLECTIVE
                             || !s->ops[i].dep_count);
        for (int64_t k = 0; k < n && fresh[i]; k++)
            fresh[i] = !lies_on_used(m, o[k].tile.buffer, used);
        o = pool_operands_get(s->pool, s->ops[i].operands, &n);
        for (int64_t k = 0; k < n; k++)
            used[o[k].tile.buffer] = 1;
    }
    free(used);
    return fresh;
}

/* ---- Memory of all ranks ------------------------------------------------- */

static int import(const struct pipeline *p, const struct cuda_handle *h,
                  int rank, void **base, struct error *e)
{
    struct error why = { 0 };

    if (!cuda_import(h, base, &why))
        return 0;
    return fail(e, "rank %d cannot map the memory of rank %d (%s): ipc is for "
                "ranks of one host that see each other's devices (Slurm: "
                "--gpu-bind=none)", p->rank, rank, why.text);
}

/* Are messages to and from it of this mover? */
static int is_near(const struct pipeline *p, int rank)
{
    return !p->near || reach_has(p->near, p->rank, rank);
}

/* One allocation of this rank (NULL: it failed, *e says why), mapped by all
 * that are near. */
static int share(const struct pipeline *p, void *mine, void **all,
                 struct error *e)
{
    struct cuda_handle own = { { 0 } };
    struct cuda_handle *handles = xcalloc((size_t)p->ranks, sizeof *handles);
    int failed = !mine || cuda_export(mine, &own, e);

    all[p->rank] = mine;
    failed = pipeline_agree(p, failed, e);
    if (!failed) {
        MPI_Allgather(&own, sizeof own, MPI_BYTE, handles, sizeof own,
                      MPI_BYTE, p->comm);
        for (int r = 0; r < p->ranks && !failed; r++)
            if (r != p->rank && is_near(p, r))
                failed = import(p, &handles[r], r, &all[r], e);
        failed = pipeline_agree(p, failed, e);
    }
    free(handles);
    return failed;
}

static int map_peers(struct pipeline *p, size_t room, struct error *e)
{
    struct ipc *x = p->state;
    size_t n = (size_t)p->ranks, words = CHANNELS * n * sizeof(struct flags);
    void *flags = p->device->alloc(words, e), *records = NULL;
    void **bases = xcalloc(3 * n, sizeof *bases);

    if (flags) {
        p->device->fill(flags, 0, words);
        p->device->sync();
        records = p->device->alloc(room, e);
    }
    int failed = share(p, p->m->base, bases, e)
        || share(p, flags, bases + n, e)
        || share(p, records, bases + 2 * n, e);
    for (size_t r = 0; r < n; r++) {
        x->peers[r].memory.base = bases[r];
        x->peers[r].memory.device = p->device;
        x->peers[r].flags = bases[n + r];
        x->peers[r].records = bases[2 * n + r];
    }
    x->peers[p->rank].flags = flags;
    x->peers[p->rank].records = records;
    free(bases);
    return failed;
}

/* ---- All together ------------------------------------------------------- */

/* As that rank executes it. */
static struct schedule *build_peer(const struct pipeline *p, struct plan *plan,
                                   int rank)
{
    struct schedule *logical = plan_build(plan, rank);

    if (!p->near)
        return logical;
    struct schedule *s = schedule_lower(logical, &lower_default, p->near);
    schedule_destroy(logical);
    return s;
}

int ipc_open(struct pipeline *p, struct plan *plan, struct error *e)
{
    if (!p->near && pipeline_one_host(p, e))
        return -1;
    struct ipc *x = p->state = xcalloc(1, sizeof *x);
    size_t counters = (size_t)(CHANNELS * p->ranks);

    x->peers = xcalloc((size_t)p->ranks, sizeof *x->peers);
    for (int r = 0; r < p->ranks; r++) {
        struct peer *y = &x->peers[r];
        if (plan && r != p->rank && is_near(p, r))
            y->schedule = build_peer(p, plan, r);
        memory_layout(&y->memory, y->schedule ? y->schedule : p->s);
        y->fresh = find_fresh(&y->memory);
    }
    for (int r = 0; r < p->ranks; r++) {
        if (r == p->rank || !is_near(p, r))
            continue;
        const struct schedule *other = x->peers[r].memory.schedule;
        pipeline_find_known(p->s, other, x->peers[r].fresh);
        pipeline_find_known(other, p->s, x->peers[p->rank].fresh);
    }
    size_t room = place_records(p, x);
    match_sends(p, x);
    match_collectives(p, x);
    x->number = xcalloc((size_t)p->s->n_ops + 1, sizeof *x->number);
    x->sent = xcalloc(counters, sizeof *x->sent);
    x->received = xcalloc(counters, sizeof *x->received);
    return map_peers(p, room, e);
}

static void unmap(struct pipeline *p, int r)
{
    struct ipc *x = p->state;
    struct peer *y = &x->peers[r];

    if (r == p->rank) {
        p->device->free(y->flags);
        p->device->free(y->records);
    } else {
        cuda_unimport(y->memory.base);  /* NULL: never mapped */
        cuda_unimport(y->flags);
        cuda_unimport(y->records);
    }
    schedule_destroy(y->schedule);
    free(y->memory.offsets);
    free(y->fresh);
    free(y->same);
}

void ipc_close(struct pipeline *p)
{
    struct ipc *x = p->state;

    if (!x)
        return;
    for (int r = 0; r < p->ranks; r++)
        if (r != p->rank)
            unmap(p, r);
    MPI_Barrier(p->comm);       /* nobody frees what is mapped */
    unmap(p, p->rank);
    free(x->match);
    free(x->number);
    free(x->sent);
    free(x->received);
    free(x->peers);
    free(x);
}
