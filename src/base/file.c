/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static file_reader reader = file_read_first;

void file_set_reader(file_reader routine)
{
    reader = routine ? routine : file_read_first;
}

char *file_read_local(const char *path, size_t *size, struct error *e)
{
    struct stat st;
    FILE *f = fopen(path, "rb");
    int64_t cap = 0, n = 0;
    char *text = NULL;

    if (!f || fstat(fileno(f), &st) || S_ISDIR(st.st_mode)) {
        fail_usage(e, "%s: %s", path, f ? "is a folder" : strerror(errno));
        if (f)
            fclose(f);
        return NULL;
    }
    for (size_t got = 1; got; n += (int64_t)got) {
        text = array_grow(text, n + 65537, &cap, 1);
        got = fread(text + n, 1, 65536, f);
    }
    text[n] = '\0';
    *size = (size_t)n;
    if (ferror(f)) {
        fail_usage(e, "%s: %s", path, strerror(errno));
        free(text);
        text = NULL;
    }
    fclose(f);
    return text;
}

char *file_read_first(const char *const *paths, int n, int *which,
                      size_t *size, struct error *e)
{
    struct error first = { 0 }, other = { 0 };

    for (int i = 0; i < n; i++) {
        char *text = file_read_local(paths[i], size, i ? &other : &first);
        if (text) {
            *which = i;
            return text;
        }
    }
    if (e)
        *e = first;
    return NULL;
}

char *file_read(const char *const *paths, int n, int *which, size_t *size,
                struct error *e)
{
    return reader(paths, n, which, size, e);
}

char *file_beside(const char *from, const char *path)
{
    const char *slash = strrchr(from, '/');

    if (*path == '/' || !slash)
        return xstrdup(path);
    return xasprintf("%.*s/%s", (int)(slash - from), from, path);
}
