/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading whole files.  Under MPI rank 0 reads and broadcasts: mpi/ installs
 * that as the reader, and callers notice nothing, as long as every rank asks
 * for the same files in the same order. */
#ifndef SPAR_FILE_H
#define SPAR_FILE_H

#include "base/base.h"

/* The first of n paths that can be opened; *which: its index.  The bytes, NUL
 * behind them, are the caller's to free; *size: without the NUL. NULL and *e
 * (about the first path) if none. */
char *file_read(const char *const *paths, int n, int *which, size_t *size,
                struct error *e);

/* Read one file here, on this process. */
char *file_read_local(const char *path, size_t *size, struct error *e);

/* The first of n paths that this process can open. */
char *file_read_first(const char *const *paths, int n, int *which,
                      size_t *size, struct error *e);

/* How file_read() reads; NULL: file_read_first. One call of it per file_read(),
 * whatever the list, so that ranks whose lists differ stay together. */
typedef char *(*file_reader)(const char *const *paths, int n, int *which,
                             size_t *size, struct error *e);
void file_set_reader(file_reader reader);

/* `path` as seen from the file `from`: joined to its folder if relative. */
char *file_beside(const char *from, const char *path);

#endif
