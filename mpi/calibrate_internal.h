/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of calibrate only.  Collective over `comm` what says so. */
#ifndef SPAR_CALIBRATE_INTERNAL_H
#define SPAR_CALIBRATE_INTERNAL_H

#include "mpi/calibrate.h"
#include "mpi/execute.h"
#include "topo/machine.h"

struct calibration {
    const struct calibrate_request *request;
    const struct kernel_backend *kernel;
    MPI_Comm comm;
    int rank, ranks;
    double least_seconds;       /* of a timed batch */
    int batches;                /* their lower quartile counts */
    struct machine *m;          /* filled on every rank alike */
};

/* ---- Timing (calibrate.c) ----------------------------------------------- */

/* Others may use the machine too: so the time of the core, where nothing waits,
 * and a low quantile. */
double core_seconds(void);
double quartile(double *values, int n);         /* the lower one; sorts */
/* Seconds of its core that one call of fn takes: as many calls a batch as last
 * least_seconds, found by doubling; the lower quartile of the batches. */
double time_call(const struct calibration *c, void (*fn)(void *), void *arg);
/* Five digits of a measured value: more is noise. */
double digits(double value);
/* Collective: the mean of all ranks' values, as digits(). */
double mean_over_ranks(const struct calibration *c, double value);
/* Collective barrier that leaves the waiting cores idle. */
void quiet_barrier(const struct calibration *c);
/* On rank 0, a line on standard error. */
void say(const struct calibration *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- Compute (calibrate_compute.c) -------------------------------------- */

/* One attend or attend_backward of the first of kv_heads head groups,
 * repeated, of at most so many rows and keys. */
struct block_bench;
struct block_bench *block_bench_create(const struct calibration *c,
                                       enum dtype dtype, int64_t head_dim,
                                       int64_t group, int64_t kv_heads,
                                       int64_t most_rows, int64_t most_keys);
void block_bench_destroy(struct block_bench *b);
/* [q x k], of `kind`; prepares what backward reads. */
void block_bench_shape(struct block_bench *b, enum block_kind kind,
                       int backward, int64_t q, int64_t k);
void block_bench_poll(struct block_bench *b, struct poll poll);
void block_bench_call(void *bench);

/* What a bench computes with: n elements like N(0, 1), that soon repeat. */
void bench_fill(void *data, enum dtype dtype, int64_t n, uint64_t seed);

/* Collective: surfaces, rates, memory_bandwidth, poll_interval, alone_ratio. */
void calibrate_compute(const struct calibration *c);

/* Collective: rates of the other products (calibrate_products.c). */
void calibrate_products(const struct calibration *c, enum dtype dtype,
                        int64_t head_dim);

/* ---- Messages (calibrate_link.c) ---------------------------------------- */

/* Collective; between the first and the last rank. */
void calibrate_link(const struct calibration *c);

#endif
