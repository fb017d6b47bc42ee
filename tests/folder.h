/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder for each test, and files in it. */
#ifndef SPAR_TESTS_FOLDER_H
#define SPAR_TESTS_FOLDER_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static inline int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/spar-trace-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline int teardown(void **state)
{
    char command[96];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static inline const char *in_folder(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* Files in the folder: "rm" must not be needed to leave it clean. */
static inline int count_files(void)
{
    char command[96];
    int n = -1;

    snprintf(command, sizeof command, "ls -A %s | wc -l", folder);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    assert_int_equal(fscanf(p, "%d", &n), 1);
    pclose(p);
    return n;
}

#define assert_text(e, part)                                                  \
    do {                                                                      \
        if (!strstr((e), (part)))                                             \
            fail_msg("\"%s\" does not say \"%s\"", (e), (part));              \
    } while (0)

static inline void make_bytes(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

/* Writes past `bytes` in a file fail with EFBIG from now on; 0: as before. */
static inline void limit_files(rlim_t bytes)
{
    struct rlimit r;

    signal(SIGXFSZ, bytes ? SIG_IGN : SIG_DFL);
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = bytes ? bytes : r.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
