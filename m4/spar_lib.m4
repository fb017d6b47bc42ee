# SPDX-License-Identifier: Apache-2.0
# SPAR_WITH_LIB(NAME, HEADER, LIBRARY, SYMBOL): a library that needs CUDA.
# --with-NAME[=no|check|yes|DIR] as in SPAR_CUDA; looked for under DIR, else
# under CUDA's folder, else where the compiler looks.
# Sets NAME_CPPFLAGS, NAME_LIBS and HAVE_NAME (in capitals), nothing else.
AC_DEFUN([SPAR_WITH_LIB], [
    m4_pushdef([UP], m4_toupper([$1]))
    AC_REQUIRE([SPAR_CUDA])
    AC_ARG_WITH([$1],
        [AS_HELP_STRING([--with-$1=DIR],
            [no, check, yes or the folder of $1 @<:@check@:>@])],
        [], [with_$1=check])
    spar_$1_found=no
    AS_CASE([$with_$1:$spar_cuda_found],
        [no:*|check:no], [],
        [*:no], [AC_MSG_ERROR([--with-$1 needs CUDA, which is not used])],
        [yes:*|check:*], [spar_dir=$CUDA_ROOT],
        [spar_dir=$with_$1
         test -f "$spar_dir/include/$2" ||
             AC_MSG_ERROR([--with-$1: no $spar_dir/include/$2])])
    AS_IF([test "x$with_$1" != xno && test $spar_cuda_found = yes],
        [AC_MSG_CHECKING([for $1])
         spar_save_CPPFLAGS=$CPPFLAGS
         spar_save_LIBS=$LIBS
         UP[]_CPPFLAGS="-I$spar_dir/include"
         spar_l=$spar_dir/lib64
         test -d "$spar_l" || spar_l=$spar_dir/lib
         UP[]_LIBS="-L$spar_l -Wl,-rpath,$spar_l -l$3"
         CPPFLAGS="$CPPFLAGS $UP[]_CPPFLAGS $CUDA_CPPFLAGS"
         LIBS="$UP[]_LIBS $CUDA_LIBS $LIBS"
         AC_LINK_IFELSE(
             [AC_LANG_PROGRAM([[#include <$2>]], [[void *f = (void *)$4;
                 return !f;]])],
             [spar_$1_found=yes])
         CPPFLAGS=$spar_save_CPPFLAGS
         LIBS=$spar_save_LIBS
         AC_MSG_RESULT([$spar_$1_found])])
    AS_CASE([$with_$1:$spar_$1_found],
        [no:*|check:*|*:yes], [],
        [AC_MSG_ERROR([--with-$1=$with_$1: not usable: see config.log])])
    AS_IF([test $spar_$1_found = yes],
        [AC_DEFINE([HAVE_]UP, [1], [$1 is used])],
        [UP[]_CPPFLAGS= UP[]_LIBS=])
    AM_CONDITIONAL([HAVE_]UP, [test $spar_$1_found = yes])
    AC_SUBST(UP[_CPPFLAGS])
    AC_SUBST(UP[_LIBS])
    m4_popdef([UP])
])
