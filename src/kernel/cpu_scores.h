/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention with materialised scores (RSA, arXiv:2105.13120), and the parts of
 * a merge that a reduction does.  Template of cpu_ISA.c.
 *
 * A block of scores lies in memory by rows, so the products read it where it
 * is, panel by panel of MICRO_ROWS rows of one head.  Weights are 0 where
 * nothing is visible: a product may span keys that some of its rows do not
 * see. */

enum { SCORE_KEYS = 512, WEIGH_ROWS = 64, WEIGH_KEYS = 256 };

static void scores_poll(const struct scores_args *a)
{
    if (a->poll.fn)
        a->poll.fn(a->poll.arg);
}

/* Keys [*first, *last) that hold all that rows [row, row + m) see. */
static void keys_seen(const struct scores_args *a, int64_t row, int64_t m,
                      int64_t *first, int64_t *last)
{
    *first = INT64_MAX;
    *last = 0;
    for (int64_t n = 0; n < a->n_segments; n++) {
        const struct segment *s = &a->segments[n];
        int64_t i = max64(row - s->q_first, 0), f, l, unused;
        int64_t i2 = min64(row + m - s->q_first, s->q_count);

        if (i >= i2)
            continue;
        segment_row(s, i, &f, &unused);
        segment_row(s, i2 - 1, &unused, &l);
        if (f >= l)
            continue;
        *first = min64(*first, s->k_first + f);
        *last = max64(*last, s->k_first + l);
    }
}

/* Rows [*first, *last) that hold all that see one of the keys [k, k + m). */
static void rows_seeing(const struct scores_args *a, int64_t k, int64_t m,
                        int64_t *first, int64_t *last)
{
    *first = INT64_MAX;
    *last = 0;
    for (int64_t n = 0; n < a->n_segments; n++) {
        const struct segment *s = &a->segments[n];
        int64_t k0 = max64(k - s->k_first, 0), i = 0, i2 = s->q_count;
        struct key_tile t = { s, k0, min64(k + m - s->k_first, s->k_count)
                                         - k0 };

        if (t.count <= 0)
            continue;
        tile_rows(&t, &i, &i2);
        if (i >= i2)
            continue;
        *first = min64(*first, s->q_first + i);
        *last = max64(*last, s->q_first + i2);
    }
}

/* ---- scores -------------------------------------------------------------- */

struct scoring {
    const struct scores_args *a;
    int64_t ldx, lds;
    float *x, *yt, *s;          /* [MICRO_ROWS, ldx], [W, lds], [.., lds] */
    float *work;
};

static void scores_layout(struct scoring *g, struct arena *arena)
{
    g->ldx = padded(g->a->x.width);
    g->lds = padded(SCORE_KEYS);
    g->x = arena_take(arena, MICRO_ROWS * g->ldx);
    g->yt = arena_take(arena, vectors_up(g->a->x.width) * g->lds);
    g->s = arena_take(arena, MICRO_ROWS * g->lds);
    g->work = arena_take(arena, LANES * g->ldx);
}

/* Rows i .. i + m of the segment, head h. */
static void scores_panel(struct scoring *g, const struct key_tile *t,
                         int64_t h, int64_t i, int64_t m)
{
    int64_t row = t->s->q_first + i, key = t->s->k_first + t->k0;
    struct span x = tile_span(t, i, i + m - 1);

    load_tile(g->x, g->ldx, &g->a->x, h, row, m);
    gemm(BY_ROWS, m, x.to - x.from, g->a->x.width, g->x, g->ldx,
         g->yt + x.from, g->lds, g->s + x.from, g->lds, 0);
    for (int64_t r = 0; r < m; r++) {
        float *out = tensor_at(&g->a->out, row + r, h);
        int64_t first, last;

        tile_keys(t, i + r, &first, &last);
        memcpy(out + key + first, g->s + r * g->lds + first,
               (size_t)(last - first) * sizeof *out);
    }
    scores_poll(g->a);
}

