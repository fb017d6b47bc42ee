/* SPDX-License-Identifier: Apache-2.0
 *
 * What every module of spar uses: errors, dying, allocation, growing arrays,
 * hashing.  Nothing here knows about attention. */
#ifndef SPAR_BASE_H
#define SPAR_BASE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors (set-up phase) ------------------------------------------------
 * Functions that can fail take a caller-owned struct error, return -1 or NULL
 * and fill it; they never print and never exit.  `status` is the exit status
 * the failure deserves: 1 failed (verification, run, input data), 2 usage
 * (command line, scenario). */
enum { SPAR_OK = 0, SPAR_FAILED = 1, SPAR_USAGE = 2 };

struct error {
    int status;
    char text[1024];
};

/* Fill *e (which may be NULL) and return -1, so that a failing path is one
 * line: `return fail(e, ...)`.  `fail` means SPAR_FAILED, `fail_usage`
 * SPAR_USAGE.  The text carries no "spar: " prefix and no newline. */
int fail(struct error *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int fail_usage(struct error *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Dying (run phase) ----------------------------------------------------
 * die() prints "spar: ..." on standard error and calls the routine that mpi/
 * installs (MPI_Abort); without one it exits with status 1. */
typedef void (*die_fn)(int status);
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void die_set_routine(die_fn routine);
/* Where in its work the process is, before what die() says; NULL: nowhere. */
typedef void (*where_fn)(void *arg, char *text, size_t size);
void die_set_where(where_fn where, void *arg);

/* ---- Allocation: never fails, dies ---------------------------------------- */
void *xmalloc(size_t bytes);
void *xcalloc(size_t count, size_t bytes);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* 64-byte aligned, not zeroed; free with free(). */
void *xalign(size_t bytes);

/* Growing array: `ARRAY_PUSH(a, n, cap, value)` appends, doubling `cap`. */
void *array_grow(void *base, int64_t need, int64_t *cap, size_t elem);
#define ARRAY_PUSH(base, n, cap, value)                                       \
    do {                                                                      \
        (base) = array_grow((base), (n) + 1, &(cap), sizeof *(base));         \
        (base)[(n)++] = (value);                                              \
    } while (0)

/* ---- Hashing: 64-bit FNV-1a with a finalizer, chained by `seed` ------------ */
uint64_t hash_bytes(uint64_t seed, const void *data, size_t bytes);
uint64_t hash_u64(uint64_t seed, uint64_t value);

/* ---- Small arithmetic ------------------------------------------------------ */
static inline int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
/* Division rounded to minus infinity; b > 0. */
static inline int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}
static inline int64_t ceil_div(int64_t a, int64_t b)
{
    return -floor_div(-a, b);
}
/* First token of chunk i of `length` cut in m: floor(i*length/m).  Works for
 * every length and m, empty chunks included (interface.md, Shards). */
static inline int64_t chunk_first(int64_t length, int64_t m, int64_t i)
{
    return (int64_t)((__int128)i * length / m);
}

/* ---- Element types --------------------------------------------------------- */
enum dtype { DTYPE_FP32, DTYPE_BF16, DTYPE_FP16, DTYPES };
size_t dtype_size(enum dtype t);          /* bytes */
const char *dtype_name(enum dtype t);     /* "fp32", ... */

/* ---- Tables of names: NULL-terminated arrays of words ------------------------ */
/* Index of `word` in `names`, or -1. */
int name_index(const char *const *names, const char *word);
/* Nearest of `names` by edit distance, or NULL if nothing is near. */
const char *name_nearest(const char *const *names, const char *word);

#ifdef __cplusplus
}
#endif

#endif
