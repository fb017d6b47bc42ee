/* SPDX-License-Identifier: Apache-2.0
 *
 * Loopback: the schedules of all ranks in one process.  A message is one event
 * of its send and its receive, a collective one event of all members: the
 * strictest legal transport. */
#include <config.h>

#include "run/compute.h"
#include "run/reduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int loopback_create(struct loopback *l,
                    const struct schedule *const *schedules, int64_t ranks,
                    struct error *e)
{
    return loopback_create_on(l, schedules, ranks, &device_host, e);
}

int loopback_create_on(struct loopback *l,
                       const struct schedule *const *schedules, int64_t ranks,
                       const struct device *device, struct error *e)
{
    memset(l, 0, sizeof *l);
    l->ranks = ranks;
    l->schedules = schedules;
    l->memories = xcalloc((size_t)ranks, sizeof *l->memories);
    l->bytes_sent = xcalloc((size_t)ranks, sizeof *l->bytes_sent);
    for (int64_t r = 0; r < ranks; r++)
        if (memory_create(&l->memories[r], schedules[r], device, 0, e)) {
            loopback_destroy(l);
            return -1;
        }
    return 0;
}

void loopback_destroy(struct loopback *l)
{
    for (int64_t r = 0; r < l->ranks; r++)
        memory_destroy(&l->memories[r]);
    free(l->memories);
    free(l->bytes_sent);
    memset(l, 0, sizeof *l);
}

struct stage {
    struct loopback *l;
    const struct kernel_backend *kernel;
    struct lanes *lanes;        /* [ranks] */
    uint64_t random;            /* 0: rank by rank */
    struct error *e;
    int failed;
};

static void begin(const struct stage *g, const int32_t *ranks,
                  const int32_t *ops, int64_t n)
{
    if (g->l->hook)
        g->l->hook->begin(g->l->hook->arg, ranks, ops, n);
}

/* It is done: whoever follows may go on. */
static void end(const struct stage *g, const int32_t *ranks,
                const int32_t *ops, int64_t n)
{
    if (g->l->hook)
        g->l->hook->end(g->l->hook->arg, ranks, ops, n);
    for (int64_t k = 0; k < n; k++)
        lanes_done(&g->lanes[ranks[k]], ops[k]);
}

/* ---- Messages ----------------------------------------------------------- */

/* One tile from rank a to rank b. */
static int move_tile(struct stage *g, int64_t a, struct tile from, int64_t b,
                     struct tile to)
{
    struct loopback *l = g->l;
    size_t out = tile_bytes(l->schedules[a], from);
    size_t in = tile_bytes(l->schedules[b], to);

    if (out != in)
        return fail(g->e, "rank %d sends %zu bytes where rank %d takes %zu",
                    (int)a, out, (int)b, in);
    tile_move(&l->memories[b], to, &l->memories[a], from);
    if (a != b)
        l->bytes_sent[a] += (int64_t)out;
    return 0;
}

static int move_message(struct stage *g, int64_t a, const struct op *send,
                        int64_t b, const struct op *recv)
{
    const struct schedule *s = g->l->schedules[a], *t = g->l->schedules[b];
    int64_t n, m;
    const struct operand *from = pool_operands_get(s->pool, send->operands, &n);
    const struct operand *to = pool_operands_get(t->pool, recv->operands, &m);

    if (n != m)
        return fail(g->e, "rank %d sends %d tiles where rank %d takes %d",
                    (int)a, (int)n, (int)b, (int)m);
    for (int64_t i = 0; i < n; i++)
        if (move_tile(g, a, from[i].tile, b, to[i].tile))
            return -1;
    return 0;
}

/* Try the send at the head of a lane of rank a. 1: it moved. */
static int try_send(struct stage *g, int64_t a, int32_t i)
{
    const struct op *send = &g->l->schedules[a]->ops[i];
    int64_t b = send->peer;
    int32_t j = g->lanes[b].head[LANE_RECV(send->channel)];

    if (j < 0)
        return 0;
    const struct op *recv = &g->l->schedules[b]->ops[j];
    if (recv->kind != OP_RECV || recv->peer != a
        || !lanes_ready(&g->lanes[b], j))
        return 0;
    const int32_t ranks[] = { (int32_t)a, (int32_t)b }, ops[] = { i, j };
    begin(g, ranks, ops, 2);
    g->failed = move_message(g, a, send, b, recv);
    end(g, ranks, ops, 2);
    return 1;
}

