# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libbase.a
libbase_a_SOURCES = \
	%D%/alloc.c \
	%D%/base.c \
	%D%/base.h \
	%D%/error.c \
	%D%/file.c \
	%D%/file.h \
	%D%/json.c \
	%D%/json.h \
	%D%/options.c \
	%D%/options.h \
	%D%/rows.c \
	%D%/rows.h \
	%D%/segment.c \
	%D%/segment.h \
	%D%/units.c \
	%D%/units.h \
	%D%/yaml.c \
	%D%/yaml.h \
	%D%/yaml_fields.c \
	%D%/yaml_internal.h \
	%D%/yaml_print.c \
	%D%/yaml_set.c
libbase_a_CFLAGS = $(AM_CFLAGS) $(YAML_CFLAGS)
