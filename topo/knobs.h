/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers of a machine by name, to set or to scale: what a scenario changes of
 * a preset, what a what-if varies, what a plan is sensitive to. */
#ifndef SPAR_KNOBS_H
#define SPAR_KNOBS_H

#include "topo/machine.h"

/*   compute          speed of all that computes, 1: as measured
 *   memory           bytes of a node or, of a cluster of GPUs, of a GPU
 *   memory.bandwidth, op.overhead, repeat.overhead
 *   link.latency, link.bandwidth, link.overhead     of `link`, all segments
 *   copy.bandwidth   of the copies of devices
 *   nvlink.bandwidth, pcie.bandwidth, socket.bandwidth, nic.bandwidth
 *                    of a cluster's links, both directions; what connects
 *                    switches changes with the network interfaces
 *   nvlink.latency, pcie.latency, socket.latency, nic.latency
 *                    `start` of the routes of that class
 * Tables of collectives stay as measured. */
struct knob {
    const char *name, *unit;    /* unit as in quantity_parse(); "1": none */
    double (*get)(const struct machine *m, int which);
    void (*scale)(struct machine *m, int which, double factor);
    int which;
};
extern const struct knob machine_knobs[];       /* name NULL last */
const struct knob *knob_find(const char *name);
/* 0: the machine has no such number, or it costs nothing. */
double knob_value(const struct knob *k, const struct machine *m);
void knob_scale(const struct knob *k, struct machine *m, double factor);
/* -1 and *e (usage): the machine has no such number. */
int knob_set(const struct knob *k, struct machine *m, double value,
             struct error *e);

#endif
