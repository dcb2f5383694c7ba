#!/usr/bin/env bash
# The whole story on a laptop: base -> warm-up -> SFT and ReFT, each tested on the same problems.
#
#   bash examples/quickstart.sh                    seed 0, results in runs/quickstart
#   SEED=1 bash examples/quickstart.sh             another seed, results in runs/quickstart-seed1
#   bash examples/quickstart.sh key=value ...      settings for every stage, RUNS=folder for results
#
# A finished stage is not run again, and an interrupted one goes on from its last checkpoint.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command -v torchrun > /dev/null || PATH="$PWD/.venv/bin:$PATH"

SEED="${SEED:-0}"
if [[ "$SEED" == 0 ]]; then folder=runs/quickstart; else folder="runs/quickstart-seed$SEED"; fi
RUNS="${RUNS:-$folder}"
PROCESSES="${PROCESSES:-2}"
overrides=("$@")

# On CPUs even where there is a GPU: the same story on every machine.
export CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore

# timed NAME COMMAND ...: run the command and note its seconds.
timed() {
    local name="$1" start="$SECONDS"
    shift
    "$@"
    printf '%s\t%s\n' "$name" "$((SECONDS - start))" >> "$RUNS/seconds.tsv"
}

# stage NAME RECIPE [key=value ...]: one run, in the folder $RUNS/NAME.
stage() {
    local name="$1" recipe="$2"
    shift 2
    if [[ -f "$RUNS/$name/summary.json" ]]; then
        echo "== $name: finished before (remove $RUNS/$name to run it again)"
        return
    fi
    echo "== $name"
    timed "$name" torchrun --standalone --nproc-per-node "$PROCESSES" -m reft_megatron "$recipe" \
        run.dir="$RUNS" run.name="$name" run.seed="$SEED" task.data_seed="$SEED" \
        tokenizer.path="$RUNS/tokenizer.model" "$@" ${overrides[@]+"${overrides[@]}"} \
        --config "examples/configs/quickstart_$recipe.yaml"
    if [[ ! -f "$RUNS/$name/summary.json" ]]; then
        echo "stopped early: run the same command again to go on" >&2
        exit 1
    fi
}

mkdir -p "$RUNS"
if [[ ! -f "$RUNS/tokenizer.model" ]]; then
    echo "== tokenizer"
    timed tokenizer python tools/train_tokenizer.py --task arithmetic \
        --vocab-size 896 --whole-numbers 100 --symbol '"""\n' --symbol '\n   ' \
        --symbol 'Question:\n' --symbol '\nAnswer reasoning:\n' --symbol 'def solution():\n    """' \
        --symbol '\n    result =' --symbol '\n    return result' --output "$RUNS/tokenizer.model"
fi

stage base pretrain
stage warmup sft model.load="$RUNS/base/checkpoints/latest"
stage sft sft model.load="$RUNS/base/checkpoints/latest" sft.stop_after_epoch=0
stage reft ppo model.load="$RUNS/warmup/checkpoints/latest"

stage base-test evaluate model.load="$RUNS/base/checkpoints/latest"
stage warmup-test evaluate model.load="$RUNS/warmup/checkpoints/latest"
stage sft-test evaluate model.load="$RUNS/sft/checkpoints/best"
stage reft-test evaluate model.load="$RUNS/reft/checkpoints/best"

python tools/quickstart_story.py "$RUNS"
