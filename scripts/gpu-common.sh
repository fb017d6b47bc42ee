# SPDX-License-Identifier: Apache-2.0
# Read by gpu-test after common.sh: what is on this host, the build, MPS, and
# counted results.  Uses $deps, $build, $out.
passed=0 failed=0 skipped=0 sanitizer="not run"

absolute() {
    case $1 in
    /*) echo "$1" ;;
    *) echo "$OLDPWD/$1" ;;
    esac
}

# ---- What is here -----------------------------------------------------------

# Sets $cards, $gpus, and the paths of tools.
gpu_setup() {
    cards="no GPU"
    gpus=0
    if command -v nvidia-smi > /dev/null; then
        cards=$(nvidia-smi --query-gpu=name,driver_version \
            --format=csv,noheader 2> /dev/null | sort | uniq -c |
            sed 's/^ *//' | paste -sd';')
        gpus=$(nvidia-smi -L 2> /dev/null | grep -c '^GPU')
    fi
    # Those that the caller lets us see.
    [ -z "${CUDA_VISIBLE_DEVICES+x}" ] ||
        gpus=$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c .)
    visible=${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((gpus - 1)))}
    first_gpu=${visible%%,*}
    cuda=$(readlink -f "$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)")
    cuda=${cuda%/bin/nvcc}
    PATH=$PATH:$cuda/bin
    if [ -n "$deps" ]; then
        MPIEXEC=$deps/mpich/bin/mpiexec
        # Of one host, and no more: the wheel's UCX looks for networks.
        export UCX_TLS="${UCX_TLS:-self,sm,tcp}"
        export FI_PROVIDER_PATH="$deps/mpich/lib/mpich/libfabric"
    else
        MPIEXEC=${MPIEXEC:-mpiexec}
    fi
    SPAR=$build/spar
    SPAR_DATA=$top/scenarios
    SPAR_LOCAL=${SPAR_LOCAL:-$build/local.yaml}
    export MPIEXEC SPAR SPAR_DATA SPAR_LOCAL
}

