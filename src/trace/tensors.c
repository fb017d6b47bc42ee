/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "trace/h5.h"
#include "trace/trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Reading ------------------------------------------------------------- */

/* A dataset [tokens, heads, width] as fp32. */
struct tensor {
    const char *name;
    hsize_t shape[3];
    float *data;
};

static int check_shape(const struct h5_in *in, struct tensor *t, hid_t id)
{
    hid_t space = H5Dget_space(id);
    int rank = H5Sget_simple_extent_ndims(space);

    if (rank == 3)
        H5Sget_simple_extent_dims(space, t->shape, NULL);
    H5Sclose(space);
    if (rank != 3)
        return fail(in->e, "%s: dataset %s: %d dimensions; it must have 3: "
                    "token, head, element", in->path, t->name, rank);
    for (int i = 0; i < 3; i++)
        if (t->shape[i] < 1 || t->shape[i] > INT32_MAX)
            return fail(in->e, "%s: dataset %s: shape [%llu, %llu, %llu]; no "
                        "extent may be 0 or above 2147483647", in->path,
                        t->name, (unsigned long long)t->shape[0],
                        (unsigned long long)t->shape[1],
                        (unsigned long long)t->shape[2]);
    return 0;
}

static int check_type(const struct h5_in *in, const struct tensor *t, hid_t id)
{
    hid_t type = H5Dget_type(id);
    int real = H5Tget_class(type) == H5T_FLOAT;

    H5Tclose(type);
    return real ? 0
                : fail(in->e, "%s: dataset %s: not of floating-point numbers; "
                       "it must be fp32", in->path, t->name);
}

static int check_values(const struct h5_in *in, const struct tensor *t)
{
    size_t heads = t->shape[1], width = t->shape[2];
    size_t n = t->shape[0] * heads * width;

    for (size_t i = 0; i < n; i++)
        if (!isfinite(t->data[i]))
            return fail(in->e, "%s: dataset %s: %s at [%zu, %zu, %zu] (token, "
                        "head, element)", in->path, t->name,
                        isnan(t->data[i]) ? "NaN" : "infinity",
                        i / width / heads, i / width % heads, i % width);
    return 0;
}

static int read_values(const struct h5_in *in, struct tensor *t, hid_t id)
{
    double n = (double)t->shape[0] * (double)t->shape[1] * (double)t->shape[2];
    double bytes = n * sizeof(float);

    t->data = bytes < (double)(SIZE_MAX / 2) ? malloc((size_t)bytes) : NULL;
    if (!t->data)
        return fail(in->e, "%s: dataset %s: no memory for its %.3g GB",
                    in->path, t->name, bytes / 1e9);
    if (H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                t->data) < 0)
        return fail(in->e, "%s: dataset %s: cannot be read: the file is cut "
                    "short or damaged", in->path, t->name);
    return check_values(in, t);
}

static int read_tensor(const struct h5_in *in, struct tensor *t)
{
    hid_t id = H5Dopen2(in->file, t->name, H5P_DEFAULT);

    if (id < 0)
        return fail(in->e, "%s: %s dataset %s", in->path,
                    h5_exists(in->file, t->name) ? "cannot open" : "no",
                    t->name);
    int rc = check_shape(in, t, id) || check_type(in, t, id) ||
             read_values(in, t, id);
    H5Dclose(id);
    return rc ? -1 : 0;
}

/* Extent `axis` of t equals that of `other`. */
static int same(const struct h5_in *in, const struct tensor *t,
                const struct tensor *other, int axis)
{
    const char *const axes[] = { "tokens", "heads", "elements" };

    if (t->shape[axis] == other->shape[axis])
        return 0;
    return fail(in->e, "%s: dataset %s has %llu %s and %s has %llu; they must "
                "be equal", in->path, t->name,
                (unsigned long long)t->shape[axis], axes[axis], other->name,
                (unsigned long long)other->shape[axis]);
}

enum { Q, K, V, DO, TENSORS };

/* In decode q has the last tokens only. */
static int check_tokens(const struct h5_in *in, const struct tensor *t,
                        enum tensor_need need)
{
    if (need != TENSORS_DECODE)
        return same(in, &t[K], &t[Q], 0) || same(in, &t[V], &t[Q], 0);
    if (same(in, &t[V], &t[K], 0))
        return -1;
    if (t[Q].shape[0] <= t[K].shape[0])
        return 0;
    return fail(in->e, "%s: dataset q has %llu tokens and k has %llu; a decode "
                "step has the last tokens' queries", in->path,
                (unsigned long long)t[Q].shape[0],
                (unsigned long long)t[K].shape[0]);
}

static int check_agreement(const struct h5_in *in, const struct tensor *t,
                           enum tensor_need need)
{
    if (check_tokens(in, t, need) || same(in, &t[K], &t[Q], 2) ||
        same(in, &t[V], &t[K], 1))
        return -1;
    if (!t[DO].data)
        return 0;
    return same(in, &t[DO], &t[Q], 0) || same(in, &t[DO], &t[Q], 1) ||
                   same(in, &t[DO], &t[V], 2)
               ? -1
               : 0;
}

static int wanted(const struct h5_in *in, int i, enum tensor_need need)
{
    return i != DO || need == TENSORS_GRADIENT ||
           (need == TENSORS_FORWARD && h5_exists(in->file, "do"));
}

