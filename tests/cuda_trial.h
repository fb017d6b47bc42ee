/* SPDX-License-Identifier: Apache-2.0
 *
 * Trials of one op: a backend that works on a device against the reference
 * backend, on the same random operands.  A trial makes its operands as twins,
 * calls both backends and compares; a difference is printed and counted. */
#ifndef SPAR_TESTS_CUDA_TRIAL_H
#define SPAR_TESTS_CUDA_TRIAL_H

#include "kernel/backends.h"

/* ---- Random numbers ------------------------------------------------------- */

/* From SPAR_TEST_SEED, or the clock. Returns the seed. */
uint64_t trial_seed(void);
int64_t trial_below(int64_t n);                 /* 0 .. n - 1 */
#define trial_pick(list) ((list)[trial_below((int64_t)(sizeof (list) /        \
                                                       sizeof *(list)))])
enum dtype trial_dtype(void);
int64_t trial_rows(void);                       /* 1 to 130: 1, primes, tiles */
int32_t trial_width(void);                      /* of a head, 1 to 256 */

/* ---- Operands ------------------------------------------------------------- */

/* A tensor on the host and, with the same bits and strides, on the device.
 * Between the rows and around them are canaries. */
struct twin {
    struct tensor host, device;
    int64_t lead, size;         /* elements before the first, and in all */
    double least;               /* size of an element that counts, 0.1 */
};

enum trial_fill { FILL_POISON, FILL_RANDOM };
/* Poison is NaN; random numbers are of about N(0, scale). */
struct twin twin_make(enum dtype type, int64_t rows, int64_t heads,
                      int64_t width, enum trial_fill fill, float scale);
/* lse [rows, heads, 1]: N(0, scale), some -inf. */
struct twin twin_lse(int64_t rows, int64_t heads, float scale);
/* NaN where lse is -inf. */
void twin_poison(struct twin *o, const struct twin *lse);
/* The host's elements to the device, after they were changed. */
void twin_put(struct twin *t);
void twin_free(struct twin *t);

/* The largest difference is at most `tolerance` of the largest element (of
 * `least`, where all are small), -inf are where they should be, and canaries are whole.  Poison
 * that the reference left is not compared. */
void twin_compare(const char *name, const struct twin *t, double tolerance);
/* The device's bytes, for twin_same(), which frees them: the result of a second
 * call is the same, bit by bit. */
void *twin_bits(const struct twin *t);
void twin_same(const char *name, const struct twin *t, void *bits);
/* What an op may be wrong by that reads and writes these types. */
double trial_tolerance(enum dtype a, enum dtype b);

/* ---- Running -------------------------------------------------------------- */

extern const struct kernel_backend *trial_backend;      /* under test */
/* What the trial is of, for a difference: printf(). */
void trial_describe(const char *format, ...)
    __attribute__((format(printf, 1, 2)));

struct trials {
    const char *op;
    int count;
    void (*trial)(int64_t i);
};
/* SPAR_TEST_TRIALS: at most so many. Returns the trials that differed. */
int trials_run(const struct trials *t);
int trials_count(const struct trials *t);

/* Lists of trials: cuda_*_trials.c; .count 0 ends. */
extern const struct trials rows_trials[], attend_trials[], scores_trials[];
/* Of few shapes, for a backend that plans each. */
extern const struct trials planned_trials[];

#endif
