#!/usr/bin/env bash
# Fuzz the extractor's core with libFuzzer under ASan and UBSan: any bytes, no crash, no excess.
#
#   tools/fuzz_native.sh [SECONDS] [FOLDER]      60 seconds; what is found lies in FOLDER (build/fuzz)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds="${1:-60}"
folder="$(mkdir -p "${2:-build/fuzz}" && cd "${2:-build/fuzz}" && pwd)"
core="csrc/extractor"
sanitizers="address,undefined"
flags=(-I"$core" -std=c++20 -O1 -g -ffp-contract=off -fno-omit-frame-pointer -fno-sanitize-recover=all)
launcher="$(command -v ccache || true)"

mkdir -p "$folder/objects" "$folder/corpus" "$folder/seeds"
python3 - "$folder/seeds" <<'SEEDS'
import pathlib, sys
from tools.fuzzing import grammar, mutation
programs = [*mutation.SEEDS, *(grammar.program(1, number) for number in range(500))]
for number, program in enumerate(programs):
    # The first byte chooses entry and compatibility (fuzz_program.cpp).
    text = chr(ord("0") + number % 40) + program
    pathlib.Path(sys.argv[1], f"{number:03}").write_text(text, "utf-8")
SEEDS

# Python, and what runs many programs or sandboxes them, is not the core.
find "$core" -name '*.cpp' ! -path '*/fuzz/*' ! -path '*/batch/*' | xargs -P "$(nproc)" -I{} sh -c \
    "$launcher clang++ ${flags[*]} -fsanitize=fuzzer-no-link,$sanitizers \
        -c {} -o \"$folder/objects/\$(basename {} .cpp).o\""
clang++ "${flags[@]}" -fsanitize="fuzzer,$sanitizers" \
    "$core/fuzz/fuzz_program.cpp" "$folder"/objects/*.o -o "$folder/fuzz_program"

cd "$folder"
exec ./fuzz_program corpus seeds -dict="$OLDPWD/$core/fuzz/tokens.dict" \
    -max_total_time="$seconds" -max_len=4096 -timeout=60 -rss_limit_mb=2048 -print_final_stats=1
