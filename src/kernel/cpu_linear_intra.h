/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention within a chunk (Lightning Attention-2, arXiv:2401.04658,
 * algorithms 1 and 2), template of cpu_ISA.c.  Per head, blocks of rows pass by
 * with a state of all before them:
 *
 *     O = decay(Q K^T) V + rise(Q) P,      P = lambda^n P + fall(K)^T V
 *
 * decay() multiplies (i, j) by lambda^(i-j), and by zero above the diagonal;
 * rise() row i by lambda^i, fall() by lambda^(n-i).  dQ is the same of dO, V
 * and K instead of Q, K and V.  For dK and dV the blocks pass by in reverse:
 *
 *     dV = decay(Q K^T)^T dO + fall(K) R
 *     dK = decay(dO V^T)^T Q + fall(V) R^T,      R = lambda^n R + rise(Q)^T dO
 *
 * There is no state at the first block, and none is made at the last. */

/* Where a block stands: has a state come to it, will one leave it? */
struct passage {
    int64_t row, n;
    int came, leaves;
};

/* Lower triangle of the products of rows of x with columns of y, decayed; the
 * diagonal's panels are zero above it, whole vectors of columns. */
static void decayed_scores(struct pace *pace, int64_t n, int64_t width,
                           struct mat x, struct mat y, struct mat s,
                           const float *band)
{
    for (int64_t p = 0; p < n; p += MICRO_ROWS) {
        int64_t m = min64(MICRO_ROWS, n - p), columns = vectors_up(p + m);

        gemm(BY_ROWS, m, columns, width, x.x + p * x.ld, x.ld, y.x, y.ld,
             s.x + p * s.ld, s.ld, 0);
        for (int64_t i = p; i < p + m; i++)
            for (int64_t j = 0; j < columns; j += LANES) {
                float *at = s.x + i * s.ld + j;

                v_store(at, v_load(at) * v_load(band + LINEAR_ROWS - i + j));
            }
        pace_step(pace);
    }
}

/* out (+)= S x: row i takes rows 0 .. i of x. */
static void weigh_before(struct pace *pace, int64_t n, int64_t width,
                         struct mat s, struct mat x, struct mat out, int add)
{
    for (int64_t p = 0; p < n; p += MICRO_ROWS) {
        int64_t m = min64(MICRO_ROWS, n - p);

        gemm(BY_ROWS, m, vectors_up(width), p + m, s.x + p * s.ld, s.ld, x.x,
             x.ld, out.x + p * out.ld, out.ld, add);
        pace_step(pace);
    }
}

/* out (+)= S^T x: row j takes rows j .. of x. */
static void weigh_after(struct pace *pace, int64_t n, int64_t width,
                        struct mat s, struct mat x, struct mat out, int add)
{
    for (int64_t p = 0; p < n; p += MICRO_ROWS) {
        gemm(BY_COLUMNS, min64(MICRO_ROWS, n - p), vectors_up(width), n - p,
             s.x + p * s.ld + p, s.ld, x.x + p * x.ld, x.ld,
             out.x + p * out.ld, out.ld, add);
        pace_step(pace);
    }
}

/* state [rows, width] = lambda^n state + x^T y. */
static void advance(struct pace *pace, const struct passage *b,
                    const float *band, struct mat state, int64_t rows,
                    int64_t width, struct mat x, struct mat y)
{
    float power = band[LINEAR_ROWS - b->n];
    int add = b->came && power != 0;

    if (add && power != 1)
        for (int64_t i = 0; i < rows; i++)
            scale_row(state.x + i * state.ld, vectors_up(width), power);
    product(pace, BY_COLUMNS, rows, width, b->n, x, y, state, add);
}

/* ---- O and dQ ------------------------------------------------------------ */

/* out_i (+)= sum over j <= i of lambda^(i-j) (x_i . y_j) z_j */
struct causal {
    const struct linear_args *a;
    struct pace pace;
    const struct tensor *x, *y, *z, *out;
    int map_x, map_y, map_z;            /* feature maps */
    const struct tensor *of;            /* out is times f' of this; or NULL */
    int store;
    int64_t wide, tall;                 /* widths of x and y, of z and out */
    float *band;
    struct mat mx, my, moved;           /* [rows, wide] */
    struct mat mz, mof, mout;           /* [rows, tall] */
    struct mat turned, s;               /* [wide, rows], [rows, rows] */
    struct mat state;                   /* [wide, tall] */
};

