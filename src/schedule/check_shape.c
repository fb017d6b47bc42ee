/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes: operands of the number, access, size and dtype that an op wants,
 * tiles inside their buffers. */
#include <config.h>

#include "schedule/check_internal.h"

struct shape {
    int64_t rows;
    int32_t heads, width, first;        /* first: global head */
    enum dtype dtype;
};

static struct shape shape_of(const struct schedule *s, struct tile t)
{
    const struct buffer *b = &s->buffers[t.buffer];

    return (struct shape){ tile_row_count(s, t), t.head_count, b->width,
                           b->head_first + t.head_first, b->dtype };
}

static struct shape shape(const struct task *t, int64_t i)
{
    return shape_of(t->s, t->o[i].tile);
}

/* ---- Inputs and outputs -------------------------------------------------- */

/* Rows of the map are tokens of the job. */
static int map_fits(const struct job *job, const struct position_map *m)
{
    for (int64_t i = 0; i < m->n; i++) {
        const struct place *p = &m->places[i];
        if (p->sequence < 0 || p->sequence >= job->sequences || p->first < 0
            || p->stride < 1 || p->count < 1
            || p->first + (p->count - 1) * p->stride
                >= job->lengths[p->sequence])
            return 0;
    }
    return 1;
}

/* A tensor that may enter or leave, of heads that it has, its rows known. */
static int check_end(struct checker *c, int64_t rank, const struct buffer *b)
{
    const struct transformer *f = &c->job->transformer;
    int is_kv = b->tensor == TENSOR_K || b->tensor == TENSOR_V
        || b->tensor == TENSOR_DK || b->tensor == TENSOR_DV;
    int64_t heads = is_kv ? f->kv_heads : f->heads;
    int known = b->role == ROLE_INPUT
        ? b->tensor >= TENSOR_Q && b->tensor <= TENSOR_DO
        : b->tensor >= TENSOR_O && b->tensor <= TENSOR_DV;

    if (known && b->head_first >= 0 && b->heads <= heads - b->head_first
        && b->map >= 0 && pool_map_get(c->pool, b->map)->rows == b->rows
        && map_fits(c->job, pool_map_get(c->pool, b->map)))
        return 0;
    return check_fail(c, rank, -1, "%s %s is no tensor of the job with a "
                      "position map", role_names[b->role],
                      pool_label_get(c->pool, b->label));
}

static int check_ends(struct checker *c)
{
    for (int64_t r = 0; r < c->ranks; r++)
        for (int64_t i = 0; i < c->schedules[r]->n_buffers; i++) {
            const struct buffer *b = &c->schedules[r]->buffers[i];
            if ((b->role == ROLE_INPUT || b->role == ROLE_OUTPUT)
                && check_end(c, r, b))
                return -1;
        }
    return 0;
}

/* ---- Tiles --------------------------------------------------------------- */

static int check_tile(const struct task *t, int64_t i)
{
    struct tile x = t->o[i].tile;
    int64_t n;

    if (x.buffer < 0 || x.buffer >= t->s->n_buffers)
        return task_fail(t, "operand %d: there is no buffer %d", (int)i,
                         x.buffer);
    const struct buffer *b = &t->s->buffers[x.buffer];
    const struct run *r = pool_rows_get(t->s->pool, x.rows, &n);
    if (x.head_first < 0 || x.head_count < 0
        || x.head_count > b->heads - x.head_first)
        return task_fail(t, "operand %d: %d heads from %d on are outside of "
                         "%s", (int)i, x.head_count, x.head_first,
                         pool_label_get(t->s->pool, b->label));
    for (int64_t k = 0; k < n; k++)
        if (r[k].first < 0 || r[k].stride < 1 || r[k].count < 1
            || run_last(r[k]) >= b->rows)
            return task_fail(t, "operand %d: row %lld is outside of %s",
                             (int)i, (long long)run_last(r[k]),
                             pool_label_get(t->s->pool, b->label));
    if (t->o[i].access != ACCESS_READ && b->role == ROLE_INPUT)
        return task_fail(t, "operand %d: writes the input %s", (int)i,
                         pool_label_get(t->s->pool, b->label));
    return 0;
}

