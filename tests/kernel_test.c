/* SPDX-License-Identifier: Apache-2.0
 *
 * Every backend, and every instruction set of the cpu backend that this
 * processor has, against the fp64 oracle and against each other. */
#include <config.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/backends.h"
#include "kernel/cpu.h"

#include <cmocka.h>     /* after base.h: it has a macro fail() */

/* ---- What is under test -------------------------------------------------------- */

enum { MAX_BACKENDS = 8 };
static struct kernel_backend backends[MAX_BACKENDS];
static int n_backends;          /* reference first, portable last */

static void collect_backends(void)
{
    const struct cpu_isa *isa;

    backends[n_backends++] = kernel_reference;
    for (int i = 0; (isa = cpu_isa_get(i)); i++)
        backends[n_backends++] = (struct kernel_backend){
            .name = isa->name, .attend = isa->attend,
            .attend_backward = isa->attend_backward, .delta = isa->delta,
            .merge = isa->merge, .sum = isa->sum,
        };
}

/* ---- Tensors ------------------------------------------------------------------- */

static uint64_t state = 1;

static uint64_t draw(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static int64_t draw_below(int64_t n)
{
    return (int64_t)(draw() % (uint64_t)n);
}

/* About N(0, 1). */
static float draw_normal(void)
{
    double sum = 0;

    for (int i = 0; i < 12; i++)
        sum += (double)(draw() >> 11) * 0x1p-53;
    return (float)(sum - 6);
}

enum { PAD = 3 };               /* elements between rows, to stay untouched */
static const float canary = 24.5f;

static int64_t index_of(const struct tensor *t, int64_t r, int64_t h, int64_t x)
{
    return r * t->row_stride + h * t->width + x;
}

static float get(const struct tensor *t, int64_t r, int64_t h, int64_t x)
{
    return element_load(t->data, t->dtype, index_of(t, r, h, x));
}

/* NaN everywhere, canaries between the rows. */
static struct tensor make(enum dtype type, int64_t rows, int64_t heads,
                          int64_t width)
{
    struct tensor t = {
        .dtype = type, .rows = rows, .row_stride = heads * width + PAD,
        .heads = (int32_t)heads, .width = (int32_t)width,
    };
    int64_t n = rows * t.row_stride;

    t.data = xmalloc((size_t)max64(n, 1) * dtype_size(type));
    for (int64_t i = 0; i < n; i++)
        element_store(t.data, type, i,
                      i % t.row_stride < heads * width ? NAN : canary);
    return t;
}

static struct tensor make_random(enum dtype type, int64_t rows, int64_t heads,
                                 int64_t width, float scale)
{
    struct tensor t = make(type, rows, heads, width);

    for (int64_t r = 0; r < rows; r++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t x = 0; x < width; x++)
                element_store(t.data, type, index_of(&t, r, h, x),
                              draw_normal() * scale);
    return t;
}

static struct tensor copy_of(const struct tensor *t)
{
    size_t bytes = (size_t)(t->rows * t->row_stride) * dtype_size(t->dtype);
    struct tensor c = *t;

    c.data = xmalloc(bytes ? bytes : 1);
    memcpy(c.data, t->data, bytes);
    return c;
}

static int same_bits(const struct tensor *a, const struct tensor *b)
{
    return !memcmp(a->data, b->data, (size_t)(a->rows * a->row_stride) *
                                     dtype_size(a->dtype));
}

/* Rows [first, first + rows) of t. */
static struct tensor part(const struct tensor *t, int64_t first, int64_t rows)
{
    struct tensor p = *t;

    p.data = (char *)t->data +
             (size_t)(first * t->row_stride) * dtype_size(t->dtype);
    p.rows = rows;
    return p;
}

static void check_canaries(const struct tensor *t)
{
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t x = 0; x < PAD; x++)
            assert_true(get(t, r, t->heads, x) == canary);
}

static double *to_fp64(const struct tensor *t)
{
    double *out = xmalloc((size_t)(t->rows * t->heads * t->width + 1) * 8);
    double *p = out;

    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t h = 0; h < t->heads; h++)
            for (int64_t x = 0; x < t->width; x++)
                *p++ = (double)get(t, r, h, x);
    return out;
}

/* ---- Problems ------------------------------------------------------------------ */

struct shape {
    int64_t heads, kv_heads, head_dim, value_dim;
    int64_t lengths[6];         /* of packed sequences, 0 ends */
    int64_t left, right;
    enum dtype dtype;
    float scores;               /* scores are this times larger, 0: once */
};

enum { MAX_SEGMENTS = 64, RESULTS = 5 };
enum { O, LSE, DQ, DK, DV };

struct problem {
    struct shape s;
    int64_t offsets[7], sequences, tokens;
    struct tensor q, k, v, d_o;
    float scale;
    double *inputs[4];
    double *truth[RESULTS], divisor[RESULTS], gate[RESULTS];
    struct oracle_problem oracle;
};

/* Segments of queries [q0, q1) against keys [k0, k1) of the packed axis. */
static int64_t segments_of(const struct problem *p, int64_t q0, int64_t q1,
                           int64_t k0, int64_t k1, struct segment *out)
{
    int64_t n = 0;

    for (int64_t i = 0; i < p->sequences; i++) {
        int64_t qa = max64(q0, p->offsets[i]), ka = max64(k0, p->offsets[i]);
        int64_t qb = min64(q1, p->offsets[i + 1]);
        int64_t kb = min64(k1, p->offsets[i + 1]);
        struct segment s = {
            qa - q0, qb - qa, ka - k0, kb - ka,
            p->s.right < 0 ? BAND_LOW : ka - qa - p->s.right,
            p->s.left < 0 ? BAND_HIGH : ka - qa + p->s.left,
        };

        if (qa < qb && ka < kb && segment_trim(&s))
            out[n++] = s;
    }
    return n;
}

static int64_t width_of(const struct shape *s, int result)
{
    return result == LSE ? 1
           : result == O || result == DV ? s->value_dim : s->head_dim;
}

static int64_t heads_of(const struct shape *s, int result)
{
    return result == DK || result == DV ? s->kv_heads : s->heads;
}

