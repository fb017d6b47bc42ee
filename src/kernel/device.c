/* SPDX-License-Identifier: Apache-2.0
 *
 * The host as a device: one stream, everything done on return. */
#include <config.h>

#include "kernel/device.h"

#include <stdlib.h>
#include <string.h>

static int host_count(void)
{
    return 1;
}

/* A rank's part of it: one core. */
static int host_facts(int number, struct device_facts *f, struct error *e)
{
    (void)number, (void)e;
    *f = (struct device_facts){ .name = "host", .id = "host", .flops = 1e12,
                                .copy = 4e11, .link = 2e11, .shares = 1 };
    return 0;
}

static int host_open(int number, struct error *e)
{
    return number == 0 ? 0 : fail(e, "there is no host %d", number);
}

static void *host_alloc(size_t bytes, struct error *e)
{
    void *p = NULL;

    if (posix_memalign(&p, 64, bytes ? bytes : 64)) {
        fail(e, "the system refused %.3f GiB", (double)bytes / 0x1p30);
        return NULL;
    }
    return p;
}

static int host_memory(size_t *available, size_t *total)
{
    (void)available, (void)total;
    return -1;
}

static void host_fill(void *dst, int byte, size_t bytes)
{
    memset(dst, byte, bytes);
}

static void host_copy(void *dst, const void *src, size_t bytes)
{
    memcpy(dst, src, bytes);
}

static void host_put_floats(void *dst, size_t step, const float *host,
                            size_t n)
{
    for (size_t i = 0; i < n; i++)
        memcpy((char *)dst + i * step, &host[i], sizeof *host);
}

static void host_copy_rows(void *dst, size_t dst_step, const void *src,
                           size_t src_step, size_t block, size_t rows)
{
    for (size_t i = 0; i < rows; i++)
        memcpy((char *)dst + i * dst_step, (const char *)src + i * src_step,
               block);
}

static void host_stream(int number)
{
    (void)number;
}

static void host_sync(void)
{
}

static size_t host_work(void)
{
    return 0;
}

const struct device device_host = {
    .name = "host",
    .count = host_count,
    .facts = host_facts,
    .open = host_open,
    .alloc = host_alloc,
    .free = free,
    .alloc_host = host_alloc,
    .free_host = free,
    .memory = host_memory,
    .fill = host_fill,
    .put = host_copy,
    .get = host_copy,
    .put_floats = host_put_floats,
    .copy_rows = host_copy_rows,
    .stream = host_stream,
    .sync = host_sync,
    .work = host_work,
};