/* ---- Collectives -------------------------------------------------------- */

/* The op with which `rank` joins the collective `op`, if it is ready; or -1. */
static int32_t joins(struct stage *g, int64_t rank, const struct op *op)
{
    int32_t j = g->lanes[rank].head[LANE_SEND(op->channel)];

    if (j < 0 || !lanes_ready(&g->lanes[rank], j))
        return -1;
    const struct op *other = &g->l->schedules[rank]->ops[j];
    return other->kind == OP_COLLECTIVE && other->peer == op->peer
                   && other->collective == op->collective ? j : -1;
}

/* All slices from member a to member b. */
static int move_slices(struct stage *g, const struct collective_shape *a,
                       const struct collective_shape *b, int all_gather)
{
    for (int64_t t = 0; t < a->tiles; t++) {
        int64_t slice = all_gather ? t : b->me * a->tiles + t;
        if (move_tile(g, a->ranks[a->me], a->send[slice].tile,
                      b->ranks[b->me], b->recv[a->me * b->tiles + t].tile))
            return -1;
    }
    return 0;
}

/* The records of all members, in their order: each gets the reduction of all,
 * or (scan) of those before it. */
static int move_records(struct stage *g, const int32_t *ranks, int64_t n,
                        const int32_t *ops)
{
    struct loopback *l = g->l;
    enum collective what = l->schedules[ranks[0]]->ops[ops[0]].collective;
    struct records *r = xcalloc((size_t)n, sizeof *r);
    int rc = 0;

    for (int64_t k = 0; k < n && !rc; k++) {
        const struct schedule *s = l->schedules[ranks[k]];
        reduce_pack(s, &s->ops[ops[k]], &l->memories[ranks[k]]);
        r[k] = reduce_records(s, &s->ops[ops[k]], &l->memories[ranks[k]]);
        if (r[k].n != r[0].n || r[k].width != r[0].width)
            rc = fail(g->e, "ranks %d and %d reduce %d records of %d and %d "
                      "of %d", ranks[0], ranks[k], (int)r[0].n,
                      (int)r[0].width, (int)r[k].n, (int)r[k].width);
        l->bytes_sent[ranks[k]] += reduce_sent_bytes(
            what, n, k, r[k].n * r[k].width * (int64_t)sizeof(float));
    }
    for (int64_t k = 0; k < n && !rc; k++)
        reduce_to_host(&r[k], l->memories[ranks[k]].device);
    if (!rc)
        reduce_all(what, r, n);
    for (int64_t k = 0; k < n && !rc; k++)
        reduce_from_host(&r[k], l->memories[ranks[k]].device);
    free(r);
    return rc;
}

static int exchange_slices(struct stage *g, const int32_t *ranks, int64_t n,
                           const int32_t *ops)
{
    struct loopback *l = g->l;

    for (int64_t a = 0; a < n; a++) {
        const struct op *op = &l->schedules[ranks[a]]->ops[ops[a]];
        struct collective_shape from = op_collective(l->schedules[ranks[a]],
                                                     op);
        for (int64_t b = 0; b < n; b++) {
            const struct schedule *s = l->schedules[ranks[b]];
            struct collective_shape to = op_collective(s, &s->ops[ops[b]]);
            if (from.tiles != to.tiles)
                return fail(g->e, "ranks %d and %d join a collective with %d "
                            "and %d tiles", ranks[a], ranks[b],
                            (int)from.tiles, (int)to.tiles);
            if (a != b && move_slices(g, &from, &to,
                                      op->collective == ALL_GATHER))
                return -1;
        }
    }
    return 0;
}

