/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static double begun, shown;     /* s, monotonic; 0: not */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress(const char *fmt, ...)
{
    double t = now();
    va_list ap;

    if (begun == 0)
        begun = t;
    if (t - begun < 2 || t - shown < 0.2 || !isatty(STDERR_FILENO))
        return;
    shown = t;
    fputs("\r\033[K", stderr);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fflush(stderr);
}

void progress_end(void)
{
    if (shown != 0)
        fputs("\r\033[K", stderr);
    begun = shown = 0;
}
