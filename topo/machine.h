/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine as the simulator sees it: how long attends take on it, how long
 * messages take.  Read from YAML (scenarios/machines, or what `calibrate`
 * wrote); knows no schedule.  Seconds and bytes. */
#ifndef SPAR_MACHINE_H
#define SPAR_MACHINE_H

#include "base/base.h"
#include "topo/graph.h"

#include <stdio.h>

struct cluster;

/* Measured points of one surface: seconds of an attend (or attend_backward) of
 * one query head on a [q x k] block.  Full blocks: a grid, sorted by q, then k,
 * or squares only (other blocks then count as the square of their area).
 * Causal blocks: squares, q = k, row i sees keys j <= i.  Corner: a grid of
 * blocks whose last row sees all keys, row i those j <= i + k - q.  Few: a grid
 * of the few rows of a decode step and up to more keys than a cache has room
 * for, K and V of one head; where `heads` are at work at once, of each of them.
 *
 * A device computes all heads of an op at once: a point is then the op's time
 * divided by its `heads`, results stored in the job's dtype. */
enum block_kind { BLOCK_FULL, BLOCK_CAUSAL, BLOCK_FEW, BLOCK_CORNER,
                  BLOCK_KINDS };
extern const char *const block_names[];     /* NULL last */

struct surface_point {
    int64_t q, k;               /* rows, keys of the block */
    double seconds;             /* per query head */
};
struct surface {
    char op[24];                /* "attend", "attend_backward" */
    char kernel[16];            /* backend name */
    enum dtype dtype;
    enum block_kind block;
    int64_t head_dim, value_dim, group;     /* what was measured */
    int64_t n;
    struct surface_point *points;
    int64_t heads;              /* query heads at once; 0: a head's time does
                                   not depend on the others */
    /* s more for each element of a result in fp32, or added to one. */
    double store_fp32, update;
    /* Of measured / interpolated, over points that were left out: P10 and P90;
     * 0: not stated, those of its own points (topo/estimate.h). */
    double p10, p90;
    int published;              /* of a file of kernels: not measured on this
                                   machine, nor of our code */
};

/* What is asked of the surfaces. */
struct block_shape {
    enum dtype dtype;
    int64_t head_dim, value_dim, group;
    int64_t heads;              /* of the op */
};

/* Measured rates of another op: flop/s of one head by rows of the op,
 * ascending; where `heads` are at work at once, of all of them, and an op of
 * other heads counts as one of these of as many rows times heads. Those of RSA
 * have as many keys as rows; what is no product of matrices counts a flop for
 * every 4 bytes. */
extern const char *const rate_ops[];        /* "scores", "state", ...; NULL */
struct rate_point {
    int64_t rows;
    double flops;               /* flop/s */
};
struct rate {
    char op[24];                /* one of rate_ops */
    char kernel[16];
    enum dtype dtype;
    int64_t head_dim, value_dim;
    int64_t n;
    struct rate_point *points;
    int64_t heads;              /* at once; 0: one after the other */
};

/* T(bytes) = latency + bytes / bandwidth, for bytes in [from, to): from the
 * start of a send whose receive is posted to its completion, L + 2o + S G. */
struct link_segment {
    int64_t from, to;           /* bytes; to = INT64_MAX: open */
    double latency, bandwidth;  /* s, B/s */
    double error;               /* mean relative error of the fit */
};
/* LogGP of a message between two ranks of the machine. */
struct link {
    int64_t n;
    struct link_segment *segments;      /* ascending, contiguous */
    double overhead;            /* o, s: host time per message */
    double host_per_byte;       /* O, s/B: host time per byte moved; 0: none */
    double apart_per_byte;      /* s/B more where rows lie apart at one end */
};

/* Pairs of slots that send at once, of one class of route and over the same
 * link where the class has one that pairs share. */
struct contention {
    enum route_class class;
    int64_t pairs;
    int both;                   /* each sends both ways */
    double bandwidth;           /* B/s of all together */
};

/* Copies by copy engines, both directions busy where there are two: B/s by the
 * bytes that lie together on either side, ascending. */
enum copy_path { COPY_DEVICE, COPY_PEER, COPY_TO_HOST, COPY_FROM_HOST,
                 COPY_PATHS };
extern const char *const copy_names[];      /* NULL last */
struct copy_point {
    int64_t block;              /* bytes */
    double bandwidth;
};
struct copy {
    enum copy_path path;
    int64_t n;
    struct copy_point *points;
};