/* Kernels take one run of rows. */
static int check_one_run(const struct task *t)
{
    for (int64_t i = 0; i < t->n; i++) {
        int64_t n;
        const struct run *r = pool_rows_get(t->s->pool, t->o[i].tile.rows, &n);
        if (n > 1 || (n == 1 && r->count > 1 && r->stride != 1))
            return task_fail(t, "operand %d is not one run of rows", (int)i);
    }
    return 0;
}

/* access: 'r', 'w', or 'x' for write or update, one letter an operand. */
static int check_access(const struct task *t, const char *letters)
{
    for (int64_t i = 0; i < t->n; i++) {
        enum access a = t->o[i].access;
        int good = letters[i] == 'r' ? a == ACCESS_READ
            : letters[i] == 'w' ? a == ACCESS_WRITE : a != ACCESS_READ;
        if (!good)
            return task_fail(t, "operand %d: wrong access", (int)i);
    }
    return 0;
}

static int check_count(const struct task *t, int64_t n)
{
    if (t->n != n)
        return task_fail(t, "%d operands instead of %d", (int)t->n, (int)n);
    return 0;
}

/* Operand i has these rows, heads, width; a number below 0: any. */
static int check_size(const struct task *t, int64_t i, int64_t rows,
                      int64_t heads, int64_t width)
{
    struct shape a = shape(t, i);

    if ((rows >= 0 && a.rows != rows) || (heads >= 0 && a.heads != heads)
        || (width >= 0 && a.width != width))
        return task_fail(t, "operand %d is [%lld, %d, %d] instead of [%lld, "
                         "%lld, %lld]", (int)i, (long long)a.rows, a.heads,
                         a.width, (long long)rows, (long long)heads,
                         (long long)width);
    return 0;
}

/* What is summed up over several ops is fp32. */
static int check_accumulator(const struct task *t, int64_t i)
{
    if (t->o[i].access == ACCESS_UPDATE && shape(t, i).dtype != DTYPE_FP32)
        return task_fail(t, "operand %d accumulates in %s", (int)i,
                         dtype_name(shape(t, i).dtype));
    return 0;
}

static int check_fp32(const struct task *t, int64_t i)
{
    if (shape(t, i).dtype != DTYPE_FP32)
        return task_fail(t, "operand %d is %s instead of fp32", (int)i,
                         dtype_name(shape(t, i).dtype));
    return 0;
}

/* ---- Kinds --------------------------------------------------------------- */

static int check_segments(const struct task *t)
{
    int64_t n;

    if (t->op->segments < 0)
        return task_fail(t, "no list of segments");
    const struct segment *s = pool_segments_get(t->s->pool, t->op->segments,
                                                &n);
    for (int64_t i = 0; i < n; i++)
        if (s[i].q_first < 0 || s[i].k_first < 0 || s[i].q_count < 0
            || s[i].k_count < 0
            || s[i].q_first + s[i].q_count > shape(t, 0).rows
            || s[i].k_first + s[i].k_count > shape(t, 1).rows)
            return task_fail(t, "segment %d is outside of its tiles", (int)i);
    return 0;
}

/* q k v, and that the KV heads which the query heads use are there. */
static int check_qkv(const struct task *t)
{
    const struct transformer *f = &t->s->job->transformer;
    int64_t G = job_group(t->s->job);
    struct shape q = shape(t, 0), k = shape(t, 1), v = shape(t, 2);

    if (check_one_run(t) || check_segments(t)
        || check_size(t, 0, -1, -1, f->head_dim)
        || check_size(t, 1, v.rows, v.heads, f->head_dim)
        || check_size(t, 2, -1, -1, f->value_dim))
        return -1;
    if (q.heads > 0
        && (k.first != v.first || q.first / G < k.first
            || (q.first + q.heads - 1) / G >= k.first + k.heads))
        return task_fail(t, "query heads %d + %d on KV heads %d + %d", q.first,
                         q.heads, k.first, k.heads);
    return 0;
}

