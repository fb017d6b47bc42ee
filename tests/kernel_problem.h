/* SPDX-License-Identifier: Apache-2.0
 *
 * For the kernel tests: attention problems with the oracle's answer and the
 * gate that an answer must keep. */
#ifndef SPAR_TESTS_KERNEL_PROBLEM_H
#define SPAR_TESTS_KERNEL_PROBLEM_H

#include "tests/kernel_tensor.h"

struct shape {
    int64_t heads, kv_heads, head_dim, value_dim;
    int64_t lengths[6];         /* of packed sequences, 0 ends */
    int64_t left, right;
    enum dtype dtype;
    float scores;               /* scores are this times larger, 0: once */
};

enum { RESULTS = 5 };
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
static inline int64_t segments_of(const struct problem *p, int64_t q0,
                                  int64_t q1, int64_t k0, int64_t k1,
                                  struct segment *out)
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

static inline int64_t width_of(const struct shape *s, int result)
{
    return result == LSE ? 1
           : result == O || result == DV ? s->value_dim : s->head_dim;
}

static inline int64_t heads_of(const struct shape *s, int result)
{
    return result == DK || result == DV ? s->kv_heads : s->heads;
}

/* error of interface: largest difference over the divisor. */
static inline double error_of(const struct problem *p, int result,
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

static inline void set_divisors(struct problem *p,
                                const struct oracle_result *r)
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

static inline int visible(const struct problem *p, int64_t i, int64_t j)
{
    for (int64_t s = 0; s < p->sequences; s++)
        if (i >= p->offsets[s] && i < p->offsets[s + 1])
            return j >= p->offsets[s] && j < p->offsets[s + 1] &&
                   (p->s.left < 0 || j >= i - p->s.left) &&
                   (p->s.right < 0 || j <= i + p->s.right);
    return 0;
}

/* Plain dense attention in fp32, whose errors make the gate: row i, head h. */
static inline void plain_row(const struct problem *p, int64_t i, int64_t h,
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

static inline void round_to(struct tensor *t, enum dtype type)
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
static inline void set_gates(struct problem *p)
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

static inline struct problem *problem_start(const struct shape *s)
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
static inline void problem_solve(struct problem *p)
{
    struct oracle_result r;

    p->inputs[0] = to_fp64(&p->q);
    p->inputs[1] = to_fp64(&p->k);
    p->inputs[2] = to_fp64(&p->v);
    p->inputs[3] = to_fp64(&p->d_o);
    p->oracle = (struct oracle_problem){
        .heads = p->s.heads, .kv_heads = p->s.kv_heads,
        .head_dim = p->s.head_dim, .value_dim = p->s.value_dim,
        .sequences = p->sequences, .offsets = p->offsets,
        .mask = { .left = p->s.left, .right = p->s.right },
        .scale = (double)p->scale, .q = p->inputs[0],
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

static inline void problem_free(struct problem *p)
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

#endif
