/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_same(const char *a, const char *b)
{
    struct stat x, y;

    return !strcmp(a, b)
        || (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev
            && x.st_ino == y.st_ino);
}

int output_check(const char *path, const char *const *taken, int n,
                 struct error *e)
{
    struct stat st;

    if (!*path)
        return fail(e, "an output has an empty name");
    for (int i = 0; i < n; i++)
        if (taken[i] && is_same(path, taken[i]))
            return fail(e, "%s: cannot be written: the command needs it "
                        "otherwise", path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(e, "%s: cannot be written: %s", path,
                    S_ISDIR(st.st_mode) ? "is a folder" : "not a plain file");
    char *temporary = xasprintf("%s.XXXXXX", path);
    int f = mkstemp(temporary), rc = 0;
    if (f < 0) {
        rc = fail(e, "%s: cannot be written: %s", path, strerror(errno));
    } else {
        close(f);
        unlink(temporary);
    }
    free(temporary);
    return rc;
}

FILE *output_begin(struct output *o, const char *path)
{
    o->path = path;
    o->temporary = xasprintf("%s.XXXXXX", path);
    int f = mkstemp(o->temporary);
    o->file = f < 0 ? NULL : fdopen(f, "w");
    return o->file;
}

int output_finish(struct output *o, int failed, struct error *e)
{
    int rc = 0;

    if (!o->file || fclose(o->file) || failed
        || rename(o->temporary, o->path))
        rc = fail(e, "%s: cannot be written: %s", o->path, strerror(errno));
    if (rc && o->file)
        unlink(o->temporary);
    free(o->temporary);
    return rc;
}