static int shape_attend(const struct task *t)
{
    const struct transformer *f = &t->s->job->transformer;

    if (check_count(t, 5) || check_access(t, "rrrxx") || check_qkv(t))
        return -1;
    struct shape q = shape(t, 0);
    if (t->o[3].access != t->o[4].access)
        return task_fail(t, "o and lse differ in access");
    return check_size(t, 3, q.rows, q.heads, f->value_dim)
        || check_size(t, 4, q.rows, q.heads, 1) || check_accumulator(t, 3)
        || check_fp32(t, 4) ? -1 : 0;
}

static int shape_attend_backward(const struct task *t)
{
    const struct transformer *f = &t->s->job->transformer;

    if (check_count(t, 9) || check_access(t, "rrrrrrxxx") || check_qkv(t))
        return -1;
    struct shape q = shape(t, 0), k = shape(t, 1);
    if (check_size(t, 3, q.rows, q.heads, f->value_dim)
        || check_size(t, 4, q.rows, q.heads, 1)
        || check_size(t, 5, q.rows, q.heads, 1)
        || check_size(t, 6, q.rows, q.heads, f->head_dim)
        || check_size(t, 7, k.rows, k.heads, f->head_dim)
        || check_size(t, 8, k.rows, k.heads, f->value_dim)
        || check_fp32(t, 4) || check_fp32(t, 5))
        return -1;
    for (int64_t i = 6; i < 9; i++)
        if (check_accumulator(t, i))
            return -1;
    return 0;
}

static int shape_delta(const struct task *t)
{
    if (check_count(t, 3) || check_access(t, "rrw") || check_one_run(t))
        return -1;
    struct shape o = shape(t, 0);
    return check_size(t, 1, o.rows, o.heads, o.width)
        || check_size(t, 2, o.rows, o.heads, 1) || check_fp32(t, 2) ? -1 : 0;
}

enum { MOST_SOURCES = 8 };

static int shape_merge(const struct task *t)
{
    if (t->n < 4 || t->n > 2 + 2 * MOST_SOURCES || t->n % 2)
        return task_fail(t, "%d operands", (int)t->n);
    if (check_access(t, "xxrrrrrrrrrrrrrrrr") || check_one_run(t))
        return -1;
    if (t->o[0].access != t->o[1].access)
        return task_fail(t, "o and lse differ in access");
    struct shape o = shape(t, 0);
    for (int64_t i = 0; i < t->n; i++)
        if (check_size(t, i, o.rows, o.heads, i % 2 ? 1 : o.width)
            || (i % 2 && check_fp32(t, i)))
            return -1;
    return check_accumulator(t, 0);
}

static int shape_sum(const struct task *t)
{
    if (t->n < 1 || t->n > 1 + MOST_SOURCES)
        return task_fail(t, "%d operands", (int)t->n);
    if (check_access(t, "xrrrrrrrr") || check_one_run(t))
        return -1;
    struct shape d = shape(t, 0);
    for (int64_t i = 1; i < t->n; i++)
        if (check_size(t, i, d.rows, d.heads, d.width))
            return -1;
    return 0;
}

static int shape_copy(const struct task *t)
{
    if (check_count(t, 2) || check_access(t, "wr"))
        return -1;
    struct shape d = shape(t, 0);
    return check_size(t, 1, d.rows, d.heads, d.width);
}

static int shape_message(const struct task *t)
{
    enum access want = t->op->kind == OP_SEND ? ACCESS_READ : ACCESS_WRITE;

    if (t->op->peer < 0 || t->op->peer >= t->c->ranks
        || t->op->peer == t->rank)
        return task_fail(t, "peer %d", t->op->peer);
    for (int64_t i = 0; i < t->n; i++)
        if (t->o[i].access != want)
            return task_fail(t, "operand %d: wrong access", (int)i);
    return 0;
}