# python_library NAME: the folder of a library in Python's packages of NVIDIA,
# where it is laid out for a linker, as $build/NAME.
python_library() {
    from=$(python3 -c "import nvidia.$1 as n; print(list(n.__path__)[0])" \
        2> /dev/null) || return 1
    [ -e "$from/include/$1.h" ] || return 1
    mkdir -p "$build/$1/lib"
    ln -sfn "$from/include" "$build/$1/include"
    ln -sf "$from"/lib/* "$build/$1/lib/"
    for so in "$build/$1"/lib/lib"$1".so.*; do
        ln -sf "$(basename "$so")" "$build/$1/lib/lib$1.so"
    done
}

# ---- Build ------------------------------------------------------------------

# Names of the tests that need a GPU, in tests/Makefile.mk; those that this tree
# has.
gpu_tests() {
    sed -n '/^gpu_tests =/,/[^\\]$/p' tests/Makefile.mk | tr ' \t' '\n\n' |
        sed -n 's,^%D%,tests,p' | while read -r t; do
        case $t in
        *.t) source=${t%.t}_test.c ;;
        *.mpi) source=${t%.mpi}_mpi.c ;;
        *) source=$t ;;
        esac
        [ ! -e "$source" ] || echo "$t"
    done
}

# Flags for the unpacked packages.  An old-style rpath also serves what their
# libraries need in turn, so that no LD_LIBRARY_PATH reaches other programs.
configure_with_deps() {
    lib=$(ls -d "$deps"/usr/lib/*-linux-gnu)
    set -- "$@" --with-mpi="$deps/mpich" \
        CPPFLAGS="-I$deps/usr/include" \
        LDFLAGS="-L$lib -Wl,--disable-new-dtags -Wl,-rpath,$lib" \
        HWLOC_CFLAGS=" " HWLOC_LIBS=-lhwloc YAML_CFLAGS=" " YAML_LIBS=-lyaml \
        CMOCKA_CFLAGS=" " CMOCKA_LIBS=-lcmocka \
        HDF5_CFLAGS="-I$deps/usr/include/hdf5/serial" \
        HDF5_LIBS="-L$lib/hdf5/serial -lhdf5" \
        OPENBLAS_CFLAGS=" " OPENBLAS_LIBS=-lopenblas    # of `make bench` only
    "$top/configure" -q "$@"
}

gpu_configure() {
    set --
    for library in cudnn nccl; do
        [ -e "$cuda/include/$library.h" ] ||
            [ -e "/usr/include/$library.h" ] ||
            ! python_library "$library" ||
            set -- "$@" --with-$library="$build/$library"
    done
    cd "$build" || return 1
    if [ -n "$deps" ]; then
        configure_with_deps "$@"
    else
        "$top/configure" -q "$@"
    fi
}

# gpu_build TARGET...: configures once, then makes.
gpu_build() {
    if ! [ -x configure ]; then
        if [ -n "$deps" ]; then
            tar -xf "$deps/configure.tar"
        else
            autoreconf -i
        fi || stop "no configure: run autoreconf -i, or scripts/gpu-deps"
    fi
    say "building $* in $build"
    {
        if ! grep -qsx "abs_top_srcdir = $top" "$build/Makefile"; then
            (gpu_configure) || return 1
        fi
        # A host without autotools takes what came with the tree.
        set -- -s -C "$build" -j"$jobs" "$@"
        command -v autoconf > /dev/null ||
            set -- "$@" ACLOCAL=: AUTOCONF=: AUTOMAKE=: AUTOHEADER=:
        make "$@" || return 1
    } >> "$out/build.log" 2>&1
}

# ---- MPS --------------------------------------------------------------------

# Our own control daemon, by a private pipe: ranks that share a GPU run side by
# side, and nobody else is touched.  It sees every GPU, under the system's
# numbers.  Without it they take turns, by time slices of milliseconds.
mps_start() {
    command -v nvidia-cuda-mps-control > /dev/null || return 1
    CUDA_MPS_PIPE_DIRECTORY=$(mktemp -d) &&
        CUDA_MPS_LOG_DIRECTORY=$CUDA_MPS_PIPE_DIRECTORY/log || return 1
    export CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
    mkdir "$CUDA_MPS_LOG_DIRECTORY"
    env -u CUDA_VISIBLE_DEVICES timeout 20 nvidia-cuda-mps-control -d \
        > /dev/null 2>&1 && return
    mps_forget
    return 1
}

mps_stop() {
    [ -n "${CUDA_MPS_PIPE_DIRECTORY+x}" ] || return 0
    echo quit | timeout 30 nvidia-cuda-mps-control > /dev/null 2>&1
    mps_forget
}

mps_forget() {
    rm -rf "$CUDA_MPS_PIPE_DIRECTORY"
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
}

# ---- Results ----------------------------------------------------------------

count_failed() {
    failed=$((failed + 1))
    echo "$*" >> "$out/failures"
    printf '   FAILED  %s\n' "$*"
}

count_skipped() {
    skipped=$((skipped + 1))
    printf '   skipped %s\n' "$*"
}

# within SECONDS: sets $limit to them, or to what is left of --limit.
within() {
    limit=$1
    [ -z "$deadline" ] || {
        left=$((deadline - $(date +%s)))
        [ "$left" -ge "$limit" ] || limit=$left
    }
    [ "$limit" -gt 0 ]
}

# tap LABEL SECONDS COMMAND...: runs a TAP program and counts its points.  One
# that dies, or leaves points of its plan out, is a failure besides.
tap() {
    label=$1
    within "$2" || {
        count_skipped "$label: no time left"
        return
    }
    shift 2
    log=$out/$(echo "$label" | tr -c 'A-Za-z0-9.\n-' '_').log
    began=$(date +%s)
    timeout -k 5 "$limit" "$@" > "$log" 2>&1 < /dev/null
    rc=$?
    seconds=$(($(date +%s) - began))
    plan=$(sed -n 's/^1\.\.\([0-9][0-9]*\).*/\1/p' "$log" | head -n 1)
    skip=$(grep -c '^ok .*# *SKIP' "$log")
    good=$(($(grep -c '^ok ' "$log") - skip))
    bad=$(grep -c '^not ok ' "$log")
    passed=$((passed + good))
    skipped=$((skipped + skip))
    printf '   %3d ok %2d not ok %2d skipped %4d s  %s\n' \
        "$good" "$bad" "$skip" "$seconds" "$label"
    sed -n 's/^ok .*# *SKIP/             skipped:/p; s/^# spar: transport/             transport/p' "$log" | sort -u
    grep '^not ok ' "$log" > "$out/bad"
    while read -r line; do count_failed "$label: $line"; done < "$out/bad"
    if [ "$rc" = 124 ] || [ "$rc" = 137 ]; then
        count_failed "$label: no end in $limit s, see $log"
    elif [ $((good + bad + skip)) -ne "${plan:-0}" ] ||
        { [ "$rc" -ne 0 ] && [ "$bad" -eq 0 ]; }; then
        count_failed "$label: status $rc, $((good + bad + skip)) of ${plan:-no} points, see $log"
        tail -n 3 "$log" | sed 's/^/             /'
    fi
}
