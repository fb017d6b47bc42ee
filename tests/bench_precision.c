/* SPDX-License-Identifier: Apache-2.0
 *
 * What the precision of travelling sums costs: errors against the fp64 oracle
 * as a function of the number of ranks, by loopback.
 *
 *   ring, double-ring
 *                dk, dv travel and are rounded at every hop, but for what
 *                stays at home: wire_grad
 *   token-ring   (o, lse) go straight home, dq too: wire_partial, wire_grad
 */
#include <config.h>

#include "rig.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct verdict errors(const char *strategy, enum dtype dtype,
                             enum dtype wire, int32_t ranks)
{
    struct trial t = {
        .strategy = strategy, .options.layout = LAYOUT_ZIGZAG,
        .mask = { MASK_CAUSAL, -1, 0 }, .pass = PASS_FORWARD_BACKWARD,
        .ranks = ranks, .lengths = { 1024 }, .heads = 4, .kv_heads = 2,
        .head_dim = 64, .value_dim = 64, .dtype = dtype, .wire_grad = wire,
        .wire_partial = wire };
    struct rig g;
    struct error e = { 0 };
    struct verdict v;

    if (!rig_create(&g, &t))
        die("%s: %s", strategy, g.why.text);
    rig_load(&g);
    if (loopback_run(&g.loop, g.kernel, 0, &e))
        die("%s: %s", strategy, e.text);
    rig_judge(&g, &v);
    rig_destroy(&g);
    return v;
}

static void table(const char *strategy, enum dtype dtype)
{
    static const enum result shown[] = { RESULT_O, RESULT_DQ, RESULT_DK,
                                         RESULT_DV };

    printf("%s, %s: error on the wire in fp32 | in %s\n", strategy,
           dtype_name(dtype), dtype_name(dtype));
    printf("%5s %21s %21s %21s %21s %10s\n", "ranks", "o", "dq", "dk", "dv",
           "gate dk");
    for (int32_t n = 2; n <= 64; n *= 2) {
        struct verdict a = errors(strategy, dtype, DTYPE_FP32, n);
        struct verdict b = errors(strategy, dtype, dtype, n);
        printf("%5d", n);
        for (int i = 0; i < 4; i++)
            printf("   %8.2e | %8.2e", a.error[shown[i]], b.error[shown[i]]);
        printf("   %8.2e%s\n", b.gate[RESULT_DK], b.passed ? "" : "  missed");
    }
}

int main(void)
{
    static const char *const names[] = { "ring", "double-ring", "token-ring" };

    for (int i = 0; i < 3; i++) {
        table(names[i], DTYPE_BF16);
        table(names[i], DTYPE_FP16);
    }
    return 0;
}
