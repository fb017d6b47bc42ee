/* SPDX-License-Identifier: Apache-2.0
 *
 * Shipped machine files, for tests. */
#ifndef SPAR_TEST_PRESET_H
#define SPAR_TEST_PRESET_H

#include "base/file.h"
#include "topo/machine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct machine *preset(const char *name)
{
    const char *top = getenv("srcdir");
    char *path = xasprintf("%s/scenarios/machines/%s.yaml", top ? top : ".",
                           name);
    struct error e = { 0 };
    size_t size;
    char *text = file_read_local(path, &size, &e);

    if (!text)
        fail_msg("%s", e.text);
    struct machine *m = machine_parse(path, text, size, &e);
    if (!m)
        fail_msg("%s", e.text);
    free(text);
    free(path);
    return m;
}

#endif
