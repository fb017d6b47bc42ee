#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Golden schedules: what `spar show` prints of tests/golden/*.yaml, to the
# letter.  With the argument "write" it rewrites them.
: "${SPAR:=./spar}" "${srcdir:=.}"
golden=$srcdir/tests/golden
n=0
for scenario in "$golden"/*.yaml; do
    expected=${scenario%.yaml}.txt
    n=$((n + 1))
    if [ "$1" = write ]; then
        "$SPAR" show "$scenario" > "$expected" || exit 1
        continue
    fi
    name=$(basename "$scenario" .yaml)
    if "$SPAR" show "$scenario" 2>&1 | diff "$expected" - > golden.diff; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
        sed 's/^/# /' golden.diff
    fi
    rm -f golden.diff
done
[ "$1" = write ] || echo "1..$n"
