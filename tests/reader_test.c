/* SPDX-License-Identifier: Apache-2.0
 *
 * What other programs write: lists of hosts, XML, trees. */
#include <config.h>

#include "topo/hostlist.h"
#include "topo/reader.h"
#include "topo/xml.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- Lists of hosts ----------------------------------------------------- */

static void assert_names(const char *list, const char *expected)
{
    struct names l = { 0 };
    struct error e = { 0 };
    char text[400] = "";

    if (hostlist_expand(list, &l, &e) != 0)
        fail_msg("%s", e.text);
    for (int64_t i = 0; i < l.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s",
                 i ? " " : "", l.items[i]);
    assert_string_equal(text, expected);
    names_clear(&l);
}

static void hostlists(void **state)
{
    static const char *const bad[] = {
        "", ",", "a,", "a[", "a[]", "a[1", "a[1-]", "a[-1]", "a[2-1]", "a[1,]",
        "a[x]", "a b", "a[1]]x[", "a[0-99999]", "a[1234567890]",
        "a[1][1][1][1][1][1][1][1][1]"
    };

    (void)state;
    assert_names("login", "login");
    assert_names("tux[0-2,7]", "tux0 tux1 tux2 tux7");
    assert_names("n[08-11]", "n08 n09 n10 n11");
    assert_names("a,b[1-2]x,c", "a b1x b2x c");
    assert_names("r[1-2]n[0-1]", "r1n0 r1n1 r2n0 r2n1");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct names l = { 0 };
        struct error e = { 0 };
        if (hostlist_expand(bad[i], &l, &e) == 0)
            fail_msg("\"%s\" passed", bad[i]);
        assert_int_equal(e.status, SPAR_USAGE);
        names_clear(&l);
    }
}

static void tasks(void **state)
{
    static const char *const bad[] = { "", "0", "2(x", "2(x0)", "2,", "a",
                                       "2(x3)4", "-1" };
    const int64_t expected[] = { 2, 2, 2, 1, 16 };
    int64_t *counts = NULL, n = 0;
    struct error e = { 0 };

    (void)state;
    assert_int_equal(tasks_expand("2(x3),1,16", &counts, &n, &e), 0);
    assert_int_equal(n, 5);
    assert_memory_equal(counts, expected, sizeof expected);
    free(counts);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        counts = NULL;
        n = 0;
        if (tasks_expand(bad[i], &counts, &n, &e) == 0)
            fail_msg("\"%s\" passed", bad[i]);
        free(counts);
    }
}

/* ---- XML ---------------------------------------------------------------- */

/* Events as text: "+a(k=v) -a". */
static int events(const char *text, char *out, size_t size, struct error *e)
{
    struct xml x;
    enum xml_event event;

    *out = '\0';
    xml_begin(&x, "x.xml", text);
    while ((event = xml_next(&x, e)) != XML_END && event != XML_ERROR) {
        snprintf(out + strlen(out), size - strlen(out), " %c%s",
                 event == XML_OPEN ? '+' : '-', x.name);
        for (int i = 0; event == XML_OPEN && i < x.n_attributes; i++)
            snprintf(out + strlen(out), size - strlen(out), "(%s=%s)",
                     x.keys[i], x.values[i]);
    }
    xml_clear(&x);
    return event == XML_END ? 0 : -1;
}

static void xml_good(void **state)
{
    char out[400];
    struct error e = { 0 };

    (void)state;
    assert_int_equal(events("<?xml version=\"1.0\"?>\n<!DOCTYPE a>\n"
                            "<a k=\"v\" l = '>&lt;&amp;\"'>\n<!-- <no> -->"
                            "<b/><c\nm=\"1\"/></a >\n", out, sizeof out, &e),
                     0);
    assert_string_equal(out, " +a(k=v)(l=><&\") +b -b +c(m=1) -c -a");
    assert_int_equal(events("", out, sizeof out, &e), 0);
}

