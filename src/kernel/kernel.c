/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of kernel backends, fastest first. */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "kernel/backends.h"

const struct kernel_backend *const kernel_backends[] = {
    &kernel_cpu,
#ifdef HAVE_CUDNN
    &kernel_cudnn,
#endif
#ifdef HAVE_CUDA
    &kernel_cuda,
#endif
    &kernel_reference,
    &kernel_null,
#ifdef HAVE_CUDA
    &kernel_null_cuda,
#endif
    NULL,
};

static const struct kernel_backend *fastest(struct error *e)
{
    for (int i = 0; kernel_backends[i]; i++)
        if (!kernel_backends[i]->available(e))
            return kernel_backends[i];
    return NULL;
}

static void fail_unknown(const char *name, struct error *e)
{
    char known[256] = "auto";
    size_t n = strlen(known);

    for (int i = 0; kernel_backends[i] && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, ", %s",
                              kernel_backends[i]->name);
    fail_usage(e, "unknown kernel \"%s\", known: %s", name, known);
}

const struct kernel_backend *kernel_find(const char *name, struct error *e)
{
    if (!strcmp(name, "auto"))
        return fastest(e);
    for (int i = 0; kernel_backends[i]; i++)
        if (!strcmp(name, kernel_backends[i]->name))
            return kernel_backends[i]->available(e) ? NULL
                                                    : kernel_backends[i];
    fail_unknown(name, e);
    return NULL;
}
