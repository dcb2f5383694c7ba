#!/usr/bin/env bash
# Race batches, threads, forks and host processes of the extractor's core under sanitizers.
#
#   tools/race_native.sh [SECONDS] [FOLDER]    20 seconds under each; builds in FOLDER (build/race)
#
# TSan watches threads, and forks whose children make none; ASan threads and processes, without
# forks; UBSan alone lets a forked child do everything. Other compilers than g++: CXX.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-20}"
folder="${2:-build/race}"
core="csrc/extractor"
launcher="$(command -v ccache || true)"
compiler="$launcher ${CXX:-g++} -I$core -std=c++20 -O1 -g -ffp-contract=off -fno-omit-frame-pointer -pthread"

for sanitizers in thread address,undefined undefined; do
    objects="$folder/$sanitizers"
    compile="$compiler -fsanitize=$sanitizers -fno-sanitize-recover=all"
    mkdir -p "$objects"
    # All but Python.
    sources="$(find "$core" -name '*.cpp' ! -name binding.cpp ! -name fuzz_program.cpp)"
    printf '%s\n' $sources | xargs -P "$(nproc)" -I{} sh -c \
        "$compile -c {} -o \"$objects/\$(basename {} .cpp).o\""
    $compile "$objects"/*.o -o "$folder/races_$sanitizers"
done

export UBSAN_OPTIONS="print_stacktrace=1 ${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="die_after_fork=0 ${TSAN_OPTIONS:-}"
for sanitizers in thread address,undefined undefined; do
    echo "$sanitizers"
    "$folder/races_$sanitizers" "$seconds"
done
