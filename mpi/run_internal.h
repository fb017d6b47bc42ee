/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of the engine of `spar run`. */
#ifndef SPAR_RUN_INTERNAL_H
#define SPAR_RUN_INTERNAL_H

#include "cli/planned.h"
#include "cli/records.h"
#include "cli/report.h"
#include "cli/scenario.h"
#include "mpi/execute.h"
#include "mpi/run.h"
#include "topo/machine.h"

/* One entry of `strategies`. Arrays: [ranks], on rank 0. */
struct entry {
    struct plan *plan;          /* NULL: does not apply */
    char *reason;               /* why not */
    uint64_t hash;              /* of all ranks' schedules */
    int64_t *bytes_sent, *bytes_expected, *pairs, *peak_bytes;
    double flops;               /* of all ranks */
    int64_t *repeat_ns;         /* [repeats] max over ranks */
    int64_t spans_ns;           /* of the traced repeat */
    struct trace_entry trace;   /* rank 0; without the times */
    double predicted, overlap;  /* s; NaN: unknown */
    struct verdict verdict;
    float *results[RESULTS];    /* kept for --output-tensors */
    int passed;
};

struct session {
    const struct run_request *request;
    MPI_Comm comm, node;        /* node: ranks that share memory */
    int rank, ranks, node_rank, node_ranks;
    int near_zero;              /* shares a node with rank 0 */
    struct scenario *scenario;
    struct tensor_file *file;   /* input tensors; NULL: seeded */
    uint64_t seed;
    const struct kernel_backend *kernel;
    struct machine *machine;    /* NULL: no prediction */
    char *machine_text, *no_machine;    /* why there is none */
    char *output, *folder;      /* trace; spool */
    int folder_made;            /* by me, rank 0 */
    struct spool *spool;
    struct trace_clock *clocks; /* [ranks] */
    char (*hosts)[64];          /* [ranks], rank 0 */
    int64_t clock_start;        /* ns */
    struct verify *verify;      /* rank 0; made for the first entry */
    struct records records;     /* rank 0 */
    struct entry *entries;      /* [scenario->n_strategies] */
};

/* ---- Set-up (run_setup.c): each stage ends in agreement ----------------- */
typedef int (*stage_fn)(struct session *s, struct error *e);
extern const stage_fn run_stages[];     /* NULL last */

/* ---- Input -------------------------------------------------------------- */
/* The job's input tensors by row; arg: the session. */
void input_row(void *arg, enum tensor_name tensor, int64_t token,
               int64_t head, int64_t width, float *out);

/* ---- One entry (run_entry.c) -------------------------------------------- */
/* Runs and verifies it. Collective; 0, or the status after a message. */
int entry_run(struct session *s, int64_t index);
/* Room for this rank's schedule, for verification on rank 0, and for the other
 * ranks of the node?  Collective on the node. */
int memory_fits(const struct session *s, const struct schedule *schedule,
                struct error *e);
void entry_clear(struct entry *x);

/* ---- Collecting (collect.c) --------------------------------------------- */
/* Output `tensor` of all ranks into the global fp32 array on rank 0. */
void collect_tensor(const struct memory *m, enum tensor_name tensor,
                    float *global, MPI_Comm comm);

/* ---- Clocks (clocks.c) -------------------------------------------------- */
/* Offsets of all ranks' clocks to rank 0's; at the end, their drift. */
void clocks_start(struct session *s);
void clocks_end(struct session *s);
/* This moment of rank 0's clock, on mine. Collective. */
int64_t clocks_zero(const struct session *s);

/* ---- The trace (run_trace.c), rank 0 ------------------------------------ */
/* What the trace says about the ops of an entry; also the prediction. */
void entry_describe(struct session *s, int64_t index);
/* Spans of the spool into a file, overlaps into the entries. */
int trace_assemble(struct session *s, struct error *e);

#endif
