/* SPDX-License-Identifier: Apache-2.0
 *
 * A line on the terminal about what takes longer than two seconds; nothing
 * where standard error is no terminal. */
#ifndef SPAR_PROGRESS_H
#define SPAR_PROGRESS_H

/* Cheap to call often. */
void progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Wipe the line; what comes next starts counting afresh. */
void progress_end(void);

#endif
