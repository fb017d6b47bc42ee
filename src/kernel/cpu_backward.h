/* SPDX-License-Identifier: Apache-2.0
 *
 * attend_backward: tiled (FlashAttention-2, arXiv:2307.08691, algorithm 2),
 * template of cpu_ISA.c.  For each tile of keys, whose dK and dV stay in cache,
 * the query rows that see it pass by in stacked tiles (cpu_attend.h):
 *
 *     P = exp(Q K^T - lse),  dS = P (dO V^T - delta),
 *     dQ += dS K,  dV += P^T dO,  dK += dS^T Q
 *
 * Q carries the scale, so dK is right as it is and dQ is scaled as it leaves.
 * dQ is added up in the fp32 output itself; where the output is 16 bits wide,
 * in fp32 scratch for the heads of one KV head. */

struct backward {
    const struct attend_args *a;
    struct heads h;
    int64_t n_heads;
    int64_t ldq, ldo, lds;
    float *q, *d_o;             /* [rows, ldq], [rows, ldo] */
    float *dq;                  /* [MICRO_ROWS, ldq] */
    float *lse, *delta;         /* [rows], lse +inf for -inf */
    float *p, *ds;              /* [rows, lds] */
    float *kt, *vt, *k;         /* [D, lds], [E, lds], [keys, ldq] */
    float *dk, *dv;             /* [keys, ldq], [keys, ldo] */
    float *sum_dq;              /* [nq * heads, D], or NULL */
    float *work;
};

/* Stacked rows of q: row r + p / heads, head p % heads. */
static void backward_load(struct backward *b, int64_t row, int64_t n)
{
    const struct attend_args *a = b->a;
    float x[LANES];

    for (int64_t p = 0; p < n; p++) {
        int64_t r = row + p / b->n_heads, h = b->h.first + p % b->n_heads;

        load_row(b->q + p * b->ldq, tensor_at(&a->q, r, h), a->q.dtype,
                 a->q.width, a->scale);
        load_row(b->d_o + p * b->ldo, tensor_at(&a->d_o, r, h), a->d_o.dtype,
                 a->d_o.width, 1);
        load_row(x, tensor_at(&a->lse, r, h), a->lse.dtype, 1, 1);
        b->lse[p] = x[0] == -INFINITY ? INFINITY : x[0];
        load_row(x, tensor_at(&a->delta, r, h), a->delta.dtype, 1, 1);
        b->delta[p] = x[0];
    }
}

_Static_assert(LANES % MICRO_ROWS == 0, "a panel of keys straddles vectors");

/* S and dP of a row into P and dS; zero where the row sees nothing.  A panel of
 * keys of which the row sees one lies in whole vectors that it sees: products
 * by columns read no more than is written here. */
static void gradient_row(struct backward *b, int64_t row, const struct span *x,
                         int64_t first, int64_t last)
{
    float *s = b->p + row * b->lds, *dp = b->ds + row * b->lds;
    float lse = b->lse[row], delta = b->delta[row];

    for (int64_t j = x->from; j < x->to; j += LANES) {
        vec p = v_exp(v_load(s + j) - lse);

        v_store(s + j, p);
        v_store(dp + j, p * (v_load(dp + j) - delta));
    }
    for (int64_t j = x->from; j < first; j++)
        s[j] = dp[j] = 0;
    for (int64_t j = last; j < x->to; j++)
        s[j] = dp[j] = 0;
}

static void add_dq(struct backward *b, int64_t row, int64_t p, int64_t m)
{
    const struct attend_args *a = b->a;

    for (int64_t i = 0; i < m; i++) {
        int64_t r = row + (p + i) / b->n_heads, h = (p + i) % b->n_heads;
        void *dq = b->sum_dq
            ? b->sum_dq + (r * b->n_heads + h) * a->q.width
            : tensor_at(&a->dq, r, b->h.first + h);

        store_row(dq, DTYPE_FP32, b->dq + i * b->ldq, a->q.width, a->scale, 1);
    }
}

/* Panel of stacked rows p .. p + m of the tile whose row 0 is row `row` of q:
 * P, dS and dQ. */
