/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine of `spar run`, and starting and ending MPI for the commands that
 * need ranks. */
#ifndef SPAR_RUN_H
#define SPAR_RUN_H

/* Before anything is parsed, so that every message comes once.  Installs the
 * routine that die() ends with (MPI_Abort).  Returns 1 on the rank that speaks
 * (rank 0), 0 on the others. */
int mpi_start(int *argc, char ***argv);
/* -1 and *e where another MPI's launcher started several processes that do not
 * see each other. */
int mpi_check_launcher(struct error *e);
/* The same status on every rank; returns it. */
int mpi_finish(int status);

/* "spar 0.1.0, MPICH 4.0.2, hwloc 2.9.0"; the caller frees it. */
char *mpi_versions(void);

/* All pointers are borrowed. */
struct run_request {
    const char *scenario;       /* path */
    const char *const *sets;    /* assignments "key.path=value" */
    int n_sets;
    int json;                   /* standard output: JSON, else a table */
    const char *output;         /* trace; NULL: SCENARIO.run.h5 */
    const char *tensors;        /* --output-tensors; NULL: none */
    const char *command;        /* command line, for the trace's history */
};

/* Collective over MPI_COMM_WORLD, between mpi_start() and mpi_finish().
 * Returns the exit status, the same on every rank. */
int run_command(const struct run_request *request);

#endif
