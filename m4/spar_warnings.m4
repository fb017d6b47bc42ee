# SPDX-License-Identifier: Apache-2.0
# SPAR_WARNINGS: WARN_CFLAGS, with -Werror under --enable-werror.
AC_DEFUN([SPAR_WARNINGS], [
    AC_ARG_ENABLE([werror],
        [AS_HELP_STRING([--enable-werror], [warnings are errors])],
        [], [enable_werror=no])
    WARN_CFLAGS="-Wall -Wextra -Wshadow -Wswitch-enum -Wstrict-prototypes \
-Wmissing-prototypes -Wpointer-arith -Wvla"
    AS_IF([test "x$enable_werror" = xyes], [WARN_CFLAGS="$WARN_CFLAGS -Werror"])
    AC_SUBST([WARN_CFLAGS])
])
