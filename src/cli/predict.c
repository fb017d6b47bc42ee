/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/predict.h"

#include "models/simulate.h"

#include <math.h>

double predict_seconds(const struct schedule *const *schedules, int64_t ranks,
                       const struct machine *m, const char *kernel,
                       const int32_t *slots, const struct jitter *jitter)
{
    struct simulate_options o = { .network = network_default(m),
                                  .kernel = kernel, .slots = slots,
                                  .jitter = jitter };
    struct simulate_result r;

    if (simulate_ready(schedules, ranks, m, kernel, NULL)
        || simulate_jitter(m, jitter, o.network, NULL))
        return NAN;
    simulate(schedules, ranks, m, &o, &r);
    double seconds = r.seconds;         /* NaN: stuck */
    simulate_result_clear(&r);
    return seconds;
}
