/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of calibrate only.  Collective over `comm` what says so. */
#ifndef SPAR_CALIBRATE_INTERNAL_H
#define SPAR_CALIBRATE_INTERNAL_H

#include "mpi/calibrate.h"
#include "mpi/execute.h"
#include "topo/cluster.h"
#include "topo/collective.h"
#include "topo/machine.h"

struct calibration {
    const struct calibrate_request *request;
    const struct kernel_backend *kernel;
    const struct device *device;        /* of its tensors */
    MPI_Comm comm;
    int rank, ranks;
    double least_seconds;       /* of a timed batch */
    int batches;                /* their lower quartile counts */
    struct machine *m;          /* filled on every rank alike */
};

static inline int on_host(const struct calibration *c)
{
    return c->device == &device_host;
}

/* ---- Timing (calibrate_time.c) ------------------------------------------ */

/* Others may use the machine too: so the time of the core, where nothing waits,
 * and a low quantile. */
double core_seconds(void);
double quartile(double *values, int n);         /* the lower one; sorts */
/* Seconds of its core that one call of fn takes: as many calls a batch as last
 * least_seconds, found by doubling; the lower quartile of the batches.  On a
 * device: see device_time_call(). */
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

/* ---- One block (calibrate_block.c) -------------------------------------- */

/* What a call is of: on a device all of `heads`, on the host one group of a
 * layer's heads; the next call then of the next one, as an op does, whose data
 * are cold and far apart; 0: always of the first one of two. */
struct bench_shape {
    enum dtype dtype;
    int64_t head_dim, group, heads;
};
/* Attends and attend_backwards, repeated, of at most so many rows and keys. */
struct block_bench;
struct block_bench *block_bench_create(const struct calibration *c,
                                       const struct bench_shape *shape,
                                       int64_t most_rows, int64_t most_keys);
void block_bench_destroy(struct block_bench *b);
/* Results of a device: in the job's dtype, or fp32, stored or added. */
enum bench_results { RESULTS_STORED, RESULTS_FP32, RESULTS_ADDED };
void block_bench_results(struct block_bench *b, enum bench_results results);
/* [q x k], of `kind`; prepares what backward reads. */
void block_bench_shape(struct block_bench *b, enum block_kind kind,
                       int backward, int64_t q, int64_t k);
void block_bench_poll(struct block_bench *b, struct poll poll);
void block_bench_call(void *bench);
int64_t block_bench_heads(const struct block_bench *b);
/* Elements of the results of a call. */
double block_bench_elements(const struct block_bench *b);
/* A surface of what the bench measures; without points. */
struct surface block_bench_surface(const struct block_bench *b,
                                   enum block_kind kind, int backward);

/* What a bench computes with: n elements like N(0, 1), that soon repeat, into
 * memory of `device`. */
void bench_fill(const struct device *device, void *data, enum dtype dtype,
                int64_t n, uint64_t seed);
/* Memory of a device, or the end. */
void *bench_alloc(const struct device *device, size_t bytes);

/* ---- Compute ------------------------------------------------------------ */

/* Collective: surfaces, rates, memory_bandwidth, poll_interval, alone_ratio. */
void calibrate_compute(const struct calibration *c);
/* The middle of it: surfaces of one bench's shape, into c->m.  `coarse`: fewer
 * points (calibrate_surface.c). */
void calibrate_surfaces(const struct calibration *c,
                        const struct bench_shape *shape, int coarse);

/* Collective: rates of the other products (calibrate_products.c). */
void calibrate_products(const struct calibration *c, enum dtype dtype,
                        int64_t head_dim);

/* ---- Messages (calibrate_link.c) ---------------------------------------- */

/* Collective; between ranks a < b. */
void calibrate_link(const struct calibration *c, int a, int b,
                    struct link *l);
