# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libtrace.a
libtrace_a_SOURCES = \
	%D%/clock.c \
	%D%/compare.c \
	%D%/file.c \
	%D%/file.h \
	%D%/file_simulated.c \
	%D%/h5.h \
	%D%/h5_read.c \
	%D%/h5_write.c \
	%D%/read.c \
	%D%/spool.c \
	%D%/spool.h \
	%D%/spool_read.c \
	%D%/summary.c \
	%D%/sweep.c \
	%D%/sweep.h \
	%D%/tensors.c \
	%D%/trace.h \
	%D%/usage.c \
	%D%/usage.h
libtrace_a_CFLAGS = $(AM_CFLAGS) $(HDF5_CFLAGS)
