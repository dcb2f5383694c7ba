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
compiler="$launcher ${CXX:-g++} -std=c++20 -O1 -g -ffp-contract=off -fno-omit-frame-pointer -pthread"

for sanitizers in thread address,undefined undefined; do
    objects="$folder/$sanitizers"
    compile="$compiler -fsanitize=$sanitizers -fno-sanitize-recover=all"
    mkdir -p "$objects"
    # All but Python.
    find "$core"/*.cpp "$core/fuzz/races.cpp" ! -name binding.cpp -printf '%f %p\n' |
        xargs -P "$(nproc)" -L 1 sh -c "$compile -c \"\$1\" -o \"$objects/\${0%.cpp}.o\""
    $compile $(find "$core"/*.cpp "$core/fuzz/races.cpp" ! -name binding.cpp -printf "$objects/%f\n" |
        sed 's/cpp$/o/') -o "$folder/races_$sanitizers"
done

export UBSAN_OPTIONS="print_stacktrace=1 ${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="die_after_fork=0 ${TSAN_OPTIONS:-}"
for sanitizers in thread address,undefined undefined; do
    echo "$sanitizers"
    "$folder/races_$sanitizers" "$seconds"
done
