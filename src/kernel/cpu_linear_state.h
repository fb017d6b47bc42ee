/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention between chunks: states, and what the states of other chunks
 * add (schedule.h, "States"), template of cpu_ISA.c. */

/* ---- States -------------------------------------------------------------- */

/* A block of a chunk against a state. */
struct chunk {
    const struct linear_args *a;
    struct pace pace;
    int64_t d, e;               /* D, E */
    float *band;
    struct mat key, key_out, key_decayed;       /* [rows, D] */
    struct mat value, value_out;                /* [rows, E] */
    struct mat state, turned;                   /* [D, E], [E, D] */
};

static void chunk_layout(struct chunk *c, struct arena *arena)
{
    c->band = arena_take(arena, LINEAR_BAND);
    c->key = mat_take(arena, LINEAR_ROWS, c->d);
    c->key_out = mat_take(arena, LINEAR_ROWS, c->d);
    c->key_decayed = mat_take(arena, LINEAR_ROWS, c->d);
    c->value = mat_take(arena, LINEAR_ROWS, c->e);
    c->value_out = mat_take(arena, LINEAR_ROWS, c->e);
    c->state = mat_take(arena, c->d, c->e);
    c->turned = mat_take(arena, c->e, c->d);
}

/* rate: of pace; enough to be through with a block. */
static struct chunk chunk_open(const struct linear_args *a, int64_t d,
                               int64_t e, int64_t rate)
{
    struct chunk c = { .a = a, .d = d, .e = e,
                       .pace = { .a = a, .rate = rate } };
    struct arena arena = { 0 };

    chunk_layout(&c, &arena);
    arena_open(&arena);
    chunk_layout(&c, &arena);
    return c;
}

/* Head h of a state as a matrix [D, E] of its own. */
static struct tensor state_matrix(const struct chunk *c, int64_t h)
{
    struct tensor t = c->a->state;

    t.data = tensor_at(&c->a->state, 0, h);
    t.rows = c->d;
    t.row_stride = c->e;
    t.heads = 1;
    t.width = (int32_t)c->e;
    return t;
}

static void chunk_load_state(struct chunk *c, int64_t h)
{
    struct tensor t = state_matrix(c, h);

    load_tile(c->state.x, c->state.ld, &t, 0, 0, c->d);
    decay_band(c->band, c->a->slopes, c->a->state.head_first + h);
}

/* Head of k that head h of the state uses. */
static int64_t chunk_kv_head(const struct linear_args *a, int64_t h)
{
    return (a->state.head_first + h) / a->group - a->k.head_first;
}

/* A power of head h's lambda: of the place of a block. */
static float chunk_power(const struct linear_args *a, int64_t h, int64_t n)
{
    return decay_power(a->slopes, a->state.head_first + h, n);
}

/* state += sum over rows [row, row + n) of the chunk: keys, decayed, times
 * values. */
static void state_block(struct chunk *c, const struct tensor *key,
                        const struct tensor *value, int64_t h, int backward,
                        int64_t row, int64_t n)
{
    const struct linear_args *a = c->a;
    int64_t from = backward ? h : chunk_kv_head(a, h);
    int64_t power = backward ? row : key->rows - row - n;

    pace_block(&c->pace, row + n, (const struct tensor *[]){ key, value },
               (int64_t[]){ from, from }, 2);
    load_mapped(c->key, key, from, row, n, a->feature);
    load_tile(c->value.x, c->value.ld, value, from, row, n);
    decay_rows(c->key, c->key, n, c->d, c->band,
               backward ? DECAY_RISING : DECAY_FALLING,
               chunk_power(a, h, power));
    product(&c->pace, BY_COLUMNS, c->d, c->e, n, c->key, c->value, c->state, 1);
    pace_poll(&c->pace);
}

static void isa_state(const struct linear_args *a, int backward)
{
    const struct tensor *key = backward ? &a->q : &a->k;
    const struct tensor *value = backward ? &a->d_o : &a->v;
    struct chunk c = chunk_open(a, key->width, value->width, 4);

    for (int64_t h = 0; h < a->state.heads; h++) {
        struct tensor t = state_matrix(&c, h);

        decay_band(c.band, a->slopes, a->state.head_first + h);
        memset(c.state.x, 0, (size_t)(c.d * c.state.ld) * sizeof(float));
        for (int64_t row = 0; row < key->rows; row += LINEAR_ROWS)
            state_block(&c, key, value, h, backward, row,
                        min64(LINEAR_ROWS, key->rows - row));
        for (int64_t d = 0; d < c.d; d++)
            store_row(tensor_at(&t, d, 0), t.dtype, c.state.x + d * c.state.ld,
                      c.e, 1, 0);
    }
}

