/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "cli/command.h"

#include "cli/validate.h"

#include <stddef.h>

enum part { PART_ALL, PART_COLLECTIVES, PART_ATTENTION };
static const char *const part_words[] = { "all", "collectives", "attention",
                                          NULL };

struct validate_options {
    int format, part;
};

static const struct option_row validate_rows[] = {
    { "part", 0, OPTION_WORD, offsetof(struct validate_options, part),
      "all|collectives|attention", 0, 0, part_words, "what to validate (all)" },
    ROW_FORMAT(validate_options),
    ROW_END
};

static int validate_exec(const struct call *call, struct error *e)
{
    const struct validate_options *o = call->options;
    struct collective_scores c = { .n = 0 };
    struct attention_cases a = { .n = 0 };
    int rc = 0;

    if (o->part != PART_ATTENTION)
        rc = validate_collectives(&c, e);
    if (!rc && o->part != PART_COLLECTIVES)
        rc = validate_attention(&a, e);
    if (!rc && o->format == FORMAT_JSON)
        validate_json(&c, &a);
    else if (!rc)
        validate_text(&c, &a);
    collective_scores_clear(&c);
    attention_cases_clear(&a);
    return rc;
}

const struct command command_validate = {
    "validate", "", "Predictions against collectives and attention that "
    "others have measured and published.", validate_rows,
    sizeof(struct validate_options), NULL, 0, 0, 0, validate_exec
};
