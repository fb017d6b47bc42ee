/* SPDX-License-Identifier: Apache-2.0
 *
 * Quantities with units, and the JSON writer. */
#include <config.h>

#include "base/json.h"
#include "base/units.h"

#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- Quantities ---------------------------------------------------------------- */

static void quantities_are_read(void **state)
{
    static const struct {
        const char *text, *unit;
        double value;
    } good[] = {
        { "400 GB/s", "B/s", 400e9 }, { "400GB/s", "B/s", 400e9 },
        { "400 Gb/s", "B/s", 50e9 }, { "400 Gbit/s", "B/s", 50e9 },
        { "1.5 us", "s", 1.5e-6 }, { "1.5 \xc2\xb5s", "s", 1.5e-6 },
        { "3 ms", "s", 3e-3 }, { "2 s", "s", 2 }, { "7 ns", "s", 7e-9 },
        { "80 GiB", "B", 80 * 1073741824.0 }, { "64 kB", "B", 64e3 },
        { "1e3 B", "B", 1000 }, { "0", "s", 0 },
        { "989 Tflop/s", "flop/s", 989e12 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        double value = -1;
        assert_int_equal(quantity_parse(good[i].text, good[i].unit, &value,
                                        NULL), 0);
        assert_true(fabs(value - good[i].value) <= 1e-12 * good[i].value);
    }
}

static void bad_quantities_say_what_is_right(void **state)
{
    static const char *const bad[] = { "", "fast", "400", "400 GB", "4 XB/s",
                                       "4 gB/s", "inf B/s", "nan B/s",
                                       "4 GB/s x", "1 KB/s" };
    struct error e;
    double value;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(&e, 0, sizeof e);
        assert_int_equal(quantity_parse(bad[i], "B/s", &value, &e), -1);
        assert_int_equal(e.status, SPAR_USAGE);
        assert_non_null(strstr(e.text, "GB/s"));
        assert_non_null(strstr(e.text, bad[i]));
    }
    /* Ki and its kin count bytes only. */
    assert_int_equal(quantity_parse("1 Kis", "s", &value, NULL), -1);
}

static void printed_quantities_read_back(void **state)
{
    static const double values[] = { 0, 1, 999, 999.97, 1000, 4096, 2.5e9,
                                     3e-6, 7.25e-10, 5e15, 1e-15, -2048 };
    char text[48];

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        double back;
        quantity_print(values[i], "B/s", text, sizeof text);
        assert_int_equal(quantity_parse(text, "B/s", &back, NULL), 0);
        assert_true(fabs(back - values[i]) <= 1e-3 * fabs(values[i]));
    }
    assert_string_equal(quantity_print(4096, "B", text, sizeof text),
                        "4.096 kB");
    assert_string_equal(quantity_print(999.97, "B", text, sizeof text),
                        "1 kB");
    assert_string_equal(quantity_print(0.0025, "s", text, sizeof text),
                        "2.5 ms");
}

/* ---- JSON ------------------------------------------------------------------------ */

static char *written(void (*fill)(struct json *j))
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct json j;

    json_begin(&j, out);
    fill(&j);
    fclose(out);
    return text;
}

static void fill_everything(struct json *j)
{
    static const int64_t three[] = { 1, 2, -3 };

    json_object(j, NULL);
    json_text(j, "a", "q\"\\\n\x01 \xc3\xa9");
    json_int(j, "b", INT64_MIN);
    json_bool(j, "c", 1);
    json_real(j, "d", 0.1);
    json_real(j, "e", NAN);
    json_real(j, "f", INFINITY);
    json_text(j, "g", NULL);
    json_ints(j, "h", three, 3);
    json_ints(j, "i", NULL, 3);
    json_array(j, "j");
    json_end(j);
    json_object(j, "k");
    json_end(j);
    json_end(j);
}

static void every_kind_of_value(void **state)
{
    char *text = written(fill_everything);

    (void)state;
    assert_string_equal(text,
        "{\n"
        "  \"a\": \"q\\\"\\\\\\u000a\\u0001 \xc3\xa9\",\n"
        "  \"b\": -9223372036854775808,\n"
        "  \"c\": true,\n"
        "  \"d\": 0.1,\n"
        "  \"e\": null,\n"
        "  \"f\": null,\n"
        "  \"g\": null,\n"
        "  \"h\": [1, 2, -3],\n"
        "  \"i\": null,\n"
        "  \"j\": [],\n"
        "  \"k\": {}\n"
        "}\n");
    free(text);
}

static void fill_list(struct json *j)
{
    json_array(j, NULL);
    for (int i = 0; i < 2; i++) {
        json_object(j, NULL);
        json_int(j, "i", i);
        json_end(j);
    }
    json_end(j);
}

static void objects_in_an_array(void **state)
{
    char *text = written(fill_list);

    (void)state;
    assert_string_equal(text, "[\n  {\n    \"i\": 0\n  },\n"
                        "  {\n    \"i\": 1\n  }\n]\n");
    free(text);
}

static double real_value;

static void fill_real(struct json *j)
{
    json_array(j, NULL);
    json_real(j, NULL, real_value);
    json_end(j);
}

static void reals_round_trip(void **state)
{
    static const double values[] = { 0.1, 1.0 / 3, 1e300, 5e-324, -0.0,
                                     123456789.123456789, 2.5e-5 };

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        real_value = values[i];
        char *text = written(fill_real);
        assert_true(strtod(text + 1, NULL) == values[i]);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantities_are_read),
        cmocka_unit_test(bad_quantities_say_what_is_right),
        cmocka_unit_test(printed_quantities_read_back),
        cmocka_unit_test(every_kind_of_value),
        cmocka_unit_test(objects_in_an_array),
        cmocka_unit_test(reals_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
