/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of linear attention: problems with the answer of a recurrence
 * over tokens in fp64, and calls of the kernels on a chunk. */
#ifndef SPAR_TESTS_KERNEL_LINEAR_PROBLEM_H
#define SPAR_TESTS_KERNEL_LINEAR_PROBLEM_H

#include "tests/kernel_tensor.h"

/* ---- Problems ------------------------------------------------------------ */

enum decay { DECAY_NONE, DECAY_ALIBI, DECAY_STRONG, DECAY_MIXED, DECAYS };

/* Heads first .. first + heads of a job with `group` query heads a KV head. */
struct shape {
    int64_t n, first, heads, group, d, e;
    enum dtype dtype;
    enum decay decay;
    int feature;
};

enum result { O, DQ, DK, DV, STATE, STATE_BACKWARD, RESULTS };
static const char *const result_names[] = { "o", "dq", "dk", "dv", "state",
                                            "backward state" };
/* Of the chunk's own tokens, of the states P and R that it is given. */
enum origin { INTRA, INTER, ORIGINS };

struct problem {
    struct shape s;
    int64_t kv_first, kv_heads;
    double *slopes;             /* by global head, or NULL */
    struct tensor q, k, v, d_o, p, r;
    double *truth[ORIGINS][RESULTS];
};

static inline int64_t heads_of(const struct problem *p, enum result i)
{
    return i == DK || i == DV ? p->kv_heads : p->s.heads;
}

static inline int64_t rows_of(const struct problem *p, enum result i)
{
    return i < STATE ? p->s.n : 1;
}

static inline int64_t width_of(const struct problem *p, enum result i)
{
    return i == DQ || i == DK ? p->s.d
           : i == O || i == DV ? p->s.e : p->s.d * p->s.e;
}

static inline double *slopes_of(const struct shape *s)
{
    int64_t n = s->first + s->heads;
    double *slopes = xcalloc((size_t)n, sizeof *slopes);

    for (int64_t h = 0; h < n; h++)
        slopes[h] = s->decay == DECAY_STRONG ? 5
                    : s->decay == DECAY_ALIBI
                    ? exp2(-8 * (double)(h + 1) / (double)n)
                    : (double[]){ 0, 0.3, 1e-4, 800 }[h % 4];
    return slopes;
}

/* ---- The truth ----------------------------------------------------------- */

static inline double map(int feature, double x)
{
    if (feature == 0)
        return x;
    return feature == 1 ? (x > 0 ? x + 1 : exp(x)) : fmax(x, 0);
}

static inline double map_slope(int feature, double x)
{
    if (feature == 0 || x > 0)
        return 1;
    return feature == 1 ? exp(x) : 0;
}

static inline double *truth_at(const struct problem *p, double *const *truth,
                               enum result i, int64_t row, int64_t head)
{
    return truth[i] + (row * heads_of(p, i) + head) * width_of(p, i);
}

/* a [D, E] += f(x) (x) y, of row i of one head of x and y. */
static inline void outer(const struct problem *p, double *a,
                         const struct tensor *x, const struct tensor *y,
                         int64_t i, int64_t h)
{
    for (int64_t d = 0; d < p->s.d; d++) {
        double factor = map(p->s.feature, (double)get(x, i, h, d));

        for (int64_t e = 0; e < p->s.e; e++)
            a[d * p->s.e + e] += factor * (double)get(y, i, h, e);
    }
}

static inline void multiply(double *a, int64_t n, double factor)
{
    for (int64_t i = 0; i < n; i++)
        a[i] *= factor;
}

/* Token after token, the state `a` of all before it; own: with the chunk's own
 * tokens. */
static inline void truth_forward(struct problem *p, double *const *truth,
                                 int64_t h, int64_t g, double lambda, int own,
                                 double *a)
{
    int64_t D = p->s.d, E = p->s.e;

    for (int64_t i = 0; i < p->s.n; i++) {
        double *o = truth_at(p, truth, O, i, h);
        double *dq = truth_at(p, truth, DQ, i, h);

        if (own)
            outer(p, a, &p->k, &p->v, i, g);
        for (int64_t d = 0; d < D; d++) {
            double q = (double)get(&p->q, i, h, d), sum = 0;
            double factor = map(p->s.feature, q);

            for (int64_t e = 0; e < E; e++) {
                o[e] += factor * a[d * E + e];
                sum += a[d * E + e] * (double)get(&p->d_o, i, h, e);
            }
            dq[d] += map_slope(p->s.feature, q) * sum;
        }
        multiply(a, D * E, lambda);
    }
}

