/* SPDX-License-Identifier: Apache-2.0
 *
 * Facts of CUDA devices: names that every process of a host agrees on, and
 * limits from the number of multiprocessors, their clock and what one of its
 * architecture does in a cycle. */
#include <config.h>

#include <cuda_runtime.h>
#include <stdio.h>

#include "kernel/cuda_facts.h"

/* By compute capability, ascending; each holds up to the next.  Dense products
 * of 16-bit numbers, flop a multiprocessor and cycle; all NVLinks of the
 * largest model, B/s one way, 0: PCIe alone.  Sources: CUDA C Programming
 * Guide, data sheets of V100, A100, H100, B200. */
static const struct limits {
    int capability;
    double flops, nvlink;
} limits[] = {
    { 70, 1024, 150e9 },        /* V100 */
    { 75, 1024, 50e9 },
    { 80, 2048, 300e9 },        /* A100 */
    { 86, 1024, 56e9 },         /* A40, A10; to 8.9: L40, RTX 4090 */
    { 90, 4096, 450e9 },        /* H100, H200 */
    { 100, 8192, 900e9 },       /* B200 */
    { 120, 1024, 0 },           /* RTX 50, RTX PRO */
    { 130, 65536, 3600e9 },     /* unknown as yet */
};
static const double PCIE = 64e9;        /* fifth generation, 16 lanes */

static const struct limits *limits_of(int capability)
{
    const struct limits *found = &limits[0];

    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (limits[i].capability <= capability)
            found = &limits[i];
    return found;
}

static double attribute(enum cudaDeviceAttr what, int number)
{
    int value = 0;

    if (cudaDeviceGetAttribute(&value, what, number) != cudaSuccess)
        cudaGetLastError();     /* an older driver does not know it: 0 */
    return value;
}

static void set_limits(int number, int capability, struct device_facts *f)
{
    const struct limits *l = limits_of(capability);
    double clock = 1e3 * attribute(cudaDevAttrClockRate, number);
    double memory = 1e3 * attribute(cudaDevAttrMemoryClockRate, number);

    f->flops = l->flops * clock
        * attribute(cudaDevAttrMultiProcessorCount, number);
    f->copy = 2 * memory / 8        /* two words a cycle */
        * attribute(cudaDevAttrGlobalMemoryBusWidth, number);
    f->link = l->nvlink > PCIE ? l->nvlink : PCIE;
}

/* "GPU-", then the bytes in groups as nvidia-smi writes them. */
static void set_id(const cudaUUID_t *uuid, char *text, size_t size)
{
    int at = snprintf(text, size, "GPU-");

    for (int i = 0; i < 16; i++)
        at += snprintf(text + at, size - (size_t)at, "%s%02x",
                       i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                       (unsigned char)uuid->bytes[i]);
}

int cuda_facts(int number, struct device_facts *f, struct error *e)
{
    static struct cudaDeviceProp p;     /* large */
    cudaError_t rc = cudaGetDeviceProperties(&p, number);

    *f = {};
    if (rc != cudaSuccess)
        return fail(e, "CUDA device %d: %s", number, cudaGetErrorString(rc));
    snprintf(f->name, sizeof f->name, "%s", p.name);
    if (cudaDeviceGetPCIBusId(f->pci, sizeof f->pci, number) != cudaSuccess)
        f->pci[0] = '\0';
    set_id(&p.uuid, f->id, sizeof f->id);
    set_limits(number, 10 * p.major + p.minor, f);
    f->shares = attribute(cudaDevAttrMpsEnabled, number) > 0;
    return 0;
}
