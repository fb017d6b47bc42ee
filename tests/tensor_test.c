/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "trace/trace.h"

#include <hdf5.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- Files to read ------------------------------------------------------- */

static char folder[64], path[96];

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/spar-tensor-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/a.h5", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);       /* fails if anything else is in it */
}

#define assert_text(text, part)                                               \
    do {                                                                      \
        if (!strstr((text), (part)))                                          \
            fail_msg("\"%s\" does not say \"%s\"", (text), (part));           \
    } while (0)

/* S = 5, H = 4, Hk = 2, D = 3, E = 2. */
struct dataset {
    const char *name;
    int rank;                   /* 0: left out */
    hsize_t shape[4];
    hid_t type;                 /* in the file; 0: fp32 */
    int bad_at;                 /* element that is `bad`; -1: none */
    double bad;
};

enum { Q, K, V, DO, DATASETS };

static void usual(struct dataset d[DATASETS])
{
    const struct dataset all[DATASETS] = {
        { "q", 3, { 5, 4, 3 }, 0, -1, 0 }, { "k", 3, { 5, 2, 3 }, 0, -1, 0 },
        { "v", 3, { 5, 2, 2 }, 0, -1, 0 }, { "do", 3, { 5, 4, 2 }, 0, -1, 0 },
    };

    memcpy(d, all, sizeof all);
}

/* Element i of dataset d of the list is 100 d + i / 4. */
static void put_dataset(hid_t file, const struct dataset *d, int number)
{
    static double x[4096];
    hid_t space = H5Screate_simple(d->rank, d->shape, NULL);
    hid_t id = H5Dcreate2(file, d->name, d->type ? d->type : H5T_IEEE_F32LE,
                          space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

    for (int i = 0; i < 4096; i++)
        x[i] = i == d->bad_at ? d->bad : 100 * number + i / 4.0;
    if (H5Sget_simple_extent_npoints(space) <= 4096)
        assert_true(H5Dwrite(id, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL,
                             H5P_DEFAULT, x) >= 0);
    H5Dclose(id);
    H5Sclose(space);
}

static void put_lengths(hid_t file, hid_t type, const int64_t *x, hsize_t n)
{
    hid_t space = H5Screate_simple(1, &n, NULL);
    hid_t a = H5Acreate2(file, "lengths", type, space, H5P_DEFAULT,
                         H5P_DEFAULT);

    assert_true(H5Awrite(a, H5T_NATIVE_INT64, x) >= 0);
    H5Aclose(a);
    H5Sclose(space);
}

static void make_file(const struct dataset d[DATASETS], hid_t type,
                      const int64_t *lengths, hsize_t n)
{
    hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    for (int i = 0; i < DATASETS; i++)
        if (d[i].rank)
            put_dataset(f, &d[i], i);
    if (n)
        put_lengths(f, type, lengths, n);
    H5Fclose(f);
}

/* ---- Reading ------------------------------------------------------------- */

static void check_values(const float *x, int number, int n)
{
    for (int i = 0; i < n; i++)
        assert_true(x[i] == (float)(100 * number + i / 4.0));
}

static void reads(void **state)
{
    const int64_t lengths[] = { 3, 1, 1 };
    const hid_t types[] = { H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_IEEE_F32BE };
    struct dataset d[DATASETS];
    struct error e = { 0 };

    (void)state;
    for (int i = 0; i < 3; i++) {
        usual(d);
        for (int k = 0; k < DATASETS; k++)
            d[k].type = types[i];
        make_file(d, H5T_STD_I32LE, lengths, 3);
        struct tensor_file *f = tensor_file_read(path, 1, &e);
        if (!f)
            fail_msg("%s", e.text);
        assert_int_equal(f->tokens, 5);
        assert_int_equal(f->heads, 4);
        assert_int_equal(f->kv_heads, 2);
        assert_int_equal(f->head_dim, 3);
        assert_int_equal(f->value_dim, 2);
        assert_int_equal(f->n_lengths, 3);
        assert_memory_equal(f->lengths, lengths, sizeof lengths);
        check_values(f->q, Q, 60);
        check_values(f->k, K, 30);
        check_values(f->v, V, 20);
        check_values(f->d_o, DO, 40);
        tensor_file_destroy(f);
    }
}

static void reads_without_do(void **state)
{
    struct dataset d[DATASETS];
    struct error e = { 0 };

    (void)state;
    usual(d);
    d[DO].rank = 0;
    make_file(d, 0, NULL, 0);
    struct tensor_file *f = tensor_file_read(path, 0, &e);
    if (!f)
        fail_msg("%s", e.text);
    assert_null(f->d_o);
    assert_int_equal(f->n_lengths, 0);
    tensor_file_destroy(f);
    tensor_file_destroy(NULL);
}

static void refuse(enum tensor_need need, const char *part)
{
    struct error e = { 0 };
    struct tensor_file *f = tensor_file_read(path, need, &e);

    if (f)
        fail_msg("read without \"%s\"", part);
    assert_int_equal(e.status, SPAR_FAILED);
    assert_text(e.text, path);
    assert_text(e.text, part);
}

/* A decode step: queries of the last tokens; a `do` of any shape is not read. */
static void reads_decode(void **state)
{
    struct dataset d[DATASETS];
    struct error e = { 0 };

    (void)state;
    usual(d);
    d[Q].shape[0] = 2;
    make_file(d, 0, NULL, 0);
    struct tensor_file *f = tensor_file_read(path, TENSORS_DECODE, &e);
    if (!f)
        fail_msg("%s", e.text);
    assert_int_equal(f->queries, 2);
    assert_int_equal(f->tokens, 5);
    assert_null(f->d_o);
    check_values(f->q, Q, 24);
    check_values(f->k, K, 30);
    tensor_file_destroy(f);
    refuse(TENSORS_FORWARD, "dataset k has 5 tokens and q has 2");
    d[Q].shape[0] = 6;
    make_file(d, 0, NULL, 0);
    refuse(TENSORS_DECODE, "dataset q has 6 tokens and k has 5");
    d[V].shape[0] = 4;
    make_file(d, 0, NULL, 0);
    refuse(TENSORS_DECODE, "dataset v has 4 tokens and k has 5");
}

static void refuses_missing(void **state)
{
    const char *const messages[] = { "no dataset q", "no dataset k",
                                     "no dataset v", "no dataset do" };
    struct dataset d[DATASETS];

    (void)state;
    for (int i = 0; i < DATASETS; i++) {
        usual(d);
        d[i].rank = 0;
        make_file(d, 0, NULL, 0);
        refuse(1, messages[i]);
    }
}

static void refuses_shapes(void **state)
{
    const struct {
        struct dataset dataset;
        int number;
        const char *message;
    } cases[] = {
        { { "q", 2, { 5, 12 }, 0, -1, 0 }, Q, "dataset q: 2 dimensions" },
        { { "v", 4, { 5, 2, 2, 1 }, 0, -1, 0 }, V, "dataset v: 4 dimensions" },
        { { "q", 3, { 0, 4, 3 }, 0, -1, 0 }, Q, "dataset q: shape [0, 4, 3]" },
        { { "k", 3, { 6, 2, 3 }, 0, -1, 0 }, K,
          "dataset k has 6 tokens and q has 5" },
        { { "v", 3, { 4, 2, 2 }, 0, -1, 0 }, V,
          "dataset v has 4 tokens and q has 5" },
        { { "k", 3, { 5, 2, 4 }, 0, -1, 0 }, K,
          "dataset k has 4 elements and q has 3" },
        { { "v", 3, { 5, 4, 2 }, 0, -1, 0 }, V,
          "dataset v has 4 heads and k has 2" },
        { { "do", 3, { 3, 4, 2 }, 0, -1, 0 }, DO,
          "dataset do has 3 tokens and q has 5" },
        { { "do", 3, { 5, 2, 2 }, 0, -1, 0 }, DO,
          "dataset do has 2 heads and q has 4" },
        { { "do", 3, { 5, 4, 3 }, 0, -1, 0 }, DO,
          "dataset do has 3 elements and v has 2" },
        { { "q", 3, { 5, 4, 3 }, H5T_STD_I32LE, -1, 0 }, Q,
          "dataset q: not of floating-point numbers" },
    };
    struct dataset d[DATASETS];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        usual(d);
        d[cases[i].number] = cases[i].dataset;
        make_file(d, 0, NULL, 0);
        refuse(0, cases[i].message);
    }
}

