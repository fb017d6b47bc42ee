/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "strategy/exchange.h"

struct heads {
    int64_t first, count, kv_first, kv_count;
};

/* Heads of a member, and the KV heads that they need, counted from the view's
 * first. */
static struct heads member_heads(const struct view *v, int64_t member)
{
    int64_t G = job_group(v->job), N = v->members;
    int64_t first = chunk_first(v->heads, N, member);
    int64_t last = chunk_first(v->heads, N, member + 1);
    struct heads h = { first, last - first, 0, 0 };

    if (h.count) {
        int64_t kv_last = (v->head_first + last - 1) / G + 1;
        h.kv_first = (v->head_first + first) / G - v->kv_first;
        h.kv_count = kv_last - v->kv_first - h.kv_first;
    }
    return h;
}

/* Of a member's heads those of a part. */
static struct heads part_heads(const struct exchange *x, int64_t member,
                               int64_t turn)
{
    const struct view *v = &x->group;
    int64_t G = job_group(v->job);
    struct heads h = member_heads(v, member);
    int64_t kv = h.kv_first + turn * x->each;
    int64_t kv_end = min64(kv + x->each, h.kv_first + h.kv_count);
    int64_t first = max64((v->kv_first + kv) * G - v->head_first, h.first);
    int64_t end = min64((v->kv_first + kv_end) * G - v->head_first,
                        h.first + h.count);

    if (kv >= kv_end)
        return (struct heads){ 0 };
    return (struct heads){ first, end - first, kv, kv_end - kv };
}

static void set_heads(struct view *child, const struct view *group,
                      struct heads h)
{
    child->head_first = group->head_first + h.first;
    child->heads = h.count;
    child->kv_first = group->kv_first + h.kv_first;
    child->kv_heads = h.kv_count;
}

void exchange_heads(struct exchange *x)
{
    const struct view *g = &x->group;
    int64_t most = 1;

    for (int64_t i = 0; i < g->members; i++)
        most = max64(most, member_heads(g, i).kv_count);
    x->each = g->options->head_group ? min64(g->options->head_group, most)
                                     : most;
    x->turns = ceil_div(most, x->each);
    set_heads(&x->child, g, member_heads(g, g->me));
}

/* Of one part nothing tells the steps apart. */
static int32_t step_of(const struct exchange *x, int64_t turn)
{
    return x->turns > 1 ? (int32_t)turn : -1;
}

static struct tile q_heads(struct tile t, struct heads h)
{
    return tile_heads(t, (int32_t)h.first, (int32_t)h.count);
}

static struct tile kv_heads(struct tile t, struct heads h)
{
    return tile_heads(t, (int32_t)h.kv_first, (int32_t)h.kv_count);
}

static struct tile with_rows(struct tile t, int32_t rows)
{
    t.rows = rows;
    return t;
}

static void child_tiles(struct schedule *s, struct view *c)
{
    const struct transformer *t = &c->job->transformer;
    enum role role = view_has_backward(c) ? ROLE_SAVED : ROLE_SCRATCH;
    enum dtype type = c->job->dtype;
    int64_t rows = view_rows(c, c->me);
    struct pair kv = view_pair(s, c, "k_heads", "v_heads", role, type, rows);

    c->q = view_q_tile(s, c, "q_heads", role, type, rows, t->head_dim);
    c->k = kv.k;
    c->v = kv.v;
    c->o = view_q_tile(s, c, "o_heads", role, type, rows, t->value_dim);
}

/* From token shards to head shards: `n` tensors of the group's view into those
 * of the child; kv[i] tells KV heads from query heads. */
static void to_heads(struct schedule *s, const struct exchange *x,
                     int64_t turn, const char *label, const struct tile *from,
                     const struct tile *to, const int *kv, int64_t n)
{
    const struct view *g = &x->group;
    int64_t N = g->members;
    struct tile *tiles = schedule_alloc(s, (size_t)(2 * N * n)
                                        * sizeof *tiles);

    for (int64_t p = 0; p < N; p++)
        for (int64_t i = 0; i < n; i++) {
            struct heads h = part_heads(x, p, turn);
            tiles[p * n + i] = kv[i] ? kv_heads(from[i], h)
                                     : q_heads(from[i], h);
            tiles[(N + p) * n + i] = with_rows(to[i], x->rows[p]);
        }
    schedule_step(s, step_of(x, turn));
    schedule_collective(s, label, CHANNEL_Q, ALL_TO_ALL, g->ranks, N, n, tiles,
                        2 * N * n);
}

static void qkv_to_heads(struct schedule *s, const struct view *v,
                         struct exchange *x, int64_t turn)
{
    struct view *c = &x->children[turn];

