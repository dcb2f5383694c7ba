#!/usr/bin/env bash
# The paper's comparison in small, on two CPU cores: warm-up, SFT, Offline-ST, Online-ST, ReFT and two
# ablations, samples, rerankers, and the table. Finished stages are not run again.
#
#   bash examples/reproduce_small.sh               seed 1, results in runs/reproduce-small
#   bash examples/reproduce_small.sh --seed 1 --seed 2 --seed 3     medians over three seeds
#   bash examples/reproduce_small.sh --dry-run     what there is to do
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v torchrun > /dev/null || PATH="$PWD/.venv/bin:$PATH"

exec python -m reft_megatron reproduce --config examples/configs/reproduce_small.yaml "$@"
