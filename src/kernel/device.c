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

const struct device device_host = {
    .name = "host",
    .count = host_count,
    .open = host_open,
    .alloc = host_alloc,
    .free = free,
    .memory = host_memory,
    .fill = host_fill,
    .put = host_copy,
    .get = host_copy,
    .copy_rows = host_copy_rows,
    .stream = host_stream,
    .sync = host_sync,
};