/* q [S,H,D], k [S,Hk,D], v [S,Hk,E], do [S,H,E]. */
static int read_tensors(const struct h5_in *in, enum tensor_need need,
                        struct tensor *t)
{
    for (int i = 0; i < TENSORS; i++)
        if (wanted(in, i, need) && read_tensor(in, &t[i]))
            return -1;
    return check_agreement(in, t, need);
}

/* Attribute lengths: those of packed sequences, or none. */
static int read_lengths(const struct h5_in *in, struct tensor_file *f)
{
    int64_t sum = 0;

    if (H5Aexists(in->file, "lengths") <= 0)
        return 0;
    hid_t a = H5Aopen(in->file, "lengths", H5P_DEFAULT);
    hid_t space = H5Aget_space(a), type = H5Aget_type(a);
    int64_t n = (int64_t)H5Sget_simple_extent_npoints(space);
    int rc = -1;
    if (n >= 0 && n <= f->tokens && H5Tget_class(type) == H5T_INTEGER) {
        f->lengths = xcalloc((size_t)n, sizeof *f->lengths);
        f->n_lengths = n;
        rc = H5Aread(a, H5T_NATIVE_INT64, f->lengths) < 0 ? -1 : 0;
    }
    H5Tclose(type);
    H5Sclose(space);
    H5Aclose(a);
    for (int64_t i = 0; !rc && i < n; i++) {
        rc = f->lengths[i] < 1 || f->lengths[i] > f->tokens ? -1 : 0;
        sum += rc ? 0 : f->lengths[i];
    }
    if (rc)
        return fail(in->e, "%s: attribute lengths: must be positive whole "
                    "numbers that add up to the %lld tokens", in->path,
                    (long long)f->tokens);
    if (sum != f->tokens)
        return fail(in->e, "%s: attribute lengths adds up to %lld; the "
                    "datasets have %lld tokens", in->path, (long long)sum,
                    (long long)f->tokens);
    return 0;
}

static int read_file(const struct h5_in *in, enum tensor_need need,
                     struct tensor_file *f)
{
    struct tensor t[TENSORS] = { { .name = "q" }, { .name = "k" },
                                 { .name = "v" }, { .name = "do" } };
    int rc = read_tensors(in, need, t);

    f->q = t[Q].data;
    f->k = t[K].data;
    f->v = t[V].data;
    f->d_o = t[DO].data;
    f->tokens = (int64_t)t[K].shape[0];
    f->queries = (int64_t)t[Q].shape[0];
    f->heads = (int64_t)t[Q].shape[1];
    f->kv_heads = (int64_t)t[K].shape[1];
    f->head_dim = (int64_t)t[Q].shape[2];
    f->value_dim = (int64_t)t[V].shape[2];
    return rc ? -1 : read_lengths(in, f);
}

struct tensor_file *tensor_file_read(const char *path, enum tensor_need need,
                                     struct error *e)
{
    struct h5_in in;

    if (h5_open(&in, path, e))
        return NULL;
    struct tensor_file *f = xcalloc(1, sizeof *f);
    if (read_file(&in, need, f)) {
        tensor_file_destroy(f);
        f = NULL;
    }
    h5_close(&in);
    return f;
}

void tensor_file_destroy(struct tensor_file *f)
{
    if (!f)
        return;
    free(f->q);
    free(f->k);
    free(f->v);
    free(f->d_o);
    free(f->lengths);
    free(f);
}

/* ---- Writing ------------------------------------------------------------- */

/* Rank 2 if width is 0. */
static int put_tensor(hid_t group, const char *name, const char *meaning,
                      const float *data, int64_t tokens, int64_t heads,
                      int64_t width)
{
    struct h5_dataset d = {
        .name = name, .units = "1", .meaning = meaning,
        .memory = H5T_NATIVE_FLOAT, .file = H5T_IEEE_F32LE,
        .rank = width ? 3 : 2,
        .shape = { (hsize_t)tokens, (hsize_t)heads, (hsize_t)width },
    };

    return data ? h5_put_dataset(group, &d, data) : 0;
}

static int put_results(hid_t file, const struct tensor_results *r)
{
    hid_t g = h5_make_group(file, r->group);
    int64_t n = r->tokens, h = r->heads, k = r->kv_heads;

    if (g < 0)
        return -1;
    int rc = put_tensor(g, "o", "output", r->o, n, h, r->value_dim) ||
             put_tensor(g, "lse", "log of the sum of exponentials, natural",
                        r->lse, n, h, 0) ||
             put_tensor(g, "dq", "gradient of q", r->dq, n, h, r->head_dim) ||
             put_tensor(g, "dk", "gradient of k", r->dk, n, k, r->head_dim) ||
             put_tensor(g, "dv", "gradient of v", r->dv, n, k, r->value_dim);
    h5_close_object(g);
    return rc ? -1 : 0;
}

int tensor_results_write(const char *path, const struct tensor_results *r,
                         int64_t n, struct error *e)
{
    hid_t file = h5_create();
    int bad = file < 0;

    for (int64_t i = 0; !bad && i < n; i++)
        bad = put_results(file, &r[i]);
    return h5_save(file, bad, path, e);
}
