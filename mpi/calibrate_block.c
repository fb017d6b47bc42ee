/* SPDX-License-Identifier: Apache-2.0
 *
 * One attend, forward or backward, of any shape, to be repeated. */
#include <config.h>

#include "mpi/calibrate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_KV_HEADS = 2 };     /* of a layer, at least */

struct block_bench {
    const struct kernel_backend *kernel;
    const struct device *device;
    int backward;
    int64_t groups, group;      /* of a host's layer that take turns; now */
    enum bench_results results;
    struct bench_shape shape;
    struct attend_args args;
    struct segment segment;
};

/* ---- Tensors ------------------------------------------------------------ */

void *bench_alloc(const struct device *device, size_t bytes)
{
    struct error e = { 0 };
    void *p = device->alloc(bytes, &e);

    if (p == NULL)
        die("calibrate: %s", e.text);
    return p;
}

enum { PERIOD = 4093 };         /* prime: no two rows alike */

static void make_period(float *values, uint64_t seed)
{
    for (int i = 0; i < PERIOD; i++) {
        uint64_t h = hash_u64(seed, (uint64_t)i);
        float sum = 0;          /* of four uniform in [-1, 1) */
        for (int j = 0; j < 4; j++)
            sum += (float)(int16_t)(h >> 16 * j) / 32768.0f;
        values[i] = sum * 0.87f;
    }
}

/* A period from the host; then what is there, doubled. */
void bench_fill(const struct device *device, void *data, enum dtype dtype,
                int64_t n, uint64_t seed)
{
    float values[PERIOD];
    char typed[PERIOD * sizeof(float)];
    size_t bytes = (size_t)n * dtype_size(dtype), done;

    make_period(values, seed);
    convert(typed, dtype, values, DTYPE_FP32, PERIOD);
    done = PERIOD * dtype_size(dtype);
    done = done < bytes ? done : bytes;
    device->put(data, typed, done);
    while (done < bytes) {
        size_t more = done < bytes - done ? done : bytes - done;
        device->copy_rows((char *)data + done, more, data, more, more, 1);
        done += more;
    }
    device->sync();
}

/* [rows, heads, width], of which the first `taken` heads are used; room for
 * fp32. */
static struct tensor make_tensor(const struct block_bench *b, enum dtype dtype,
                                 int64_t rows, int64_t heads, int64_t taken,
                                 int64_t width, uint64_t seed)
{
    int64_t n = rows * heads * width;
    struct tensor t = { bench_alloc(b->device, (size_t)n * sizeof(float)),
                        dtype, rows, heads * width, (int32_t)taken,
                        (int32_t)width, 0 };

    bench_fill(b->device, t.data, dtype, n, seed);
    return t;
}

struct block_bench *block_bench_create(const struct calibration *c,
                                       const struct bench_shape *shape,
                                       int64_t rows, int64_t keys)
{
    struct block_bench *b = xcalloc(1, sizeof *b);
    int64_t D = shape->head_dim, group = shape->group;
    int64_t Hk = shape->heads / group;
    if (on_host(c))
        Hk = max64(HOST_KV_HEADS, Hk);
    int64_t H = Hk * group, used = on_host(c) ? 1 : Hk;
    enum dtype in = shape->dtype, out = on_host(c) ? DTYPE_FP32 : in;

    b->kernel = c->kernel;
    b->device = c->device;
    b->shape = *shape;
    b->groups = on_host(c) && shape->heads ? Hk : 1;
    b->args = (struct attend_args){
        .q = make_tensor(b, in, rows, H, used * group, D, 1),
        .k = make_tensor(b, in, keys, Hk, used, D, 2),
        .v = make_tensor(b, in, keys, Hk, used, D, 3),
        .o = make_tensor(b, out, rows, H, used * group, D, 4),
        .lse = make_tensor(b, DTYPE_FP32, rows, H, used * group, 1, 5),
        .d_o = make_tensor(b, in, rows, H, used * group, D, 6),
        .delta = make_tensor(b, DTYPE_FP32, rows, H, used * group, 1, 7),
        .dq = make_tensor(b, out, rows, H, used * group, D, 8),
        .dk = make_tensor(b, out, keys, Hk, used, D, 9),
        .dv = make_tensor(b, out, keys, Hk, used, D, 10),
        .group = group, .scale = 1 / sqrtf((float)D), .segments = &b->segment,
        .n_segments = 1,
    };
    return b;
}

enum { BLOCK_TENSORS = 10 };