/* States are fp32.  One of weight zero is not read. */
static void isa_state_scan(struct tensor dst, int store,
                           const struct tensor *src, int64_t n,
                           const int64_t *spans, const double *slopes)
{
    for (int64_t h = 0; h < dst.heads; h++) {
        float *sum = tensor_at(&dst, 0, h);
        const int64_t *span = spans;
        float weight = store ? 0
                             : decay_power(slopes, dst.head_first + h, *span++);

        if (weight == 0)
            memset(sum, 0, (size_t)dst.width * sizeof *sum);
        else if (weight != 1)
            store_row(sum, DTYPE_FP32, sum, dst.width, weight, 0);
        for (int64_t i = 0; i < n; i++) {
            weight = decay_power(slopes, dst.head_first + h, span[i]);
            if (weight != 0)
                store_row(sum, DTYPE_FP32, tensor_at(&src[i], 0, h), dst.width,
                          weight, 1);
        }
    }
}

/* ---- What other chunks add ----------------------------------------------- */

/* o_i (+)= lambda^i f(q_i) P */
static void isa_linear_inter(const struct linear_args *a)
{
    struct chunk c = chunk_open(a, a->q.width, a->o.width, 8);

    for (int64_t h = 0; h < a->q.heads && a->q.rows; h++) {
        chunk_load_state(&c, h);
        for (int64_t row = 0; row < a->q.rows; row += LINEAR_ROWS) {
            int64_t n = min64(LINEAR_ROWS, a->q.rows - row);

            pace_block(&c.pace, row + n,
                       (const struct tensor *[]){ &a->q, &a->o },
                       (int64_t[]){ h, h }, 2);
            load_mapped(c.key, &a->q, h, row, n, a->feature);
            decay_rows(c.key, c.key, n, c.d, c.band, DECAY_RISING,
                       chunk_power(a, h, row));
            product(&c.pace, BY_ROWS, n, c.e, c.d, c.key, c.state, c.value_out,
                    0);
            store_mapped(&a->o, h, row, n, c.value_out, c.value_out,
                         FEATURE_MAP_IDENTITY, !a->store_o);
            pace_poll(&c.pace);
        }
    }
}

/* dq_i (+)= lambda^i f'(q_i) * (P do_i) */
static void isa_linear_inter_dq(const struct linear_args *a)
{
    struct chunk c = chunk_open(a, a->q.width, a->d_o.width, 8);

    for (int64_t h = 0; h < a->q.heads && a->q.rows; h++) {
        chunk_load_state(&c, h);
        transpose(c.turned, c.state, c.d, c.e);
        for (int64_t row = 0; row < a->q.rows; row += LINEAR_ROWS) {
            int64_t n = min64(LINEAR_ROWS, a->q.rows - row);

            pace_block(&c.pace, row + n,
                       (const struct tensor *[]){ &a->d_o, &a->dq, &a->q },
                       (int64_t[]){ h, h, h }, 2 + !!a->feature);
            if (a->feature != FEATURE_MAP_IDENTITY)
                load_mapped(c.key, &a->q, h, row, n, a->feature);
            load_tile(c.value.x, c.value.ld, &a->d_o, h, row, n);
            decay_rows(c.value, c.value, n, c.e, c.band, DECAY_RISING,
                       chunk_power(a, h, row));
            product(&c.pace, BY_ROWS, n, c.d, c.e, c.value, c.turned, c.key_out,
                    0);
            store_mapped(&a->dq, h, row, n, c.key_out, c.key, a->feature,
                         !a->store_dq);
            pace_poll(&c.pace);
        }
    }
}

/* ---- dK and dV: sums over the query heads of a KV head ------------------- */

/* One KV head of dk or dv.  Heads add to it one after the other: in fp32
 * scratch where it is 16 bits wide and there are several. */
struct gradient {
    struct tensor out, sum;     /* [n, 1, width] */
    int store;
    int64_t heads;
};