static void causal_layout(struct causal *c, struct arena *arena)
{
    c->band = arena_take(arena, LINEAR_BAND);
    c->mx = mat_take(arena, LINEAR_ROWS, c->wide);
    c->my = mat_take(arena, LINEAR_ROWS, c->wide);
    c->moved = mat_take(arena, LINEAR_ROWS, c->wide);
    c->mz = mat_take(arena, LINEAR_ROWS, c->tall);
    c->mof = mat_take(arena, LINEAR_ROWS, c->tall);
    c->mout = mat_take(arena, LINEAR_ROWS, c->tall);
    c->turned = mat_take(arena, c->wide, LINEAR_ROWS);
    c->s = mat_take(arena, LINEAR_ROWS, LINEAR_ROWS);
    c->state = mat_take(arena, c->wide, c->tall);
}

static void causal_block(struct causal *c, int64_t h, int64_t kv,
                         const struct passage *b)
{
    const struct linear_args *a = c->a;
    int map = c->of ? a->feature : FEATURE_MAP_IDENTITY;

    pace_block(&c->pace, b->row + b->n,
               (const struct tensor *[]){ c->x, c->y, c->z, c->out, c->of },
               (int64_t[]){ h, kv, kv, h, h }, map ? 5 : 4);
    load_mapped(c->mx, c->x, h, b->row, b->n, c->map_x);
    load_mapped(c->my, c->y, kv, b->row, b->n, c->map_y);
    load_mapped(c->mz, c->z, kv, b->row, b->n, c->map_z);
    if (map != FEATURE_MAP_IDENTITY)
        load_mapped(c->mof, c->of, h, b->row, b->n, map);
    transpose(c->turned, c->my, b->n, c->wide);
    if (b->came) {
        decay_rows(c->moved, c->mx, b->n, c->wide, c->band, DECAY_RISING, 1);
        product(&c->pace, BY_ROWS, b->n, c->tall, c->wide, c->moved, c->state,
                c->mout, 0);
    }
    decayed_scores(&c->pace, b->n, c->wide, c->mx, c->turned, c->s, c->band);
    weigh_before(&c->pace, b->n, c->tall, c->s, c->mz, c->mout, b->came);
    store_mapped(c->out, h, b->row, b->n, c->mout, c->mof, map, !c->store);
    if (b->leaves) {
        decay_rows(c->moved, c->my, b->n, c->wide, c->band, DECAY_FALLING, 1);
        advance(&c->pace, b, c->band, c->state, c->wide, c->tall, c->moved,
                c->mz);
    }
    pace_poll(&c->pace);
}

static void causal_sweep(struct causal *c)
{
    const struct linear_args *a = c->a;
    int64_t rows = c->x->rows;
    struct arena arena = { 0 };

    c->pace = (struct pace){ .a = a, .rate = 2 };
    c->wide = c->x->width;
    c->tall = c->z->width;
    causal_layout(c, &arena);
    arena_open(&arena);
    causal_layout(c, &arena);
    for (int64_t h = 0; h < c->x->heads && rows; h++) {
        int64_t head = a->q.head_first + h;

        decay_band(c->band, a->slopes, head);
        for (int64_t row = 0; row < rows; row += LINEAR_ROWS) {
            struct passage b = { row, min64(LINEAR_ROWS, rows - row), row > 0,
                                 row + LINEAR_ROWS < rows };

            causal_block(c, h, head / a->group - a->k.head_first, &b);
        }
    }
}

static void isa_linear_intra(const struct linear_args *a)
{
    struct causal c = {
        .a = a, .x = &a->q, .y = &a->k, .z = &a->v, .out = &a->o,
        .map_x = a->feature, .map_y = a->feature, .store = a->store_o,
    };

    causal_sweep(&c);
}

/* ---- dK and dV ----------------------------------------------------------- */

struct reverse {
    const struct linear_args *a;
    struct pace pace;
    int64_t d, e;                       /* D, E */
    float *band;
    struct mat q, k, dk, moved_d;       /* [rows, D] */
    struct mat v, d_o, dv, moved_e;     /* [rows, E] */
    struct mat kt, vt;                  /* [D, rows], [E, rows] */
    struct mat s, t;                    /* [rows, rows] */
    struct mat state, turned;           /* [D, E], [E, D] */
};

