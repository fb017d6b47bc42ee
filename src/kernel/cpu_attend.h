/* SPDX-License-Identifier: Apache-2.0
 *
 * attend: tiled online-softmax attention (FlashAttention-2, arXiv:2307.08691,
 * algorithm 1), template of cpu_ISA.c.
 *
 * A block is `rows` query rows of all query heads that share a KV head.  They
 * are stacked: row r of head h is stacked row r * heads + h, so that a panel of
 * MICRO_ROWS stacked rows shares one KV tile even when a head has few rows, and
 * lies close to the diagonal.  Per block and tile of keys, K is transposed and
 * V converted once; then panel by panel
 *
 *     S = Q K^T,  m' = max(m, rowmax S),  P = exp(S - m'),
 *     l = l exp(m - m') + rowsum P,  O = O exp(m - m') + P V
 *
 * with Q scaled beforehand.  A panel computes only the columns that one of its
 * rows sees (rounded out to whole vectors), so causal and window masks cost
 * their visible pairs and half a panel per diagonal, whatever the tile size.
 *
 * Not base 2, which would save a multiplication: where one key takes all, lse
 * must come out as that key's score to the last bit, so that the backward
 * pass, which forms the same score in the same order, finds P = 1. */

/* A tile of keys k_first + k0 .. + count of segment s. */
struct key_tile {
    const struct segment *s;
    int64_t k0, count;
};

/* Rows [*first, *last) of [*first, *last), counted from s->q_first, that see
 * the tile. */
static void tile_rows(const struct key_tile *t, int64_t *first, int64_t *last)
{
    if (t->s->low > BAND_LOW)
        *first = max64(*first, t->k0 + t->s->low);
    if (t->s->high < BAND_HIGH)
        *last = min64(*last, t->k0 + t->count + t->s->high);
}

/* Keys of the tile that row i sees, counted from its first. */
static void tile_keys(const struct key_tile *t, int64_t i, int64_t *first,
                      int64_t *last)
{
    segment_row(t->s, i, first, last);
    *first = min64(max64(*first - t->k0, 0), t->count);
    *last = max64(min64(*last - t->k0, t->count), *first);
}

/* Columns of the tile that a panel computes: rows i .. i2 see none outside
 * [first, last); [from, to) is that rounded out to whole vectors. */
struct span {
    int64_t first, last, from, to;
};

static struct span tile_span(const struct key_tile *t, int64_t i, int64_t i2)
{
    struct span x;
    int64_t unused;

    tile_keys(t, i, &x.first, &unused);
    tile_keys(t, i2, &unused, &x.last);
    x.from = x.first / LANES * LANES;
    x.to = vectors_up(x.last);
    return x;
}

struct forward {
    const struct attend_args *a;
    struct heads h;
    int64_t n_heads;            /* stacked */
    int64_t row, rows;          /* of q, the block's */
    int64_t ldq, ldo, lds;
    float *q, *o;               /* [rows * heads, ldq], [.., ldo] */
    float *m, *l;               /* [rows * heads] */
    float *kt, *v, *s;          /* [D, lds], [keys, ldo], [MICRO_ROWS, lds] */
    float *work;
};

static void poll_now(const struct attend_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

static float exp_one(float x)
{
    return v_exp(v_set(x))[0];
}

/* In four chains, to hide the latency. */
static float row_highest(const float *s, int64_t n)
{
    vec most[4];
    int64_t j = 0;

#pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        most[i] = v_set(-INFINITY);
    for (; j + 4 * LANES <= n; j += 4 * LANES)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++)
            most[i] = v_max(v_load(s + j + i * LANES), most[i]);
    for (; j < n; j += LANES)
        most[0] = v_max(v_load(s + j), most[0]);
    return v_highest(v_max(v_max(most[0], most[1]), v_max(most[2], most[3])));
}

/* One row of S into P, columns [x->from, x->to), of which the row sees
 * [first, last), at least one; m, l and O follow. */
static void softmax_row(struct forward *f, int64_t row, float *s,
                        const struct span *x, int64_t first, int64_t last)
{
    vec sum = v_set(0);
    float m = f->m[row], rescale;

    for (int64_t j = x->from; j < first; j++)
        s[j] = -INFINITY;
    for (int64_t j = last; j < x->to; j++)
        s[j] = -INFINITY;
    m = fmaxf(m, row_highest(s + x->from, x->to - x->from));
    for (int64_t j = x->from; j < x->to; j += LANES) {
        vec p = v_exp(v_load(s + j) - m);

        v_store(s + j, p);
        sum += p;
    }
    if (f->m[row] != m) {
        rescale = exp_one(f->m[row] - m);
        f->l[row] *= rescale;
        scale_row(f->o + row * f->ldo, vectors_up(f->a->v.width), rescale);
    }
    f->m[row] = m;
    f->l[row] += v_sum(sum);
}

static void forward_panel(struct forward *f, const struct key_tile *t,
                          int64_t p, int64_t m)
{
    int64_t shift = f->row - t->s->q_first;     /* block row to segment row */
    struct span x = tile_span(t, p / f->n_heads + shift,
                              (p + m - 1) / f->n_heads + shift);

    gemm(BY_ROWS, m, x.to - x.from, f->a->q.width, f->q + p * f->ldq, f->ldq,
         f->kt + x.from, f->lds, f->s + x.from, f->lds, 0);
    for (int64_t i = 0; i < m; i++) {
        int64_t first, last;

        tile_keys(t, (p + i) / f->n_heads + shift, &first, &last);
        softmax_row(f, p + i, f->s + i * f->lds, &x, first, last);
    }
    gemm(BY_ROWS, m, vectors_up(f->a->v.width), x.last - x.first,
         f->s + x.first, f->lds, f->v + x.first * f->ldo, f->ldo,
         f->o + p * f->ldo, f->ldo, 1);
}

