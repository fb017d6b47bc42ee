/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of kernel backends, fastest first. */
#include <config.h>

#include <string.h>

#include "kernel/backends.h"

const struct kernel_backend *const kernel_backends[] = {
    &kernel_cpu,
    &kernel_reference,
    &kernel_null,
    NULL,
};

static const struct kernel_backend *fastest(struct error *e)
{
    for (int i = 0; kernel_backends[i]; i++)
        if (!kernel_backends[i]->available(e))
            return kernel_backends[i];
    return NULL;
}

const struct kernel_backend *kernel_find(const char *name, struct error *e)
{
    if (!strcmp(name, "auto"))
        return fastest(e);
    for (int i = 0; kernel_backends[i]; i++)
        if (!strcmp(name, kernel_backends[i]->name))
            return kernel_backends[i]->available(e) ? NULL
                                                    : kernel_backends[i];
    fail_usage(e, "no kernel \"%s\": auto, cpu, reference or null", name);
    return NULL;
}
