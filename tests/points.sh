# SPDX-License-Identifier: Apache-2.0
# For the shell tests: numbered points of TAP from the files out and err in
# $temporary.
n=0

# point NAME: of the commands before it, the last one's status decides.
point() {
    rc=$?
    n=$((n + 1))
    if [ $rc = 0 ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        head -c 3000 "$temporary/err" "$temporary/out" | sed 's/^/# /'
    fi
}

skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }

# spar ARGUMENT...: into out and err, status kept.
spar() {
    timeout -k 5 100 $launch "$SPAR" "$@" < /dev/null > "$temporary/out" \
        2> "$temporary/err"
}