static void forward_tile(struct forward *f, const struct key_tile *t,
                         int64_t first, int64_t last)
{
    int64_t shift = f->row - t->s->q_first, k = t->s->k_first + t->k0;

    tile_rows(t, &first, &last);
    if (first >= last)
        return;
    load_transposed(f->kt, f->lds, &f->a->k, f->h.kv, k, t->count, f->work);
    load_tile(f->v, f->ldo, &f->a->v, f->h.kv, k, t->count);
    poll_now(f->a);
    last = (last - shift) * f->n_heads;
    for (int64_t p = (first - shift) * f->n_heads; p < last; p += MICRO_ROWS) {
        forward_panel(f, t, p, min64(MICRO_ROWS, last - p));
        poll_now(f->a);
    }
}

static void forward_segment(struct forward *f, const struct segment *s,
                            int64_t keys)
{
    int64_t first = max64(f->row - s->q_first, 0);
    int64_t last = min64(f->row + f->rows - s->q_first, s->q_count);
    int64_t k0, k1, unused;

    if (first >= last)
        return;
    segment_row(s, first, &k0, &unused);
    segment_row(s, last - 1, &unused, &k1);
    for (; k0 < k1; k0 += keys) {
        struct key_tile t = { s, k0, min64(keys, k1 - k0) };

        forward_tile(f, &t, first, last);
    }
}

/* Q and, when accumulating, the state (m, l, O) that (O, lse) stands for. */
static void forward_load(struct forward *f)
{
    const struct attend_args *a = f->a;
    float lse[LANES];

    for (int64_t p = 0; p < f->rows * f->n_heads; p++) {
        int64_t r = f->row + p / f->n_heads, h = f->h.first + p % f->n_heads;
        float *o = f->o + p * f->ldo;

        load_row(f->q + p * f->ldq, tensor_at(&a->q, r, h), a->q.dtype,
                 a->q.width, a->scale);
        f->m[p] = -INFINITY;
        f->l[p] = 0;
        memset(o, 0, (size_t)f->ldo * sizeof *o);
        if (a->store)
            continue;
        load_row(lse, tensor_at(&a->lse, r, h), a->lse.dtype, 1, 1);
        if (lse[0] == -INFINITY)
            continue;
        load_row(o, tensor_at(&a->o, r, h), a->o.dtype, a->o.width, 1);
        f->m[p] = lse[0];
        f->l[p] = 1;
    }
}

/* A row that saw no key leaves as it came, to the bit: l is 1. */
static void forward_store(struct forward *f)
{
    const struct attend_args *a = f->a;

    for (int64_t p = 0; p < f->rows * f->n_heads; p++) {
        int64_t r = f->row + p / f->n_heads, h = f->h.first + p % f->n_heads;
        float l = f->l[p];
        float lse = l != 0 ? f->m[p] + logf(l) : -INFINITY;

        store_row(tensor_at(&a->o, r, h), a->o.dtype, f->o + p * f->ldo,
                  a->o.width, l != 0 ? 1 / l : 0, 0);
        store_row(tensor_at(&a->lse, r, h), a->lse.dtype, &lse, 1, 1, 0);
    }
}

static void forward_layout(struct forward *f, struct arena *a, int64_t rows,
                           int64_t keys)
{
    f->ldq = padded(f->a->q.width);
    f->ldo = padded(f->a->o.width);
    f->lds = padded(keys);
    f->q = arena_take(a, rows * f->ldq);
    f->o = arena_take(a, rows * f->ldo);
    f->m = arena_take(a, rows);
    f->l = arena_take(a, rows);
    f->kt = arena_take(a, vectors_up(f->a->q.width) * f->lds);
    f->v = arena_take(a, keys * f->ldo);
    f->s = arena_take(a, MICRO_ROWS * f->lds);
    f->work = arena_take(a, LANES * f->ldq);
}

/* The tiles' largest sizes, by head size: what fits the second-level cache. */
struct tiles {
    int64_t width;              /* of max(D, E), up to */
    int64_t forward_rows, forward_keys;         /* stacked rows of a block */
    int64_t backward_rows, backward_keys;
};

static const struct tiles *tiles_for(const struct attend_args *a)
{
    static const struct tiles table[] = {
        {  64, 2048, 1024, 128, 512 },
        { 128, 1024,  512, 128, 512 },
        { 256,  512,  256,  64, 256 },
        { INT64_MAX, 256, 128, 64, 128 },
    };
    const struct tiles *t = table;

    while (t->width < a->q.width || t->width < a->v.width)
        t++;
    return t;
}

static void isa_attend(const struct attend_args *a)
{
    const struct tiles *t = tiles_for(a);
    int64_t group = max64(1, min64(a->group, a->q.heads));
    int64_t rows = max64(1, min64(a->q.rows, t->forward_rows / group));
    int64_t keys = min64(t->forward_keys, vectors_up(max64(a->k.rows, 1)));
    struct forward f = { .a = a };
    struct arena arena = { 0 };

    forward_layout(&f, &arena, rows * group, keys);
    arena_open(&arena);
    forward_layout(&f, &arena, rows * group, keys);
    for (int64_t h = 0; h < a->q.heads; h = f.h.last) {
        f.h = heads_query(a, h);
        f.n_heads = f.h.last - f.h.first;
        for (f.row = 0; f.row < a->q.rows; f.row += rows) {
            f.rows = min64(rows, a->q.rows - f.row);
            forward_load(&f);
            for (int64_t i = 0; i < a->n_segments; i++)
                forward_segment(&f, &a->segments[i], keys);
            forward_store(&f);
        }
    }
}