static void backward_panel(struct backward *b, const struct key_tile *t,
                           int64_t row, int64_t p, int64_t m)
{
    int64_t i = row - t->s->q_first;
    struct span x = tile_span(t, i + p / b->n_heads,
                              i + (p + m - 1) / b->n_heads);

    gemm(BY_ROWS, m, x.to - x.from, b->a->q.width, b->q + p * b->ldq, b->ldq,
         b->kt + x.from, b->lds, b->p + p * b->lds + x.from, b->lds, 0);
    gemm(BY_ROWS, m, x.to - x.from, b->a->v.width, b->d_o + p * b->ldo, b->ldo,
         b->vt + x.from, b->lds, b->ds + p * b->lds + x.from, b->lds, 0);
    for (int64_t r = p; r < p + m; r++) {
        int64_t first, last;

        tile_keys(t, i + r / b->n_heads, &first, &last);
        gradient_row(b, r, &x, first, last);
    }
    gemm(BY_ROWS, m, vectors_up(b->a->q.width), x.last - x.first,
         b->ds + p * b->lds + x.first, b->lds, b->k + x.first * b->ldq, b->ldq,
         b->dq, b->ldq, 0);
    add_dq(b, row, p, m);
}

/* dK and dV of keys c .. c + m of the tile, from the rows [i, i2) in cache,
 * counted from the segment's first. */
static void backward_keys(struct backward *b, const struct key_tile *t,
                          int64_t i, int64_t i2, int64_t c, int64_t m)
{
    struct key_tile part = { t->s, t->k0 + c, m };
    int64_t first = i, last = i2, p, n;

    tile_rows(&part, &first, &last);
    if (first >= last)
        return;
    p = (first - i) * b->n_heads;
    n = (last - first) * b->n_heads;
    gemm(BY_COLUMNS, m, vectors_up(b->a->v.width), n, b->p + p * b->lds + c,
         b->lds, b->d_o + p * b->ldo, b->ldo, b->dv + c * b->ldo, b->ldo, 1);
    gemm(BY_COLUMNS, m, vectors_up(b->a->q.width), n, b->ds + p * b->lds + c,
         b->lds, b->q + p * b->ldq, b->ldq, b->dk + c * b->ldq, b->ldq, 1);
}

static void backward_rows(struct backward *b, const struct key_tile *t,
                          int64_t i, int64_t i2)
{
    int64_t row = t->s->q_first + i, n = (i2 - i) * b->n_heads;

    backward_load(b, row, n);
    for (int64_t p = 0; p < n; p += MICRO_ROWS) {
        backward_panel(b, t, row, p, min64(MICRO_ROWS, n - p));
        poll_now(b->a);
    }
    for (int64_t c = 0; c < t->count; c += MICRO_ROWS) {
        backward_keys(b, t, i, i2, c, min64(MICRO_ROWS, t->count - c));
        if (c / MICRO_ROWS % 4 == 3)
            poll_now(b->a);
    }
}

/* The part of segment s in keys [k, k + keys) of k, `rows` query rows at a
 * time. */
static void backward_segment(struct backward *b, const struct segment *s,
                             int64_t k, int64_t keys, int64_t rows)
{
    int64_t k0 = max64(k - s->k_first, 0);
    int64_t k1 = min64(k + keys - s->k_first, s->k_count);
    struct key_tile t = { s, k0, k1 - k0 };
    int64_t first = 0, last = s->q_count;

    if (k0 >= k1)
        return;
    tile_rows(&t, &first, &last);
    if (first >= last)
        return;
    load_transposed(b->kt, b->lds, &b->a->k, b->h.kv, s->k_first + k0, t.count,
                    b->work);
    load_transposed(b->vt, b->lds, &b->a->v, b->h.kv, s->k_first + k0, t.count,
                    b->work);
    load_tile(b->k, b->ldq, &b->a->k, b->h.kv, s->k_first + k0, t.count);
    b->dk += (s->k_first + k0 - k) * b->ldq;
    b->dv += (s->k_first + k0 - k) * b->ldo;
    for (; first < last; first += rows)
        backward_rows(b, &t, first, min64(first + rows, last));
    b->dk -= (s->k_first + k0 - k) * b->ldq;
    b->dv -= (s->k_first + k0 - k) * b->ldo;
}