/* error of interface: largest difference over the divisor. */
static double error_of(const struct problem *p, int result,
                       const struct tensor *t)
{
    const double *truth = p->truth[result];
    double worst = 0;

    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t h = 0; h < t->heads; h++)
            for (int64_t x = 0; x < t->width; x++) {
                double value = (double)get(t, r, h, x), right = *truth++;

                if (value != right && !(fabs(value - right) <= worst))
                    worst = value != value ? INFINITY : fabs(value - right);
            }
    return worst / p->divisor[result];
}

static void set_divisors(struct problem *p, const struct oracle_result *r)
{
    const double sums[] = { r->abs_o, 1, r->abs_dq, r->abs_dk, r->abs_dv };

    for (int i = 0; i < RESULTS; i++) {
        int64_t n = p->tokens * heads_of(&p->s, i) * width_of(&p->s, i);
        double most = 0;

        for (int64_t x = 0; x < n; x++)
            if (isfinite(p->truth[i][x]))
                most = fmax(most, fabs(p->truth[i][x]));
        p->divisor[i] = most > 1e-6 * sums[i] ? most : sums[i];
    }
}

static int visible(const struct problem *p, int64_t i, int64_t j)
{
    for (int64_t s = 0; s < p->sequences; s++)
        if (i >= p->offsets[s] && i < p->offsets[s + 1])
            return j >= p->offsets[s] && j < p->offsets[s + 1] &&
                   (p->s.left < 0 || j >= i - p->s.left) &&
                   (p->s.right < 0 || j <= i + p->s.right);
    return 0;
}

/* Plain dense attention in fp32, whose errors make the gate: row i, head h. */
static void plain_row(const struct problem *p, int64_t i, int64_t h,
                      struct tensor *out)
{
    int64_t g = h / (p->s.heads / p->s.kv_heads), n = p->tokens;
    float *s = xcalloc((size_t)n, sizeof *s), *dp = xcalloc((size_t)n, 4);
    float *score = xcalloc((size_t)n, sizeof *score);
    float most = -INFINITY, sum = 0, delta = 0;

    for (int64_t j = 0; j < n; j++) {
        if (!visible(p, i, j)) {
            s[j] = -INFINITY;
            continue;
        }
        for (int64_t x = 0; x < p->s.head_dim; x++)
            s[j] += get(&p->q, i, h, x) * get(&p->k, j, g, x);
        most = fmaxf(most, s[j] *= p->scale);
    }
    for (int64_t j = 0; j < n; j++) {
        score[j] = s[j];
        sum += s[j] = expf(s[j] - most);
    }
    element_store(out[LSE].data, DTYPE_FP32, index_of(&out[LSE], i, h, 0),
                  most + logf(sum));
    for (int64_t x = 0; x < p->s.value_dim; x++) {
        float o = 0;

        for (int64_t j = 0; j < n; j++)
            o += s[j] / sum * get(&p->v, j, g, x);
        element_store(out[O].data, out[O].dtype, index_of(&out[O], i, h, x), o);
        delta += get(&out[O], i, h, x) * get(&p->d_o, i, h, x);
    }
    for (int64_t j = 0; j < n; j++) {
        float pj = expf(score[j] - get(&out[LSE], i, h, 0)), ds;

        for (int64_t x = 0; x < p->s.value_dim; x++) {
            dp[j] += get(&p->d_o, i, h, x) * get(&p->v, j, g, x);
            ((float *)out[DV].data)[index_of(&out[DV], j, g, x)] +=
                pj * get(&p->d_o, i, h, x);
        }
        ds = pj * (dp[j] - delta) * p->scale;
        for (int64_t x = 0; x < p->s.head_dim; x++) {
            ((float *)out[DQ].data)[index_of(&out[DQ], i, h, x)] +=
                ds * get(&p->k, j, g, x);
            ((float *)out[DK].data)[index_of(&out[DK], j, g, x)] +=
                ds * get(&p->q, i, h, x);
        }
    }
    free(s);
    free(dp);
    free(score);
}

static void round_to(struct tensor *t, enum dtype type)
{
    uint16_t half[1];
    float *x = t->data;

    if (type == DTYPE_FP32 || t->dtype != DTYPE_FP32)
        return;
    for (int64_t i = 0; i < t->rows * t->row_stride; i++) {
        element_store(half, type, 0, x[i]);
        x[i] = element_load(half, type, 0);
    }
}

/* Gate of fp32 or 16 bits from the errors of plain attention. */
static void set_gates(struct problem *p)
{
    int small = p->s.dtype != DTYPE_FP32;
    struct tensor out[RESULTS];

    for (int i = 0; i < RESULTS; i++) {
        out[i] = make(i == O ? p->s.dtype : DTYPE_FP32, p->tokens,
                      heads_of(&p->s, i), width_of(&p->s, i));
        if (i != O)
            memset(out[i].data, 0, (size_t)(out[i].rows * out[i].row_stride) *
                                   sizeof(float));
    }
    for (int64_t i = 0; i < p->tokens; i++)
        for (int64_t h = 0; h < p->s.heads; h++)
            plain_row(p, i, h, out);
    for (int i = 0; i < RESULTS; i++) {
        if (i != LSE)
            round_to(&out[i], p->s.dtype);
        double e = error_of(p, i, &out[i]);

        p->gate[i] = small ? 2.5 * e + 1e-3 : fmax(1e-5, 4 * e);
        free(out[i].data);
    }
}

static struct problem *problem_start(const struct shape *s)
{
    struct problem *p = xcalloc(1, sizeof *p);
    float scores = s->scores != 0 ? s->scores : 1;

    p->s = *s;
    while (p->sequences < 6 && s->lengths[p->sequences]) {
        p->tokens += s->lengths[p->sequences];
        p->offsets[++p->sequences] = p->tokens;
    }
    p->scale = scores / sqrtf((float)s->head_dim);
    p->q = make_random(s->dtype, p->tokens, s->heads, s->head_dim, 1);
    p->k = make_random(s->dtype, p->tokens, s->kv_heads, s->head_dim, 1);
    p->v = make_random(s->dtype, p->tokens, s->kv_heads, s->value_dim, 1);
    p->d_o = make_random(s->dtype, p->tokens, s->heads, s->value_dim, 1);
    return p;
}

