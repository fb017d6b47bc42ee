/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int output_check(const char *path, struct error *e)
{
    struct stat st;

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
