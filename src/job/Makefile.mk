# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libjob.a
libjob_a_SOURCES = \
	%D%/jitter.c \
	%D%/jitter.h \
	%D%/job.c \
	%D%/job.h \
	%D%/position.c \
	%D%/position.h \
	%D%/segments.c