/* After the inputs are final: the oracle's results and the gates.  For long
 * problems the plain attention is left out: gates then are the floors. */
static void problem_solve(struct problem *p)
{
    struct oracle_result r;

    p->inputs[0] = to_fp64(&p->q);
    p->inputs[1] = to_fp64(&p->k);
    p->inputs[2] = to_fp64(&p->v);
    p->inputs[3] = to_fp64(&p->d_o);
    p->oracle = (struct oracle_problem){
        .heads = p->s.heads, .kv_heads = p->s.kv_heads,
        .head_dim = p->s.head_dim, .value_dim = p->s.value_dim,
        .sequences = p->sequences, .offsets = p->offsets, .left = p->s.left,
        .right = p->s.right, .scale = (double)p->scale, .q = p->inputs[0],
        .k = p->inputs[1], .v = p->inputs[2], .d_o = p->inputs[3],
    };
    for (int i = 0; i < RESULTS; i++)
        p->truth[i] = xcalloc((size_t)(p->tokens * heads_of(&p->s, i) *
                                       width_of(&p->s, i)) + 1, 8);
    r = (struct oracle_result){
        .o = p->truth[O], .lse = p->truth[LSE], .dq = p->truth[DQ],
        .dk = p->truth[DK], .dv = p->truth[DV],
    };
    oracle_dense(&p->oracle, &r);
    set_divisors(p, &r);
    for (int i = 0; i < RESULTS; i++)
        p->gate[i] = p->s.dtype == DTYPE_FP32 ? 1e-5 : 1e-2;
    if (p->tokens <= 400)
        set_gates(p);
}

static void problem_free(struct problem *p)
{
    free(p->q.data);
    free(p->k.data);
    free(p->v.data);
    free(p->d_o.data);
    for (int i = 0; i < 4; i++)
        free(p->inputs[i]);
    for (int i = 0; i < RESULTS; i++)
        free(p->truth[i]);
    free(p);
}

/* ---- Running a backend ---------------------------------------------------------- */

static void count_poll(void *arg)
{
    ++*(int64_t *)arg;
}

static void check_results(const struct problem *p, const char *name,
                          struct tensor *out)
{
    static const char *const names[] = { "o", "lse", "dq", "dk", "dv" };

    for (int i = 0; i < RESULTS; i++) {
        double e = error_of(p, i, &out[i]);

        check_canaries(&out[i]);
        if (!(e <= p->gate[i]))
            fail_msg("%s: H %lld/%lld D %lld E %lld S %lld mask %lld,%lld "
                     "dtype %s: %s: error %g, gate %g", name,
                     (long long)p->s.heads, (long long)p->s.kv_heads,
                     (long long)p->s.head_dim, (long long)p->s.value_dim,
                     (long long)p->tokens, (long long)p->s.left,
                     (long long)p->s.right, dtype_name(p->s.dtype), names[i],
                     e, p->gate[i]);
    }
}

/* Arguments for queries [q0, q1), keys [k0, k1); out: by result, whole. */
static struct attend_args args_for(const struct problem *p, struct tensor *out,
                                   struct tensor *delta, int64_t q0, int64_t q1,
                                   int64_t k0, int64_t k1,
                                   struct segment *segments)
{
    return (struct attend_args){
        .q = part(&p->q, q0, q1 - q0), .k = part(&p->k, k0, k1 - k0),
        .v = part(&p->v, k0, k1 - k0), .o = part(&out[O], q0, q1 - q0),
        .lse = part(&out[LSE], q0, q1 - q0),
        .d_o = part(&p->d_o, q0, q1 - q0), .delta = part(delta, q0, q1 - q0),
        .dq = part(&out[DQ], q0, q1 - q0), .dk = part(&out[DK], k0, k1 - k0),
        .dv = part(&out[DV], k0, k1 - k0),
        .group = p->s.heads / p->s.kv_heads, .scale = p->scale,
        .segments = segments,
        .n_segments = segments_of(p, q0, q1, k0, k1, segments),
    };
}

static void make_outputs(const struct problem *p, enum dtype type,
                         struct tensor *out)
{
    for (int i = 0; i < RESULTS; i++)
        out[i] = make(i == LSE ? DTYPE_FP32 : type, p->tokens,
                      heads_of(&p->s, i), width_of(&p->s, i));
}

static void free_outputs(struct tensor *out)
{
    for (int i = 0; i < RESULTS; i++)
        free(out[i].data);
}

/* One call for everything, stored in the problem's dtype. */
static void run_whole(const struct problem *p, const struct kernel_backend *b,
                      struct tensor *out)
{
    struct tensor delta = make(DTYPE_FP32, p->tokens, p->s.heads, 1);
    struct segment segments[MAX_SEGMENTS];
    int64_t polls = 0;

    make_outputs(p, p->s.dtype, out);
    struct attend_args a = args_for(p, out, &delta, 0, p->tokens, 0, p->tokens,
                                    segments);

    a.store = a.store_dq = a.store_dk = a.store_dv = 1;
    a.poll = (struct poll){ count_poll, &polls };
    b->attend(&a);
    assert_true(polls > 0 || !a.n_segments);
    polls = 0;
    b->delta(a.o, a.d_o, a.delta);
    b->attend_backward(&a);
    assert_true(polls > 0 || !a.n_segments);
    check_canaries(&delta);
    free(delta.data);
}

/* Queries in blocks of `block`, keys in others, fp32 accumulators: the first
 * call of a row stores, later ones accumulate. */
