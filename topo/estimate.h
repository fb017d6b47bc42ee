/* SPDX-License-Identifier: Apache-2.0
 *
 * Seconds of a block of attention, how sure they are, and where they come
 * from.  In this order:
 *
 *   table     a measured surface of the op, or between two of them that differ
 *             in the heads at work at once (linear in logarithms)
 *   mask      the surface of the other mask, also if only that is of the head
 *             size and dtype.  A full block of n x n goes at
 *             min(2, 1.05 + 250 / n + 6760 / (n heads)) times the rate of a
 *             causal square: at small sizes both take as long as their longest
 *             row of tiles.  Fitted to 185 pairs of FlashAttention-2, -3 and
 *             cuDNN rows on A100, H100, H200, GB200 and L40S: mean error 8 %,
 *             P10-P90 -10 % to +12 %.
 *   forward   2.5 x the flop of forward at 0.85 of its rate (cuDNN on H200 and
 *             GB200 0.76-0.87, FlashAttention-2 on H100 0.80-0.97)
 *   roofline  flop at machine.peak x 0.6 / (1 + (20 us / x)^0.8), x the op's
 *             seconds at peak
 *
 * What this project measured itself and did not fit to, cuDNN on one H100: mask
 * 12 % off from 1,024 on, forward 5 % from 4,096 on (tests/estimate_test.c).
 *
 * Another head size d takes (d + 24) / (measured + 24) of the time where heads
 * are at once: 64 against 128 takes 0.57-0.58 with FlashAttention-2 (A100,
 * H100).  Of heads one after the other, whose products are not all of the time
 * either, two measured head sizes give a line in the flops of a pair; one, that
 * in proportion to them.  Squares longer than those of a table go at the rate of
 * more heads.  Nothing is faster than machine.peak.  Sources:
 * models/data/README.md.
 *
 * P10 and P90 of true / told are of residuals, taken to be independent:
 *
 *   of the table itself, by points that were left out (or by its own points)
 *   of another code base's kernel, where the table is not of this machine's own
 *     calibration: 0.95 1.49; of blocks up to 2,048 squared 0.92 1.96
 *   of half the head size, 0.96 1.64; of twice that, the inverse; and so on
 *   of twice the longest square, 0.87 1.01; and so on
 *   of mask and forward, as above; of a roofline, 0.88 1.73
 *
 * scripts/attention-tables --residuals prints the last but mask and forward:
 * they are of rows of vLLM, SGLang, TensorRT-LLM, FlashAttention and cuDNN on
 * five GPUs, every GPU and code base as heavy as the others, and hold 70 to
 * 79 % of a table that they were not taken from, 60 to 84 % of a GPU. */
#ifndef SPAR_ESTIMATE_H
#define SPAR_ESTIMATE_H

#include "topo/machine.h"

enum estimate_how { ESTIMATE_NONE, ESTIMATE_TABLE, ESTIMATE_MASK,
                    ESTIMATE_FORWARD, ESTIMATE_ROOFLINE };
extern const char *const estimate_names[];      /* by estimate_how */

struct block_time {
    double seconds;             /* per query head; 0: cannot be told */
    double low, high;           /* P10 and P90 of true / seconds */
    enum estimate_how how;
    const struct surface *surface;      /* the nearest; NULL: roofline */
    const struct surface_point *point;  /* of it, the nearest */
};

/* Arguments as of machine_block_seconds(), which is this times low or high
 * where machine.quantile asks for it. */
struct block_time machine_estimate(const struct machine *m, const char *op,
                                 const char *kernel,
                                 const struct block_shape *shape,
                                 enum block_kind block, int64_t q, int64_t k);

/* P10 and P90 of measured / interpolated from neighbours, of the points that
 * have some on both sides; if there are fewer than 3, 0.9 and 1.1 where heads
 * are at once, else 1 and 1. */
void surface_residuals(const struct surface *s, double *low, double *high);
/* Quantile q (0 .. 1) of n values, which it sorts; linear between them. */
double quantile_of(double *values, int64_t n, double q);

#endif