struct machine {
    char name[64];
    char processor[96];         /* what it is; "" unknown */
    char kernels[64];           /* files with more surfaces, by name in
                                   machines/kernels or beside it; "" */
    double peak;                /* flop/s of a rank, dense, 16 bit; 0 unknown */
    int cores;                  /* slots; more ranks are oversubscribed */
    /* GPUs, which ranks take in turn, those of one share it; 0: a rank is a
     * core.  The rest of these is of devices only. */
    int devices;
    double enqueue;             /* s of the host before the device can start
                                   the next op */
    double event_latency;       /* s until another stream goes on */
    double push_overhead;       /* s between two tiles of a message */
    double attend_beside;       /* time of an attend beside messages / alone */
    double bytes_beside;        /* the same of ops that move memory */
    int measured_ranks;         /* that measured at the same time; 0 unknown */
    int64_t memory_bytes;       /* of one node; 0: unknown */
    double memory_bandwidth;    /* B/s read plus written of a copy, one rank */
    double op_overhead;         /* s per op, executor's own */
    double repeat_overhead;     /* s per repeat: barrier, start */
    /* CPU ranks: compute, copies and the host's part of messages take turns on
     * the rank's one core, which looks at messages every poll_interval (s)
     * while it computes. */
    int shared_core;
    double poll_interval;
    /* Time of a block on an otherwise idle node / as measured; 0: unknown. */
    double alone_ratio;
    int64_t n_surfaces;
    struct surface *surfaces;
    int64_t n_rates;
    struct rate *rates;
    int64_t n_copies;
    struct copy *copies;
    int64_t n_collectives;
    struct collective_table *collectives;       /* topo/collective.h */
    struct link link;
    /* The same by class of route, where it was measured (n > 0). */
    struct link classes[ROUTE_CLASSES];
    int64_t n_contention;
    struct contention *contention;
    double fit_error;           /* of the surfaces, cross-validated */
    /* Of another code base than ours, not in files: s for each element of a
     * result in fp32 or added to one, in place of the surfaces'; how often an
     * all-to-all is packed and unpacked. */
    double merge;
    int packs;
    int quantile;               /* answer with P10 (-1), P50 (0), P90 (1); not
                                   in files */
    struct cluster *cluster;    /* NULL: not stated */
    struct graph *graph;        /* of it, frozen */
    char *versions;             /* software versions, one line; "" unknown */
    char *created;              /* ISO 8601; "" unknown */
};

/* Read from YAML text already in memory (`path` names it in errors).  The
 * format is shown and explained in scenarios/machines/unit.yaml. */
struct machine *machine_parse(const char *path, const char *text, size_t size,
                              struct error *e);
/* The same with `hosts` of the first kind of its cluster; 0: as it says. */
struct machine *machine_parse_hosts(const char *path, const char *text,
                                    size_t size, int64_t hosts,
                                    struct error *e);
/* Adds the surfaces of such a file as `kernels` names, or of a machine's. 0, or
 * -1 and *e. */
int machine_add_kernels(struct machine *m, const char *path, const char *text,
                        size_t size, struct error *e);
/* Where `calibrate` writes and `machine: local` reads: $SPAR_LOCAL, else
 * ~/.config/spar/local.yaml. The caller frees it. */
char *machine_local_path(void);
/* The same format; what machine_parse() reads back equal. -1: `out` failed. */
int machine_write(const struct machine *m, FILE *out);
void machine_destroy(struct machine *m);

/* Where ranks can be: devices, or slots of the graph; 0: as many as ranks. */
int64_t machine_slots(const struct machine *m);

/* 0, or -1 and *e if the machine cannot time `op` for `kernel`. */
int machine_has_surface(const struct machine *m, const char *op,
                        const char *kernel, struct error *e);

/* Seconds of one head's block, interpolated (log-log bilinear between points,
 * constant rate per visible pair outside); 0 if it cannot be told.  Picks the
 * surfaces nearest in head size, group, heads and dtype for `kernel` (NULL or
 * "auto": of the first kernel), else derives it: topo/estimate.h.  A causal
 * block is q = k rows. */
double machine_block_seconds(const struct machine *m, const char *op,
                             const char *kernel,
                             const struct block_shape *shape,
                             enum block_kind block, int64_t q, int64_t k);
/* The surface that this comes from; NULL: none. */
const struct surface *machine_surface(const struct machine *m, const char *op,
                                      const char *kernel,
                                      const struct block_shape *shape,
                                      enum block_kind block);
/* The same on one surface, unscaled. */
double surface_seconds(const struct surface *s, int64_t q, int64_t k);
/* Flop/s of a product `op` of so many rows, interpolated in logarithms, constant
 * outside; of the entry nearest in head size and dtype for `kernel`.  One head
 * after the other: where the head sizes D and E are others, seconds of a flop
 * are a line in 1/D + 1/E through it and a second entry, if there is one.  0 if
 * the machine has none of that op. */
double machine_rate(const struct machine *m, const char *op,
                    const char *kernel, const struct block_shape *shape,
                    int64_t rows);
/* B/s of copies in blocks of so many bytes; 0 if the machine has none. */
double machine_copy_bandwidth(const struct machine *m, enum copy_path path,
                              int64_t block);
/* That a message of so many bytes is in; NULL: no link. */
const struct link_segment *link_segment(const struct link *l, int64_t bytes);
double link_seconds(const struct link *l, int64_t bytes);
double machine_message_seconds(const struct machine *m, int64_t bytes);

/* ---- From measurements -------------------------------------------------- */

struct link_point {
    int64_t bytes;
    double seconds;             /* one way */
};
/* Segments of l from points sorted by bytes (n >= 1): one to three affine fits,
 * least squares of the relative error. */
void link_fit(struct link *l, const struct link_point *p, int64_t n);
/* Exactly so many of at least 3 points each, 1 to 3; fewer points: 1. */
void segments_fit(struct link *l, const struct link_point *p, int64_t n,
                  int count);
/* Mean relative error of each point that has neighbours on both sides, from
 * these alone; NaN if there is none. */
double surface_cross_error(const struct surface *s);

/* ---- This node ---------------------------------------------------------- */

/* What hwloc sees, for `spar topo`: text or JSON. */
int topo_print(int json, FILE *out, struct error *e);
/* Bind the calling process to core `index` of those it may use, unless the
 * launcher already bound it to fewer than all. 1: bound, 0: left alone. */
int topo_bind(int index);
int topo_cores(void);           /* cores this process may use */
const char *topo_processor(void);       /* model name; static, "" unknown */
const char *topo_version(void);         /* "hwloc 2.9.0"; static */
int64_t topo_memory(void);              /* bytes of the node; 0: unknown */
int64_t topo_memory_available(void);    /* bytes; 0: unknown */

#endif
