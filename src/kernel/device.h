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

struct device {
    const char *name;           /* "host", "cuda" */
    int (*count)(void);         /* devices of the kind here; 0: none */
    /* This thread works on device `number` from now on. 0, or -1 with why. */
    int (*open)(int number, struct error *e);
    void *(*alloc)(size_t bytes, struct error *e);      /* NULL: refused */
    void (*free)(void *p);
    int (*memory)(size_t *available, size_t *total);    /* bytes; -1 unknown */
    void (*fill)(void *dst, int byte, size_t bytes);
    void (*put)(void *dst, const void *host, size_t bytes);
    void (*get)(void *host, const void *src, size_t bytes);
    /* Rows of `block` bytes, each side at its own step; bytes. */
    void (*copy_rows)(void *dst, size_t dst_step, const void *src,
                      size_t src_step, size_t block, size_t rows);
    /* Following work of this thread goes to stream 0 .. DEVICE_STREAMS - 1. */
    void (*stream)(int number);
    /* All streams; a device error ends the process with its text. */
    void (*sync)(void);
};

extern const struct device device_host;
#ifdef HAVE_CUDA
extern const struct device device_cuda;
#endif

#ifdef __cplusplus
}
#endif

#endif
