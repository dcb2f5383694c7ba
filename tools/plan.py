"""Which layouts of a model fit some GPUs, and which of them may be fastest.

Owns the command; the arithmetic is `reft_megatron.policy.plan`, which the trainer asks too before
it builds a model.

Try it: `python tools/plan.py --model galactica-6.7b --gpus 8 --memory 80`.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reft_megatron.config import Config, load_config
from reft_megatron.errors import ConfigError, ReftError
from reft_megatron.policy import architecture_of
from reft_megatron.policy.plan import (
    ASSUMPTIONS,
    DOCUMENT_TOKENS,
    GPUS,
    JOBS,
    KEPT_BACK,
    Case,
    count_parameters,
    nearest_gpu,
    search,
    try_remedies,
)
from reft_megatron.policy.plan.search import Search, Trial
from reft_megatron.policy.plan.speed import Gpu
from reft_megatron.policy.plan.table import (
    as_dict,
    complaint,
    gigabytes,
    plan_table,
    reasons,
    text,
    trial_table,
)

_HELP = f"""\
examples:
  python tools/plan.py --model galactica-6.7b --gpus 8 --memory 80
  python tools/plan.py --model galactica-6.7b --gpus 1 --memory 141 --recipe sft generate.slots=8
  python tools/plan.py --gpus 8 --gpu a100 --config examples/configs/ppo_gsm8k_6.7b.yaml
  python tools/plan.py --model data/CodeLlama-7b-hf --gpus 8 --memory 80 generate.slots=32

What is asked is what the trainer is asked, with the same settings. Those that count here:
  model.precision=bf16 model.recompute=full     assumed here unless --config says otherwise
  parallel.distributed_optimizer=true           optimizer state sharded over data ranks
  generate.max_prompt_tokens=512 generate.max_new_tokens=400     their sum is --length
  ppo.batch_size=32 ppo.samples_per_problem=1   or --batch, problems of one step
  ppo.kl_coef=0                                 no reference model
  model.reference_waits=host                    the reference is on the GPU only while it scores
  generate.slots=64                             sequences decoded at once, rows of the cache; fewer
                                                where a data rank is asked for less
  task.dev_size=200                             dev problems; with 0 sft generates nothing
  optimizer.micro_batch_tokens=4096             tokens of a packed micro-batch

Columns, in GB (10^9 bytes) of the rank that needs most; SP is sequence parallelism, on wherever
TP > 1:
  weights, grads, Adam, ref.   there all the time: the model, fp32 gradients, fp32 masters and
                               moments, the frozen model that KL is measured against
  activ., layer, logits        there in the update: what is kept for the backward passes of the
                               micro-batches in flight; for a moment the layer at hand, or
                               fp32 logits of a chunk of tokens, whichever is larger
  cache, prefill               there in generation: keys and values; one step's tokens, prompts
                               being read among them, in one layer, or the logits drawn from
  total                        the first four, and the larger of update and generation
  free                         of the memory less {KEPT_BACK:.0%} for CUDA, NCCL and fragmentation
and in seconds of one step: generate, score (with the reference), update.

Sequences are as long as settings allow: a prompt and a response (a gold solution is taken to be no
longer than one); {DOCUMENT_TOKENS} tokens in pretrain. Memory is held to measurements on CPUs: what
is there all the time to the byte, what is kept for backward passes within 5 %, peaks within 15 %.
Times are a roofline that ranks layouts; none has been measured:
{textwrap.indent(textwrap.fill(ASSUMPTIONS, 94), "  ")}
"""

_CONFIG = ("model.precision=bf16", "model.recompute=full")
_ROWS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tool; returns the exit status: 1, with a message, if nothing fits or input is bad."""
    # Intermixed, so that settings may follow options.
    options = _parser().parse_intermixed_args(arguments)
    try:
        _check(options)
        case, gpu = _case(options), _gpu(options)
        memory = 1e9 * options.memory if options.memory else gpu.memory
        found = search(case, gpu, memory=memory)
        trials = [] if found.fitting else try_remedies(case, gpu, memory=memory)
    except ReftError as error:
        print(error, file=sys.stderr)
        return 1
    asked = _asked(case, gpu, memory)
    if options.json:
        print(json.dumps(asked | as_dict(found, trials), indent=1))
    else:
        print("\n".join(_page(asked, found, trials, rows=options.rows)))
    return 0 if found.fitting else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Which layouts of a model fit, what fills the memory, and how long steps take.",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("settings", nargs="*", metavar="section.key=value", help="settings, as the trainer takes")
    add("--model", help="preset (galactica-6.7b, codellama-7b, ...) or Hugging Face folder")
    add("--config", help="YAML file of a run; its layout is not looked at")
    add("--recipe", choices=JOBS, default="ppo", help="what is done with the model (default ppo)")
    add("--gpus", type=int, required=True, help="number of GPUs")
    add("--memory", type=float, help="GB of each GPU, as its name counts them (80, 141)")
    add("--gpu", choices=GPUS, default="", help="kind; without it the one nearest to --memory")
    add("--length", type=int, help="tokens of the longest sequence, prompt and response")
    add("--batch", type=int, help="problems of one step, over all data ranks")
    add("--vocab", type=int, default=50_000, help="tokenizer ids of a preset without (50000)")
    add("--rows", type=int, default=_ROWS, help=f"layouts to print (default {_ROWS})")
    add("--json", action="store_true", help="print all layouts as JSON, in bytes and seconds")
    return parser


