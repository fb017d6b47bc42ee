# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += librun.a
librun_a_SOURCES = \
	%D%/compute.c \
	%D%/compute.h \
	%D%/dense.c \
	%D%/dense.h \
	%D%/dense_linear.c \
	%D%/dense_vector.h \
	%D%/lanes.c \
	%D%/loopback.c \
	%D%/memory.c \
	%D%/memory.h \
	%D%/reduce.c \
	%D%/reduce.h \
	%D%/seeded.c \
	%D%/tiles.c \
	%D%/verify.c \
	%D%/verify.h \
	%D%/verify_inputs.c \
	%D%/verify_internal.h \
	%D%/verify_sample.c