static void run_blocks(const struct problem *p, const struct kernel_backend *b,
                       int64_t block, struct tensor *out)
{
    struct tensor delta = make(DTYPE_FP32, p->tokens, p->s.heads, 1);
    struct segment segments[MAX_SEGMENTS];
    int64_t n = p->tokens, other = block + block / 3 + 1;

    make_outputs(p, DTYPE_FP32, out);
    for (int backward = 0; backward < 2; backward++) {
        for (int64_t q = 0; q < n; q += block)
            for (int64_t k = 0; k < n; k += other) {
                struct attend_args a = args_for(
                    p, out, &delta, q, min64(n, q + block), k,
                    min64(n, k + other), segments);

                a.store = a.store_dq = k == 0;
                a.store_dk = a.store_dv = q == 0;
                (backward ? b->attend_backward : b->attend)(&a);
            }
        if (!backward)
            b->delta(out[O], p->d_o, delta);
    }
    free(delta.data);
}

static const struct shape shapes[] = {
    { 1, 1, 8, 8, { 1 }, -1, -1, DTYPE_FP32, 0 },
    { 2, 1, 1, 1, { 19 }, -1, 0, DTYPE_FP32, 0 },
    { 5, 5, 8, 8, { 33 }, -1, 0, DTYPE_FP32, 0 },
    { 8, 1, 64, 64, { 97 }, -1, 0, DTYPE_FP32, 0 },
    { 12, 2, 16, 16, { 70 }, -1, -1, DTYPE_FP32, 0 },
    { 7, 7, 80, 80, { 61 }, -1, 0, DTYPE_FP32, 0 },
    { 4, 2, 128, 128, { 150 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 2, 192, 128, { 67 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 1, 24, 40, { 83 }, -1, -1, DTYPE_FP32, 0 },
    { 1, 1, 256, 256, { 70 }, -1, 0, DTYPE_FP32, 0 },
    { 1, 1, 320, 264, { 133 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 2, 64, 64, { 200 }, 13, 0, DTYPE_FP32, 0 },
    { 2, 1, 32, 32, { 130 }, 7, 5, DTYPE_FP32, 0 },
    { 2, 1, 32, 32, { 130 }, -1, 9, DTYPE_FP32, 0 },
    { 2, 1, 32, 32, { 130 }, 0, -1, DTYPE_FP32, 0 },
    { 2, 1, 64, 64, { 1, 5, 97, 33 }, -1, 0, DTYPE_FP32, 0 },
    { 2, 1, 64, 64, { 1, 5, 97, 33 }, -1, -1, DTYPE_FP32, 0 },
    { 4, 1, 16, 16, { 3, 64, 1, 1, 90, 17 }, 20, 0, DTYPE_FP32, 0 },
    { 4, 2, 64, 64, { 130 }, -1, 0, DTYPE_BF16, 0 },
    { 4, 2, 64, 64, { 130 }, -1, 0, DTYPE_FP16, 0 },
    { 3, 1, 80, 80, { 1, 5, 97, 33 }, 30, 3, DTYPE_BF16, 0 },
    { 2, 2, 72, 65, { 71 }, -1, -1, DTYPE_FP16, 0 },
    { 2, 2, 64, 64, { 150 }, -1, 0, DTYPE_FP32, 30 },
    { 2, 2, 64, 64, { 150 }, -1, 0, DTYPE_FP32, 100 },
    { 2, 2, 64, 64, { 150 }, -1, -1, DTYPE_BF16, 100 },
};

/* Longer than every tile; reference left out. */
static const struct shape long_shapes[] = {
    { 1, 1, 8, 8, { 2500 }, -1, 0, DTYPE_FP32, 0 },
    { 4, 1, 128, 128, { 613 }, -1, 0, DTYPE_FP32, 0 },
    { 1, 1, 64, 128, { 700, 613 }, -1, 0, DTYPE_BF16, 0 },
    { 4, 2, 16, 16, { 1500 }, 600, 50, DTYPE_FP32, 0 },
};

static void check_backends(struct problem *p, int first)
{
    struct tensor out[RESULTS], again[RESULTS];

    for (int b = first; b < n_backends; b++) {
        run_whole(p, &backends[b], out);
        check_results(p, backends[b].name, out);
        run_whole(p, &backends[b], again);
        for (int i = 0; i < RESULTS; i++)
            assert_true(same_bits(&out[i], &again[i]));
        free_outputs(out);
        free_outputs(again);
        run_blocks(p, &backends[b], 1 + p->tokens / 3, out);
        check_results(p, backends[b].name, out);
        free_outputs(out);
    }
}

static void test_shapes(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct problem *p = problem_start(&shapes[i]);

        problem_solve(p);
        check_backends(p, 0);
        problem_free(p);
    }
}

static void test_long(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof long_shapes / sizeof long_shapes[0]; i++) {
        struct problem *p = problem_start(&long_shapes[i]);

        problem_solve(p);
        check_backends(p, 1);
        problem_free(p);
    }
}

/* One key far larger than the others; all keys equal. */
static void test_odd_keys(void **unused)
{
    static const struct shape s = { 2, 1, 64, 64, { 140 }, -1, 0, DTYPE_FP32,
                                    0 };

    (void)unused;
    for (int equal = 0; equal < 2; equal++) {
        struct problem *p = problem_start(&s);
        float *k = p->k.data;

        for (int64_t r = 0; r < p->tokens; r++)
            for (int64_t x = 0; x < s.head_dim; x++)
                if (equal)
                    k[index_of(&p->k, r, 0, x)] = k[x];
                else if (r == 57)
                    k[index_of(&p->k, r, 0, x)] *= 1000;
        problem_solve(p);
        check_backends(p, 0);
        problem_free(p);
    }
}

/* ---- Segments beyond what masks give --------------------------------------------- */

/* Cells of a grid over (rows, keys), each empty or banded at random. */
static int64_t random_segments(int64_t rows, int64_t keys, struct segment *out)
{
    int64_t nq = 1 + draw_below(3), nk = 1 + draw_below(4), n = 0;

    for (int64_t i = 0; i < nq * nk; i++) {
        int64_t q0 = chunk_first(rows, nq, i % nq);
        int64_t k0 = chunk_first(keys, nk, i / nq);
        struct segment s = {
            q0, chunk_first(rows, nq, i % nq + 1) - q0,
            k0, chunk_first(keys, nk, i / nq + 1) - k0,
            BAND_LOW, BAND_HIGH,
        };

        if (draw_below(3))
            s.low = draw_below(rows + keys) - keys;
        if (draw_below(3))
            s.high = (s.low > BAND_LOW ? s.low : -keys / 2) +
                     draw_below(rows + keys);
        if (draw_below(6) && s.q_count && s.k_count && segment_trim(&s))
            out[n++] = s;
    }
    return n;
}

static double difference(const struct tensor *a, const struct tensor *b)
{
    double worst = 0, most = 1e-30;

    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t h = 0; h < a->heads; h++)
            for (int64_t x = 0; x < a->width; x++) {
                double u = (double)get(a, r, h, x), v = (double)get(b, r, h, x);

                if (u == v)
                    continue;
                if (!isfinite(u) || !isfinite(v))
                    return INFINITY;
                worst = fmax(worst, fabs(u - v));
                most = fmax(most, fabs(v));
            }
    return worst / fmax(most, 1);
}

