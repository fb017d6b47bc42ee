# SPDX-License-Identifier: Apache-2.0
# SPAR_SCOTCH: --with-scotch[=no|check|yes|DIR], default check: the library that
# maps graphs onto trees.
# Sets SCOTCH_CPPFLAGS, SCOTCH_LIBS and HAVE_SCOTCH, nothing else.
AC_DEFUN([SPAR_SCOTCH], [
    AC_ARG_WITH([scotch],
        [AS_HELP_STRING([--with-scotch=DIR],
            [placement by Scotch: no, check, yes or its folder @<:@check@:>@])],
        [], [with_scotch=check])
    spar_scotch_found=no
    AS_CASE([$with_scotch],
        [no], [],
        [yes|check],
            [SPAR_SCOTCH_CHECK([], [])
             AS_IF([test $spar_scotch_found = no],
                 [SPAR_SCOTCH_CHECK([-I/usr/include/scotch], [])])],
        [SPAR_SCOTCH_CHECK([-I$with_scotch/include], [-L$with_scotch/lib])])
    AS_CASE([$with_scotch:$spar_scotch_found],
        [no:*|check:*|*:yes], [],
        [AC_MSG_ERROR([--with-scotch=$with_scotch: not usable: see config.log])])
    AS_IF([test $spar_scotch_found = yes],
        [AC_DEFINE([HAVE_SCOTCH], [1], [Scotch is used])],
        [SCOTCH_CPPFLAGS= SCOTCH_LIBS=])
    AC_SUBST([SCOTCH_CPPFLAGS])
    AC_SUBST([SCOTCH_LIBS])
])

# SPAR_SCOTCH_CHECK(CPPFLAGS, LDFLAGS)
AC_DEFUN([SPAR_SCOTCH_CHECK], [
    AC_MSG_CHECKING([for Scotch m4_if([$1], [], [], [with $1])])
    spar_save_CPPFLAGS=$CPPFLAGS
    spar_save_LIBS=$LIBS
    SCOTCH_CPPFLAGS="$1"
    SCOTCH_LIBS="$2 -lscotch -lscotcherr"
    CPPFLAGS="$CPPFLAGS $SCOTCH_CPPFLAGS"
    LIBS="$SCOTCH_LIBS $LIBS"
    AC_LINK_IFELSE(
        [AC_LANG_PROGRAM([[#include <stdio.h>
            #include <stdint.h>
            #include <scotch.h>]],
            [[SCOTCH_Arch a; SCOTCH_Num n = 2;
            return SCOTCH_archInit(&a) || SCOTCH_archTleaf(&a, 1, &n, &n);]])],
        [spar_scotch_found=yes])
    CPPFLAGS=$spar_save_CPPFLAGS
    LIBS=$spar_save_LIBS
    AC_MSG_RESULT([$spar_scotch_found])
])