static int move_collective(struct stage *g, const int32_t *ranks, int64_t n,
                           const int32_t *ops)
{
    struct loopback *l = g->l;
    const struct op *op = &l->schedules[ranks[0]]->ops[ops[0]];

    if (collective_reduces(op->collective)
            ? move_records(g, ranks, n, ops)
            : exchange_slices(g, ranks, n, ops))
        return -1;
    for (int64_t a = 0; a < n; a++)
        collective_finish(l->schedules[ranks[a]],
                          &l->schedules[ranks[a]]->ops[ops[a]],
                          &l->memories[ranks[a]], g->kernel);
    return 0;
}

/* Try the collective at the head of rank a's lanes: all members or none. */
static int try_collective(struct stage *g, int64_t a, int32_t i)
{
    const struct schedule *s = g->l->schedules[a];
    int64_t n, ready = 0;
    const int32_t *ranks = pool_group_get(s->pool, s->ops[i].peer, &n);
    int32_t *ops = xmalloc((size_t)n * sizeof *ops);

    for (int64_t k = 0; k < n; k++) {
        ops[k] = joins(g, ranks[k], &s->ops[i]);
        ready += ops[k] >= 0;
    }
    if (ready == n) {
        begin(g, ranks, ops, n);
        g->failed = move_collective(g, ranks, n, ops);
        end(g, ranks, ops, n);
    }
    free(ops);
    return ready == n;
}

/* ---- The loop ----------------------------------------------------------- */

/* Try the op at the head of a lane. 1: it ran. */
static int try_lane(struct stage *g, int64_t rank, int lane)
{
    int32_t i = g->lanes[rank].head[lane];

    if (i < 0 || !lanes_ready(&g->lanes[rank], i))
        return 0;
    const struct schedule *s = g->l->schedules[rank];
    const struct op *op = &s->ops[i];
    if (op->kind == OP_SEND)
        return try_send(g, rank, i);
    if (op->kind == OP_RECV)
        return 0;               /* its send moves it */
    if (op->kind == OP_COLLECTIVE)
        return try_collective(g, rank, i);
    const int32_t self = (int32_t)rank;
    begin(g, &self, &i, 1);
    compute_op(s, op, &g->l->memories[rank], g->kernel,
               (struct poll){ NULL, NULL });
    end(g, &self, &i, 1);
    return 1;
}

/* Run one op or message; 0 if none can. */
static int step(struct stage *g)
{
    int64_t heads = g->l->ranks * LANES, first = 0;

    if (g->random) {
        g->random = hash_u64(g->random, 1) | 1;
        first = (int64_t)((g->random >> 1) % (uint64_t)heads);
    }
    for (int64_t k = 0; k < heads; k++) {
        int64_t head = (first + k) % heads;
        if (try_lane(g, head / LANES, (int)(head % LANES)))
            return 1;
    }
    return 0;
}

/* Names the ops at the heads of all ranks' lanes. */
static int fail_stuck(struct stage *g)
{
    char text[900] = "";
    size_t at = 0;

    for (int64_t r = 0; r < g->l->ranks && at + 1 < sizeof text; r++) {
        char ops[256];
        if (!g->lanes[r].left)
            continue;
        lanes_describe(&g->lanes[r], ops, sizeof ops);
        int n = snprintf(text + at, sizeof text - at, "; rank %d:%s", (int)r,
                         ops);
        at += n > 0 ? (size_t)n : 0;
    }
    return fail(g->e, "stuck%s", text);
}

int loopback_run(struct loopback *l, const struct kernel_backend *kernel,
                 uint64_t seed, struct error *e)
{
    struct stage g = { l, kernel, NULL, seed, e, 0 };
    int64_t left = 0;

    g.lanes = xcalloc((size_t)l->ranks, sizeof *g.lanes);
    for (int64_t r = 0; r < l->ranks; r++) {
        lanes_init(&g.lanes[r], l->schedules[r]);
        memory_poison(&l->memories[r]);
        l->bytes_sent[r] = 0;
    }
    while (!g.failed && step(&g))
        ;
    for (int64_t r = 0; r < l->ranks; r++)
        left += g.lanes[r].left;
    if (!g.failed && left)
        g.failed = fail_stuck(&g);
    for (int64_t r = 0; r < l->ranks; r++)
        lanes_clear(&g.lanes[r]);
    free(g.lanes);
    return g.failed;
}
