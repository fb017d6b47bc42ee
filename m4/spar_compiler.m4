# SPDX-License-Identifier: Apache-2.0
# SPAR_COMPILER_FLAGS: C11, the warnings of the project, --enable-werror.
AC_DEFUN([SPAR_COMPILER_FLAGS], [
  WARN_CFLAGS="-Wall -Wextra -Wshadow -Wswitch-enum -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla"
  AC_ARG_ENABLE([werror],
    [AS_HELP_STRING([--enable-werror], [warnings are errors (for CI)])],
    [], [enable_werror=no])
  AS_IF([test "x$enable_werror" = xyes], [WARN_CFLAGS="$WARN_CFLAGS -Werror"])
  AC_SUBST([WARN_CFLAGS])
])