/* dK and dV of keys [k, k + n). */
static void backward_tile(struct backward *b, int64_t k, int64_t n,
                          int64_t rows)
{
    const struct attend_args *a = b->a;

    memset(b->dk, 0, (size_t)(n * b->ldq) * sizeof *b->dk);
    memset(b->dv, 0, (size_t)(n * b->ldo) * sizeof *b->dv);
    if (b->n_heads)
        for (int64_t i = 0; i < a->n_segments; i++)
            backward_segment(b, &a->segments[i], k, n, rows);
    for (int64_t i = 0; i < n; i++) {
        store_row(tensor_at(&a->dk, k + i, b->h.kv), a->dk.dtype,
                  b->dk + i * b->ldq, a->k.width, 1, !a->store_dk);
        store_row(tensor_at(&a->dv, k + i, b->h.kv), a->dv.dtype,
                  b->dv + i * b->ldo, a->v.width, 1, !a->store_dv);
    }
}

static void clear_rows(const struct tensor *t)
{
    for (int64_t r = 0; t->heads && r < t->rows; r++)
        memset(tensor_at(t, r, 0), 0,
               (size_t)t->heads * (size_t)t->width * dtype_size(t->dtype));
}

/* Scratch dQ of one KV head's heads to the output. */
static void flush_dq(struct backward *b)
{
    const struct tensor *dq = &b->a->dq;

    for (int64_t r = 0; r < dq->rows; r++) {
        for (int64_t h = 0; h < b->n_heads; h++)
            store_row(tensor_at(dq, r, b->h.first + h), dq->dtype,
                      b->sum_dq + (r * b->n_heads + h) * dq->width, dq->width,
                      1, 1);
        if (r % 256 == 255)
            poll_now(b->a);
    }
}

static void backward_layout(struct backward *b, struct arena *a, int64_t rows,
                            int64_t keys)
{
    b->ldq = padded(b->a->q.width);
    b->ldo = padded(b->a->v.width);
    b->lds = padded(keys);
    b->q = arena_take(a, rows * b->ldq);
    b->d_o = arena_take(a, rows * b->ldo);
    b->dq = arena_take(a, MICRO_ROWS * b->ldq);
    b->lse = arena_take(a, rows);
    b->delta = arena_take(a, rows);
    b->p = arena_take(a, rows * b->lds);
    b->ds = arena_take(a, rows * b->lds);
    b->kt = arena_take(a, vectors_up(b->a->q.width) * b->lds);
    b->vt = arena_take(a, vectors_up(b->a->v.width) * b->lds);
    b->k = arena_take(a, keys * b->ldq);
    b->dk = arena_take(a, keys * b->ldq);
    b->dv = arena_take(a, keys * b->ldo);
    b->work = arena_take(a, LANES * max64(b->ldq, b->ldo));
}

static void isa_attend_backward(const struct attend_args *a)
{
    const struct tiles *t = tiles_for(a);
    int64_t group = max64(1, min64(a->group, a->q.heads));
    int64_t rows = max64(1, min64(a->q.rows, t->backward_rows / group));
    int64_t keys = min64(t->backward_keys, vectors_up(max64(a->k.rows, 1)));
    struct backward b = { .a = a };
    struct arena arena = { 0 };

    if (a->store_dq)
        clear_rows(&a->dq);
    backward_layout(&b, &arena, rows * group, keys);
    arena_open(&arena);
    backward_layout(&b, &arena, rows * group, keys);
    if (a->dq.dtype != DTYPE_FP32)
        b.sum_dq = floats(a->dq.rows * group * a->q.width);
    for (int64_t g = 0; g < a->k.heads; g++) {
        b.h = heads_key(a, g);
        b.n_heads = b.h.last - b.h.first;
        if (b.sum_dq)
            memset(b.sum_dq, 0, (size_t)(a->dq.rows * b.n_heads * a->q.width) *
                                sizeof *b.sum_dq);
        for (int64_t k = 0; k < a->k.rows; k += keys)
            backward_tile(&b, k, min64(keys, a->k.rows - k), rows);
        if (b.sum_dq)
            flush_dq(&b);
    }
    free(b.sum_dq);
}