struct call {
    struct attend_args a;
    struct segment segments[MAX_SEGMENTS];
};

static struct tensor *call_tensor(struct attend_args *a, int i)
{
    struct tensor *all[] = { &a->q, &a->k, &a->v, &a->d_o, &a->o, &a->lse,
                             &a->delta, &a->dq, &a->dk, &a->dv };

    return all[i];
}
enum { CALL_TENSORS = 10, CALL_FIRST_OUTPUT = 4 };

/* Random tensors for `heads` query heads from head_first on, of KV heads
 * around them. */
static struct call *random_call(int64_t rows, int64_t keys)
{
    struct call *c = xcalloc(1, sizeof *c);
    struct attend_args *a = &c->a;
    int64_t d = 1 + draw_below(70), e = 1 + draw_below(70), hk, h;

    a->group = 1 + draw_below(4);
    a->q.head_first = (int32_t)draw_below(9);
    h = 1 + draw_below(6);
    a->k.head_first = (int32_t)(a->q.head_first / a->group);
    hk = (a->q.head_first + h - 1) / a->group - a->k.head_first + 1 +
         draw_below(2);
    int32_t q_first = a->q.head_first, k_first = a->k.head_first;

    a->q = make_random(DTYPE_FP32, rows, h, d, 1);
    a->k = make_random(DTYPE_FP32, keys, hk, d, 1);
    a->v = make_random(DTYPE_FP32, keys, hk, e, 1);
    a->d_o = make_random(DTYPE_FP32, rows, h, e, 1);
    a->o = make_random(DTYPE_FP32, rows, h, e, 1);
    a->lse = make_random(DTYPE_FP32, rows, h, 1, 1);
    a->delta = make_random(DTYPE_FP32, rows, h, 1, 1);
    a->dq = make_random(DTYPE_FP32, rows, h, d, 1);
    a->dk = make_random(DTYPE_FP32, keys, hk, d, 1);
    a->dv = make_random(DTYPE_FP32, keys, hk, e, 1);
    a->q.head_first = q_first;
    a->k.head_first = k_first;
    a->scale = 0.3f;
    a->n_segments = random_segments(rows, keys, c->segments);
    a->segments = c->segments;
    a->store = (int)draw_below(2);
    a->store_dq = (int)draw_below(2);
    a->store_dk = (int)draw_below(2);
    a->store_dv = (int)draw_below(2);
    return c;
}

static void call_free(struct call *c)
{
    for (int i = 0; i < CALL_TENSORS; i++)
        free(call_tensor(&c->a, i)->data);
    free(c);
}

static void call_run(const struct kernel_backend *b, struct attend_args *a)
{
    b->attend(a);
    b->delta(a->o, a->d_o, a->delta);
    b->attend_backward(a);
}

static void compare_call(struct call *c, const struct kernel_backend *b)
{
    struct attend_args mine = c->a, theirs = c->a;

    for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++) {
        *call_tensor(&mine, i) = copy_of(call_tensor(&c->a, i));
        *call_tensor(&theirs, i) = copy_of(call_tensor(&c->a, i));
    }
    call_run(b, &mine);
    call_run(&backends[0], &theirs);
    for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++) {
        double e = difference(call_tensor(&mine, i), call_tensor(&theirs, i));

        if (!(e < 2e-5))
            fail_msg("%s: tensor %d differs by %g", b->name, i, e);
        check_canaries(call_tensor(&mine, i));
        free(call_tensor(&mine, i)->data);
        free(call_tensor(&theirs, i)->data);
    }
}

static void test_random_segments(void **unused)
{
    (void)unused;
    for (int i = 0; i < 60; i++) {
        struct call *c = random_call(1 + draw_below(150), 1 + draw_below(150));

        for (int b = 1; b < n_backends; b++)
            compare_call(c, &backends[b]);
        call_free(c);
    }
}

/* Nothing visible: store defines every row, accumulate changes no bit. */
static void test_nothing_visible(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int store = 0; store < 2; store++) {
            struct call *c = random_call(21, 30);
            struct attend_args a = c->a;

            a.n_segments = 0;
            a.store = a.store_dq = a.store_dk = a.store_dv = store;
            for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++)
                *call_tensor(&a, i) = copy_of(call_tensor(&c->a, i));
            backends[b].attend(&a);
            backends[b].attend_backward(&a);
            for (int i = CALL_FIRST_OUTPUT; i < CALL_TENSORS; i++) {
                struct tensor *t = call_tensor(&a, i);

                if (!store || t->data == a.delta.data)
                    assert_true(same_bits(t, call_tensor(&c->a, i)));
                else
                    assert_true(get(t, 20, 0, 0) ==
                                (t->data == a.lse.data ? -INFINITY : 0));
                free(t->data);
            }
            call_free(c);
        }
}

/* Rows that an accumulating call does not see keep their bits although others
 * change; rows of lse -inf have no gradient. */