static void scores_segment(struct scoring *g, const struct segment *s,
                           int64_t kv)
{
    struct heads heads = heads_of_kv(&g->a->x, &g->a->y, g->a->group, kv);

    for (int64_t k = 0; k < s->k_count; k += SCORE_KEYS) {
        struct key_tile t = { s, k, min64(SCORE_KEYS, s->k_count - k) };
        int64_t i = 0, i2 = s->q_count;

        tile_rows(&t, &i, &i2);
        if (i >= i2 || heads.first >= heads.last)
            continue;
        load_transposed(g->yt, g->lds, &g->a->y, kv, s->k_first + k, t.count,
                        g->work);
        for (int64_t h = heads.first; h < heads.last; h++)
            for (int64_t p = i; p < i2; p += MICRO_ROWS)
                scores_panel(g, &t, h, p, min64(MICRO_ROWS, i2 - p));
    }
}

static void isa_scores(const struct scores_args *a)
{
    struct scoring g = { .a = a };
    struct arena arena = { 0 };
    int64_t length = (int64_t)a->out.heads * a->out.width;

    scores_layout(&g, &arena);
    arena_open(&arena);
    scores_layout(&g, &arena);
    for (int64_t r = 0; r < a->out.rows; r++) {
        float *row = tensor_at(&a->out, r, 0);

        for (int64_t x = 0; x < length; x++)
            row[x] = -INFINITY;
    }
    for (int64_t kv = 0; kv < a->y.heads; kv++)
        for (int64_t n = 0; n < a->n_segments; n++)
            scores_segment(&g, &a->segments[n], kv);
}

/* ---- weigh --------------------------------------------------------------- */

struct weighing {
    const struct scores_args *a;
    int64_t ld;
    float *y, *sum;             /* [rows of y at hand, ld], [WEIGH_ROWS, ld] */
};

static void weigh_layout(struct weighing *g, struct arena *arena, int64_t rows)
{
    g->ld = padded(g->a->y.width);
    g->y = arena_take(arena, rows * g->ld);
    g->sum = arena_take(arena, WEIGH_ROWS * g->ld);
}

static void weigh_open(struct weighing *g, int64_t rows)
{
    struct arena arena = { 0 };

    weigh_layout(g, &arena, rows);
    arena_open(&arena);
    weigh_layout(g, &arena, rows);
}

/* The sums into rows [row, row + n) of head h of out. */
static void weigh_store(const struct weighing *g, int64_t h, int64_t row,
                        int64_t n)
{
    const struct tensor *out = &g->a->out;

    for (int64_t i = 0; i < n; i++)
        store_row(tensor_at(out, row + i, h), out->dtype, g->sum + i * g->ld,
                  out->width, 1, !g->a->store);
}

static const float *weight(const struct scores_args *a, int64_t row, int64_t h,
                           int64_t key)
{
    return (const float *)tensor_at(&a->x, row, h) + key;
}

/* Keys [k, k + WEIGH_KEYS) for rows [row, row + n) of head h. */
static void weigh_tile(struct weighing *g, int64_t h, int64_t row, int64_t n,
                       int64_t k)
{
    for (int64_t p = 0; p < n; p += MICRO_ROWS) {
        int64_t m = min64(MICRO_ROWS, n - p), first, last;

        keys_seen(g->a, row + p, m, &first, &last);
        first = max64(first, k);
        last = min64(last, k + WEIGH_KEYS);
        if (first < last)
            gemm(BY_ROWS, m, vectors_up(g->a->y.width), last - first,
                 weight(g->a, row + p, h, first), g->a->x.row_stride,
                 g->y + first * g->ld, g->ld, g->sum + p * g->ld, g->ld, 1);
        scores_poll(g->a);
    }
}

