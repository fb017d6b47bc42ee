# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libstrategy.a
libstrategy_a_SOURCES = \
	%D%/allgather.c \
	%D%/blocks.c \
	%D%/blocks.h \
	%D%/chunks.c \
	%D%/chunks.h \
	%D%/decode.c \
	%D%/decode.h \
	%D%/double_ring.c \
	%D%/exchange.c \
	%D%/exchange.h \
	%D%/lasp.c \
	%D%/lasp2.c \
	%D%/lasp2_scan.c \
	%D%/lasp2h.c \
	%D%/mesh.c \
	%D%/mesh.h \
	%D%/parts.c \
	%D%/parts.h \
	%D%/plan.c \
	%D%/ring.c \
	%D%/route.c \
	%D%/route.h \
	%D%/rsa.c \
	%D%/star.c \
	%D%/strategy.c \
	%D%/strategy.h \
	%D%/token_ring.c \
	%D%/tour.c \
	%D%/tour.h \
	%D%/tree.c \
	%D%/ulysses.c
