/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/file.h"
#include "mpi/execute.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int agree(int rc, const struct error *e, MPI_Comm comm)
{
    int rank, size, failing;
    struct error first;

    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &size);
    failing = rc ? rank : size;
    MPI_Allreduce(MPI_IN_PLACE, &failing, 1, MPI_INT, MPI_MIN, comm);
    if (failing == size)
        return SPAR_OK;
    if (rank == failing)
        first = *e;
    MPI_Bcast(&first, (int)sizeof first, MPI_BYTE, failing, comm);
    if (rank == 0)
        fprintf(stderr, "spar: %s\n", first.text);
    return first.status ? first.status : SPAR_FAILED;
}

enum { NAP_US = 500 };

void nap_bcast(void *data, int bytes, MPI_Comm comm)
{
    MPI_Request request;
    int done = 0;

    MPI_Ibcast(data, bytes, MPI_BYTE, 0, comm, &request);
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE), !done)
        usleep(NAP_US);
}

int agree_equal(uint64_t value, MPI_Comm comm)
{
    uint64_t least[2] = { value, ~value };

    MPI_Allreduce(MPI_IN_PLACE, least, 2, MPI_UINT64_T, MPI_MIN, comm);
    return least[0] == ~least[1];
}

char *agree_file(const char *const *paths, int n, int *which, size_t *size,
                 MPI_Comm comm, struct error *e)
{
    int rank, failed;
    char *text = NULL;
    uint64_t bytes = 0;

    MPI_Comm_rank(comm, &rank);
    if (rank == 0) {
        text = file_read_first(paths, n, which, size, e);
        bytes = text ? *size : 0;
    }
    failed = rank == 0 && !text;
    MPI_Bcast(&failed, 1, MPI_INT, 0, comm);
    if (failed) {
        MPI_Bcast(e, (int)sizeof *e, MPI_BYTE, 0, comm);
        return NULL;
    }
    MPI_Bcast(which, 1, MPI_INT, 0, comm);
    if (*which >= n)            /* rank 0 has a longer list */
        *which = n - 1;
    MPI_Bcast(&bytes, 1, MPI_UINT64_T, 0, comm);
    if (rank)
        text = xmalloc(bytes + 1);
    MPI_Bcast_c(text, (MPI_Count)bytes + 1, MPI_BYTE, 0, comm);
    *size = bytes;
    return text;
}