static void isa_weigh(const struct scores_args *a)
{
    struct weighing g = { .a = a };

    weigh_open(&g, a->y.rows);
    for (int64_t kv = 0; kv < a->y.heads; kv++) {
        struct heads heads = heads_of_kv(&a->x, &a->y, a->group, kv);

        load_tile(g.y, g.ld, &a->y, kv, 0, a->y.rows);
        for (int64_t h = heads.first; h < heads.last; h++)
            for (int64_t r = 0; r < a->x.rows; r += WEIGH_ROWS) {
                int64_t n = min64(WEIGH_ROWS, a->x.rows - r);

                memset(g.sum, 0, (size_t)(n * g.ld) * sizeof *g.sum);
                for (int64_t k = 0; k < a->y.rows; k += WEIGH_KEYS)
                    weigh_tile(&g, h, r, n, k);
                weigh_store(&g, h, r, n);
            }
    }
}

/* Rows [row, row + n) of head h, at hand, for keys [k, k + keys). */
static void transposed_tile(struct weighing *g, int64_t h, int64_t row,
                            int64_t n, int64_t k, int64_t keys)
{
    for (int64_t c = 0; c < keys; c += MICRO_ROWS) {
        int64_t m = min64(MICRO_ROWS, keys - c), first, last;

        rows_seeing(g->a, k + c, m, &first, &last);
        first = max64(first, row);
        last = min64(last, row + n);
        if (first < last)
            gemm(BY_COLUMNS, m, vectors_up(g->a->y.width), last - first,
                 weight(g->a, first, h, k + c), g->a->x.row_stride,
                 g->y + (first - row) * g->ld, g->ld, g->sum + c * g->ld,
                 g->ld, 1);
        scores_poll(g->a);
    }
}

static void isa_weigh_transposed(const struct scores_args *a)
{
    struct weighing g = { .a = a };

    weigh_open(&g, WEIGH_KEYS);
    for (int64_t kv = 0; kv < a->out.heads; kv++)
        for (int64_t k = 0; k < a->out.rows; k += WEIGH_ROWS) {
            struct heads heads = heads_of_kv(&a->x, &a->out, a->group, kv);
            int64_t keys = min64(WEIGH_ROWS, a->out.rows - k);

            memset(g.sum, 0, (size_t)(keys * g.ld) * sizeof *g.sum);
            for (int64_t h = heads.first; h < heads.last; h++)
                for (int64_t r = 0; r < a->x.rows; r += WEIGH_KEYS) {
                    int64_t n = min64(WEIGH_KEYS, a->x.rows - r);

                    load_tile(g.y, g.ld, &a->y, h, r, n);
                    transposed_tile(&g, h, r, n, k, keys);
                }
            weigh_store(&g, kv, k, keys);
        }
}

/* ---- softmax ------------------------------------------------------------- */

/* s = scale s, but -inf stays; -inf up to a whole vector. */
static void scale_scores(float *s, int64_t n, float scale)
{
    for (int64_t j = n; j < vectors_up(n); j++)
        s[j] = -INFINITY;
    for (int64_t j = 0; j < n; j += LANES) {
        vec x = v_load(s + j);
        ivec hidden = x == -INFINITY;

        v_store(s + j, (vec)((hidden & (ivec)x) |
                             (~hidden & (ivec)(x * scale))));
    }
}

/* n scores of a row into weights but for their sum, which is returned. *m: the
 * highest. */
static float exponentials(float *s, int64_t n, float *m)
{
    vec sum = v_set(0);

    *m = row_highest(s, vectors_up(n));
    if (*m == -INFINITY) {
        memset(s, 0, (size_t)n * sizeof *s);
        return 0;
    }
    for (int64_t j = 0; j < n; j += LANES) {
        vec p = v_exp(v_load(s + j) - *m);

        v_store(s + j, p);
        sum += p;
    }
    return v_sum(sum);
}

/* One row of one head, gathered from all blocks in `row`. */
static void softmax_blocks(const struct tensor *s, int64_t n,
                           struct tensor lse, float scale, int64_t r,
                           int64_t h, float *row)
{
    int64_t keys = 0, at = 0;
    float m, sum;

    for (int64_t i = 0; i < n; keys += s[i++].width)
        load_row(row + keys, tensor_at(&s[i], r, h), DTYPE_FP32, s[i].width,
                 1);
    scale_scores(row, keys, scale);
    sum = exponentials(row, keys, &m);
    for (int64_t i = 0; i < n; at += s[i++].width)
        store_row(tensor_at(&s[i], r, h), DTYPE_FP32, row + at, s[i].width,
                  sum != 0 ? 1 / sum : 0, 0);
    m = sum != 0 ? m + logf(sum) : -INFINITY;
    store_row(tensor_at(&lse, r, h), lse.dtype, &m, 1, 1, 0);
}

