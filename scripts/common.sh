# SPDX-License-Identifier: Apache-2.0
# Read by quickstart and test: install what is missing, configure, build.
# Sets $top, the source tree, and goes there.
top=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd) || exit 1
cd "$top" || exit 1
jobs=$(nproc 2> /dev/null || echo 2)

say() { printf '== %s\n' "$*"; }
stop() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

packages="gcc g++ make autoconf automake pkg-config mpich libmpich-dev
    libhwloc-dev libopenblas-dev libhdf5-dev libyaml-dev libcmocka-dev"

installed() {
    dpkg-query -W -f '${Status}' "$1" 2> /dev/null | grep -q 'ok installed'
}

# Debian's packages, only those that are not there yet.
install_missing() {
    command -v dpkg-query > /dev/null || {
        say "not a Debian system: install the likes of" $packages
        return
    }
    missing=
    for p in $packages; do
        installed "$p" || missing="$missing $p"
    done
    [ -z "$missing" ] && return
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    say "apt-get install$missing"
    others=no
    installed openmpi-bin && others=yes
    $as_root apt-get -qq update &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
            --no-install-recommends $missing > /dev/null ||
        stop "apt-get failed: install$missing"
    # Scotch brings Open MPI along, which takes over the name mpiexec.
    [ $others = no ] && installed openmpi-bin &&
        $as_root update-alternatives --set mpirun /usr/bin/mpirun.mpich \
            > /dev/null
    return 0
}

# configured FOLDER [FLAG...]: a configured build in FOLDER, an existing one kept
# unless the tree was moved.
configured() {
    dir=$1
    shift
    [ -x configure ] || {
        say "autoreconf -i"
        autoreconf -i || stop "autoreconf failed"
    }
    if ! grep -qsx "abs_top_srcdir = $top" "$dir/Makefile"; then
        say "configure in $dir${*:+ with }$*"
        mkdir -p "$dir" &&
            (cd "$dir" && ../configure -q "$@") ||
            stop "configure failed: see $dir/config.log"
    fi
}

built() {
    say "make -j$jobs in $1"
    make -s -C "$1" -j"$jobs" || stop "make failed in $1"
}