/* More than any machine has, and never written. */
static void refuses_huge(void **state)
{
    const hsize_t shape[3] = { 1u << 30, 1u << 30, 1u << 30 };
    const hsize_t chunk[3] = { 64, 64, 64 };
    struct error e = { 0 };
    hid_t f = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(3, shape, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);

    (void)state;
    H5Pset_chunk(create, 3, chunk);
    hid_t id = H5Dcreate2(f, "q", H5T_IEEE_F32LE, space, H5P_DEFAULT, create,
                          H5P_DEFAULT);
    assert_true(id >= 0);
    H5Dclose(id);
    H5Pclose(create);
    H5Sclose(space);
    H5Fclose(f);
    assert_null(tensor_file_read(path, 0, &e));
    assert_text(e.text, "dataset q: no memory for its 4.95e+18 GB");
}

static void refuses_values(void **state)
{
    struct dataset d[DATASETS];

    (void)state;
    usual(d);
    d[V].bad_at = 2 * 4 + 1 * 2 + 1;
    d[V].bad = NAN;
    make_file(d, 0, NULL, 0);
    refuse(0, "dataset v: NaN at [2, 1, 1] (token, head, element)");
    usual(d);
    d[DO].bad_at = 39;
    d[DO].bad = -INFINITY;
    make_file(d, 0, NULL, 0);
    refuse(0, "dataset do: infinity at [4, 3, 1]");
    /* Beyond fp32. */
    usual(d);
    d[Q].type = H5T_IEEE_F64LE;
    d[Q].bad_at = 0;
    d[Q].bad = 1e300;
    make_file(d, 0, NULL, 0);
    refuse(0, "dataset q: infinity at [0, 0, 0]");
}

