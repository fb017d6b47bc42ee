# SPDX-License-Identifier: Apache-2.0
# The vector files are compiled for their instruction set; cpu.c chooses at run
# time.  The oracle and the reference backend are compiled for speed and without
# sanitizers, whatever CFLAGS says.  All objects end in one archive.
noinst_LIBRARIES += libkernel.a
EXTRA_LIBRARIES = libavx2.a libavx512.a liboracle.a
libkernel_a_SOURCES = \
	%D%/backends.h \
	%D%/convert.c \
	%D%/cpu.c \
	%D%/cpu.h \
	%D%/cpu_attend.h \
	%D%/cpu_backward.h \
	%D%/cpu_gemm.h \
	%D%/cpu_linear.h \
	%D%/cpu_linear_intra.h \
	%D%/cpu_linear_state.h \
	%D%/cpu_portable.c \
	%D%/cpu_rows.h \
	%D%/cpu_scores.h \
	%D%/cuda_async.h \
	%D%/cuda_backend.h \
	%D%/cuda_streams.h \
	%D%/device.c \
	%D%/device.h \
	%D%/half.h \
	%D%/kernel.c \
	%D%/kernel.h \
	%D%/null.c \
	%D%/vector.h
libkernel_a_LIBADD = $(liboracle_a_OBJECTS)
if X86_64
libkernel_a_LIBADD += $(libavx2_a_OBJECTS) $(libavx512_a_OBJECTS)
endif
libkernel_a_DEPENDENCIES = $(libkernel_a_LIBADD)

libavx2_a_SOURCES = %D%/cpu_avx2.c
libavx2_a_CFLAGS = $(AM_CFLAGS) -mavx2 -mfma -mf16c
libavx512_a_SOURCES = %D%/cpu_avx512.c
libavx512_a_CFLAGS = $(AM_CFLAGS) -mavx512f -mavx512bw \
	-mavx512dq -mavx512vl -mavx2 -mfma -mf16c

liboracle_a_SOURCES = %D%/oracle.c %D%/oracle_block.c %D%/oracle_block.h \
	%D%/oracle_linear.c %D%/reference.c %D%/reference.h %D%/reference_linear.c \
	%D%/reference_scores.c
liboracle_a_CFLAGS = -std=c11 $(WARN_CFLAGS)
$(liboracle_a_OBJECTS): override CFLAGS += -O3 -fno-sanitize=all

# CUDA: kernels and thin extern "C" launchers only.  The rule's line is the whole
# truth: neither AM_CFLAGS nor CFLAGS reach nvcc.
SUFFIXES = .cu
AM_V_NVCC = $(am__v_NVCC_@AM_V@)
am__v_NVCC_ = $(am__v_NVCC_@AM_DEFAULT_V@)
am__v_NVCC_0 = @echo "  NVCC    " $@;
am__v_NVCC_1 =
.cu.o:
	@$(MKDIR_P) $(@D)
	$(AM_V_NVCC)$(NVCC) $(DEFS) $(DEFAULT_INCLUDES) $(AM_CPPFLAGS) \
	  $(NVCCFLAGS) -MD -MP -MF $(@:.o=.nvcc.d) -c -o $@ $<

if HAVE_CUDA
libkernel_a_SOURCES += %D%/cuda_async.cu %D%/cuda_backend.cu \
	%D%/cuda_device.cu
-include %D%/cuda_async.nvcc.d %D%/cuda_backend.nvcc.d %D%/cuda_device.nvcc.d
endif
CLEANFILES += %D%/*.nvcc.d
