# SPDX-License-Identifier: Apache-2.0
# SPAR_MPI: MPI_CFLAGS, MPI_LIBS and MPIEXEC of an MPI 4 library.
#   MPI_CFLAGS and MPI_LIBS given    as given
#   --with-mpi=DIR                   DIR/include, DIR/lib, DIR/bin
#   otherwise                        pkg-config mpich, else the mpicc in PATH,
#                                    whose prefix is taken for DIR
# CC stays the compiler: no mpicc compiles, so sanitizers and nvcc see plain
# flags, and only mpi/ sees MPI.
AC_DEFUN([SPAR_MPI], [
    AC_ARG_WITH([mpi],
        [AS_HELP_STRING([--with-mpi=DIR],
            [MPI installed under DIR @<:@pkg-config mpich, else mpicc@:>@])],
        [], [with_mpi=check])
    AC_ARG_VAR([MPI_CFLAGS], [C compiler flags for MPI])
    AC_ARG_VAR([MPI_LIBS], [linker flags for MPI])
    AC_ARG_VAR([MPIEXEC], [program that starts MPI ranks])
    spar_mpi_prefix=
    AS_CASE([$with_mpi],
        [no], [AC_MSG_ERROR([spar needs MPI])],
        [yes|check],
            [AS_IF([test "x$MPI_LIBS" = x],
                [PKG_CHECK_MODULES([MPI], [mpich], [], [SPAR_MPI_FROM_MPICC])])],
        [spar_mpi_prefix=$with_mpi])
    AS_IF([test "x$spar_mpi_prefix" != x], [SPAR_MPI_FROM_PREFIX])
    AC_PATH_PROGS([MPIEXEC], [mpiexec.mpich mpiexec], [mpiexec])
    SPAR_MPI_CHECK
])

AC_DEFUN([SPAR_MPI_FROM_MPICC], [
    AC_PATH_PROG([MPICC], [mpicc], [no])
    AS_IF([test "x$MPICC" = xno],
        [AC_MSG_ERROR([no MPI: neither mpich.pc nor mpicc; install libmpich-dev,
            or say --with-mpi=DIR])])
    spar_mpi_prefix=$(cd "$(dirname "$MPICC")/.." && pwd)
])

AC_DEFUN([SPAR_MPI_FROM_PREFIX], [
    AS_IF([test -f "$spar_mpi_prefix/include/mpi.h"], [],
        [AC_MSG_ERROR([no include/mpi.h under $spar_mpi_prefix])])
    MPI_CFLAGS="-I$spar_mpi_prefix/include"
    MPI_LIBS="-L$spar_mpi_prefix/lib -Wl,-rpath,$spar_mpi_prefix/lib -lmpi"
    : ${MPIEXEC=$spar_mpi_prefix/bin/mpiexec}
    AS_IF([test -x "$MPIEXEC"], [],
        [AC_MSG_WARN([$MPIEXEC cannot be executed: chmod +x its folder?])])
])

# The messages over 2 GiB need the _c calls of MPI 4.
AC_DEFUN([SPAR_MPI_CHECK], [
    AC_MSG_CHECKING([whether MPI 4 works])
    spar_save_CFLAGS=$CFLAGS
    spar_save_LIBS=$LIBS
    CFLAGS="$CFLAGS $MPI_CFLAGS"
    LIBS="$MPI_LIBS $LIBS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <mpi.h>]],
            [[return MPI_Send_c(0, 0, MPI_BYTE, 0, 0, MPI_COMM_WORLD);]])],
        [AC_MSG_RESULT([yes])],
        [AC_MSG_RESULT([no])
         AC_MSG_ERROR([MPI 4 needed (MPICH 4.0 or later): see config.log])])
    CFLAGS=$spar_save_CFLAGS
    LIBS=$spar_save_LIBS
])
