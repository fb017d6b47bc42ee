/* SPDX-License-Identifier: Apache-2.0
 *
 * XML as programs write it: elements and attributes.  Text, CDATA and internal
 * DTDs are refused, a declaration, a DOCTYPE and comments passed over. */
#ifndef SPAR_XML_H
#define SPAR_XML_H

#include "base/base.h"

enum { XML_ATTRIBUTES = 32, XML_DEEPEST = 64 };
enum xml_event { XML_ERROR = -1, XML_OPEN, XML_CLOSE, XML_END };

struct xml {
    const char *path;
    int line;
    char *copy, *at;            /* names and values point into it */
    const char *name;           /* of the element opened or closed */
    int n_attributes, is_empty;
    int is_whole;               /* at depth 0: its one element is read */
    const char *keys[XML_ATTRIBUTES], *values[XML_ATTRIBUTES];
    int depth;
    const char *open[XML_DEEPEST];
};

void xml_begin(struct xml *x, const char *path, const char *text);
void xml_clear(struct xml *x);
/* An element opens (its attributes are then there), closes, or all is read:
 * one element, closed.  XML_ERROR: *e (usage) says file and line. */
enum xml_event xml_next(struct xml *x, struct error *e);
/* Of the element just opened; NULL: it has none such. */
const char *xml_attribute(const struct xml *x, const char *key);
/* "FILE:LINE: ..."; -1, usage. */
int xml_fail(const struct xml *x, struct error *e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
