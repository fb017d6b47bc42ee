# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libmodels.a
libmodels_a_SOURCES = \
	%D%/cost.c \
	%D%/engines.c \
	%D%/events.c \
	%D%/internal.h \
	%D%/messages.c \
	%D%/network.c \
	%D%/ports.c \
	%D%/result.c \
	%D%/simulate.c \
	%D%/simulate.h
EXTRA_DIST += %D%/data/LICENCES.txt %D%/data/README.md \
	%D%/data/attention.csv
