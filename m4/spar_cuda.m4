# SPDX-License-Identifier: Apache-2.0
# SPAR_CUDA: --with-cuda[=no|check|yes|DIR], default check.
#   no     do not look          check   use it if it works, else go without
#   yes, DIR   (DIR/bin/nvcc)   an error if it does not work
# Sets NVCC, NVCCFLAGS, CUDA_ROOT, CUDA_CPPFLAGS, CUDA_LIBS, HAVE_CUDA.
AC_DEFUN([SPAR_CUDA], [
    AC_ARG_WITH([cuda],
        [AS_HELP_STRING([--with-cuda=DIR],
            [CUDA kernels: no, check, yes or CUDA's folder @<:@check@:>@])],
        [], [with_cuda=check])
    AC_ARG_VAR([NVCC], [CUDA compiler])
    AC_ARG_VAR([NVCCFLAGS],
        [CUDA compiler flags @<:@-O3, PTX of 8.0, code of 9.0a@:>@])
    # 8.0 is the least that the kernels need; its PTX runs on every later device.
    : ${NVCCFLAGS="-O3 -std=c++17 -gencode=arch=compute_80,code=compute_80 \
-gencode=arch=compute_90a,code=sm_90a"}
    spar_cuda_found=no
    AS_CASE([$with_cuda],
        [no], [],
        [yes|check],
            [AC_PATH_PROG([NVCC], [nvcc], [],
                [$PATH$PATH_SEPARATOR/usr/local/cuda/bin])],
        [NVCC=$with_cuda/bin/nvcc])
    AS_IF([test "x$with_cuda" != xno], [SPAR_CUDA_CHECK])
    AS_CASE([$with_cuda:$spar_cuda_found],
        [no:*|check:*|*:yes], [],
        [AC_MSG_ERROR([--with-cuda=$with_cuda: no working nvcc
            (${NVCC:-none in PATH}): see config.log])])
    AS_IF([test $spar_cuda_found = yes],
        [AC_DEFINE([HAVE_CUDA], [1], [CUDA kernels are built])])
    AM_CONDITIONAL([HAVE_CUDA], [test $spar_cuda_found = yes])
    AC_SUBST([CUDA_CPPFLAGS])
    AC_SUBST([CUDA_LIBS])
])

# nvcc refuses host compilers newer than it knows, so try it.
AC_DEFUN([SPAR_CUDA_CHECK], [
    AC_MSG_CHECKING([whether nvcc works])
    cat > conftest.cu <<_SPAR_EOF
#include <cuda_runtime.h>
__global__ void kernel(void) { }
_SPAR_EOF
    AS_IF([test -n "$NVCC" && AC_TRY_COMMAND(
            [$NVCC -c conftest.cu -o conftest.o >&AS_MESSAGE_LOG_FD 2>&1])],
        [spar_cuda_found=yes
         CUDA_ROOT=$(cd "$(dirname "$(readlink -f "$NVCC")")/.." && pwd)
         CUDA_CPPFLAGS="-I$CUDA_ROOT/include"
         SPAR_CUDA_LIBS])
    rm -f conftest.cu conftest.o
    AC_MSG_RESULT([$spar_cuda_found])
])

AC_DEFUN([SPAR_CUDA_LIBS], [
    spar_cuda_lib=$CUDA_ROOT/lib64
    test -d "$spar_cuda_lib" || spar_cuda_lib=$CUDA_ROOT/lib
    AS_IF([test -f "$spar_cuda_lib/libcudart_static.a"],
        [CUDA_LIBS="$spar_cuda_lib/libcudart_static.a -ldl -lrt -lpthread"],
        [CUDA_LIBS="-L$spar_cuda_lib -Wl,-rpath,$spar_cuda_lib -lcudart"])
])
