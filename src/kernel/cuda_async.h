/* SPDX-License-Identifier: Apache-2.0
 *
 * Order on a CUDA device, within a process and between processes: streams,
 * events, flags in device memory, memory of other processes.  Present where the
 * build found nvcc.  Everything is of the device that the thread has opened
 * (device.h); what a call enqueues goes to the given stream.  A CUDA error ends
 * the process with its text. */
#ifndef SPAR_CUDA_ASYNC_H
#define SPAR_CUDA_ASYNC_H

#include "base/base.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A stream as CUDA's C API has it. */
struct CUstream_st *cuda_stream_handle(int stream);

/* The device that the thread has opened. */
int cuda_device_opened(void);

/* ---- Events of this process ---------------------------------------------- */

/* Timed ones can be asked for seconds; the others cost less. */
void *cuda_event_create(int timed);
void cuda_event_destroy(void *event);
void cuda_event_record(void *event, int stream);
/* Following work of the stream waits for what was recorded. */
void cuda_event_wait(void *event, int stream);
int cuda_event_done(void *event);
/* Between two timed events that are done. */
double cuda_event_seconds(void *from, void *to);

/* For tests: a kernel that fails, and with it all that follows; work that never
 * ends. */
void cuda_trap(int stream);
void cuda_stall(int stream);

/* ---- Memory of other processes ------------------------------------------- */

/* Names an allocation of this process for others of the same host. */
struct cuda_handle {
    unsigned char bytes[64];
};
/* `base`: what device_cuda.alloc() returned. */
int cuda_export(void *base, struct cuda_handle *h, struct error *e);
/* Maps it; -1 with the reason: another device that cannot be reached, say. */
int cuda_import(const struct cuda_handle *h, void **base, struct error *e);
void cuda_unimport(void *base);

/* ---- Flags --------------------------------------------------------------- */

/* A word of device memory, of this process or mapped.  Writing comes after all
 * that the stream was given before, in the eyes of every device; waiting goes
 * on once the word is at least `value` (counting round 2^32). */
void cuda_flag_write(int stream, uint32_t *flag, uint32_t value);
void cuda_flag_wait(int stream, uint32_t *flag, uint32_t value);

/* ---- Reductions ---------------------------------------------------------- */

/* The operators of src/run/reduce.h on records of members in order: member k's
 * records [records, width] fp32 at data + k * step (floats). Scan: of the
 * members before `me`. */
enum cuda_reduction { CUDA_MAX, CUDA_SUM, CUDA_MERGE, CUDA_SCAN };
void cuda_reduce(int stream, enum cuda_reduction what, const float *data,
                 size_t step, int members, int me, int64_t records, int width,
                 float *out);

#ifdef __cplusplus
}
#endif

#endif
