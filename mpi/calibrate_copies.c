/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies within a device, and between it and the host. */
#include <config.h>

#include "kernel/cuda_versions.h"
#include "mpi/calibrate_internal.h"

#include <stdlib.h>

enum { BYTES = 64 << 20 };

/* Bytes that lie together: of some heads of a row, of a row, of a tile. */
static const size_t blocks[] = { 256, 1024, 4096, 16384, BYTES };

struct copy_bench {
    const struct device *device;
    char *to, *from;            /* [2 x BYTES], half of it in blocks */
    size_t block, step;
};

static void copy_call(void *arg)
{
    struct copy_bench *b = arg;

    b->device->copy_rows(b->to, b->step, b->from, b->step, b->block,
                         BYTES / b->block);
}

/* Bandwidths of `path`, by block. */
static struct copy measure(const struct calibration *c, enum copy_path path,
                           struct copy_bench *b)
{
    struct copy copy = { .path = path };
    int64_t cap = 0;
    int n = sizeof blocks / sizeof *blocks;

    /* To and from the host what is staged lies together. */
    for (int i = path == COPY_DEVICE ? 0 : n - 1; i < n; i++) {
        b->block = blocks[i];
        b->step = b->block < BYTES ? 2 * b->block : b->block;
        MPI_Barrier(c->comm);
        double seconds = mean_over_ranks(c, time_call(c, copy_call, b));
        struct copy_point p = { (int64_t)b->block, digits(BYTES / seconds) };
        ARRAY_PUSH(copy.points, copy.n, cap, p);
    }
    say(c, "copies, %s: %.1f GB/s", copy_names[path],
        copy.points[copy.n - 1].bandwidth * 1e-9);
    return copy;
}

void calibrate_copies(const struct calibration *c)
{
    struct machine *m = c->m;
    int64_t cap = m->n_copies;
    char *here = bench_alloc(c->device, 4 * (size_t)BYTES);
    struct copy_bench b = { c->device, here, here + 2 * (size_t)BYTES, 0, 0 };
    char *host = cuda_host_alloc(BYTES);
    int pinned = host != NULL;

    c->device->fill(here, 0, 4 * (size_t)BYTES);
    ARRAY_PUSH(m->copies, m->n_copies, cap, measure(c, COPY_DEVICE, &b));
    MPI_Allreduce(MPI_IN_PLACE, &pinned, 1, MPI_INT, MPI_MIN, c->comm);
    if (pinned) {
        b.to = host;
        ARRAY_PUSH(m->copies, m->n_copies, cap, measure(c, COPY_TO_HOST, &b));
        b.to = here;
        b.from = host;
        ARRAY_PUSH(m->copies, m->n_copies, cap,
                   measure(c, COPY_FROM_HOST, &b));
    } else {
        say(c, "no pinned memory: copies to and from the host not measured");
    }
    if (host)
        cuda_host_free(host);
    c->device->free(here);
}
