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

# timed NAME COMMAND ...: run the command and note its seconds, also if it fails.
timed() {
    local name="$1" start="$SECONDS" code=0
    shift
    "$@" || code=$?
    printf '%s\t%s\n' "$name" "$((SECONDS - start))" >> "$RUNS/seconds.tsv"
    return "$code"
}

# stage NAME RECIPE FROM [key=value ...]: one run, in the folder $RUNS/NAME, from the checkpoint
# $RUNS/FROM (`-`: random weights).
stage() {
    local name="$1" recipe="$2" from="$3"
    local done="$RUNS/$name/summary.json"
    shift 3
    if [[ "$from" != - ]]; then
        set -- model.load="$RUNS/$from" "$@"
        if [[ -f "$done" && "$done" -ot "$RUNS/${from%%/*}/summary.json" ]]; then
            echo "$RUNS/$name was made from an older ${from%%/*}: remove it to make it again" >&2
            exit 1
        fi
    fi
    local settings=(
        run.dir="$RUNS" run.name="$name" run.seed="$SEED" task.data_seed="$SEED"
        tokenizer.path="$RUNS/tokenizer.model" "$@" ${overrides[@]+"${overrides[@]}"}
        --config "examples/configs/quickstart_$recipe.yaml"
    )
    if [[ -f "$done" ]]; then
        # `latest` and `best` are followed when a stage starts, so model.load reads differently.
        if ! diff -q <(python -m reft_megatron "$recipe" "${settings[@]}" --print-config |
            grep -v '^  load:') <(grep -v '^  load:' "$RUNS/$name/config.yaml") > /dev/null; then
            echo "$RUNS/$name was made with other settings: remove it, or set RUNS=folder" >&2
            exit 1
        fi
        echo "== $name: finished before (remove $RUNS/$name to run it again)"
        return
    fi
    echo "== $name"
    if [[ ! -d "$RUNS/$name" && -f "$RUNS/seconds.tsv" ]]; then
        sed -i "/^$name\t/d" "$RUNS/seconds.tsv" # of a run that was removed
    fi
    timed "$name" torchrun --standalone --nproc-per-node "$PROCESSES" \
        -m reft_megatron "$recipe" "${settings[@]}"
    if [[ ! -f "$done" ]]; then
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

stage base pretrain -
stage warmup sft base/checkpoints/latest
stage sft sft base/checkpoints/latest sft.stop_after_epoch=0
stage reft ppo warmup/checkpoints/latest

stage base-test evaluate base/checkpoints/latest
stage warmup-test evaluate warmup/checkpoints/latest
stage sft-test evaluate sft/checkpoints/best
stage reft-test evaluate reft/checkpoints/best

python tools/quickstart_story.py "$RUNS"
