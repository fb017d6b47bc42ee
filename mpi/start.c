/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"
#include "base/file.h"
#include "mpi/execute.h"
#include "mpi/run.h"
#include "topo/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void abort_all(int status)
{
    MPI_Abort(MPI_COMM_WORLD, status);
    exit(status);
}

static char *read_agreed(const char *const *paths, int n, int *which,
                         size_t *size, struct error *e)
{
    return agree_file(paths, n, which, size, MPI_COMM_WORLD, e);
}

int mpi_start(int *argc, char ***argv)
{
    int provided, rank;

    MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    die_set_routine(abort_all);
    file_set_reader(read_agreed);
    return rank == 0;
}

int mpi_finish(int status)
{
    MPI_Finalize();
    die_set_routine(NULL);
    file_set_reader(NULL);
    return status;
}

char *mpi_versions(void)
{
    char library[MPI_MAX_LIBRARY_VERSION_STRING], word[64];
    int length;

    MPI_Get_library_version(library, &length);
    if (sscanf(library, "MPICH Version: %40s", word) == 1)
        snprintf(library, sizeof library, "MPICH %s", word);
    else
        library[strcspn(library, ",\n")] = '\0';
    return xasprintf("%s, %s, %s", PACKAGE_STRING, library, topo_version());
}
