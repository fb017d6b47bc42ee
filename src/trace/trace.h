/* SPDX-License-Identifier: Apache-2.0
 *
 * Traces: spans of ops, spooled per rank while a run goes on, written as one
 * HDF5 file at the end (serial library), read back by
 * `compare` and `trace`.  Knows no schedule and no MPI: callers supply names
 * and numbers.  Measured and simulated traces have the same layout. */
#ifndef SPAR_TRACE_H
#define SPAR_TRACE_H

#include "base/base.h"

#include <stdio.h>

/* One op once.  Times in ns since the start of the repeat (common clock). */
struct span {
    int64_t start, end;
    int64_t ready;              /* all dependencies met; <= start */
    int32_t entry, repeat, rank, op;
    int32_t lane;               /* 0 is the lane that computes */
    int32_t pad;
};

/* What is known of op `op` of a rank besides its time. */
struct op_record {
    uint32_t name, kind;        /* index into the trace's names, kinds */
    int32_t step, peer;         /* -1: none */
    int64_t bytes;              /* payload moved by a send, recv, collective */
    double flops;
};

/* ---- Spool: TRACE.part/rank-N.spans and rank-N.state -----------------------
 * Each rank appends fixed-size records; the small mapped state file holds the
 * op under way, so that a killed run can say where it was. */
struct spool;
struct spool *spool_open(const char *folder, int32_t rank, int32_t ranks,
                         const char *host, struct error *e);
/* Cheap: stores into the mapped state file. `name` is copied. op -1: idle. */
void spool_under_way(struct spool *s, int32_t entry, int32_t repeat,
                     int32_t op, const char *name);
void spool_append(struct spool *s, const struct span *spans, int64_t n);
int spool_close(struct spool *s, struct error *e);
/* Make the folder (rank 0, before the others open) / remove it with what this
 * module put there. An old folder of a killed run is replaced, one of a run
 * that still goes on, or one that holds other files, is refused. */
int spool_make_folder(const char *folder, struct error *e);
void spool_remove_folder(const char *folder);
/* All whole records of a folder, sorted by (entry, repeat, rank, start);
 * *spans is the caller's to free. */
int64_t spool_read(const char *folder, struct span **spans, struct error *e);

/* What a state file says. */
struct spool_state {
    int32_t rank, ranks, entry, repeat, op;
    int32_t finished;           /* closed in good order */
    int32_t running;            /* its process holds the spool open */
    char host[64], name[96];
    int64_t spans;              /* whole records in the spool */
};
int64_t spool_states(const char *folder, struct spool_state **states,
                     struct error *e);

/* What a simulation knows besides; written, not read back.  A link of the
 * machine, one direction or a port. */
struct trace_link {
    char kind[16];              /* "nvlink", ...; "port" */
    char from[48], to[48];
    double capacity;            /* B/s */
    double bytes;               /* all that went over it */
    double busy;                /* s when anything did */
    double peak;                /* largest part of the capacity in use */
};
struct trace_memory {           /* bytes of a rank's buffers from then on */
    int64_t time, bytes;
    int32_t rank;
};

/* ---- The file ------------------------------------------------------------ */

struct trace_entry {            /* one per entry of `strategies` */
    char strategy[32], layout[32];
    char transport[16];         /* "": simulated; not read back */
    uint64_t schedule_hash;
    int32_t ranks;
    int32_t repeats;
    /* Wall time of each timed repeat, max over ranks, ns [repeats]; simulated:
     * one, the makespan. */
    int64_t *repeat_ns;
    int64_t spans_ns;           /* wall time of the repeat that was traced */
    int64_t *n_ops;             /* [ranks] */
    struct op_record **ops;     /* [ranks][n_ops] */
    int64_t *peak_bytes;        /* [ranks] */
    int64_t n_links, n_memory;
    struct trace_link *links;
    struct trace_memory *memory;        /* by rank, time */
};

struct trace_clock {            /* of a rank; simulated: zeros */
    double offset_ns, drift_ppm, residual_ns;
};

