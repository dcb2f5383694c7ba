#!/usr/bin/env bash
# The whole story on a laptop: base -> warm-up -> SFT and ReFT, each tested on the same problems.
#
#   bash examples/quickstart.sh                    seed 0, results in runs/quickstart
#   bash examples/quickstart.sh --seed 1           another seed, results in runs/quickstart/seed-1
#   bash examples/quickstart.sh key=value ...      settings for every stage
#
# SEED, RUNS and PROCESSES say the same as --seed, --folder and --processes; `--help` shows them all.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v torchrun > /dev/null || PATH="$PWD/.venv/bin:$PATH"

exec python -m reft_megatron reproduce --config examples/configs/quickstart.yaml \
    ${SEED:+--seed "$SEED"} ${RUNS:+--folder "$RUNS"} ${PROCESSES:+--processes "$PROCESSES"} "$@"
