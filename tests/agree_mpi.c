/* SPDX-License-Identifier: Apache-2.0
 *
 * Agreement: one message, one status, the same bytes on every rank. */
#include <config.h>

#include "mpi/execute.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static int rank, ranks;

/* What rank 0 writes to standard error inside agree(). */
static int agree_captured(int rc, const struct error *e, char *text, int size)
{
    int saved = -1, ends[2];

    text[0] = 0;
    if (rank == 0) {
        assert_int_equal(pipe(ends), 0);
        saved = dup(2);
        dup2(ends[1], 2);
    }
    int status = agree(rc, e, MPI_COMM_WORLD);
    if (rank == 0) {
        fflush(stderr);
        dup2(saved, 2);
        close(ends[1]);
        ssize_t n = read(ends[0], text, (size_t)size - 1);
        text[n > 0 ? n : 0] = 0;
        close(ends[0]);
        close(saved);
    }
    return status;
}

static void nobody_fails(void **state)
{
    struct error e = { 0 };
    char text[256];

    (void)state;
    assert_int_equal(agree_captured(0, &e, text, sizeof text), 0);
    assert_string_equal(text, "");
}

static void lowest_failing_rank_speaks(void **state)
{
    (void)state;
    for (int bad = 0; bad < ranks; bad++) {
        struct error e = { .status = rank == bad ? SPAR_USAGE : SPAR_FAILED };
        char text[256], expected[64];

        snprintf(e.text, sizeof e.text, "rank %d says", rank);
        int status = agree_captured(rank < bad ? 0 : -1, &e, text, sizeof text);
        assert_int_equal(status, SPAR_USAGE);
        snprintf(expected, sizeof expected, "spar: rank %d says\n", bad);
        assert_string_equal(text, rank == 0 ? expected : "");
    }
}

static void equal_values(void **state)
{
    (void)state;
    assert_true(agree_equal(UINT64_MAX, MPI_COMM_WORLD));
    assert_true(agree_equal(0, MPI_COMM_WORLD));
    assert_int_equal(agree_equal(rank == ranks - 1 ? 8 : 7, MPI_COMM_WORLD),
                     ranks == 1);
}

/* Rank 0 looks elsewhere first; the others' lists are shorter. */
static char *read_one(const char *path, size_t *size, struct error *e)
{
    const char *paths[] = { "no/such/folder/before", path };
    int which = -1, skip = rank > 0 || *path == '/' || !strchr(path, '.');
    char *text = agree_file(paths + skip, 2 - skip, &which, size,
                            MPI_COMM_WORLD, e);

    if (text)
        assert_int_equal(which, rank == 0);
    return text;
}

static void files(void **state)
{
    struct error e = { 0 };
    size_t size = 0;
    char path[64];

    (void)state;
    snprintf(path, sizeof path, "agree-%d.tmp", (int)getpid());
    MPI_Bcast(path, sizeof path, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        FILE *f = fopen(path, "w");
        for (int i = 0; i < 100000; i++)
            fprintf(f, "%d\n", i);
        fclose(f);
    }
    char *text = read_one(path, &size, &e);
    assert_non_null(text);
    assert_int_equal(size, 588890);
    assert_string_equal(text + size - 6, "99999\n");
    free(text);
    if (rank == 0)
        unlink(path);
    assert_null(read_one("no/such/file", &size, &e));
    assert_int_equal(e.status, SPAR_USAGE);
    assert_non_null(strstr(e.text, "no/such/file"));
    assert_null(read_one("/", &size, &e));
    assert_non_null(strstr(e.text, "/: is a folder"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_fails),
        cmocka_unit_test(lowest_failing_rank_speaks),
        cmocka_unit_test(equal_values),
        cmocka_unit_test(files),
    };

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    setenv("CMOCKA_TEST_ABORT", "1", 1);        /* else the others wait */
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    MPI_Finalize();
    return failed;
}