static void test_hidden_rows(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++) {
        struct call *c = random_call(40, 33);
        struct attend_args *a = &c->a;
        struct tensor before = copy_of(&a->o);

        c->segments[0] = (struct segment){ 10, 7, 3, 30, BAND_LOW, BAND_HIGH };
        a->n_segments = 1;
        a->store = 0;
        a->store_dq = a->store_dk = a->store_dv = 1;
        backends[b].attend(a);
        for (int64_t r = 0; r < 40; r++)
            assert_true((get(&a->o, r, 0, 0) == get(&before, r, 0, 0)) ==
                        (r < 10 || r >= 17));
        for (int64_t r = 0; r < 40; r++)
            for (int64_t h = 0; h < a->lse.heads; h++)
                element_store(a->lse.data, DTYPE_FP32,
                              index_of(&a->lse, r, h, 0), -INFINITY);
        backends[b].attend_backward(a);
        assert_true(get(&a->dq, 12, 0, 0) == 0);
        assert_true(get(&a->dk, 9, 0, 0) == 0);
        assert_true(get(&a->dv, 9, 0, 0) == 0);
        free(before.data);
        call_free(c);
    }
}

static void test_empty(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int rows = 0; rows < 2; rows++) {
            struct call *c = random_call(5 * rows, 5 * !rows);
            int64_t keys = c->a.k.rows;

            c->a.n_segments = 0;
            c->a.store = c->a.store_dk = c->a.store_dv = c->a.store_dq = 1;
            call_run(&backends[b], &c->a);
            for (int64_t r = 0; r < keys; r++)
                assert_true(get(&c->a.dv, r, 0, 0) == 0);
            for (int64_t r = 0; r < c->a.q.rows; r++)
                assert_true(get(&c->a.lse, r, 0, 0) == -INFINITY);
            for (int i = 0; i < CALL_TENSORS; i++) {
                call_tensor(&c->a, i)->heads = 0;
                free(call_tensor(&c->a, i)->data);
                call_tensor(&c->a, i)->data = NULL;
            }
            call_run(&backends[b], &c->a);
            call_free(c);
        }
}

/* NaN in a visible key must not vanish. */
static void test_nan(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++) {
        struct call *c = random_call(30, 30);
        struct attend_args *a = &c->a;

        c->segments[0] = (struct segment){ 0, 30, 0, 30, 0, BAND_HIGH };
        a->n_segments = a->store = 1;
        ((float *)a->k.data)[index_of(&a->k, 17, 0, 0)] = NAN;
        backends[b].attend(a);
        assert_false(isnan(get(&a->o, 16, 0, 0)));
        assert_true(isnan(get(&a->o, 17, 0, 0)));
        assert_true(isnan(get(&a->o, 29, 0, 0)));
        call_free(c);
    }
}

/* ---- merge, sum, delta ------------------------------------------------------------ */

static struct tensor make_lse(int64_t rows, int64_t heads)
{
    struct tensor t = make_random(DTYPE_FP32, rows, heads, 1, 200);

    for (int64_t r = 0; r < rows; r++)
        if (draw_below(4) == 0 || r == 3)
            element_store(t.data, DTYPE_FP32, index_of(&t, r, 0, 0),
                          -INFINITY);
    return t;
}

/* (0, -inf) where lse says so, if `valid`; else poison there. */
static void empty_rows(struct tensor *o, const struct tensor *lse)
{
    for (int64_t r = 0; r < o->rows; r++)
        for (int64_t h = 0; h < o->heads; h++)
            for (int64_t x = 0; x < o->width; x++)
                if (get(lse, r, h, 0) == -INFINITY)
                    element_store(o->data, o->dtype, index_of(o, r, h, x), NAN);
}

static void merge_case(const struct kernel_backend *b, enum dtype type,
                       int64_t n, int store)
{
    struct tensor po[8], plse[8], o, lse, o2, lse2;

    for (int64_t i = 0; i < n; i++) {
        po[i] = make_random(type, 13, 3, 37, 1);
        plse[i] = make_lse(13, 3);
        empty_rows(&po[i], &plse[i]);
    }
    o = store ? make(type, 13, 3, 37) : make_random(type, 13, 3, 37, 1);
    lse = store ? make(DTYPE_FP32, 13, 3, 1) : make_lse(13, 3);
    o2 = copy_of(&o);
    lse2 = copy_of(&lse);
    b->merge(o, lse, store, po, plse, n);
    backends[0].merge(o2, lse2, store, po, plse, n);
    assert_true(difference(&o, &o2) < (type == DTYPE_FP32 ? 1e-6 : 1e-2));
    assert_true(difference(&lse, &lse2) < 1e-4);
    check_canaries(&o);
    check_canaries(&lse);
    assert_true(get(&o, 3, 0, 5) == 0 && get(&lse, 3, 0, 0) == -INFINITY);
    for (int64_t i = 0; i < n; i++) {
        free(po[i].data);
        free(plse[i].data);
    }
    free(o.data);
    free(lse.data);
    free(o2.data);
    free(lse2.data);
}

static void test_merge(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int t = 0; t < DTYPES; t++)
            for (int64_t n = 1; n <= 8; n++)
                for (int store = 0; store < 2; store++)
                    merge_case(&backends[b], (enum dtype)t, n, store);
}

/* Two partials of equal weight: the mean, and lse + log 2. */
static void test_merge_equal(void **unused)
{
    float o[2][2] = { { 1, 3 }, { 5, -1 } }, lse[2] = { 700, 700 };
    struct tensor to[2], tlse[2];

    (void)unused;
    for (int i = 0; i < 2; i++) {
        to[i] = (struct tensor){ o[i], DTYPE_FP32, 1, 2, 1, 2, 0 };
        tlse[i] = (struct tensor){ &lse[i], DTYPE_FP32, 1, 1, 1, 1, 0 };
    }
    for (int b = 0; b < n_backends; b++) {
        o[0][0] = 1;
        o[0][1] = 3;
        lse[0] = 700;
        backends[b].merge(to[0], tlse[0], 0, &to[1], &tlse[1], 1);
        assert_true(fabsf(o[0][0] - 3) < 1e-6f);
        assert_true(fabsf(o[0][1] - 1) < 1e-6f);
        assert_true(fabsf(lse[0] - 700.6931472f) < 1e-4f);
    }
}

static void sum_case(const struct kernel_backend *b, enum dtype to,
                     enum dtype from, int64_t n, int store)
{
    struct tensor src[8], dst = make_random(to, 5, 3, 211, 1);
    struct tensor other = copy_of(&dst);

