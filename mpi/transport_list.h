/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of transports, for those that do not know MPI. */
#ifndef SPAR_TRANSPORT_LIST_H
#define SPAR_TRANSPORT_LIST_H

#include <stdio.h>

/* A line each: name and summary. */
void transport_list(FILE *out);

#endif
