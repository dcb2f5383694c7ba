#!/usr/bin/env bash
# Race batches, threads, forks and host processes of the extractor's core under sanitizers.
#
#   tools/race_native.sh [SECONDS] [FOLDER]    20 seconds under TSan, and again under ASan and UBSan;
#                                              builds in FOLDER (build/race). CXX: g++
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-20}"
folder="${2:-build/race}"
core="csrc/extractor"
compiler="$(command -v ccache || true) ${CXX:-g++}"
flags="-std=c++20 -O1 -g -ffp-contract=off -fno-omit-frame-pointer -pthread"

build() { # SANITIZERS
    local objects="$folder/$1"
    mkdir -p "$objects"
    # Python is not raced here.
    find "$core" -name '*.cpp' ! -name 'binding*.cpp' ! -name 'fuzz_*.cpp' -printf '%p\n' | sort |
        xargs -P "$(nproc)" -I{} sh -c \
            "$compiler $flags -fsanitize=$1 -c {} -o $objects/\$(basename {} .cpp).o"
    $compiler $flags -fsanitize="$1" "$objects"/*.o -o "$folder/races_$1"
}

build thread
build address,undefined

# A forked child of many threads starts threads of its own, which TSan does not expect by default.
TSAN_OPTIONS="die_after_fork=0 second_deadlock_stack=1 ${TSAN_OPTIONS:-}" \
    "$folder/races_thread" "$seconds"
UBSAN_OPTIONS="halt_on_error=1 print_stacktrace=1" "$folder/races_address,undefined" "$seconds"
