# .cu files: kernels and thin extern "C" launchers only.  The rule's own line is
# the whole truth; no automake flags reach it.
.cu.o:
	@$(MKDIR_P) $(@D)
	$(AM_V_NVCC)$(NVCC) $(DEFS) $(DEFAULT_INCLUDES) -I$(top_srcdir)/src \
	  $(NVCCFLAGS) -MD -MP -MF $(@:.o=.nvcc.d) -c -o $@ $<
AM_V_NVCC = $(am__v_NVCC_@AM_V@)
am__v_NVCC_ = $(am__v_NVCC_@AM_DEFAULT_V@)
am__v_NVCC_0 = @echo "  NVCC    " $@;
am__v_NVCC_1 =