/* From the last token back, the state `a` of all queries after it. */
static inline void truth_backward(struct problem *p, double *const *truth,
                                  int64_t h, int64_t g, double lambda, int own,
                                 double *a)
{
    int64_t D = p->s.d, E = p->s.e;

    for (int64_t i = p->s.n - 1; i >= 0; i--) {
        double *dk = truth_at(p, truth, DK, i, g);
        double *dv = truth_at(p, truth, DV, i, g);

        multiply(a, D * E, lambda);
        if (own)
            outer(p, a, &p->q, &p->d_o, i, h);
        for (int64_t d = 0; d < D; d++) {
            double k = (double)get(&p->k, i, g, d), sum = 0;
            double factor = map(p->s.feature, k);

            for (int64_t e = 0; e < E; e++) {
                dv[e] += factor * a[d * E + e];
                sum += a[d * E + e] * (double)get(&p->v, i, g, e);
            }
            dk[d] += map_slope(p->s.feature, k) * sum;
        }
    }
}

static inline void solve(struct problem *p, enum origin from)
{
    double *const *truth = p->truth[from];
    int64_t n = p->s.d * p->s.e;

    for (int64_t h = 0; h < p->s.heads; h++) {
        int64_t g = (p->s.first + h) / p->s.group - p->kv_first;
        double lambda = p->slopes ? exp(-p->slopes[p->s.first + h]) : 1;
        double *a = truth_at(p, truth, STATE, 0, h);
        double *b = truth_at(p, truth, STATE_BACKWARD, 0, h);

        for (int64_t x = 0; x < n && from == INTER; x++) {
            a[x] = (double)get(&p->p, 0, h, x);
            b[x] = (double)get(&p->r, 0, h, x);
        }
        truth_forward(p, truth, h, g, lambda, from == INTRA, a);
        truth_backward(p, truth, h, g, lambda, from == INTRA, b);
    }
}

static inline struct tensor headed(struct tensor t, int64_t first)
{
    t.head_first = (int32_t)first;
    return t;
}

static inline struct problem *problem_create(const struct shape *s)
{
    struct problem *p = xcalloc(1, sizeof *p);
    int64_t first = s->first, H = s->heads, Hk, n = s->n;

    p->s = *s;
    p->kv_first = first / s->group;
    p->kv_heads = Hk = (first + H - 1) / s->group - p->kv_first + 1;
    p->slopes = s->decay == DECAY_NONE ? NULL : slopes_of(s);
    p->q = headed(make_random(s->dtype, n, H, s->d, 1), first);
    p->k = headed(make_random(s->dtype, n, Hk, s->d, 1), p->kv_first);
    p->v = headed(make_random(s->dtype, n, Hk, s->e, 1), p->kv_first);
    p->d_o = headed(make_random(s->dtype, n, H, s->e, 1), first);
    p->p = headed(make_random(DTYPE_FP32, 1, H, s->d * s->e, 3), first);
    p->r = headed(make_random(DTYPE_FP32, 1, H, s->d * s->e, 3), first);
    for (int from = 0; from < ORIGINS; from++) {
        for (int i = 0; i < RESULTS; i++)
            p->truth[from][i] = xcalloc(
                (size_t)(rows_of(p, i) * heads_of(p, i) * width_of(p, i)) + 1,
                sizeof(double));
        solve(p, from);
    }
    return p;
}

static inline void problem_destroy(struct problem *p)
{
    struct tensor *all[] = { &p->q, &p->k, &p->v, &p->d_o, &p->p, &p->r };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]->data);
    for (int i = 0; i < ORIGINS * RESULTS; i++)
        free(p->truth[i / RESULTS][i % RESULTS]);
    free(p->slopes);
    free(p);
}

/* ---- Runs ---------------------------------------------------------------- */

static inline void count_poll(void *arg)
{
    ++*(int64_t *)arg;
}

static int64_t polls;

static inline void outputs_make(const struct problem *p, enum dtype t,
                                struct tensor *out)
{
    for (int i = 0; i < RESULTS; i++)
        out[i] = headed(make(i < STATE ? t : DTYPE_FP32, rows_of(p, i),
                             heads_of(p, i), width_of(p, i)),
                        i == DK || i == DV ? p->kv_first : p->s.first);
}

