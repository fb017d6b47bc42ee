/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "tests/cuda_trial.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Random numbers ------------------------------------------------------- */

static uint64_t state;

static uint64_t draw(void)
{
    state += 0x9e3779b97f4a7c15u;
    uint64_t z = state;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t trial_seed(void)
{
    const char *given = getenv("SPAR_TEST_SEED");
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    state = given ? strtoull(given, NULL, 10)
                  : (uint64_t)t.tv_sec * 1000003u + (uint64_t)t.tv_nsec;
    return state;
}

int64_t trial_below(int64_t n)
{
    return (int64_t)(draw() % (uint64_t)n);
}

/* About N(0, 1): the sum of six of uniform distribution. */
static float draw_normal(void)
{
    int64_t sum = 0;

    for (int i = 0; i < 3; i++) {
        uint64_t x = draw();
        sum += (int64_t)(x >> 32) + (int64_t)(uint32_t)x;
    }
    return ((float)sum * 0x1p-32f - 3) * 1.41421356f;
}

enum dtype trial_dtype(void)
{
    return (enum dtype)trial_below(DTYPES);
}

int64_t trial_rows(void)
{
    static const int64_t rows[] = { 1, 1, 2, 3, 7, 13, 16, 17, 31, 32, 53, 64,
                                    65, 97, 127, 128, 129, 130 };

    return trial_pick(rows);
}

int32_t trial_width(void)
{
    static const int32_t widths[] = { 1, 3, 8, 16, 17, 24, 32, 37, 40, 48, 64,
                                      64, 64, 67, 72, 80, 96, 100, 112, 128,
                                      128, 128, 129, 160, 192, 255, 256 };

    return trial_pick(widths);
}

/* ---- Operands ------------------------------------------------------------- */

static const float canary = 24.5f;

static void *host_start(const struct twin *t)
{
    return (char *)t->host.data - (size_t)t->lead * dtype_size(t->host.dtype);
}

static void *device_start(const struct twin *t)
{
    return (char *)t->device.data - (size_t)t->lead *
                                    dtype_size(t->host.dtype);
}

static size_t bytes_of(const struct twin *t)
{
    return (size_t)t->size * dtype_size(t->host.dtype);
}

void twin_put(struct twin *t)
{
    trial_backend->device->put(device_start(t), host_start(t), bytes_of(t));
}

/* f of every element: index from the first one. */
#define each_element(t, i)                                                    \
    for (int64_t r_ = 0; r_ < (t)->rows; r_++)                                \
        for (int64_t i = r_ * (t)->row_stride,                                \
                     end_ = i + (int64_t)(t)->heads * (t)->width;             \
             i < end_; i++)

/* Half of all tensors can be read 16 bytes at a time. */
static struct twin allocate(enum dtype type, int64_t rows, int64_t heads,
                            int64_t width)
{
    static const int64_t pads[] = { 0, 0, 8, 3 }, leads[] = { 0, 0, 0, 8, 1 };
    int64_t stride = heads * width + trial_pick(pads);
    struct twin t = { .lead = trial_pick(leads), .least = 0.1 };
    struct error e;

    t.size = t.lead + rows * stride;
    t.host = (struct tensor){ .dtype = type, .rows = rows,
                              .row_stride = stride, .heads = (int32_t)heads,
                              .width = (int32_t)width };
    t.device = t.host;
    t.host.data = xmalloc(bytes_of(&t) + 1);
    t.device.data = trial_backend->device->alloc(bytes_of(&t), &e);
    if (!t.device.data)
        die("%s", e.text);
    for (int64_t i = 0; i < t.size; i++)
        element_store(t.host.data, type, i, canary);
    t.host.data = (char *)t.host.data + (size_t)t.lead * dtype_size(type);
    t.device.data = (char *)t.device.data + (size_t)t.lead * dtype_size(type);
    return t;
}

struct twin twin_make(enum dtype type, int64_t rows, int64_t heads,
                      int64_t width, enum trial_fill fill, float scale)
{
    struct twin t = allocate(type, rows, heads, width);

    each_element(&t.host, i)
        element_store(t.host.data, type, i,
                      fill == FILL_POISON ? NAN : draw_normal() * scale);
    twin_put(&t);
    return t;
}

struct twin twin_lse(int64_t rows, int64_t heads, float scale)
{
    struct twin t = twin_make(DTYPE_FP32, rows, heads, 1, FILL_RANDOM, scale);
    int64_t one_in = trial_below(2) ? 3 : 50;

    each_element(&t.host, i)
        if (trial_below(one_in) == 0)
            ((float *)t.host.data)[i] = -INFINITY;
    twin_put(&t);
    return t;
}

void twin_poison(struct twin *o, const struct twin *lse)
{
    each_element(&lse->host, i)
        for (int64_t x = 0; ((float *)lse->host.data)[i] == -INFINITY &&
                            x < o->host.width; x++)
            element_store(o->host.data, o->host.dtype,
                          r_ * o->host.row_stride +
                          (i - r_ * lse->host.row_stride) * o->host.width + x,
                          NAN);
    twin_put(o);
}

void twin_free(struct twin *t)
{
    if (!t->host.data)
        return;
    free(host_start(t));
    trial_backend->device->free(device_start(t));
    *t = (struct twin){ .lead = 0 };
}

/* ---- Comparing ------------------------------------------------------------ */

const struct kernel_backend *trial_backend;
static char description[512];
static int differs;             /* the trial under way */
static double worst;            /* error over tolerance, of all trials */

void trial_describe(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(description, sizeof description, format, ap);
    va_end(ap);
}

static void complain(const char *name, const char *what, double value)
{
    if (!differs)
        printf("# %s: %s\n", trial_backend->name, description);
    printf("#     %s: %s %g\n", name, what, value);
    differs = 1;
}

double trial_tolerance(enum dtype a, enum dtype b)
{
    static const double of[] = { [DTYPE_FP32] = 2e-5, [DTYPE_BF16] = 1.5e-2,
                                 [DTYPE_FP16] = 2e-3 };

    return fmax(of[a], of[b]);
}

/* Elements that are not the tensor's. */
static void check_canaries(const char *name, const struct twin *t, void *got)
{
    int64_t width = (int64_t)t->host.heads * t->host.width, broken = 0;

    for (int64_t i = 0; i < t->size; i++)
        if ((i < t->lead || (i - t->lead) % t->host.row_stride >= width) &&
            element_load(got, t->host.dtype, i) != canary)
            broken++;
    if (broken)
        complain(name, "elements written outside:", (double)broken);
}

void twin_compare(const char *name, const struct twin *t, double tolerance)
{
    char *got = twin_bits(t);
    char *first = got + (size_t)t->lead * dtype_size(t->host.dtype);
    double most = t->least, error = 0;

    check_canaries(name, t, got);
    each_element(&t->host, i) {
        double is = (double)element_load(first, t->host.dtype, i);
        double right = (double)element_load(t->host.data, t->host.dtype, i);

        if (isnan(right))
            continue;
        if (isfinite(right))
            most = fmax(most, fabs(right));
        if (is != right && !(fabs(is - right) <= error))
            error = isfinite(is - right) ? fabs(is - right) : INFINITY;
    }
    worst = fmax(worst, error / most / tolerance);
    if (!(error / most <= tolerance))
        complain(name, "error", error / most);
    free(got);
}

void *twin_bits(const struct twin *t)
{
    void *bits = xmalloc(bytes_of(t) + 1);

    trial_backend->device->get(bits, device_start(t), bytes_of(t));
    return bits;
}

void twin_same(const char *name, const struct twin *t, void *bits)
{
    void *now = twin_bits(t);

    if (memcmp(now, bits, bytes_of(t)))
        complain(name, "other bits the second time, elements in all:",
                 (double)t->size);
    free(now);
    free(bits);
}

/* ---- Running -------------------------------------------------------------- */

int trials_count(const struct trials *t)
{
    const char *most = getenv("SPAR_TEST_TRIALS");

    return most && atoi(most) < t->count ? atoi(most) : t->count;
}

int trials_run(const struct trials *t)
{
    int n = trials_count(t), failed = 0;
    clock_t start = clock();

    worst = 0;
    for (int i = 0; i < n; i++) {
        differs = 0;
        t->trial(i);
        failed += differs;
    }
    printf("# %s %s: %d trials, %d differ, largest error %.2g of what is "
           "allowed, %.1f s\n", trial_backend->name, t->op, n, failed, worst,
           (double)(clock() - start) / CLOCKS_PER_SEC);
    fflush(stdout);
    return failed;
}
