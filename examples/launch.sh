#!/usr/bin/env bash
# Runs an example of this folder under Python: launch.sh SCRIPT [its words and settings ...].
# A task of a Slurm step becomes one rank; anywhere else torchrun starts all ranks on this machine.
set -euo pipefail

command -v torchrun > /dev/null || PATH="$(cd "$(dirname "$1")/.." && pwd)/.venv/bin:$PATH"

# Options (--help, --print-config) ask a question, and one process answers.
if [[ " $* " == *" --"* ]]; then
    exec python "$@"
fi

if [[ -n "${SLURM_STEP_ID:-}" && "${SLURM_NTASKS:-1}" -gt 1 ]]; then
    # Every task must see all GPUs of its node (--gpus-per-node, not --gpus-per-task).
    export RANK="$SLURM_PROCID" WORLD_SIZE="$SLURM_NTASKS" LOCAL_RANK="$SLURM_LOCALID"
    export LOCAL_WORLD_SIZE="${SLURM_STEP_TASKS_PER_NODE%%[(,]*}" # `8(x2)`: 8 on each of 2 nodes
    if [[ -z "${MASTER_ADDR:-}" ]]; then
        hosts="$(scontrol show hostnames "$SLURM_STEP_NODELIST")"
        export MASTER_ADDR="${hosts%%$'\n'*}"
    fi
    export MASTER_PORT="${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 20000))}"
    exec python -u "$@"
fi

processes="$(python "$@" --processes)"
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # torchrun's own default, said so that it need not warn
exec torchrun --standalone --nproc-per-node "$processes" "$@"