/* Members are ranks, each once, this one among them. */
static int check_group(const struct task *t, int64_t *members)
{
    const int32_t *ranks = pool_group_get(t->s->pool, t->op->peer, members);
    int me = 0;

    for (int64_t i = 0; i < *members; i++) {
        if (ranks[i] < 0 || ranks[i] >= t->c->ranks)
            return task_fail(t, "member %d of the group is rank %d", (int)i,
                             ranks[i]);
        me |= ranks[i] == t->rank;
        for (int64_t k = 0; t->op->peer != t->c->good_group && k < i; k++)
            if (ranks[k] == ranks[i])
                return task_fail(t, "rank %d is twice in the group", ranks[i]);
    }
    t->c->good_group = t->op->peer;
    return me ? 0 : task_fail(t, "is not in its own group");
}

static int shape_collective(const struct task *t)
{
    int what = t->op->collective;
    int64_t members;

    if (what <= COLLECTIVE_NONE || what >= COLLECTIVES)
        return task_fail(t, "no collective %d", what);
    if (check_group(t, &members))
        return -1;
    int64_t reads = what == ALL_GATHER ? 1 : members;
    int64_t parts = reads + members + (what == REDUCE_SCATTER);
    if (t->n == 0 || t->n % parts)
        return task_fail(t, "%d operands for %d members", (int)t->n,
                         (int)members);
    reads *= t->n / parts;
    for (int64_t i = 0; i < t->n; i++)
        if (t->o[i].access != (i < reads ? ACCESS_READ : ACCESS_WRITE))
            return task_fail(t, "operand %d: wrong access", (int)i);
    return 0;
}

static int (*const shapes[OP_KINDS])(const struct task *) = {
    [OP_ATTEND] = shape_attend,
    [OP_ATTEND_BACKWARD] = shape_attend_backward,
    [OP_DELTA] = shape_delta,
    [OP_MERGE] = shape_merge,
    [OP_SUM] = shape_sum,
    [OP_COPY] = shape_copy,
    [OP_SEND] = shape_message,
    [OP_RECV] = shape_message,
    [OP_COLLECTIVE] = shape_collective,
};

static int check_channel(const struct task *t)
{
    int moves = t->op->kind == OP_SEND || t->op->kind == OP_RECV
        || t->op->kind == OP_COLLECTIVE;

    if (moves && (t->op->channel <= CHANNEL_NONE || t->op->channel >= CHANNELS))
        return task_fail(t, "no channel %d", t->op->channel);
    return 0;
}

int check_shapes(struct checker *c)
{
    if (check_ends(c))
        return -1;
    for (int64_t r = 0; r < c->ranks; r++)
        for (int64_t i = 0; i < c->schedules[r]->n_ops; i++) {
            struct task t = task_at(c, r, i);
            if (t.op->kind >= OP_KINDS)
                return check_fail(c, r, -1, "op %lld is of no kind",
                                  (long long)i);
            if (check_channel(&t))
                return -1;
            for (int64_t k = 0; k < t.n; k++)
                if (check_tile(&t, k))
                    return -1;
            if (shapes[t.op->kind](&t))
                return -1;
        }
    return 0;
}

int check_same_shape(const struct task *a, struct tile from,
                     const struct task *b, struct tile to)
{
    struct shape x = shape_of(a->s, from), y = shape_of(b->s, to);

    if ((x.rows == y.rows && x.heads == y.heads && x.width == y.width
         && x.dtype == y.dtype)
        || (x.rows * x.heads == 0 && y.rows * y.heads == 0))
        return 0;
    return task_fail(b, "takes [%lld, %d, %d] %s where rank %d sends [%lld, "
                     "%d, %d] %s", (long long)y.rows, y.heads, y.width,
                     dtype_name(y.dtype), (int)a->rank, (long long)x.rows,
                     x.heads, x.width, dtype_name(x.dtype));
}
