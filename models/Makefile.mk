# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libmodels.a
libmodels_a_SOURCES = \
	%D%/candidates.c \
	%D%/candidates.h \
	%D%/classes.c \
	%D%/classes.h \
	%D%/collective.c \
	%D%/cost.c \
	%D%/critical.c \
	%D%/derate.c \
	%D%/engines.c \
	%D%/events.c \
	%D%/flow.c \
	%D%/flow_internal.h \
	%D%/flow_legs.c \
	%D%/flow_rates.c \
	%D%/fold.c \
	%D%/forms.c \
	%D%/forms.h \
	%D%/forms_exchange.c \
	%D%/forms_internal.h \
	%D%/forms_network.c \
	%D%/forms_results.c \
	%D%/forms_ring.c \
	%D%/forms_softmax.c \
	%D%/forms_ways.c \
	%D%/history.c \
	%D%/history.h \
	%D%/internal.h \
	%D%/links.c \
	%D%/links.h \
	%D%/messages.c \
	%D%/network.c \
	%D%/placement.c \
	%D%/placement.h \
	%D%/placement_loads.c \
	%D%/placement_rules.c \
	%D%/placement_scotch.c \
	%D%/planner.c \
	%D%/planner.h \
	%D%/planner_place.c \
	%D%/ports.c \
	%D%/result.c \
	%D%/sensitivity.c \
	%D%/sensitivity.h \
	%D%/shape.c \
	%D%/simulate.c \
	%D%/simulate.h \
	%D%/traffic.c \
	%D%/traffic.h
libmodels_a_CPPFLAGS = $(AM_CPPFLAGS) $(SCOTCH_CPPFLAGS)
EXTRA_DIST += %D%/data/LICENCES.txt %D%/data/README.md \
	%D%/data/attention.csv
