/* SPDX-License-Identifier: Apache-2.0
 *
 * HDF5 made small.  Files are built in memory and written with write(2): the
 * library cannot be trusted to survive a full disk (1.10 crashes on closing a
 * file whose writes failed), and so errors are errno and nothing is left. */
#ifndef SPAR_TRACE_H5_H
#define SPAR_TRACE_H5_H

#include "base/base.h"

#include <hdf5.h>

/* ---- Writing: functions return 0, or -1 (out of memory, a wrong call) ---- */

/* An empty file in memory, readable by HDF5 1.8 and later. */
hid_t h5_create(void);
/* Write what was built to `path` (temporary name in the same folder, fsync,
 * rename) and close the file in memory.  `built` is the result of building:
 * if not 0, nothing is written. */
int h5_save(hid_t file, int built, const char *path, struct error *e);

/* A group in `at`; close with h5_close_object(), which takes -1 too. */
hid_t h5_make_group(hid_t at, const char *name);
void h5_close_object(hid_t object);
/* Make the dataset a dimension scale called `label`; opens it. */
hid_t h5_make_scale(hid_t at, const char *name, const char *label);

/* Attributes of `at`: a string, n strings, a number of HDF5 type `type`. */
int h5_put_string(hid_t at, const char *name, const char *value);
int h5_put_strings(hid_t at, const char *name, const char *const *values,
                   int64_t n);
int h5_put_number(hid_t at, const char *name, hid_t type, const void *value);

/* A dataset of n strings. */
int h5_put_string_column(hid_t at, const char *name, const char *const *values,
                         int64_t n);

/* A dataset and how it lies in the file. */
enum { H5_AXES = 12 };
struct h5_dataset {
    const char *name;
    const char *units, *meaning;    /* attributes units, long_name */
    hid_t memory, file;             /* types */
    int rank;
    hsize_t shape[H5_AXES];
    hsize_t chunk;              /* 0: contiguous; else 1-D, extensible */
    hid_t scale;                /* dimension scale of axis 0; 0: none */
    const hid_t *scales;        /* of all axes; NULL: none */
};
int h5_put_dataset(hid_t at, const struct h5_dataset *d, const void *data);
/* Strings in the shape of d, whose types and units are not read. */
int h5_put_string_grid(hid_t at, struct h5_dataset d,
                       const char *const *values);

/* ---- Reading ------------------------------------------------------------- */

struct h5_in {
    hid_t file;                 /* -1: not open */
    const char *path;
    struct error *e;
};
/* The messages say what is wrong with the file: not there, not HDF5, cut
 * short. */
int h5_open(struct h5_in *in, const char *path, struct error *e);
void h5_close(struct h5_in *in);

/* A 1-D dataset as `type` elements of `size` bytes; NULL and in->e on failure.
 * The caller frees. */
void *h5_get_column(const struct h5_in *in, const char *name, hid_t type,
                    size_t size, int64_t *n);
/* Strings of a dataset (attribute NULL) or of an attribute of `name`. */
char **h5_get_strings(const struct h5_in *in, const char *name,
                      const char *attribute, int64_t *n);
char *h5_get_string(const struct h5_in *in, const char *name,
                    const char *attribute);
void h5_free_strings(char **strings, int64_t n);
int h5_get_number(const struct h5_in *in, const char *name,
                  const char *attribute, hid_t type, void *value);
/* Is there a link of that name (its parents exist)? */
int h5_exists(hid_t at, const char *name);

#endif