static struct gradient gradient_open(const struct tensor *t, int64_t kv,
                                     int store, int64_t heads)
{
    struct gradient g = { .out = *t, .store = store, .heads = heads };

    g.out.data = tensor_at(t, 0, kv);
    g.out.heads = 1;
    g.sum = g.out;
    if (heads > 1 && t->dtype != DTYPE_FP32) {
        g.sum.dtype = DTYPE_FP32;
        g.sum.row_stride = t->width;
        g.sum.data = floats(t->rows * t->width);
    }
    return g;
}

/* Does head i of those add? */
static int gradient_adds(const struct gradient *g, int64_t i)
{
    return i > 0 || (g->sum.data == g->out.data && !g->store);
}

static void gradient_close(struct gradient *g)
{
    if (g->heads == 0)
        isa_sum(g->out, g->store, NULL, 0);
    else if (g->sum.data != g->out.data) {
        isa_sum(g->out, g->store, &g->sum, 1);
        free(g->sum.data);
    }
}

/* Adds to dk, dv of KV head kv what query head h, the i-th that uses it, has to
 * say. */
typedef void dkv_fn(void *arg, int64_t h, int64_t kv, const struct gradient *dk,
                    const struct gradient *dv, int64_t i);

/* For all heads of `heads`, a tensor of query heads. */
static void dkv_heads(const struct linear_args *a, const struct tensor *heads,
                      dkv_fn *fn, void *arg)
{
    for (int64_t kv = 0; kv < a->k.heads && a->k.rows; kv++) {
        struct heads h = heads_of_kv(heads, &a->k, a->group, kv);
        int64_t n = h.last - h.first;
        struct gradient dk = gradient_open(&a->dk, kv, a->store_dk, n);
        struct gradient dv = gradient_open(&a->dv, kv, a->store_dv, n);

        for (int64_t i = 0; i < n; i++)
            fn(arg, h.first + i, kv, &dk, &dv, i);
        gradient_close(&dk);
        gradient_close(&dv);
    }
}

static void inter_dkv_block(struct chunk *c, int64_t kv, int64_t row, int64_t n,
                            float base)
{
    const struct linear_args *a = c->a;

    load_mapped(c->key, &a->k, kv, row, n, a->feature);
    load_tile(c->value.x, c->value.ld, &a->v, kv, row, n);
    decay_rows(c->key_decayed, c->key, n, c->d, c->band, DECAY_FALLING, base);
    decay_rows(c->value, c->value, n, c->e, c->band, DECAY_FALLING, base);
    product(&c->pace, BY_ROWS, n, c->e, c->d, c->key_decayed, c->state,
            c->value_out, 0);
    product(&c->pace, BY_ROWS, n, c->d, c->e, c->value, c->turned, c->key_out,
            0);
    pace_poll(&c->pace);
}

static void inter_dkv_head(void *arg, int64_t h, int64_t kv,
                           const struct gradient *dk, const struct gradient *dv,
                           int64_t i)
{
    struct chunk *c = arg;
    const struct linear_args *a = c->a;

    chunk_load_state(c, h);
    transpose(c->turned, c->state, c->d, c->e);
    for (int64_t row = 0; row < a->k.rows; row += LINEAR_ROWS) {
        int64_t n = min64(LINEAR_ROWS, a->k.rows - row);

        pace_block(&c->pace, row + n,
                   (const struct tensor *[]){ &a->k, &a->v, &dk->sum,
                                              &dv->sum },
                   (int64_t[]){ kv, kv, 0, 0 }, 4);
        inter_dkv_block(c, kv, row, n, chunk_power(a, h, a->k.rows - row - n));
        store_mapped(&dk->sum, 0, row, n, c->key_out, c->key, a->feature,
                     gradient_adds(dk, i));
        store_mapped(&dv->sum, 0, row, n, c->value_out, c->value_out,
                     FEATURE_MAP_IDENTITY, gradient_adds(dv, i));
    }
}

/* dk_i (+)= lambda^(n-i) f'(k_i) * (R v_i), dv_i (+)= lambda^(n-i) f(k_i) R */
static void isa_linear_inter_dkv(const struct linear_args *a)
{
    struct chunk c = chunk_open(a, a->k.width, a->v.width, 4);

    dkv_heads(a, &a->state, inter_dkv_head, &c);
}
