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
	%D%/cpu_isa.h \
	%D%/cpu_linear.h \
	%D%/cpu_linear_intra.h \
	%D%/cpu_linear_state.h \
	%D%/cpu_portable.c \
	%D%/cpu_rows.h \
	%D%/cpu_scores.h \
	%D%/cuda_async.h \
	%D%/cuda_attend.cuh \
	%D%/cuda_bands.cuh \
	%D%/cuda_block.cuh \
	%D%/cuda_common.cuh \
	%D%/cuda_facts.h \
	%D%/cuda_hopper.cuh \
	%D%/cuda_kernels.h \
	%D%/cuda_linear.cuh \
	%D%/cuda_linear_fetch.cuh \
	%D%/cuda_linear_rows.cuh \
	%D%/cuda_linear_site.cuh \
	%D%/cuda_linear_state.cuh \
	%D%/cuda_mma.cuh \
	%D%/cuda_rows.cuh \
	%D%/cuda_streams.h \
	%D%/cuda_versions.h \
	%D%/cuda_warp.cuh \
	%D%/cuda_wgmma.cuh \
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
libkernel_a_SOURCES += \
	%D%/cuda.c \
	%D%/cuda_async.cu \
	%D%/cuda_attend.cu \
	%D%/cuda_attend_fp32.cu \
	%D%/cuda_attend_hopper.cu \
	%D%/cuda_attend_mma.cu \
	%D%/cuda_backward_hopper.cu \
	%D%/cuda_backward_mma.cu \
	%D%/cuda_copy.cu \
	%D%/cuda_decode.cu \
	%D%/cuda_device.cu \
	%D%/cuda_facts.cu \
	%D%/cuda_hopper.cu \
	%D%/cuda_linear.cu \
	%D%/cuda_linear_any.cu \
	%D%/cuda_linear_flow.cu \
	%D%/cuda_linear_scan.cu \
	%D%/cuda_parts.cu \
	%D%/cuda_rows.cu \
	%D%/cuda_scores.cu \
	%D%/cuda_versions.cu
-include %D%/cuda_async.nvcc.d
-include %D%/cuda_attend.nvcc.d
-include %D%/cuda_attend_fp32.nvcc.d
-include %D%/cuda_attend_hopper.nvcc.d
-include %D%/cuda_attend_mma.nvcc.d
-include %D%/cuda_backward_hopper.nvcc.d
-include %D%/cuda_backward_mma.nvcc.d
-include %D%/cuda_copy.nvcc.d
-include %D%/cuda_decode.nvcc.d
-include %D%/cuda_device.nvcc.d
-include %D%/cuda_facts.nvcc.d
-include %D%/cuda_hopper.nvcc.d
-include %D%/cuda_linear.nvcc.d
-include %D%/cuda_linear_any.nvcc.d
-include %D%/cuda_linear_flow.nvcc.d
-include %D%/cuda_linear_scan.nvcc.d
-include %D%/cuda_parts.nvcc.d
-include %D%/cuda_rows.nvcc.d
-include %D%/cuda_scores.nvcc.d
-include %D%/cuda_versions.nvcc.d
endif

# cuDNN: its headers reach these files and no others.
EXTRA_LIBRARIES += libcudnnkernel.a
libcudnnkernel_a_SOURCES = %D%/cudnn.c %D%/cudnn_attention.c \
	%D%/cudnn_attention.h %D%/cudnn_backward.c %D%/cudnn_call.c \
	%D%/cudnn_call.h %D%/cudnn_device.h \
	%D%/cudnn_graph.c %D%/cudnn_graph.h %D%/cudnn_result.c \
	%D%/cudnn_result.h %D%/cudnn_state.c %D%/cudnn_state.h
libcudnnkernel_a_CPPFLAGS = $(AM_CPPFLAGS) $(CUDNN_CPPFLAGS) $(CUDA_CPPFLAGS)
if HAVE_CUDNN
libkernel_a_SOURCES += %D%/cudnn_device.cu
libkernel_a_LIBADD += $(libcudnnkernel_a_OBJECTS)
-include %D%/cudnn_device.nvcc.d
endif
CLEANFILES += %D%/*.nvcc.d
