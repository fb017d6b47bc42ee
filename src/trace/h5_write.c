/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "trace/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5_hl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

hid_t h5_create(void)
{
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    hid_t create = H5Pcreate(H5P_FILE_CREATE);

    H5Pset_fapl_core(access, 1 << 20, 0);
    /* The 1.8 format has no limit of 64 KiB on an attribute. */
    H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    /* Attributes beside the object, not in a tree, as long as they fit. */
    H5Pset_attr_phase_change(create, 64, 60);
    hid_t file = H5Fcreate("memory", H5F_ACC_TRUNC, create, access);
    H5Pclose(create);
    H5Pclose(access);
    return file;
}

/* ---- Saving -------------------------------------------------------------- */

static int write_all(int fd, const char *data, size_t bytes)
{
    while (bytes) {
        ssize_t n = write(fd, data, bytes < (1u << 30) ? bytes : 1u << 30);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        data += n;
        bytes -= (size_t)n;
    }
    return 0;
}

/* 0 or -1 with errno; on failure `path` is not there. */
static int write_file(const char *path, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

    if (fd < 0)
        return -1;
    int rc = write_all(fd, data, bytes) || fsync(fd) ? -1 : 0, reason = errno;
    if (close(fd) && !rc) {
        rc = -1;
        reason = errno;
    }
    if (rc)
        unlink(path);
    errno = reason;
    return rc;
}

static int replace_file(const char *path, const void *data, size_t bytes,
                        struct error *e)
{
    struct stat st;

    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(e, "%s: not a regular file: cannot be replaced", path);

    char *temporary = xasprintf("%s.%ld.tmp", path, (long)getpid());
    int rc = write_file(temporary, data, bytes);
    if (!rc && rename(temporary, path)) {
        int reason = errno;
        unlink(temporary);
        errno = reason;
        rc = -1;
    }
    free(temporary);
    return rc ? fail(e, "%s: cannot write %zu bytes: %s", path, bytes,
                     strerror(errno))
              : 0;
}

int h5_save(hid_t file, int built, const char *path, struct error *e)
{
    void **image = NULL;
    ssize_t bytes = 0;          /* used; the memory is rounded up */
    int rc;

    if (file < 0 || built || H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ||
        (bytes = H5Fget_file_image(file, NULL, 0)) <= 0 ||
        H5Fget_vfd_handle(file, H5P_DEFAULT, (void **)&image) < 0)
        rc = fail(e, "%s: cannot build the file in memory", path);
    else
        rc = replace_file(path, *image, (size_t)bytes, e);
    if (file >= 0)
        H5Fclose(file);
    return rc;
}

/* ---- Groups and scales --------------------------------------------------- */

hid_t h5_make_group(hid_t at, const char *name)
{
    hid_t links = H5Pcreate(H5P_LINK_CREATE);

    H5Pset_create_intermediate_group(links, 1);
    hid_t group = H5Gcreate2(at, name, links, H5P_DEFAULT, H5P_DEFAULT);
    H5Pclose(links);
    return group;
}

void h5_close_object(hid_t object)
{
    if (object >= 0)
        H5Oclose(object);
}

hid_t h5_make_scale(hid_t at, const char *name, const char *label)
{
    hid_t id = H5Dopen2(at, name, H5P_DEFAULT);

    if (id >= 0 && H5DSset_scale(id, label) < 0) {
        H5Dclose(id);
        return -1;
    }
    return id;
}

/* ---- Attributes ---------------------------------------------------------- */

static hid_t string_type(void)
{
    hid_t type = H5Tcopy(H5T_C_S1);

    H5Tset_size(type, H5T_VARIABLE);
    H5Tset_cset(type, H5T_CSET_UTF8);
    return type;
}

/* Write `data` as an attribute; closes `space`. */
static int put_attribute(hid_t at, const char *name, hid_t file, hid_t memory,
                         hid_t space, const void *data)
{
    hid_t a = H5Acreate2(at, name, file, space, H5P_DEFAULT, H5P_DEFAULT);
    int rc = a < 0 || H5Awrite(a, memory, data) < 0 ? -1 : 0;

    if (a >= 0)
        H5Aclose(a);
    H5Sclose(space);
    return rc;
}

int h5_put_string(hid_t at, const char *name, const char *value)
{
    const char *text = value ? value : "";
    hid_t type = string_type();
    int rc = put_attribute(at, name, type, type, H5Screate(H5S_SCALAR), &text);

    H5Tclose(type);
    return rc;
}

int h5_put_strings(hid_t at, const char *name, const char *const *values,
                   int64_t n)
{
    hsize_t count = (hsize_t)n;
    hid_t type = string_type();
    int rc = put_attribute(at, name, type, type,
                           H5Screate_simple(1, &count, NULL), values);

    H5Tclose(type);
    return rc;
}

int h5_put_number(hid_t at, const char *name, hid_t type, const void *value)
{
    return put_attribute(at, name, type, type, H5Screate(H5S_SCALAR), value);
}

/* ---- Datasets ------------------------------------------------------------ */

int h5_put_string_column(hid_t at, const char *name, const char *const *values,
                         int64_t n)
{
    struct h5_dataset d = { .name = name, .rank = 1, .shape = { (hsize_t)n } };

    return h5_put_string_grid(at, d, values);
}

int h5_put_string_grid(hid_t at, struct h5_dataset d,
                       const char *const *values)
{
    hid_t type = string_type();

    d.units = "1";
    d.memory = d.file = type;
    int rc = h5_put_dataset(at, &d, values);
    H5Tclose(type);
    return rc;
}

static hid_t layout(const struct h5_dataset *d)
{
    hid_t p = H5Pcreate(H5P_DATASET_CREATE);

    if (d->chunk) {
        H5Pset_chunk(p, 1, &d->chunk);
        H5Pset_shuffle(p);
        H5Pset_deflate(p, 1);
    }
    return p;
}

static int describe(hid_t id, const struct h5_dataset *d)
{
    if (h5_put_string(id, "units", d->units))
        return -1;
    if (d->meaning && h5_put_string(id, "long_name", d->meaning))
        return -1;
    for (int i = 0; d->scales && i < d->rank; i++)
        if (H5DSattach_scale(id, d->scales[i], (unsigned)i) < 0)
            return -1;
    return d->scale && H5DSattach_scale(id, d->scale, 0) < 0 ? -1 : 0;
}

int h5_put_dataset(hid_t at, const struct h5_dataset *d, const void *data)
{
    hsize_t most[H5_AXES];

    for (int i = 0; i < d->rank; i++)
        most[i] = d->chunk ? H5S_UNLIMITED : d->shape[i];
    hid_t space = H5Screate_simple(d->rank, d->shape, most);
    hid_t create = layout(d);
    hid_t id = H5Dcreate2(at, d->name, d->file, space, H5P_DEFAULT, create,
                          H5P_DEFAULT);
    int rc = id < 0 || describe(id, d) ? -1 : 0;
    if (!rc && data && H5Sget_simple_extent_npoints(space) > 0 &&
        H5Dwrite(id, d->memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
        rc = -1;
    if (id >= 0)
        H5Dclose(id);
    H5Pclose(create);
    H5Sclose(space);
    return rc;
}
