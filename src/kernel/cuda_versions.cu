/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

#include "kernel/cuda_versions.h"

#ifdef HAVE_CUDNN
extern "C" size_t cudnnGetVersion(void);
#endif

void cuda_device_name(char *text, size_t size)
{
    struct cudaDeviceProp p;
    int number = 0;

    *text = '\0';
    if (cudaGetDevice(&number) == cudaSuccess
        && cudaGetDeviceProperties(&p, number) == cudaSuccess)
        snprintf(text, size, "%s", p.name);
}

/* The release of the driver, where Linux tells it: the first word with two dots
 * or more; else the CUDA version that it supports. */
static void driver_release(char *text, size_t size)
{
    char line[256] = "", *word, *rest = line;
    FILE *f = fopen("/proc/driver/nvidia/version", "r");
    int version = 0;

    cudaDriverGetVersion(&version);
    snprintf(text, size, "for CUDA %d.%d", version / 1000,
             version % 1000 / 10);
    if (!f)
        return;
    if (!fgets(line, sizeof line, f))
        line[0] = '\0';
    fclose(f);
    while ((word = strsep(&rest, " \t\n")) != NULL) {
        char *dot = strchr(word, '.');
        if (dot && strchr(dot + 1, '.') && *word >= '0' && *word <= '9') {
            snprintf(text, size, "%s", word);
            return;
        }
    }
}

void cuda_versions(char *text, size_t size)
{
    char driver[64];
    int runtime = 0;

    cudaRuntimeGetVersion(&runtime);
    driver_release(driver, sizeof driver);
    int n = snprintf(text, size, "CUDA %d.%d, driver %s", runtime / 1000,
                     runtime % 1000 / 10, driver);
#ifdef HAVE_CUDNN
    size_t v = cudnnGetVersion();
    if (n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, ", cuDNN %zu.%zu.%zu", v / 10000,
                 v / 100 % 100, v % 100);
#else
    (void)n;
#endif
}

void *cuda_host_alloc(size_t bytes)
{
    void *p = NULL;

    if (cudaHostAlloc(&p, bytes, cudaHostAllocPortable) == cudaSuccess)
        return p;
    cudaGetLastError();         /* the caller does without */
    return NULL;
}

void cuda_host_free(void *p)
{
    cudaFreeHost(p);
}
