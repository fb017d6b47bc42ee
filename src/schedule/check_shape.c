/* SPDX-License-Identifier: Apache-2.0
 *
 * Shapes: operands of the number, access, size and dtype that an op wants,
 * tiles inside their buffers. */
#include <config.h>

#include "schedule/check_internal.h"

static struct shape shape_of(const struct schedule *s, struct tile t)
{
    const struct buffer *b = &s->buffers[t.buffer];

    return (struct shape){ tile_row_count(s, t), t.head_count, b->width,
                           b->head_first + t.head_first, b->dtype };
}

struct shape task_shape(const struct task *t, int64_t i)
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

    if (b->layer < 0 || b->layer >= job_layers(c->job)
        || (b->tensor == TENSOR_LSE
            && job_attention(c->job, b->layer) == ATTENTION_LINEAR))
        known = 0;
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

int check_access(const struct task *t, const char *letters)
{
    for (int64_t i = 0; i < t->n; letters += letters[1] != 0, i++) {
        enum access a = t->o[i].access;
        int good = *letters == 'r' ? a == ACCESS_READ
            : *letters == 'w' ? a == ACCESS_WRITE
            : *letters == 'u' ? a == ACCESS_UPDATE : a != ACCESS_READ;
        if (!good)
            return task_fail(t, "operand %d: wrong access", (int)i);
    }
    return 0;
}

int check_count(const struct task *t, int64_t n)
{
    if (t->n != n)
        return task_fail(t, "%d operands instead of %d", (int)t->n, (int)n);
    return 0;
}

int check_size(const struct task *t, int64_t i, int64_t rows, int64_t heads,
               int64_t width)
{
    struct shape a = task_shape(t, i);

    if ((rows >= 0 && a.rows != rows) || (heads >= 0 && a.heads != heads)
        || (width >= 0 && a.width != width))
        return task_fail(t, "operand %d is [%lld, %d, %d] instead of [%lld, "
                         "%lld, %lld]", (int)i, (long long)a.rows, a.heads,
                         a.width, (long long)rows, (long long)heads,
                         (long long)width);
    return 0;
}

int check_fp32(const struct task *t, int64_t i)
{
    if (task_shape(t, i).dtype != DTYPE_FP32)
        return task_fail(t, "operand %d is %s instead of fp32", (int)i,
                         dtype_name(task_shape(t, i).dtype));
    return 0;
}

/* ---- Communication ------------------------------------------------------- */

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

/* Tiles of one shape in, the same out, all of them in the staging. */
static int shape_reduction(const struct task *t)
{
    int scan = t->op->collective == EXCLUSIVE_SCAN;
    int64_t tiles = (t->n - 1) / 2, width = scan, numbers = 0;

    if (t->n < 3 || t->n % 2 == 0
        || (scan && tiles != 1)
        || (t->op->collective == ALL_REDUCE_MERGE && tiles != 2))
        return task_fail(t, "%d operands", (int)t->n);
    struct shape s = task_shape(t, 0);
    for (int64_t i = 0; i < t->n; i++) {
        int last = i == t->n - 1;
        if (t->o[i].access != (i < tiles ? ACCESS_READ : ACCESS_WRITE))
            return task_fail(t, "operand %d: wrong access", (int)i);
        if (check_fp32(t, i)
            || check_size(t, i, s.rows, s.heads, last ? width : i < tiles ? -1
                          : task_shape(t, i - tiles).width))
            return -1;
        width += i < tiles ? task_shape(t, i).width : 0;
    }
    if (!scan)
        return 0;
    const int64_t *span = t->op->segments < 0 ? NULL
        : pool_numbers_get(t->s->pool, t->op->segments, &numbers);
    if (numbers != 1 || *span < -1)
        return task_fail(t, "no span of its tokens");
    return check_size(t, 0, 1, -1, -1);
}

static int shape_collective(const struct task *t)
{
    int what = t->op->collective;
    int64_t members;

    if (what <= COLLECTIVE_NONE || what >= COLLECTIVES)
        return task_fail(t, "no collective %d", what);
    if (check_group(t, &members))
        return -1;
    if (collective_reduces((enum collective)what))
        return shape_reduction(t);
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

static int check_shape(const struct task *t)
{
    if (t->op->kind == OP_COLLECTIVE)
        return shape_collective(t);
    return t->op->kind == OP_SEND || t->op->kind == OP_RECV
        ? shape_message(t) : check_compute_shape(t);
}

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
            if (check_shape(&t))
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