static void isa_softmax(const struct tensor *s, int64_t n, struct tensor lse,
                        float scale)
{
    int64_t keys = 0;

    for (int64_t i = 0; i < n; i++)
        keys += s[i].width;
    float *row = floats(keys + 2 * LANES);
    for (int64_t r = 0; r < lse.rows; r++)
        for (int64_t h = 0; h < lse.heads; h++)
            softmax_blocks(s, n, lse, scale, r, h, row);
    free(row);
}

/* Masked rather than multiplied: where p is 0, dp may be -inf. */
static void gradient_of_scores(float *dp, const float *p, int64_t n,
                               float delta, float scale)
{
    for (int64_t j = 0; j < n; j += LANES) {
        vec weights = v_load(p + j);
        vec ds = weights * (v_load(dp + j) - delta) * scale;

        v_store(dp + j, (vec)(~(weights == 0) & (ivec)ds));
    }
}

static void isa_softmax_backward(struct tensor dp, struct tensor p,
                                 struct tensor delta, float scale)
{
    float ds[CHUNK], weights[CHUNK], d[LANES];

    for (int64_t r = 0; r < dp.rows; r++)
        for (int64_t h = 0; h < dp.heads; h++) {
            load_row(d, tensor_at(&delta, r, h), delta.dtype, 1, 1);
            for (int64_t j = 0; j < dp.width; j += CHUNK) {
                int64_t n = min64(CHUNK, dp.width - j);
                float *at = (float *)tensor_at(&dp, r, h) + j;

                load_row(ds, at, DTYPE_FP32, n, 1);
                load_row(weights, (float *)tensor_at(&p, r, h) + j,
                         DTYPE_FP32, n, 1);
                gradient_of_scores(ds, weights, n, d[0], scale);
                store_row(at, DTYPE_FP32, ds, n, 1, 0);
            }
        }
}

/* ---- Parts of a merge ---------------------------------------------------- */

static float element_at(const struct tensor *t, int64_t r, int64_t h)
{
    float x[LANES];

    load_row(x, tensor_at(t, r, h), t->dtype, 1, 1);
    return x[0];
}

static void isa_rescale(struct tensor o, struct tensor lse, struct tensor m,
                        struct tensor num, struct tensor den)
{
    float *row = floats(vectors_up(o.width));

    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            float own = element_at(&lse, r, h);
            float weight = own == -INFINITY
                ? 0 : expf(own - element_at(&m, r, h));

            memset(row, 0, (size_t)vectors_up(o.width) * sizeof *row);
            if (weight != 0)
                load_row(row, tensor_at(&o, r, h), o.dtype, o.width, weight);
            store_row(tensor_at(&num, r, h), num.dtype, row, o.width, 1, 0);
            store_row(tensor_at(&den, r, h), den.dtype, &weight, 1, 1, 0);
        }
    free(row);
}

static void isa_normalize(struct tensor num, struct tensor den,
                          struct tensor m, struct tensor o, struct tensor lse)
{
    float *row = floats(vectors_up(o.width));

    for (int64_t r = 0; r < o.rows; r++)
        for (int64_t h = 0; h < o.heads; h++) {
            float total = element_at(&den, r, h);
            float sum = total != 0 ? element_at(&m, r, h) + logf(total)
                                   : -INFINITY;

            load_row(row, tensor_at(&num, r, h), num.dtype, o.width, 1);
            store_row(tensor_at(&o, r, h), o.dtype, row, o.width,
                      total != 0 ? 1 / total : 0, 0);
            store_row(tensor_at(&lse, r, h), lse.dtype, &sum, 1, 1, 0);
        }
    free(row);
}
