/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"
#include "base/file.h"
#include "mpi/execute.h"
#include "mpi/run.h"
#include "mpi/watch.h"
#include "topo/machine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOSS_SEEN_MS = 1000, LAST_WORDS_S = 10, PASSED_ON_US = 500000 };

static void abort_all(int status)
{
    alarm(LAST_WORDS_S);        /* MPI and the device may never let go */
    usleep(PASSED_ON_US);       /* an abort overtakes what was printed */
    MPI_Abort(MPI_COMM_WORLD, status);
    exit(status);
}

static int my_rank;

/* MPI notices some losses itself, sooner, and says other things about them: it
 * calls this, */
static void mpi_failed(MPI_Comm *comm, int *code, ...)
{
    char text[MPI_MAX_ERROR_STRING];
    int length, lost = watch_lost(LOSS_SEEN_MS);

    (void)comm;
    if (lost >= 0)
        die("rank %d: lost rank %d of this host", my_rank, lost);
    MPI_Error_string(*code, text, &length);
    die("rank %d: MPI: %s", my_rank, text);
}

/* or what it is built on (UCX) calls abort(). */
static void aborted(int number)
{
    int lost = watch_lost(LOSS_SEEN_MS);

    if (lost >= 0)
        fprintf(stderr, "spar: rank %d: lost rank %d of this host\n", my_rank,
                lost);
    usleep(PASSED_ON_US);
    signal(number, SIG_DFL);
    raise(number);
}

/* Of the world, and so of all communicators that are made from it. */
static void handle_errors(void)
{
    MPI_Errhandler handler;

    MPI_Comm_create_errhandler(mpi_failed, &handler);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, handler);
    MPI_Errhandler_free(&handler);
    signal(SIGABRT, aborted);
}

static char *read_agreed(const char *const *paths, int n, int *which,
                         size_t *size, struct error *e)
{
    return agree_file(paths, n, which, size, MPI_COMM_WORLD, e);
}

/* "MPICH 4.0.2" */
static const char *mpi_name(void)
{
    static char library[MPI_MAX_LIBRARY_VERSION_STRING];
    char word[64];
    int length;

    MPI_Get_library_version(library, &length);
    if (sscanf(library, "MPICH Version: %40s", word) == 1)
        snprintf(library, sizeof library, "MPICH %s", word);
    else
        library[strcspn(library, ",\n")] = '\0';
    return library;
}

int mpi_start(int *argc, char ***argv)
{
    int provided;

    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &my_rank);
    die_set_routine(abort_all);
    file_set_reader(read_agreed);
    handle_errors();
    watch_start();
    return my_rank == 0;
}

/* A rank of another MPI's launcher is alone in its world, and would run as one
 * of one. */
int mpi_check_launcher(struct error *e)
{
    static const struct {
        const char *size, *who, *instead;
    } others[] = {
        { "OMPI_COMM_WORLD_SIZE", "Open MPI's mpiexec", "mpiexec.mpich" },
        { "SLURM_STEP_NUM_TASKS", "srun", "srun --mpi=pmi2" },
        { "PMI_SIZE", "an mpiexec", "that of its own MPI" },
    };
    int ranks;

    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    for (int i = 0; i < 3 && ranks == 1; i++) {
        const char *size = getenv(others[i].size);
        if (size && atoi(size) > 1)
            return fail_usage(e, "%s started %s processes, but MPI (%s) sees "
                              "one rank: start spar with %s", others[i].who,
                              size, mpi_name(), others[i].instead);
    }
    return 0;
}

int mpi_finish(int status)
{
    watch_stop();
    MPI_Finalize();
    die_set_routine(NULL);
    file_set_reader(NULL);
    return status;
}

char *mpi_versions(void)
{
    return xasprintf("%s, %s, %s", PACKAGE_STRING, mpi_name(), topo_version());
}
