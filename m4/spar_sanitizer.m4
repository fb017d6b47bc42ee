# SPDX-License-Identifier: Apache-2.0
# SPAR_SANITIZER: --enable-sanitizer=address,undefined sets SANITIZER_CFLAGS,
# for compiling and linking alike.
AC_DEFUN([SPAR_SANITIZER], [
    AC_ARG_ENABLE([sanitizer],
        [AS_HELP_STRING([--enable-sanitizer=LIST],
            [address, undefined, thread, comma-separated])],
        [], [enable_sanitizer=no])
    AS_CASE([$enable_sanitizer],
        [no], [],
        [yes], [AC_MSG_ERROR([--enable-sanitizer needs a list, for example
            --enable-sanitizer=address,undefined])],
        [spar_save_CFLAGS=$CFLAGS
         SANITIZER_CFLAGS="-fsanitize=$enable_sanitizer \
-fno-sanitize-recover=all -fno-omit-frame-pointer"
         CFLAGS="$CFLAGS $SANITIZER_CFLAGS"
         AC_MSG_CHECKING([whether $CC knows -fsanitize=$enable_sanitizer])
         AC_LINK_IFELSE([AC_LANG_PROGRAM()],
             [AC_MSG_RESULT([yes])],
             [AC_MSG_RESULT([no])
              AC_MSG_ERROR([no sanitizer "$enable_sanitizer"])])
         CFLAGS=$spar_save_CFLAGS])
    AC_SUBST([SANITIZER_CFLAGS])
])