def _check(options: argparse.Namespace) -> None:
    """ConfigError for options that are missing or out of range."""
    for name, least in (("gpus", 1), ("length", 2), ("batch", 1), ("vocab", 1), ("rows", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ConfigError(f"--{name} must be {least} or more, saw {value}.")
    if options.memory is not None and options.memory <= 0:
        raise ConfigError(f"--memory must be more than 0 GB, saw {options.memory:g}.")
    if not options.memory and not options.gpu:
        raise ConfigError(f"say what the GPUs are: --memory GB, or --gpu {'|'.join(GPUS)}.")
    if not options.model and not options.config:
        raise ConfigError("nothing says what the model is: give --model or --config.")
    if options.length and options.recipe == "pretrain":
        raise ConfigError(
            f"pretrain takes no --length: its documents have up to {DOCUMENT_TOKENS} tokens."
        )
    if options.batch and options.recipe == "evaluate":
        raise ConfigError(
            "evaluate takes no --batch: it asks all problems, generate.slots at a time."
        )


def _case(options: argparse.Namespace) -> Case:
    settings = _model(options)
    if options.batch:
        settings.append(f"{options.recipe}.batch_size={options.batch}")
    settings += options.settings
    config = load_config(options.config, settings)
    if options.length:
        config = load_config(options.config, [*settings, *_length(config, options.length)])
    architecture = architecture_of(config.model)
    return Case(
        architecture=architecture,
        config=config,
        recipe=options.recipe,
        world=options.gpus,
        vocab=architecture.vocab or options.vocab,
    )


def _model(options: argparse.Namespace) -> list[str]:
    """Settings that say what the model is; those of the command line come behind them."""
    settings = [] if options.config else list(_CONFIG)
    if options.model and Path(options.model).is_dir():
        return [*settings, f"model.hf={options.model}", "model.preset=", "model.load="]
    if options.model:
        return [*settings, f"model.preset={options.model}", "model.hf="]
    # The folder that a run starts from need not be here, where its preset says what it holds.
    return [*settings, "model.hf="] if load_config(options.config).model.preset else settings


def _length(config: Config, length: int) -> list[str]:
    """Settings for sequences of `length` tokens: the response keeps its share if there is room."""
    response = min(config.generate.max_new_tokens, length // 2)
    return [
        f"generate.max_new_tokens={response}",
        f"generate.max_prompt_tokens={length - response}",
    ]


def _gpu(options: argparse.Namespace) -> Gpu:
    return GPUS[options.gpu] if options.gpu else nearest_gpu(1e9 * options.memory)


def _asked(case: Case, gpu: Gpu, memory: float) -> dict[str, Any]:
    """What was asked, as it was understood."""
    return {
        "model": case.architecture.name,
        "parameters": count_parameters(case),
        "recipe": case.recipe,
        "gpus": case.world,
        "gpu": gpu.name,
        "memory": memory,
        "precision": case.config.model.precision,
        "recompute": case.config.model.recompute,
        "reference": case.reference,
        "length": case.length,
        "prompt": case.prompt,
        "response": case.response,
        "slots": case.config.generate.slots,
        "micro_batch_tokens": case.config.optimizer.micro_batch_tokens,
    }


def _page(asked: dict[str, Any], found: Search, trials: Sequence[Trial], *, rows: int) -> list[str]:
    reference = "with" if asked["reference"] else "without"
    sequences = (
        f"sequences of {asked['prompt']} + {asked['response']} tokens, {asked['slots']} slots"
    )
    if asked["recipe"] == "pretrain":
        sequences = f"documents of up to {asked['length']} tokens"
    lines = [
        f"{asked['model']}, {asked['parameters'] / 1e9:.3g} billion weights; {asked['recipe']} "
        f"{reference} a reference model; {asked['precision']}, recompute {asked['recompute']}",
        f"{asked['gpus']} x {gigabytes(asked['memory'])} GB (peaks of an {asked['gpu']}), of which "
        f"{gigabytes(found.usable)} may be used",
        f"{sequences}, micro-batches of {asked['micro_batch_tokens']} tokens",
    ]
    plans = found.fitting[:rows] or found.too_big[:1]
    table = text(plan_table(plans, usable=found.usable))
    if found.fitting:
        lines += ["", f"{len(found.fitting)} layouts fit; the fastest first:", table]
        lines.append(f"Too big: {len(found.too_big)} more.")
    else:
        lines += ["", "Nothing fits. The smallest layout:", table]
        lines.append(complaint(plans[0], found.usable) + ".")
        lines += ["", text(trial_table(trials))]
    cannot = [f"  {reason}" for reason in reasons(found.left_out)]
    return [*lines, *(["Layouts that cannot run:"] if cannot else []), *cannot]


if __name__ == "__main__":
    sys.exit(main())