    for (int64_t i = 0; i < n; i++)
        src[i] = make_random(from, 5, 3, 211, 1);
    b->sum(dst, store, src, n);
    backends[0].sum(other, store, src, n);
    assert_true(difference(&dst, &other) < (to == DTYPE_FP32 ? 1e-6 : 1e-2));
    check_canaries(&dst);
    for (int64_t i = 0; i < n; i++)
        free(src[i].data);
    free(dst.data);
    free(other.data);
}

static void test_sum(void **unused)
{
    (void)unused;
    for (int b = 0; b < n_backends; b++)
        for (int i = 0; i < DTYPES * DTYPES; i++)
            for (int64_t n = 1; n <= 8; n += 3)
                for (int store = 0; store < 2; store++)
                    sum_case(&backends[b], (enum dtype)(i % DTYPES),
                             (enum dtype)(i / DTYPES), n, store);
}

/* ---- exp and conversions ----------------------------------------------------------- */

static void exp_range(const struct cpu_isa *isa, float first, float step)
{
    enum { N = 1 << 14 };
    static float x[N], y[N];
    double worst = 0;

    for (int i = 0; i < N; i++)
        x[i] = first + (float)i * step;
    isa->exp(y, x, N - 3);
    for (int i = 0; i < N - 3; i++)
        if (x[i] >= -87.3365f)
            worst = fmax(worst, fabs((double)y[i] / exp((double)x[i]) - 1) /
                                (1.1e-7 + 1.4e-8 * fabs((double)x[i])));
        else
            assert_true(y[i] < 0x1.01p-126f);
    if (worst > 1)
        fail_msg("%s: exp from %g: %g times the bound", isa->name,
                 (double)first, worst);
}

/* Relative error 1.1e-7, and 1.4e-8 |x| for log2(e) in fp32. */
static void test_exp(void **unused)
{
    static const float in[] = { 0, -0.0f, -INFINITY, NAN, -88, -3e38f, 1 };
    float out[7];
    const struct cpu_isa *isa;

    (void)unused;
    for (int i = 0; (isa = cpu_isa_get(i)); i++) {
        exp_range(isa, -90, 0x1.234p-8f);
        exp_range(isa, -1.0f, 0x1p-14f);
        exp_range(isa, -2e-3f, 0x1p-22f);
        exp_range(isa, -20.03f, 0x1.234p-10f);
        isa->exp(out, in, 7);
        assert_true(out[0] == 1 && out[1] == 1 && out[2] == 0 && isnan(out[3]));
        assert_true(out[4] == 0 && out[5] == 0);
        assert_true(fabsf(out[6] - 2.718281828f) < 5e-7f);
    }
}

static uint16_t to_half(const struct cpu_isa *isa, enum dtype t, float x)
{
    uint16_t h;

    if (isa)
        isa->convert(&h, t, &x, DTYPE_FP32, 1);
    else
        element_store(&h, t, 0, x);
    return h;
}

/* The value halfway to the next larger magnitude goes to the even one, the
 * neighbours of the middle to the nearer one. */
static void check_rounding(const struct cpu_isa *isa, enum dtype t, uint16_t h,
                           uint16_t limit)
{
    uint16_t next = (uint16_t)(h + 1), even = h & 1 ? next : h;
    double a = (double)element_load(&h, t, 0);
    double b = (h & 0x7fff) + 1 == limit            /* infinity: as if finite */
        ? a + a - (double)element_load(&(uint16_t){ (uint16_t)(h - 1) }, t, 0)
        : (double)element_load(&next, t, 0);
    float middle = (float)(a / 2 + b / 2);

    assert_int_equal(to_half(isa, t, (float)a), h);
    assert_int_equal(to_half(isa, t, middle), even);
    assert_int_equal(to_half(isa, t, nextafterf(middle, (float)a)), h);
    assert_int_equal(to_half(isa, t, nextafterf(middle, a > 0 || h == 0
                                                ? INFINITY : -INFINITY)), next);
}

static void check_halves(const struct cpu_isa *isa, enum dtype t)
{
    uint16_t limit = t == DTYPE_BF16 ? 0x7f80 : 0x7c00;

    for (uint32_t i = 0; i < 0x10000; i++) {
        uint16_t h = (uint16_t)i, rest = h & 0x7fff;

        if (rest < limit) {
            check_rounding(isa, t, h, limit);
        } else if (rest == limit) {
            assert_int_equal(to_half(isa, t, element_load(&h, t, 0)), h);
            assert_true(isinf(element_load(&h, t, 0)));
        } else {
            uint16_t back = to_half(isa, t, element_load(&h, t, 0));

            assert_true(isnan(element_load(&h, t, 0)));
            assert_true(isnan(element_load(&back, t, 0)));
        }
    }
    assert_int_equal(to_half(isa, t, 3.4e38f), t == DTYPE_BF16 ? 0x7f80
                                                               : limit);
}

static void test_half_rounding(void **unused)
{
    const struct cpu_isa *isa = NULL;

    (void)unused;
    for (int i = 0; i == 0 || (isa = cpu_isa_get(i - 1)); i++) {
        check_halves(isa, DTYPE_BF16);
        check_halves(isa, DTYPE_FP16);
    }
}

/* Vectors of all 16-bit values to fp32, and of random fp32 to 16 bits, bit by
 * bit as one element at a time; NaN as NaN. */
static void test_half_vectors(void **unused)
{
    enum { N = 0x10000 };
    static uint16_t h[N], g[N];
    static float x[N];
    const struct cpu_isa *isa;

    (void)unused;
    for (int n = 0; (isa = cpu_isa_get(n)); n++)
        for (int t = DTYPE_BF16; t < DTYPES; t++) {
            for (int i = 0; i < N; i++)
                h[i] = (uint16_t)i;
            isa->convert(x, DTYPE_FP32, h, (enum dtype)t, N);
            for (int i = 0; i < N; i++) {
                float one = element_load(h, (enum dtype)t, i);

                assert_true(isnan(one) ? isnan(x[i])
                                       : !memcmp(&one, &x[i], sizeof one));
            }
            for (int i = 0; i < N; i++) {
                uint32_t bits = (uint32_t)draw();

                memcpy(&x[i], &bits, sizeof bits);
            }
            isa->convert(g, (enum dtype)t, x, DTYPE_FP32, N);
            for (int i = 0; i < N; i++) {
                element_store(h, (enum dtype)t, i, x[i]);
                assert_true(h[i] == g[i] || isnan(x[i]));
            }
        }
}

