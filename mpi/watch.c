/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"
#include "mpi/watch.h"

#include <errno.h>
#include <mpi.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PATIENCE_MS = 3000, LAST_WORDS_S = 5, PASSED_ON_US = 500000 };

/* A rank of this host. */
struct neighbour {
    uint64_t pids;              /* names the space that its pid is of */
    int32_t pid, rank;
};

/* fds[0]: readable when there is nothing to watch any more; the others: when a
 * process ends. */
static struct {
    struct neighbour *who;      /* [n], as fds */
    struct pollfd *fds;
    int n, me;
    pthread_t thread;
} watched;

static struct neighbour myself(int rank)
{
    struct stat space = { 0 };

    stat("/proc/self/ns/pid", &space);
    return (struct neighbour){ (uint64_t)space.st_ino, (int32_t)getpid(),
                               rank };
}

static int open_process(int pid)
{
#ifdef SYS_pidfd_open
    return (int)syscall(SYS_pidfd_open, pid, 0);
#else
    (void)pid;
    return -1;
#endif
}

/* All ranks of this host; the caller frees it. */
static struct neighbour *meet(const struct neighbour *mine, int *n)
{
    MPI_Comm host;

    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL,
                        &host);
    MPI_Comm_size(host, n);
    struct neighbour *all = xcalloc((size_t)*n, sizeof *all);
    MPI_Allgather(mine, sizeof *mine, MPI_BYTE, all, sizeof *all, MPI_BYTE,
                  host);
    MPI_Comm_free(&host);
    return all;
}

/* The first that has ended, after at most so long; 0: it is over, -1: none. */
static int wait_for_end(int ms)
{
    struct pollfd *fds = xcalloc((size_t)watched.n, sizeof *fds);
    int first = -1;

    memcpy(fds, watched.fds, (size_t)watched.n * sizeof *fds);
    while (poll(fds, (nfds_t)watched.n, ms) < 0 && errno == EINTR)
        ;
    for (int i = watched.n - 1; i >= 0; i--)
        first = fds[i].revents ? i : first;
    free(fds);
    return first;
}

int watch_lost(int ms)
{
    int lost = watched.n > 1 ? wait_for_end(ms) : -1;

    return lost > 0 ? watched.who[lost].rank : -1;
}

static void *watch(void *arg)
{
    int lost = wait_for_end(-1);

    /* It may have been the end of all, or the launcher may act, in peace. */
    if (lost <= 0 || poll(watched.fds, 1, PATIENCE_MS) > 0)
        return arg;
    fprintf(stderr, "spar: rank %d: lost rank %d of this host\n", watched.me,
            watched.who[lost].rank);
    fflush(stderr);
    alarm(LAST_WORDS_S);        /* MPI and the device may never let go */
    usleep(PASSED_ON_US);       /* an abort overtakes what was printed */
    MPI_Abort(MPI_COMM_WORLD, SPAR_FAILED);
    _exit(SPAR_FAILED);
}

/* Hydra tells survivors of a loss by SIGUSR1, which would end them silently. */
static void ignore_hints(void)
{
    struct sigaction now;

    if (sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGUSR1, SIG_IGN);
}

void watch_start(void)
{
    int n;

    ignore_hints();

    MPI_Comm_rank(MPI_COMM_WORLD, &watched.me);
    struct neighbour mine = myself(watched.me), *all = meet(&mine, &n);
    watched.who = xcalloc((size_t)n + 1, sizeof *watched.who);
    watched.fds = xcalloc((size_t)n + 1, sizeof *watched.fds);
    watched.fds[0] = (struct pollfd){ eventfd(0, EFD_CLOEXEC), POLLIN, 0 };
    watched.n = 1;
    for (int i = 0; i < n && watched.fds[0].fd >= 0; i++) {
        int fd = all[i].pids == mine.pids && all[i].pid != mine.pid
            ? open_process(all[i].pid) : -1;
        if (fd < 0)             /* me, or not to be seen from here */
            continue;
        watched.fds[watched.n] = (struct pollfd){ fd, POLLIN, 0 };
        watched.who[watched.n++] = all[i];
    }
    free(all);
    if (watched.n > 1 && pthread_create(&watched.thread, NULL, watch, NULL))
        watched.n = 1;
}

void watch_stop(void)
{
    uint64_t one = 1;

    MPI_Barrier(MPI_COMM_WORLD);
    if (watched.n > 1) {
        if (write(watched.fds[0].fd, &one, sizeof one) == sizeof one)
            pthread_join(watched.thread, NULL);
    }
    for (int i = 0; i < watched.n; i++)
        if (watched.fds[i].fd >= 0)
            close(watched.fds[i].fd);
    free(watched.who);
    free(watched.fds);
}
