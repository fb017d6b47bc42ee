/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p, size_t bytes)
{
    if (!p && bytes)
        die("out of memory: %zu bytes", bytes);
    return p;
}

void *xmalloc(size_t bytes)
{
    return must(malloc(bytes ? bytes : 1), bytes);
}

void *xcalloc(size_t count, size_t bytes)
{
    return must(calloc(count ? count : 1, bytes ? bytes : 1), count * bytes);
}

void *xrealloc(void *p, size_t bytes)
{
    return must(realloc(p, bytes ? bytes : 1), bytes);
}

char *xstrdup(const char *s)
{
    return must(strdup(s), strlen(s) + 1);
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;

    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        die("out of memory: formatting a string");
    return text;
}

void *xalign(size_t bytes)
{
    void *p = NULL;

    if (posix_memalign(&p, 64, bytes ? bytes : 64))
        p = NULL;
    return must(p, bytes ? bytes : 64);
}

void *array_grow(void *base, int64_t need, int64_t *cap, size_t elem)
{
    if (need <= *cap)
        return base;
    *cap = max64(need, *cap ? 2 * *cap : 8);
    return xrealloc(base, (size_t)*cap * elem);
}