static inline void outputs_free(struct tensor *out)
{
    for (int i = 0; i < RESULTS; i++)
        free(out[i].data);
}

/* Rows [row, row + n) as a chunk. */
static inline struct linear_args chunk_of(const struct problem *p,
                                          const struct tensor *out, int64_t row,
                                          int64_t n, int store)
{
    return (struct linear_args){
        .q = part(&p->q, row, n), .k = part(&p->k, row, n),
        .v = part(&p->v, row, n), .d_o = part(&p->d_o, row, n),
        .o = part(&out[O], row, n), .dq = part(&out[DQ], row, n),
        .dk = part(&out[DK], row, n), .dv = part(&out[DV], row, n),
        .store_o = store, .store_dq = store, .store_dk = store,
        .store_dv = store, .group = p->s.group, .feature = p->s.feature,
        .slopes = p->slopes, .poll = { count_poll, &polls },
    };
}

/* Each op has only the operands that the schedule gives it. */
static inline struct linear_args only(const struct linear_args *a)
{
    return (struct linear_args){ .group = a->group, .feature = a->feature,
                                 .slopes = a->slopes, .poll = a->poll };
}

static inline void call_states(const struct kernel_backend *b,
                               const struct linear_args *a,
                               struct tensor forward, struct tensor backward)
{
    struct linear_args x = only(a), y = only(a);

    x.k = a->k;
    x.v = a->v;
    x.state = forward;
    b->state(&x, 0);
    y.q = a->q;
    y.d_o = a->d_o;
    y.state = backward;
    b->state(&y, 1);
}

static inline void call_intra(const struct kernel_backend *b,
                              const struct linear_args *a)
{
    struct linear_args x = *a, y = *a;

    x.d_o = x.dq = x.dk = x.dv = (struct tensor){ 0 };
    b->linear_intra(&x);
    y.o = (struct tensor){ 0 };
    b->linear_intra_backward(&y);
}

static inline void call_inter(const struct kernel_backend *b,
                              const struct linear_args *a, struct tensor p,
                              struct tensor r)
{
    struct linear_args x = only(a), y = only(a), z = only(a);

    x.q = y.q = a->q;
    x.state = y.state = p;
    x.o = a->o;
    x.store_o = a->store_o;
    b->linear_inter(&x);
    y.d_o = a->d_o;
    y.dq = a->dq;
    y.store_dq = a->store_dq;
    b->linear_inter_dq(&y);
    z.k = a->k;
    z.v = a->v;
    z.state = r;
    z.dk = a->dk;
    z.dv = a->dv;
    z.store_dk = a->store_dk;
    z.store_dv = a->store_dv;
    b->linear_inter_dkv(&z);
}

/* Largest difference from a + b (which may be NULL) over the largest of them.
 */
static inline double error_of(const struct tensor *t, const double *a,
                              const double *b)
{
    double worst = 0, most = 0;

    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t h = 0; h < t->heads; h++)
            for (int64_t x = 0; x < t->width; x++, a++) {
                double value = (double)get(t, r, h, x);
                double right = *a + (b ? *b++ : 0);

                if (!(fabs(value - right) <= worst))
                    worst = value != value ? INFINITY : fabs(value - right);
                most = fmax(most, fabs(right));
            }
    return worst == 0 ? 0 : worst / most;
}

static inline void check(const struct problem *p, const char *name,
                         const char *what, struct tensor *out,
                         double *const *a, double *const *b)
{
    static const double gates[] = { 3e-6, 5e-3, 1e-3 };

    for (int i = 0; i < RESULTS; i++) {
        double e = error_of(&out[i], a[i], b ? b[i] : NULL);

        check_canaries(&out[i]);
        if (!(e <= gates[out[i].dtype]))
            fail_msg("%s, %s: n %lld heads %lld+%lld group %lld D %lld E %lld "
                     "%s decay %d feature %d: %s: error %g", name, what,
                     (long long)p->s.n, (long long)p->s.first,
                     (long long)p->s.heads, (long long)p->s.group,
                     (long long)p->s.d, (long long)p->s.e,
                     dtype_name(p->s.dtype), p->s.decay, p->s.feature,
                     result_names[i], e);
    }
}

#endif
