/* SPDX-License-Identifier: Apache-2.0
 *
 * A hook for tests: SPAR_FAULT=RANK:OP:KIND makes one rank fail at one op of
 * its first timed repetition. */
#ifndef SPAR_FAULT_H
#define SPAR_FAULT_H

#include <stdint.h>

enum fault {
    FAULT_NONE,
    FAULT_KILL,                 /* the process is killed */
    FAULT_STALL,                /* the op never ends */
    FAULT_DEVICE,               /* a kernel traps; devices only */
    FAULTS
};

/* What happens to an op. */
enum fault fault_at(int32_t rank, int32_t repeat, int32_t op);
/* Does what the host can do: kill, stall. */
void fault_commit(enum fault f);

#endif
