# SPDX-License-Identifier: Apache-2.0
noinst_LIBRARIES += libschedule.a
libschedule_a_SOURCES = \
	%D%/build.c \
	%D%/check.c \
	%D%/check.h \
	%D%/check_bitmap.c \
	%D%/check_contents.c \
	%D%/check_cover.c \
	%D%/check_history.c \
	%D%/check_internal.h \
	%D%/check_linear.c \
	%D%/check_mask.c \
	%D%/check_move.c \
	%D%/check_op.c \
	%D%/check_order.c \
	%D%/check_prove.c \
	%D%/check_rect.c \
	%D%/check_reduce.c \
	%D%/check_rows.c \
	%D%/check_run.c \
	%D%/check_scores.c \
	%D%/check_shape.c \
	%D%/check_shape_op.c \
	%D%/check_spans.c \
	%D%/check_stall.c \
	%D%/check_task.c \
	%D%/export.c \
	%D%/infer.c \
	%D%/internal.h \
	%D%/lower.c \
	%D%/lower.h \
	%D%/lower_collective.c \
	%D%/lower_internal.h \
	%D%/memory_plan.c \
	%D%/op.c \
	%D%/pattern.c \
	%D%/pool.c \
	%D%/print.c \
	%D%/print.h \
	%D%/reach.c \
	%D%/reach.h \
	%D%/schedule.h \
	%D%/view.c \
	%D%/view.h \
	%D%/work.c