/* Of points measured on one rank or more, in digits(). */
void calibrate_link_fit(struct link *l, const struct link_point *p, int64_t n);
/* between: "through cache ", or "". */
void calibrate_link_report(const struct calibration *c, const char *between,
                           const struct link *l);
/* Collective: links of every class of route that lies between ranks, pairs of
 * each at once, and what that says of the machine's tree
 * (calibrate_classes.c). */
void calibrate_classes(const struct calibration *c);

/* ---- Who is where (calibrate_ways.c) ------------------------------------- */

struct ways {
    int ranks, nodes;
    uint8_t *class;             /* [ranks][ranks] enum route_class */
    /* What all nodes are like; sockets 0: not alike, or not even. */
    struct cluster_host host;
};
/* Collective. */
void ways_find(const struct calibration *c, struct ways *w);
void ways_clear(struct ways *w);
static inline enum route_class ways_class(const struct ways *w, int a, int b)
{
    return (enum route_class)w->class[(size_t)a * (size_t)w->ranks
                                      + (size_t)b];
}
/* Up to `most` disjoint pairs of a class, [most][2], that go over the same link
 * where the class has one that pairs share.  Returns their number. */
int ways_pairs(const struct ways *w, enum route_class class, int most,
               int (*pairs)[2]);

/* ---- Collectives (calibrate_collectives.c) -------------------------------- */

/* Collective: tables of every kind that schedules have, of all ranks, and of
 * groups of every size that divides them, ranks beside each other or as far
 * apart as can be; 1, 2, 4, ... groups at once. */
void calibrate_collectives(const struct calibration *c, const struct ways *w);

/* A collective of a kind, in a schedule of its own: a member's part of each
 * tensor is [rows, heads, 64] fp32 (calibrate_kinds.c). */
struct bench_part {
    struct pool *pool;
    const struct job *job;
    const int32_t *ranks;       /* [members] 0, 1, ... */
    int32_t members, me;
    int64_t rows, heads;
    int zigzag;
};
struct bench_kind {
    enum collective_kind kind;
    int zigzag;                 /* rows of all are in zigzag order */
    void (*add)(struct schedule *s, const struct bench_part *c);
};
/* Of a kind one behind the other; add NULL last. */
extern const struct bench_kind bench_kinds[];
struct schedule *bench_schedule(const struct bench_kind *kind,
                                const struct bench_part *c);

/* ---- Devices (calibrate_device.c, calibrate_copies.c, calibrate_push.c) -- */

#ifdef HAVE_CUDA
/* Before anything is measured: this rank's device; collective, -1 with why. */
int device_open(struct calibration *c, struct error *e);
/* What device it is, instead of the processor. */
void device_describe(const struct calibration *c);
/* Seconds that a call takes of the device among its like: as many as last
 * least_seconds, given to the device while it is busy with something else, so
 * that the host's time does not count. */
double device_time_call(const struct calibration *c, void (*fn)(void *),
                        void *arg);
/* The same where every call finds other data in the cache, as in a run. */
double device_time_cold(const struct calibration *c, void (*fn)(void *),
                        void *arg);
/* Collective: overheads, copies, messages between the first and the last rank
 * through each other's memory. */
void calibrate_device(const struct calibration *c);
void calibrate_copies(const struct calibration *c);
void calibrate_push(const struct calibration *c);
#else                           /* every kernel works on the host */
static inline int device_open(struct calibration *c, struct error *e)
{
    (void)c, (void)e;
    return 0;
}
static inline void device_describe(const struct calibration *c)
{
    (void)c;
}
static inline double device_time_call(const struct calibration *c,
                                      void (*fn)(void *), void *arg)
{
    (void)c, (void)fn, (void)arg;
    return 0;
}
static inline double device_time_cold(const struct calibration *c,
                                      void (*fn)(void *), void *arg)
{
    return device_time_call(c, fn, arg);
}
static inline void calibrate_device(const struct calibration *c)
{
    (void)c;
}
#endif

#endif
