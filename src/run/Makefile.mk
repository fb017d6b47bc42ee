# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += librun.a
librun_a_SOURCES = \
	%D%/compute.c \
	%D%/compute.h \
	%D%/dense.c \
	%D%/dense.h \
	%D%/lanes.c \
	%D%/loopback.c \
	%D%/memory.c \
	%D%/memory.h \
	%D%/seeded.c \
	%D%/verify.c \
	%D%/verify.h \
	%D%/verify_inputs.c \
	%D%/verify_internal.h \
	%D%/verify_sample.c