static void refuses_lengths(void **state)
{
    const int64_t lengths[][3] = { { 3, 1, 2 }, { 5, 0, 0 }, { -1, 3, 3 },
                                   { INT64_MAX, INT64_MAX, 7 } };
    const char *const messages[] = {
        "attribute lengths adds up to 6; the datasets have 5 tokens",
        "attribute lengths: must be positive", "lengths: must be positive",
        "lengths: must be positive",
    };
    struct dataset d[DATASETS];

    (void)state;
    usual(d);
    for (int i = 0; i < 4; i++) {
        make_file(d, H5T_STD_I64LE, lengths[i], 3);
        refuse(0, messages[i]);
    }
    make_file(d, H5T_IEEE_F64LE, lengths[0], 3);
    refuse(0, "lengths: must be positive whole");
}

static void refuses_files(void **state)
{
    struct dataset d[DATASETS];
    struct stat st;

    (void)state;
    refuse(0, "No such file");
    FILE *f = fopen(path, "w");
    fputs("q: not HDF5", f);
    fclose(f);
    refuse(0, "not an HDF5 file");
    usual(d);
    make_file(d, 0, NULL, 0);
    assert_int_equal(stat(path, &st), 0);
    for (off_t size = st.st_size - 1; size > 100; size = size * 3 / 4) {
        assert_int_equal(truncate(path, size), 0);
        refuse(0, "cut short or damaged");
    }
}

/* ---- Writing ------------------------------------------------------------- */

static float *numbers(int n, float first)
{
    float *x = malloc((size_t)n * sizeof *x);

    for (int i = 0; i < n; i++)
        x[i] = first + (float)i;
    return x;
}

static void expect(hid_t f, const char *name, int rank, const hsize_t *shape,
                   const float *data)
{
    hid_t id = H5Dopen2(f, name, H5P_DEFAULT), space = H5Dget_space(id);
    hsize_t found[4];
    float x[64];

    assert_int_equal(H5Sget_simple_extent_ndims(space), rank);
    H5Sget_simple_extent_dims(space, found, NULL);
    assert_memory_equal(found, shape, (size_t)rank * sizeof *shape);
    assert_true(H5Dread(id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                        x) >= 0);
    assert_memory_equal(x, data, (size_t)H5Sget_simple_extent_npoints(space) *
                                     sizeof *x);
    H5Sclose(space);
    H5Dclose(id);
}

static void writes(void **state)
{
    struct error e = { 0 };
    float *o = numbers(40, 0), *lse = numbers(20, 100), *dq = numbers(60, 200);
    float *dk = numbers(30, 300), *dv = numbers(20, 400);
    struct tensor_results r[] = {
        { "/0", 5, 4, 2, 3, 2, o, lse, dq, dk, dv },
        { "/1/0", 5, 4, 2, 3, 2, o, NULL, NULL, NULL, NULL },
    };

    (void)state;
    assert_int_equal(tensor_results_write(path, r, 2, &e), 0);
    hid_t f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    expect(f, "/0/o", 3, (hsize_t[]){ 5, 4, 2 }, o);
    expect(f, "/0/lse", 2, (hsize_t[]){ 5, 4 }, lse);
    expect(f, "/0/dq", 3, (hsize_t[]){ 5, 4, 3 }, dq);
    expect(f, "/0/dk", 3, (hsize_t[]){ 5, 2, 3 }, dk);
    expect(f, "/0/dv", 3, (hsize_t[]){ 5, 2, 2 }, dv);
    expect(f, "/1/0/o", 3, (hsize_t[]){ 5, 4, 2 }, o);
    assert_int_equal(H5Lexists(f, "/1/0/lse", H5P_DEFAULT), 0);
    H5Fclose(f);

    /* Whole or not at all. */
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 100;
    setrlimit(RLIMIT_FSIZE, &limit);
    o[0] = 7;
    int rc = tensor_results_write(path, r, 2, &e);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
    assert_int_equal(rc, -1);
    assert_text(e.text, path);
    assert_text(e.text, "File too large");
    o[0] = 0;
    f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    expect(f, "/0/o", 3, (hsize_t[]){ 5, 4, 2 }, o);
    H5Fclose(f);

    float *all[] = { o, lse, dq, dk, dv };
    for (int i = 0; i < 5; i++)
        free(all[i]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads), TEST(reads_without_do), TEST(reads_decode),
        TEST(refuses_missing),
        TEST(refuses_shapes), TEST(refuses_huge), TEST(refuses_values),
        TEST(refuses_lengths), TEST(refuses_files), TEST(writes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
