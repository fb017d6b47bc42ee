# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libstrategy.a
libstrategy_a_SOURCES = \
	%D%/allgather.c \
	%D%/plan.c \
	%D%/ring.c \
	%D%/strategy.c \
	%D%/strategy.h \
	%D%/ulysses.c