    *c = x->child;
    set_heads(c, &x->group, part_heads(x, x->group.me, turn));
    child_tiles(s, c);
    to_heads(s, x, turn, "qkv", (struct tile[]){ v->q, v->k, v->v },
             (struct tile[]){ c->q, c->k, c->v }, (int[]){ 0, 1, 1 }, 3);
}

static void output_to_tokens(struct schedule *s, const struct view *v,
                             const struct exchange *x, int64_t turn)
{
    const struct view *g = &x->group;
    int64_t N = g->members;
    struct tile *tiles = schedule_alloc(s, (size_t)(2 * N) * sizeof *tiles);

    for (int64_t p = 0; p < N; p++) {
        tiles[p] = with_rows(x->children[turn].o, x->rows[p]);
        tiles[N + p] = q_heads(v->o, part_heads(x, p, turn));
    }
    schedule_step(s, step_of(x, turn));
    schedule_collective(s, "o", CHANNEL_OUT, ALL_TO_ALL, g->ranks, N, 1,
                        tiles, 2 * N);
}

void exchange_forward(struct schedule *s, const struct view *v,
                      struct exchange *x)
{
    x->children = schedule_alloc(s, (size_t)x->turns * sizeof *x->children);
    qkv_to_heads(s, v, x, 0);
    for (int64_t i = 0; i < x->turns; i++) {
        if (i + 1 < x->turns)
            qkv_to_heads(s, v, x, i + 1);
        x->context->forward(s, &x->children[i]);
        output_to_tokens(s, v, x, i);
    }
}

/* Gradients as they come back: of my tokens, the heads of each member in turn,
 * in the dtype of the wire. */
struct shares {
    struct tile dq, dk, dv;
    int64_t *kv_first;          /* [members + 1] first KV head of each */
};

static struct shares make_shares(struct schedule *s, const struct view *v)
{
    int64_t N = v->members, rows = view_rows(v, v->me);
    struct shares p = { .dq = v->dq };
    struct view all = *v;
    struct pair kv;

    p.kv_first = schedule_alloc(s, (size_t)(N + 1) * sizeof *p.kv_first);
    for (int64_t i = 0; i < N; i++)
        p.kv_first[i + 1] = p.kv_first[i] + member_heads(v, i).kv_count;
    all.kv_heads = p.kv_first[N];
    if (v->job->wire_grad != v->job->dtype)
        p.dq = view_q_tile(s, v, "dq_wire", ROLE_SCRATCH, v->job->wire_grad,
                           rows, v->job->transformer.head_dim);
    if (v->job->wire_grad == v->job->dtype && all.kv_heads == v->kv_heads)
        kv = (struct pair){ v->dk, v->dv };
    else
        kv = view_pair(s, &all, "dk_wire", "dv_wire", ROLE_SCRATCH,
                       v->job->wire_grad, rows);
    p.dk = kv.k;
    p.dv = kv.v;
    return p;
}

/* The KV heads of a part of those of a member. */
static struct tile share(const struct shares *p, struct tile t,
                         int64_t member, int64_t first, int64_t count)
{
    return tile_heads(t, (int32_t)(p->kv_first[member] + first),
                      (int32_t)count);
}

/* dst[head] = sum of the copies that members sent; 8 at a time. */
static void sum_head(struct schedule *s, const struct view *v,
                     const struct shares *p, const char *label, struct tile dst,
                     struct tile shares, int64_t head)
{
    struct tile sources[8];
    enum access access = ACCESS_WRITE;
    int64_t n = 0;

    dst = tile_heads(dst, (int32_t)head, 1);
    for (int64_t i = 0; i < v->members; i++) {
        int64_t at = head - member_heads(v, i).kv_first;
        if (at < 0 || at >= member_heads(v, i).kv_count)
            continue;
        if (n == 8) {
            schedule_sum(s, label, dst, access, sources, n);
            access = ACCESS_UPDATE;
            n = 0;
        }
        sources[n++] = share(p, shares, i, at, 1);
    }
    schedule_sum(s, label, dst, access, sources, n);
}

static void sum_shares(struct schedule *s, const struct view *v,
                       const struct shares *p)
{
    if (p->dq.buffer != v->dq.buffer)
        schedule_sum(s, "dq", v->dq, ACCESS_WRITE, &p->dq, 1);
    if (p->dk.buffer == v->dk.buffer)
        return;
    struct tile dk = view_accumulator(s, "dk_acc", v->dk);
    struct tile dv = view_accumulator(s, "dv_acc", v->dv);
    for (int64_t head = 0; head < v->kv_heads; head++) {
        sum_head(s, v, p, "dk", dk, p->dk, head);
        sum_head(s, v, p, "dv", dv, p->dv, head);
    }
    view_finish(s, "dk", dk, v->dk);
    view_finish(s, "dv", dv, v->dv);
}

