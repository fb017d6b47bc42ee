/* SPDX-License-Identifier: Apache-2.0
 *
 * Ranks of one host notice when another of them is gone, whatever they are at:
 * a wait of MPI's or of a device for it would never end.  A launcher usually
 * ends them first; not all do. */
#ifndef SPAR_WATCH_H
#define SPAR_WATCH_H

/* Collective over MPI_COMM_WORLD.  A thread sleeps until a process ends; then,
 * if the launcher leaves this one be, says who is lost and ends all ranks. */
void watch_start(void);
/* Another rank of this host that has ended, or does in that time; -1: none. */
int watch_lost(int ms);
/* Collective: from here on all may go. */
void watch_stop(void);

#endif