static void xml_bad(void **state)
{
    static const struct {
        const char *text, *message;
    } rows[] = {
        { "<a>", "x.xml:1: not whole: <a> is not closed" },
        { "<a>\n<b>\n</a></b>", "x.xml:3: not XML: </a> closes <b>" },
        { "</a>", "x.xml:1: not XML: </a> closes <>" },
        { "<a k=v/>", "x.xml:1: not XML: k of <a> is not in quotes" },
        { "<a k/>", "x.xml:1: not XML: an attribute of <a> has no value" },
        { "<a k=\"v/>", "x.xml:1: not whole: it ends inside a tag" },
        { "<a", "x.xml:1: not whole: it ends inside a tag" },
        { "<>", "x.xml:1: not XML: a < without a name" },
        { "< a/>", "x.xml:1: not XML: a < without a name" },
        { "<a>text</a>", "x.xml:1: not XML as it is known here: text outside "
          "of elements" },
        { "<a k=\"&nbsp;\"/>", "x.xml:1: not XML: k of <a> is \"&nbsp;\"" },
        { "<!-- a", "x.xml:1: not whole: <!-- without -->" },
        { "<a/>\n<b/>", "x.xml:2: not XML: more than one element" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[400];
        struct error e = { 0 };
        assert_int_equal(events(rows[i].text, out, sizeof out, &e), -1);
        assert_string_equal(e.text, rows[i].message);
    }
}

/* Whatever is cut off, there is a message and no way out of the text. */
static void xml_cut(void **state)
{
    static const char whole[] = "<?xml?><a k=\"v\"><b l='&lt;'/><!-- c --></a>";
    char out[400];

    (void)state;
    for (size_t n = 1; n < sizeof whole - 1; n++) {
        struct error e = { 0 };
        char *part = xasprintf("%.*s", (int)n, whole);
        int rc = events(part, out, sizeof out, &e);
        if (rc == 0 && n != 7)          /* "<?xml?>" is whole: nothing */
            fail_msg("\"%s\" passed", part);
        free(part);
    }
}

/* ---- Graphs ------------------------------------------------------------- */

/* A synthetic machine: pairs by what they share. */
static void synthetic(void **state)
{
    const char *text;
    const struct topology_reader *r
        = topology_word("synthetic:pack:2 l3:2 core:2 pu:1", &text);
    struct error e = { 0 };
    static const enum route_class expected[] = {
        CLASS_SELF, CLASS_CACHE, CLASS_NUMA, CLASS_NUMA, CLASS_SOCKET,
        CLASS_SOCKET, CLASS_SOCKET, CLASS_SOCKET
    };

    (void)state;
    assert_non_null(r);
    struct graph *g = r->read("synthetic", text, strlen(text), &e);
    assert_non_null(g);
    assert_int_equal(g->n_slots, 8);
    for (int32_t b = 0; b < 8; b++) {
        struct route way;
        assert_int_equal(graph_route(g, 0, b, &way), 0);
        assert_int_equal(way.class, expected[b]);
        assert_true(isinf(way.bandwidth));
    }
    graph_destroy(g);
    assert_null(topology_word("synthetics", &text));
    assert_null(topology_word("dgx-h100", &text));
}

/* Switches that all have both of those below them: each is walked once. */
static void slurm_lattice(void **state)
{
    char text[4096] = "SwitchName=a0 Nodes=n0\nSwitchName=b0 Nodes=n1\n";
    struct error e = { 0 };

    (void)state;
    for (int i = 1; i < 40; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text),
                 "SwitchName=a%d Switches=a%d,b%d\n"
                 "SwitchName=b%d Switches=a%d,b%d\n", i, i - 1, i - 1, i,
                 i - 1, i - 1);
    struct graph *g = topology_read("topology.conf", text, strlen(text), &e);
    assert_non_null(g);
    assert_int_equal(g->n_slots, 2);
    graph_destroy(g);
}

/* Hops of a tree of switches; nodes keep the order of the file. */
static void slurm_tree(void **state)
{
    static const char text[] = "SwitchName=s0 Nodes=a[0-1]\n"
        "SwitchName=s1 Nodes=b\nSwitchName=s2 Nodes=c\n"
        "SwitchName=m0 Switches=s[0-1]\nSwitchName=top Switches=m0,s2\n";
    struct error e = { 0 };
    struct graph *g = topology_read("topology.conf", text, strlen(text), &e);
    static const int switches[] = { 0, 1, 3, 4 };

    (void)state;
    assert_non_null(g);
    assert_int_equal(g->n_slots, 4);
    for (int32_t b = 1; b < 4; b++) {
        struct route way;
        int n = 0;
        assert_int_equal(graph_route(g, 0, b, &way), 0);
        for (int32_t i = 0; i < way.n; i++)
            n += g->vertices[link_to(g, way.links[i])].kind == VERTEX_SWITCH;
        assert_int_equal(n, switches[b]);
        assert_int_equal(way.class, n > 1 ? CLASS_FABRIC : CLASS_LEAF);
    }
    assert_string_equal(g->hosts[2].name, "b");
    graph_destroy(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostlists),
        cmocka_unit_test(tasks),
        cmocka_unit_test(xml_good),
        cmocka_unit_test(xml_bad),
        cmocka_unit_test(xml_cut),
        cmocka_unit_test(synthetic),
        cmocka_unit_test(slurm_tree),
        cmocka_unit_test(slurm_lattice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
