# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libstrategy.a
libstrategy_a_SOURCES = \
	%D%/allgather.c \
	%D%/blocks.c \
	%D%/blocks.h \
	%D%/double_ring.c \
	%D%/exchange.c \
	%D%/exchange.h \
	%D%/mesh.c \
	%D%/plan.c \
	%D%/ring.c \
	%D%/strategy.c \
	%D%/strategy.h \
	%D%/token_ring.c \
	%D%/ulysses.c