static void child_gradients(struct schedule *s, struct view *c)
{
    const struct transformer *t = &c->job->transformer;
    enum dtype wire = c->job->wire_grad;
    int64_t rows = view_rows(c, c->me);
    struct pair kv = view_pair(s, c, "dk_heads", "dv_heads", ROLE_SCRATCH,
                               wire, rows);

    c->d_o = view_q_tile(s, c, "do_heads", ROLE_SCRATCH, c->job->dtype, rows,
                         t->value_dim);
    c->dq = view_q_tile(s, c, "dq_heads", ROLE_SCRATCH, wire, rows,
                        t->head_dim);
    c->dk = kv.k;
    c->dv = kv.v;
}

static void do_to_heads(struct schedule *s, struct exchange *x, int64_t turn)
{
    struct view *c = &x->children[turn];

    child_gradients(s, c);
    to_heads(s, x, turn, "do", &x->group.d_o, &c->d_o, (int[]){ 0 }, 1);
}

static void gradients_to_tokens(struct schedule *s, const struct exchange *x,
                                const struct shares *shares, int64_t turn)
{
    const struct view *g = &x->group, *c = &x->children[turn];
    const struct tile from[3] = { c->dq, c->dk, c->dv };
    int64_t N = g->members;
    struct tile *tiles = schedule_alloc(s, (size_t)(6 * N) * sizeof *tiles);

    for (int64_t p = 0; p < N; p++) {
        struct heads h = part_heads(x, p, turn);
        struct tile *to = &tiles[3 * (N + p)];
        int64_t first = turn * x->each;
        for (int i = 0; i < 3; i++)
            tiles[3 * p + i] = with_rows(from[i], x->rows[p]);
        to[0] = q_heads(shares->dq, h);
        to[1] = share(shares, shares->dk, p, h.kv_count ? first : 0,
                      h.kv_count);
        to[2] = share(shares, shares->dv, p, h.kv_count ? first : 0,
                      h.kv_count);
    }
    schedule_step(s, step_of(x, turn));
    schedule_collective(s, "dqkv", CHANNEL_OUT, ALL_TO_ALL, g->ranks, N, 3,
                        tiles, 6 * N);
}

void exchange_backward(struct schedule *s, struct exchange *x)
{
    struct shares shares = make_shares(s, &x->group);

    do_to_heads(s, x, 0);
    for (int64_t i = 0; i < x->turns; i++) {
        if (i + 1 < x->turns)
            do_to_heads(s, x, i + 1);
        x->context->backward(s, &x->children[i]);
        gradients_to_tokens(s, x, &shares, i);
    }
    sum_shares(s, &x->group, &shares);
}

/* Slices for the other members: of my tokens their heads, of my heads their
 * tokens. `q`, `kv`: bytes of one token and head. */
static int64_t slices_out(const struct view *v, int64_t q, int64_t kv)
{
    int64_t bytes = 0;

    for (int64_t p = 0; p < v->members; p++)
        if (p != v->me)
            bytes += member_heads(v, p).count * q
                + member_heads(v, p).kv_count * kv;
    return bytes * view_rows(v, v->me);
}

static int64_t slices_back(const struct view *v, int64_t q, int64_t kv)
{
    struct heads mine = member_heads(v, v->me);

    return (view_rows_all(v) - view_rows(v, v->me))
        * (mine.count * q + mine.kv_count * kv);
}

int64_t exchange_bytes_forward(const struct exchange *x)
{
    const struct view *g = &x->group;
    const struct transformer *t = &g->job->transformer;
    int64_t e = (int64_t)dtype_size(g->job->dtype);

    return slices_out(g, t->head_dim * e, (t->head_dim + t->value_dim) * e)
        + slices_back(g, t->value_dim * e, 0)
        + x->context->bytes_forward(&x->child);
}

int64_t exchange_bytes_backward(const struct exchange *x)
{
    const struct view *g = &x->group;
    const struct transformer *t = &g->job->transformer;
    int64_t e = (int64_t)dtype_size(g->job->dtype);
    int64_t w = (int64_t)dtype_size(g->job->wire_grad);

    return slices_out(g, t->value_dim * e, 0)
        + slices_back(g, t->head_dim * w, (t->head_dim + t->value_dim) * w)
        + x->context->bytes_backward(&x->child);
}
