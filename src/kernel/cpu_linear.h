/* SPDX-License-Identifier: Apache-2.0
 *
 * Linear attention in the form of Lightning Attention-2 (arXiv:2401.04658),
 * template of cpu_ISA.c: the parts of which cpu_linear_state.h and
 * cpu_linear_intra.h are made.
 *
 * The rows of a chunk pass by in blocks.  Decay enters as powers lambda^n, n >=
 * 0, from a table of one block and a factor of the block's place, so that
 * nothing overflows. */

/* Rows of a block: as many as op_work() counts, for pairs inside of a block
 * grow with it, and what a state costs per row does not shrink. */
enum { LINEAR_ROWS = 64, LINEAR_BAND = 2 * LINEAR_ROWS + 16 };

/* A matrix in work space: columns padded to whole vectors, rows ld apart. */
struct mat {
    float *x;
    int64_t ld;
};

static struct mat mat_take(struct arena *arena, int64_t rows, int64_t width)
{
    int64_t ld = padded(width);

    return (struct mat){ arena_take(arena, vectors_up(rows) * ld), ld };
}

/* What goes on beside the products: polls, and rows of the next block brought
 * into cache.  Rows of one head lie far apart, and the hardware does not see
 * them coming. */
enum { PACE_TENSORS = 6 };

struct pace {
    const struct linear_args *a;
    struct {
        const struct tensor *t;
        int64_t head;
    } of[PACE_TENSORS];
    int64_t tensors;
    int64_t row, end;           /* still to bring */
    int64_t rate;               /* rows a panel of a product */
    int64_t steps;
};

static void pace_row(const struct tensor *t, int64_t row, int64_t head)
{
    const char *at = tensor_at(t, row, head);
    int64_t bytes = t->width * (int64_t)dtype_size(t->dtype);

    for (int64_t i = 0; i < bytes; i += 64)
        __builtin_prefetch(at + i, 0, 2);
}

/* The block from `row` on, if there is one, is next, of `tensors` heads. */
static void pace_block(struct pace *p, int64_t row,
                       const struct tensor *const *t, const int64_t *heads,
                       int64_t tensors)
{
    p->row = max64(row, 0);
    p->end = row < 0 ? 0 : min64(row + LINEAR_ROWS, t[0]->rows);
    p->tensors = tensors;
    for (int64_t i = 0; i < tensors; i++) {
        p->of[i].t = t[i];
        p->of[i].head = heads[i];
    }
}

static void pace_poll(const struct pace *p)
{
    if (p->a->poll.fn)
        p->a->poll.fn(p->a->poll.arg);
}

/* After every panel of a product. */
static void pace_step(struct pace *p)
{
    if (p->steps++ % 4 == 3)
        pace_poll(p);
    for (int64_t i = 0; i < p->rate && p->row < p->end; i++, p->row++)
        for (int64_t j = 0; j < p->tensors; j++)
            pace_row(p->of[j].t, p->row, p->of[j].head);
}

/* ---- Decay --------------------------------------------------------------- */

/* lambda^n of query head `head`.  Below 2^-100 it is 0: it could not be seen
 * in a sum, and its products would be subnormal, which is slow. */
static float decay_power(const double *slopes, int64_t head, int64_t n)
{
    double x = slopes ? exp(-slopes[head] * (double)n) : 1;

    return x < 0x1p-100 ? 0 : (float)x;
}

/* band[LINEAR_ROWS - n] = lambda^n for n = 0 .. LINEAR_ROWS, zeros behind: row
 * i of a block's causal decay, lambda^(i-j) for j <= i, else 0, is at
 * band + LINEAR_ROWS - i. */
static void decay_band(float *band, const double *slopes, int64_t head)
{
    for (int64_t i = 0; i < LINEAR_BAND; i++)
        band[i] = i <= LINEAR_ROWS ? decay_power(slopes, head, LINEAR_ROWS - i)
                                   : 0;
}

/* Row i of n times base lambda^i, or base lambda^(n-i). */
enum decay_way { DECAY_RISING, DECAY_FALLING };

static void decay_rows(struct mat to, struct mat from, int64_t n, int64_t width,
                       const float *band, enum decay_way way, float base)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t power = way == DECAY_RISING ? i : n - i;
        float factor = base * band[LINEAR_ROWS - power];

        for (int64_t x = 0; x < width; x += LANES)
            v_store(to.x + i * to.ld + x,
                    v_load(from.x + i * from.ld + x) * factor);
    }
}

/* ---- Feature maps -------------------------------------------------------- */

INLINE vec feature_of(vec x, int feature)
{
    vec low = v_exp(-v_max(v_set(0), -x));
    ivec positive = x > 0;

    if (feature == FEATURE_MAP_RELU)
        return v_max(v_set(0), x);
    return (vec)((positive & (ivec)(x + 1)) | (~positive & (ivec)low));
}

/* f'(x) from f = f(x): of elu(x) + 1 it is min(f, 1), of max(x, 0) 0 or 1. */
INLINE vec derivative_of(vec f, int feature)
{
    ivec positive = f > 0;

    if (feature == FEATURE_MAP_RELU)
        return (vec)(positive & (ivec)v_set(1));
    return -v_max(v_set(-1), -f);
}

/* Rows [first, first + n) of head `head`, fp32, mapped. */
static void load_mapped(struct mat to, const struct tensor *t, int64_t head,
                        int64_t first, int64_t n, int feature)
{
    load_tile(to.x, to.ld, t, head, first, n);
    if (feature == FEATURE_MAP_IDENTITY)
        return;
    for (int64_t i = 0; i < n; i++)
        for (int64_t x = 0; x < t->width; x += LANES) {
            float *p = to.x + i * to.ld + x;

            v_store(p, feature_of(v_load(p), feature));
        }
}

/* Stores n rows, times f' of the rows f unless the map is the identity. */
static void store_mapped(const struct tensor *t, int64_t head, int64_t first,
                         int64_t n, struct mat from, struct mat f, int feature,
                         int add)
{
    for (int64_t i = 0; i < n; i++) {
        float *p = from.x + i * from.ld, *pf = f.x + i * f.ld;

        for (int64_t x = 0; feature && x < t->width; x += LANES)
            v_store(p + x, v_load(p + x)
                           * derivative_of(v_load(pf + x), feature));
        store_row(tensor_at(t, first + i, head), t->dtype, p, t->width, 1, add);
    }
}

/* ---- Products ------------------------------------------------------------ */

/* C [m, n] (+)= A B, A [m, k] by rows or by columns. */
static void product(struct pace *pace, enum layout layout, int64_t m, int64_t n,
                    int64_t k, struct mat x, struct mat y, struct mat c,
                    int add)
{
    for (int64_t i = 0; i < m; i += MICRO_ROWS) {
        gemm(layout, min64(MICRO_ROWS, m - i), vectors_up(n), k,
             x.x + i * (layout == BY_ROWS ? x.ld : 1), x.ld, y.x, y.ld,
             c.x + i * c.ld, c.ld, add);
        pace_step(pace);
    }
}

/* to [width, rows] = from [rows, width] transposed; zeros up to whole vectors
 * of rows. */
static void transpose(struct mat to, struct mat from, int64_t rows,
                      int64_t width)
{
    for (int64_t i = rows; i < vectors_up(rows); i++)
        memset(from.x + i * from.ld, 0, (size_t)from.ld * sizeof(float));
    for (int64_t i = 0; i < rows; i += LANES)
        for (int64_t x = 0; x < width; x += LANES)
            transpose_block(to.x + x * to.ld + i, to.ld,
                            from.x + i * from.ld + x, from.ld);
}