static void test_convert(void **unused)
{
    enum { N = 1111 };
    float x[N], y[N];
    uint16_t a[N], b[N];

    (void)unused;
    for (int i = 0; i < N; i++)
        x[i] = draw_normal();
    convert(y, DTYPE_FP32, x, DTYPE_FP32, N);
    assert_memory_equal(x, y, sizeof x);
    convert(a, DTYPE_BF16, x, DTYPE_FP32, N);
    convert(b, DTYPE_FP16, a, DTYPE_BF16, N);
    convert(y, DTYPE_FP32, b, DTYPE_FP16, N);
    for (int i = 0; i < N; i++)
        assert_true(fabsf(x[i] - y[i]) <= 0x1p-8f * fabsf(x[i]) + 1e-6f);
}

/* ---- The oracle itself --------------------------------------------------------------- */

/* L = sum of do * o; its derivative by central differences. */
static double loss(struct problem *p)
{
    int64_t n = p->tokens * p->s.heads * p->s.value_dim;
    double *o = xcalloc((size_t)n, sizeof *o), sum = 0;
    struct oracle_result r = { .o = o };

    oracle_dense(&p->oracle, &r);
    for (int64_t i = 0; i < n; i++)
        sum += o[i] * p->inputs[3][i];
    free(o);
    return sum;
}

static void test_oracle_gradients(void **unused)
{
    static const struct shape s = { 4, 2, 5, 3, { 4, 9 }, 5, 1, DTYPE_FP32,
                                    0 };
    struct problem *p = problem_start(&s);

    (void)unused;
    problem_solve(p);
    for (int which = 0; which < 3; which++) {
        int64_t n = p->tokens * (which ? s.kv_heads : s.heads) *
                    (which == 2 ? s.value_dim : s.head_dim);

        for (int64_t i = 0; i < n; i += 7) {
            double *x = p->inputs[which] + i, old = *x, slope;

            *x = old + 1e-5;
            slope = loss(p);
            *x = old - 1e-5;
            slope = (slope - loss(p)) / 2e-5;
            *x = old;
            assert_true(fabs(slope - p->truth[DQ + which][i]) < 1e-8);
        }
    }
    problem_free(p);
}

static void compare_rows(const struct problem *p, const int64_t *rows,
                         int64_t n)
{
    int64_t d = p->s.head_dim, e = p->s.value_dim, head = 1;
    double *o = xcalloc((size_t)(n * e), 8), *dq = xcalloc((size_t)(n * d), 8);
    double *lse = xcalloc((size_t)n, 8);

    oracle_rows(&p->oracle, head, rows, n, o, lse, dq);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = rows[i] * p->s.heads + head;

        assert_true(fabs(lse[i] - p->truth[LSE][at]) < 1e-12);
        for (int64_t x = 0; x < e; x++)
            assert_true(fabs(o[i * e + x] - p->truth[O][at * e + x]) < 1e-12);
        for (int64_t x = 0; x < d; x++)
            assert_true(fabs(dq[i * d + x] - p->truth[DQ][at * d + x]) <
                        1e-12);
    }
    free(o);
    free(dq);
    free(lse);
}

static void compare_keys(const struct problem *p, const int64_t *keys,
                         int64_t n)
{
    int64_t d = p->s.head_dim, e = p->s.value_dim, head = 1;
    double *dk = xcalloc((size_t)(n * d), 8), *dv = xcalloc((size_t)(n * e), 8);

    oracle_keys(&p->oracle, head, keys, n, dk, dv);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = keys[i] * p->s.kv_heads + head;

        for (int64_t x = 0; x < d; x++)
            assert_true(fabs(dk[i * d + x] - p->truth[DK][at * d + x]) <
                        1e-12);
        for (int64_t x = 0; x < e; x++)
            assert_true(fabs(dv[i * e + x] - p->truth[DV][at * e + x]) <
                        1e-12);
    }
    free(dk);
    free(dv);
}

static void test_oracle_samples(void **unused)
{
    static const struct shape s[] = {
        { 4, 2, 6, 10, { 1, 290, 40 }, -1, 0, DTYPE_FP32, 0 },
        { 4, 2, 6, 10, { 1, 290, 40 }, 11, 4, DTYPE_FP32, 0 },
        { 4, 2, 6, 10, { 1, 290, 40 }, -1, -1, DTYPE_FP32, 0 },
    };
    static const int64_t rows[] = { 0, 1, 2, 290, 5, 17, 291, 330, 3, 100 };

    (void)unused;
    for (size_t i = 0; i < sizeof s / sizeof s[0]; i++) {
        struct problem *p = problem_start(&s[i]);

        problem_solve(p);
        compare_rows(p, rows, sizeof rows / sizeof rows[0]);
        compare_keys(p, rows, sizeof rows / sizeof rows[0]);
        problem_free(p);
    }
}

static void test_find(void **unused)
{
    struct error e = { 0 };

    (void)unused;
    assert_ptr_equal(kernel_find("auto", &e), &kernel_cpu);
    assert_ptr_equal(kernel_find("reference", &e), &kernel_reference);
    assert_ptr_equal(kernel_find("null", &e), &kernel_null);
    assert_null(kernel_find("gpu", &e));
    assert_int_equal(e.status, SPAR_USAGE);
    assert_non_null(strstr(e.text, "gpu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_half_rounding),
        cmocka_unit_test(test_half_vectors),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_oracle_gradients),
        cmocka_unit_test(test_oracle_samples),
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_odd_keys),
        cmocka_unit_test(test_random_segments),
        cmocka_unit_test(test_nothing_visible),
        cmocka_unit_test(test_hidden_rows),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_nan),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_equal),
        cmocka_unit_test(test_sum),
    };

    collect_backends();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