/* The job of a resource manager that a run was. */
struct trace_job {
    const char *id;             /* its number, "" unknown, as all of these */
    const char *nodes, *tasks;  /* "node[1-4]", tasks on each: "2(x3),1" */
    const char *topology;       /* text of the file that has the switches */
    const char **places;        /* [ranks] "spine.leaf1.node1" */
};

struct trace {
    int simulated;              /* attribute time_base measured | simulated */
    const char *scenario_json;  /* the full scenario as run */
    const char *command;        /* attribute history */
    const char *machine;        /* machine file text, "" if none */
    const char *versions;       /* "spar 0.1.0, MPICH 4.0.2, ..." */
    int64_t n_names, n_kinds, n_lanes;
    const char **names, **kinds;
    const char **lanes;         /* names, by span.lane; none: n_lanes 0 */
    int32_t ranks;
    const char **hosts;         /* [ranks] */
    const char **slots;         /* [ranks] the device or cores of the host that
                                   a rank works on; NULL: unknown */
    const struct trace_job *job;        /* NULL: none */
    const struct trace_clock *clocks;   /* [ranks] */
    int64_t n_entries;
    struct trace_entry *entries;
    int64_t n_spans;
    const struct span *spans;   /* sorted by (entry, repeat, rank, start) */
};

/* Temporary name, then rename; `complete` = 1 is written last.  On failure no
 * file is left and an older one survives. */
int trace_write(const char *path, const struct trace *t, struct error *e);
/* Owns all it points to. NULL and *e for a file that is not a whole trace. */
struct trace *trace_read(const char *path, struct error *e);
void trace_destroy(struct trace *t);            /* of trace_read() */

/* ---- Reports ---------------------------------------------------------------
 * Written to `out`; `json`: one JSON value. */
/* Joins by (entry, rank, op), repeats by their median; refuses unequal
 * schedule hashes.  Per entry: makespan, time per kind of op, where the time
 * of each rank's compute lane went (busy + wait for data + delay + tail, as
 * defined in trace/usage.h), and the ops whose |measured - predicted| is
 * largest.  Every ratio is predicted / measured. */
int trace_compare(const struct trace *measured, const struct trace *simulated,
                  int json, FILE *out, struct error *e);
/* Per rank: ops, busy, waits, last op; of a .part folder also who was killed
 * and in which op.  PATH: an HDF5 trace or a .part folder. */
int trace_summary(const char *path, int json, FILE *out, struct error *e);

/* ---- Tensors in HDF5 (interface.md, section 2) --------------------------- */

/* What is needed of an input file: q, k, v; `do` besides; for a decode step q
 * of the last tokens of k and v only, without `do`. */
enum tensor_need { TENSORS_FORWARD, TENSORS_GRADIENT, TENSORS_DECODE };

struct tensor_file {            /* an input file, read whole */
    int64_t tokens, heads, kv_heads, head_dim, value_dim;
    int64_t queries;            /* rows of q: tokens, but in decode */
    float *q, *k, *v, *d_o;     /* d_o NULL if absent */
    int64_t n_lengths;          /* attribute lengths; 0 if absent */
    int64_t *lengths;
};
/* Refuses missing datasets, wrong ranks or disagreeing shapes, NaN, infinity,
 * truncated files: names file and dataset. */
struct tensor_file *tensor_file_read(const char *path, enum tensor_need need,
                                     struct error *e);
void tensor_file_destroy(struct tensor_file *f);

/* One group of results, e.g. "/0", or "/0/1" of a layer; fp32, global token
 * order; NULL: absent.  `tokens`: rows of them, of decode the queries. */
struct tensor_results {
    const char *group;
    int64_t tokens, heads, kv_heads, head_dim, value_dim;
    const float *o, *lse, *dq, *dk, *dv;
};
int tensor_results_write(const char *path, const struct tensor_results *r,
                         int64_t n, struct error *e);

#endif