static void tensors_of(struct block_bench *b, struct tensor *t[BLOCK_TENSORS])
{
    struct attend_args *a = &b->args;
    struct tensor *all[] = { &a->q, &a->k, &a->v, &a->o, &a->lse, &a->d_o,
                             &a->delta, &a->dq, &a->dk, &a->dv };

    memcpy(t, all, sizeof all);
}

/* The heads of a group lie together in a row. */
static void choose_group(struct block_bench *b, int64_t group)
{
    struct tensor *t[BLOCK_TENSORS];

    tensors_of(b, t);
    for (int i = 0; i < BLOCK_TENSORS; i++)
        t[i]->data = (char *)t[i]->data + (group - b->group) * t[i]->heads
            * t[i]->width * (int64_t)dtype_size(t[i]->dtype);
    b->group = group;
}

void block_bench_destroy(struct block_bench *b)
{
    struct tensor *t[BLOCK_TENSORS];

    choose_group(b, 0);
    tensors_of(b, t);
    for (int i = 0; i < BLOCK_TENSORS; i++)
        b->device->free(t[i]->data);
    free(b);
}

/* ---- Shapes ------------------------------------------------------------- */

void block_bench_results(struct block_bench *b, enum bench_results results)
{
    struct attend_args *a = &b->args;
    struct tensor *t[] = { &a->o, &a->dq, &a->dk, &a->dv };

    b->results = results;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        t[i]->dtype = results == RESULTS_STORED ? b->shape.dtype : DTYPE_FP32;
}

/* Forward of a host merges into o but for a causal block, which is a ring's
 * first; backward adds to dq. */
static void choose_stores(struct block_bench *b, enum block_kind kind)
{
    struct attend_args *a = &b->args;
    int stores = b->results != RESULTS_ADDED;

    if (b->device == &device_host) {
        a->store = kind == BLOCK_CAUSAL;
        a->store_dk = a->store_dv = 1;
        a->store_dq = 0;
        return;
    }
    a->store = a->store_dq = a->store_dk = a->store_dv = stores;
}

void block_bench_shape(struct block_bench *b, enum block_kind kind,
                       int backward, int64_t q, int64_t k)
{
    struct attend_args *a = &b->args;
    int64_t low = kind == BLOCK_CAUSAL ? 0 : kind == BLOCK_CORNER ? q - k
        : BAND_LOW;

    b->segment = (struct segment){ 0, q, 0, k, low, BAND_HIGH };
    a->q.rows = a->o.rows = a->lse.rows = a->d_o.rows = q;
    a->delta.rows = a->dq.rows = q;
    a->k.rows = a->v.rows = a->dk.rows = a->dv.rows = k;
    /* Backward needs this block's own lse; forward then merges into it.  Other
     * groups have that of some block, which is as finite. */
    choose_group(b, 0);
    a->store = 1;
    b->kernel->attend(a);
    b->kernel->delta(a->o, a->d_o, a->delta);
    choose_stores(b, kind);
    b->backward = backward;
}

void block_bench_poll(struct block_bench *b, struct poll poll)
{
    b->args.poll = poll;
}

void block_bench_call(void *bench)
{
    struct block_bench *b = bench;

    if (b->backward)
        b->kernel->attend_backward(&b->args);
    else
        b->kernel->attend(&b->args);
    if (b->groups > 1)
        choose_group(b, (b->group + 1) % b->groups);
}

int64_t block_bench_heads(const struct block_bench *b)
{
    return b->args.q.heads;
}

static double elements(const struct tensor *t)
{
    return (double)t->rows * t->heads * t->width;
}

double block_bench_elements(const struct block_bench *b)
{
    const struct attend_args *a = &b->args;

    return b->backward ? elements(&a->dq) + elements(&a->dk)
                         + elements(&a->dv) : elements(&a->o);
}

struct surface block_bench_surface(const struct block_bench *b,
                                   enum block_kind kind, int backward)
{
    struct surface s = { .dtype = b->shape.dtype, .block = kind,
                         .head_dim = b->shape.head_dim,
                         .value_dim = b->shape.head_dim,
                         .group = b->shape.group };

    if (b->device != &device_host)
        s.heads = b->shape.heads;
    snprintf(s.op, sizeof s.op, "%s",
             op_names[backward ? OP_ATTEND_BACKWARD : OP_ATTEND]);
    snprintf(s.kernel, sizeof s.kernel, "%s", b->kernel->name);
    return s;
}
