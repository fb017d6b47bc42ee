/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices: where a rank's buffers are, and what runs on them.  A kernel backend
 * works on one kind of device; its tensors are addresses there.
 *
 * All calls but get, put and sync may return before the work is done.  Work
 * given to one stream runs in order; streams are of the device that the thread
 * has opened. */
#ifndef SPAR_DEVICE_H
#define SPAR_DEVICE_H

#include "base/base.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { DEVICE_STREAMS = 8 };

/* What a device is, and what no program can do on it. */
struct device_facts {
    char name[64];              /* "NVIDIA H100 80GB HBM3" */
    char pci[16];               /* address, "0000:18:00.0"; "" not on PCI */
    char id[48];                /* the same in every process of the host */
    double flops;               /* flop/s, most of any kernel */
    double copy;                /* B/s read and written, of its memory */
    double link;                /* B/s to another device or host, one way */
    int shares;                 /* processes on it run side by side */
};

struct device {
    const char *name;           /* "host", "cuda" */
    int (*count)(void);         /* devices of the kind here; 0: none */
    /* What device `number` is; does not start it. 0, or -1 with why. */
    int (*facts)(int number, struct device_facts *f, struct error *e);
    /* This thread works on device `number` from now on. 0, or -1 with why. */
    int (*open)(int number, struct error *e);
    void *(*alloc)(size_t bytes, struct error *e);      /* NULL: refused */
    void (*free)(void *p);
    /* Memory of the host that the device copies from and to at full speed. */
    void *(*alloc_host)(size_t bytes, struct error *e);
    void (*free_host)(void *p);
    int (*memory)(size_t *available, size_t *total);    /* bytes; -1 unknown */
    void (*fill)(void *dst, int byte, size_t bytes);
    void (*put)(void *dst, const void *host, size_t bytes);
    void (*get)(void *host, const void *src, size_t bytes);
    /* Some floats, `step` bytes apart there; they are taken before it returns,
     * but it does not wait: in the order of the stream. */
    void (*put_floats)(void *dst, size_t step, const float *host, size_t n);
    /* Rows of `block` bytes, each side at its own step; bytes. */
    void (*copy_rows)(void *dst, size_t dst_step, const void *src,
                      size_t src_step, size_t block, size_t rows);
    /* Following work of this thread goes to stream 0 .. DEVICE_STREAMS - 1. */
    void (*stream)(int number);
    /* All streams; a device error ends the process with its text. */
    void (*sync)(void);
    /* Bytes that kernels of this process keep on it to work in. */
    size_t (*work)(void);
};

extern const struct device device_host;
#ifdef HAVE_CUDA
extern const struct device device_cuda;
#endif

#ifdef __cplusplus
}
#endif

#endif