static void reverse_layout(struct reverse *r, struct arena *arena)
{
    r->band = arena_take(arena, LINEAR_BAND);
    r->q = mat_take(arena, LINEAR_ROWS, r->d);
    r->k = mat_take(arena, LINEAR_ROWS, r->d);
    r->dk = mat_take(arena, LINEAR_ROWS, r->d);
    r->moved_d = mat_take(arena, LINEAR_ROWS, r->d);
    r->v = mat_take(arena, LINEAR_ROWS, r->e);
    r->d_o = mat_take(arena, LINEAR_ROWS, r->e);
    r->dv = mat_take(arena, LINEAR_ROWS, r->e);
    r->moved_e = mat_take(arena, LINEAR_ROWS, r->e);
    r->kt = mat_take(arena, r->d, LINEAR_ROWS);
    r->vt = mat_take(arena, r->e, LINEAR_ROWS);
    r->s = mat_take(arena, LINEAR_ROWS, LINEAR_ROWS);
    r->t = mat_take(arena, LINEAR_ROWS, LINEAR_ROWS);
    r->state = mat_take(arena, r->d, r->e);
    r->turned = mat_take(arena, r->e, r->d);
}

static void reverse_load(struct reverse *r, int64_t h, int64_t kv,
                         const struct passage *b)
{
    const struct linear_args *a = r->a;

    load_mapped(r->q, &a->q, h, b->row, b->n, a->feature);
    load_mapped(r->k, &a->k, kv, b->row, b->n, a->feature);
    load_tile(r->v.x, r->v.ld, &a->v, kv, b->row, b->n);
    load_tile(r->d_o.x, r->d_o.ld, &a->d_o, h, b->row, b->n);
    transpose(r->kt, r->k, b->n, r->d);
    transpose(r->vt, r->v, b->n, r->e);
}

/* From the state R: the queries after the block. */
static void reverse_state(struct reverse *r, const struct passage *b)
{
    transpose(r->turned, r->state, r->d, r->e);
    decay_rows(r->moved_d, r->k, b->n, r->d, r->band, DECAY_FALLING, 1);
    product(&r->pace, BY_ROWS, b->n, r->e, r->d, r->moved_d, r->state, r->dv,
            0);
    decay_rows(r->moved_e, r->v, b->n, r->e, r->band, DECAY_FALLING, 1);
    product(&r->pace, BY_ROWS, b->n, r->d, r->e, r->moved_e, r->turned, r->dk,
            0);
}

static void reverse_block(struct reverse *r, const struct passage *b)
{
    struct pace *pace = &r->pace;

    if (b->came)
        reverse_state(r, b);
    decayed_scores(pace, b->n, r->d, r->q, r->kt, r->s, r->band);
    weigh_after(pace, b->n, r->e, r->s, r->d_o, r->dv, b->came);
    decayed_scores(pace, b->n, r->e, r->d_o, r->vt, r->t, r->band);
    weigh_after(pace, b->n, r->d, r->t, r->q, r->dk, b->came);
    if (b->leaves) {
        decay_rows(r->moved_d, r->q, b->n, r->d, r->band, DECAY_RISING, 1);
        advance(pace, b, r->band, r->state, r->d, r->e, r->moved_d, r->d_o);
    }
    pace_poll(pace);
}

static void reverse_head(void *arg, int64_t h, int64_t kv,
                         const struct gradient *dk, const struct gradient *dv,
                         int64_t i)
{
    struct reverse *r = arg;
    const struct linear_args *a = r->a;
    int64_t rows = a->k.rows, last = (rows - 1) / LINEAR_ROWS * LINEAR_ROWS;

    decay_band(r->band, a->slopes, a->q.head_first + h);
    for (int64_t row = last; row >= 0; row -= LINEAR_ROWS) {
        struct passage b = { row, min64(LINEAR_ROWS, rows - row), row < last,
                             row > 0 };

        pace_block(&r->pace, row - LINEAR_ROWS,
                   (const struct tensor *[]){ &a->q, &a->k, &a->v, &a->d_o,
                                              &dk->sum, &dv->sum },
                   (int64_t[]){ h, kv, kv, h, 0, 0 }, 6);
        reverse_load(r, h, kv, &b);
        reverse_block(r, &b);
        store_mapped(&dk->sum, 0, row, b.n, r->dk, r->k, a->feature,
                     gradient_adds(dk, i));
        store_mapped(&dv->sum, 0, row, b.n, r->dv, r->dv, FEATURE_MAP_IDENTITY,
                     gradient_adds(dv, i));
    }
}

static void isa_linear_intra_backward(const struct linear_args *a)
{
    struct causal dq = {
        .a = a, .x = &a->d_o, .y = &a->v, .z = &a->k, .out = &a->dq,
        .map_z = a->feature, .of = &a->q, .store = a->store_dq,
    };
    struct reverse dkv = { .a = a, .pace = { .a = a, .rate = 1 },
                           .d = a->q.width, .e = a->v.width };
    struct arena arena = { 0 };

    causal_sweep(&dq);
    reverse_layout(&dkv, &arena);
    arena_open(&arena);
    reverse_layout(&dkv, &arena);
    dkv_heads(a, &a->q, reverse_head, &dkv);
}
