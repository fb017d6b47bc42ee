/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "trace/h5.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int h5_open(struct h5_in *in, const char *path, struct error *e)
{
    *in = (struct h5_in){ .file = -1, .path = path, .e = e };
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);

    /* The library's messages do not tell these cases apart. */
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(e, "%s: %s", path, strerror(errno));
    ssize_t n = read(fd, &byte, 1);
    int reason = errno;
    close(fd);
    if (n < 0)
        return fail(e, "%s: %s", path, strerror(reason));
    if (n == 0)
        return fail(e, "%s: the file is empty", path);
    if (H5Fis_hdf5(path) <= 0)
        return fail(e, "%s: not an HDF5 file", path);

    in->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (in->file < 0)
        return fail(e, "%s: the HDF5 file is cut short or damaged", path);
    return 0;
}

void h5_close(struct h5_in *in)
{
    if (in->file >= 0)
        H5Fclose(in->file);
    in->file = -1;
}

int h5_exists(hid_t at, const char *name)
{
    return H5Lexists(at, name, H5P_DEFAULT) > 0;
}

static int unreadable(const struct h5_in *in, const char *name)
{
    return fail(in->e, "%s: %s cannot be read: damaged file", in->path, name);
}

/* Number of elements if the dataset is 1-D, else -1. */
static int64_t length_1d(hid_t dataset)
{
    hid_t space = H5Dget_space(dataset);
    int64_t n = H5Sget_simple_extent_ndims(space) == 1
                    ? (int64_t)H5Sget_simple_extent_npoints(space)
                    : -1;

    H5Sclose(space);
    return n;
}

void *h5_get_column(const struct h5_in *in, const char *name, hid_t type,
                    size_t size, int64_t *n)
{
    hid_t id = H5Dopen2(in->file, name, H5P_DEFAULT);
    void *data = NULL;

    if (id < 0) {
        fail(in->e, "%s: no dataset %s", in->path, name);
        return NULL;
    }
    *n = length_1d(id);
    if (*n < 0)
        fail(in->e, "%s: %s is not one-dimensional", in->path, name);
    else if ((uint64_t)*n > SIZE_MAX / 2 / size ||
             !(data = calloc((size_t)*n + 1, size)))
        fail(in->e, "%s: no memory for the %lld elements of %s", in->path,
             (long long)*n, name);
    else if (*n && H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        unreadable(in, name);
        free(data);
        data = NULL;
    }
    H5Dclose(id);
    return data;
}

/* ---- Strings ------------------------------------------------------------- */

void h5_free_strings(char **strings, int64_t n)
{
    for (int64_t i = 0; strings && i < n; i++)
        free(strings[i]);
    free(strings);
}

/* Strings of an open dataset or attribute.  The library allocates each with
 * malloc(). */
static char **read_strings(hid_t id, int is_attribute, int64_t *n)
{
    hid_t space = is_attribute ? H5Aget_space(id) : H5Dget_space(id);
    hid_t type = is_attribute ? H5Aget_type(id) : H5Dget_type(id);
    char **text = NULL;

    *n = (int64_t)H5Sget_simple_extent_npoints(space);
    if (*n >= 0 && H5Tis_variable_str(type) > 0)
        text = calloc((size_t)*n + 1, sizeof *text);
    if (text && *n &&
        (is_attribute ? H5Aread(id, type, text)
                      : H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                                text)) < 0) {
        h5_free_strings(text, *n);
        text = NULL;
    }
    for (int64_t i = 0; text && i < *n; i++)
        if (!text[i])
            text[i] = xstrdup("");
    H5Tclose(type);
    H5Sclose(space);
    return text;
}

char **h5_get_strings(const struct h5_in *in, const char *name,
                      const char *attribute, int64_t *n)
{
    hid_t id = attribute ? H5Aopen_by_name(in->file, name, attribute,
                                           H5P_DEFAULT, H5P_DEFAULT)
                         : H5Dopen2(in->file, name, H5P_DEFAULT);

    if (id < 0) {
        fail(in->e, "%s: no %s %s", in->path,
             attribute ? "attribute" : "dataset", attribute ? attribute : name);
        return NULL;
    }
    char **text = read_strings(id, attribute != NULL, n);
    if (!text)
        unreadable(in, attribute ? attribute : name);
    if (attribute)
        H5Aclose(id);
    else
        H5Dclose(id);
    return text;
}

char *h5_get_string(const struct h5_in *in, const char *name,
                    const char *attribute)
{
    int64_t n;
    char **all = h5_get_strings(in, name, attribute, &n), *first = NULL;

    if (all && n == 1) {
        first = all[0];
        all[0] = NULL;
    } else if (all) {
        unreadable(in, attribute);
    }
    h5_free_strings(all, all ? n : 0);
    return first;
}

int h5_get_number(const struct h5_in *in, const char *name,
                  const char *attribute, hid_t type, void *value)
{
    hid_t id = H5Aopen_by_name(in->file, name, attribute, H5P_DEFAULT,
                               H5P_DEFAULT);

    if (id < 0)
        return fail(in->e, "%s: no attribute %s", in->path, attribute);
    hid_t space = H5Aget_space(id);
    int one = H5Sget_simple_extent_npoints(space) == 1;
    int rc = one && H5Aread(id, type, value) >= 0 ? 0 : -1;
    H5Sclose(space);
    H5Aclose(id);
    return rc ? unreadable(in, attribute) : 0;
}
