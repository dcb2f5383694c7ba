"""Measures generation: beside Hugging Face `generate`, and over two ranks.

Owns the command and the line of JSON at the end; `tools/generate_bench` measures.

Try it: `python tools/bench_generate.py --model tiny --prompts 64`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console

if not __package__:  # started by its path: `tools` is found from the root
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from reft_megatron.config import load_config
from reft_megatron.errors import ReftError
from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import Policy, join, leave
from reft_megatron.policy.families import Architecture
from reft_megatron.policy.generate import Limits
from reft_megatron.policy.huggingface import DTYPES
from reft_megatron.tokenizer import Tokenizer, load_tokenizer
from tools.extractor_bench.timing import Spread, Timed, measure
from tools.generate_bench.layouts import LAYOUTS, find_gaps, measure_rank, start_ranks
from tools.generate_bench.roofline import bytes_moved, copy_bandwidth
from tools.generate_bench.sides import CACHES, Cost, HuggingFace, Ours, Side, load_model
from tools.generate_bench.tables import Found, sides_table, stages_table, verdict
from tools.generate_bench.workload import MODELS, Workload, make_model, make_workload
from tools.machine import describe_machine

T = TypeVar("T", bound=Side)

_HELP = """\
Both sides run the same random weights (of Galactica's shapes), prompts and response lengths in one
process, taking turns. A trial on a fourth of the prompts chooses how many sequences each runs at
once; then each generates everything --repeats times. Tokens a second are response tokens over
seconds. Hugging Face gets the prompts sorted by their length, which is all it can know, the better
of its two caches, and padding on the left. With --layout, ranks of one thread each are held against
one rank alone. On a busy machine --threads 1 is steadier, and processor time tells more.

examples:
  python tools/bench_generate.py --model tiny
  python tools/bench_generate.py --model 125m --prompts 32 --repeats 1
  python tools/bench_generate.py --model 6.7b --mean 350 --most 1000 --slots 256 --batches 64,128
  python tools/bench_generate.py --model tiny --layout pp2 --slots 64
"""
_WIDTH = 116
_FOLDER = Path("build/bench_generate")
_WORK = "work.pickle"
_RATIO, _WASTE, _IDLE = 2.0, 0.03, 0.15
_TIE = 1e-4
"""Scores of fp32 models as near as this are a tie: layouts sum in different orders."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, say what came out, and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.rank_of:
        return _run_rank(options.folder, options.rank_of)
    print(describe_machine("torch", "transformers", "megatron-core", "reft-megatron"))
    options.precision = options.precision or _precision(options.layout)
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as work:
        options.folder = Path(work)
        try:
            bench = _prepare(options)
            found = _stages(bench) if options.layout else _compare(bench)
        except ReftError as error:
            print(f"bench_generate: {error}", file=sys.stderr)
            return 1
    load = round(os.getloadavg()[0], 1)
    print(json.dumps({**found, "model": f"galactica-{options.model}", "load": load}))
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """All that a side needs to begin."""

    options: argparse.Namespace
    """Of the command."""
    workload: Workload
    """What to generate."""
    architecture: Architecture
    """Of the model in `folder`."""

    @property
    def folder(self) -> Path:
        """The model's weights and tokenizer."""
        return Path(self.options.folder).resolve() / "hf"

    @property
    def tokenizer(self) -> Tokenizer:
        """With an id for each row of the embedding, so that both sides draw from all of it."""
        return replace(load_tokenizer(self.folder), vocab_size=self.architecture.vocab)

    @property
    def sampling(self) -> Sampling:
        """The same on both sides."""
        return Sampling(temperature=self.options.temperature, seed=self.options.seed)

    def ours(self, layout: str, *, threads: int) -> tuple[Ours, Mesh]:
        """Our side on this rank of `layout`."""
        settings = [
            f"model.hf={self.folder}",
            f"model.precision={self.options.precision}",
            f"generate.prefill_tokens={self.options.prefill}",
            f"generate.unwatched_steps={self.options.unwatched}",
        ]
        config = load_config(None, [*settings, *LAYOUTS[layout].settings])
        mesh = join(config.parallel, seed=0, timeout_s=600, threads=threads)
        policy = Policy(config, mesh, self.tokenizer, total_steps=None)
        ours = Ours(
            policy,
            self.workload,
            sampling=self.sampling,
            limits=Limits.of(config.generate, mesh.device),
        )
        return ours, mesh


def _precision(layout: str | None) -> str:
    """What is measured unless told otherwise; a `layout` has its ranks on the CPU."""
    return "bf16" if torch.cuda.is_available() and not layout else "fp32"


def _prepare(options: argparse.Namespace) -> _Bench:
    """Make prompts, lengths and weights, and say what they are."""
    workload = make_workload(
        options.folder,
        model=options.model,
        data=Path(os.path.expandvars(options.data)),
        prompts=options.prompts,
        samples=options.samples,
        most=options.most,
        mean=options.mean,
        seed=options.seed,
    )
    made = make_model(options.folder, model=options.model, precision=options.precision)
    lengths = Spread.of(workload.lengths.values())
    asked = Spread.of(len(prompt.token_ids) for prompt in workload.prompts)
    print(workload.told)
    print(
        f"Galactica-{options.model} of random weights, {options.precision}: {options.prompts} "
        f"prompts of {asked.low:.0f} to {asked.high:.0f} tokens x {options.samples} samples, "
        f"responses of {lengths.low:.0f} to {lengths.high:.0f} tokens, "
        f"{workload.tokens / len(workload.lengths):.0f} on average.",
        flush=True,
    )
    return _Bench(options=options, workload=workload, architecture=made)


# ---------------------------------------------------------------- beside Hugging Face


def _compare(bench: _Bench) -> dict[str, Any]:
    """Both sides in turns; what to put on record."""
    workload, options = bench.workload, bench.options
    ours, mesh = bench.ours("one", threads=options.threads)
    model = load_model(bench.folder, precision=options.precision).to(mesh.device)
    pad, sampling = bench.tokenizer.pad_id, bench.sampling
    rivals = [
        HuggingFace(model, workload, cache=cache, sampling=sampling, pad_id=pad)
        for cache in options.caches
    ]
    theirs, batch = _trial(rivals, options.batches, workload)
    _, slots = _trial([ours], options.slots, workload)
    at_once: dict[Side, int] = {ours: slots, theirs: batch}
    sides = _repeat(at_once, workload, times=options.repeats)
    table = sides_table({side.name: found for side, found in sides.items()}, workload.tokens)
    Console(width=_WIDTH).print(table)
    rate, their_rate = (workload.tokens / found.seconds.median for found in sides.values())
    ratio, wasted = rate / their_rate, sides[ours].cost.wasted
    print(verdict(ratio >= _RATIO, f"{ratio:.2f} x Hugging Face, {_RATIO} wanted on a CPU"))
    print(verdict(wasted <= _WASTE, f"{wasted:.2%} of decode steps wasted, {_WASTE:.0%} allowed"))
    record = {
        "device": mesh.device.type,
        "tokens_per_s": round(rate, 1),
        "hf_tokens_per_s": round(their_rate, 1),
        "ratio_hf": round(ratio, 3),
        "cpu_ratio_hf": round(sides[theirs].cpu_s / sides[ours].cpu_s, 3),
        "wasted_share": round(wasted, 4),
        "hf_wasted_share": round(sides[theirs].cost.wasted, 4),
        "slots": slots,
        "hf_batch": batch,
        "hf_cache": theirs.cache,
    }
    if mesh.device.type == "cuda":
        record["device"] = torch.cuda.get_device_name()
        record["roofline_share"] = _roofline(bench, rate, slots=slots)
    leave()
    return record


def _trial(sides: Sequence[T], counts: Sequence[int], workload: Workload) -> tuple[T, int]:
    """The best of some sides and of how many sequences they run at once, on every fourth prompt.

    On more of them where the largest of `counts` would not be filled twice; on none where there is
    nothing to choose.
    """
    if len(sides) == len(counts) == 1:
        return sides[0], counts[0]
    every = len(workload.lengths) // (2 * max(counts))
    prompts = workload.prompts[:: max(1, min(every, 4))]
    tokens = sum(workload.of(prompts))
    seconds = {}
    for side in sides:
        for count in counts:
            # On a GPU shapes are compiled, so that it takes the same prompts to warm up.
            side.run(prompts if torch.cuda.is_available() else prompts[::4], count)
            seconds[side, count] = measure(partial(side.run, prompts, count)).wall
        rates = ", ".join(f"{count}: {tokens / seconds[side, count]:,.0f}" for count in counts)
        print(f"Trial of {side.name}, tokens/s by sequences at once: {rates}", flush=True)
    return min(seconds, key=lambda tried: seconds[tried])


def _repeat(at_once: dict[Side, int], workload: Workload, *, times: int) -> dict[Side, Found]:
    """Everything, so many times, the sides in turns."""
    runs: dict[Side, list[_Run]] = {side: [] for side in at_once}
    for _ in range(times):
        for side, count in at_once.items():
            runs[side].append(_run(side, workload, count))
    return {
        side: Found(
            at_once=at_once[side],
            cost=several[-1].cost,
            times=tuple(run.time for run in several),
            peak=max(run.peak for run in several),
        )
        for side, several in runs.items()
    }


class _Run(NamedTuple):
    cost: Cost
    time: Timed
    peak: int


def _run(side: Side, workload: Workload, at_once: int) -> _Run:
    costs = []
    gc.collect()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    time = measure(lambda: costs.append(side.run(workload.prompts, at_once)))
    return _Run(costs[0], time, torch.cuda.max_memory_allocated() - held)


def _roofline(bench: _Bench, rate: float, *, slots: int) -> float:
    """Say what memory alone would allow; the share of it that `rate` is."""
    architecture, workload = bench.architecture, bench.workload
    itemsize = DTYPES[bench.options.precision].itemsize
    weights = sum(path.stat().st_size for path in bench.folder.glob("*.safetensors"))
    # Of the learned positions a step looks up a few rows; it reads all the rest.
    positions = architecture.positions + architecture.position_offset
    weights -= positions * architecture.hidden * itemsize
    sequences = [
        (len(prompt.token_ids), workload.lengths[prompt.problem_id, sample])
        for prompt in workload.prompts
        for sample in prompt.samples
    ]
    moved = bytes_moved(architecture, sequences, slots=slots, weights=weights, itemsize=itemsize)
    speed = copy_bandwidth(torch.device("cuda"))
    share = rate * moved / speed / workload.tokens
    print(
        f"Roofline: {moved / 1e9:,.0f} GB to move, at {speed / 1e9:,.0f} GB/s (a copy, read and "
        f"written), allow {rate / share:,.0f} tokens/s; {share:.1%} of it reached."
    )
    return round(share, 4)


# ---------------------------------------------------------------- on several ranks


def _stages(bench: _Bench) -> dict[str, Any]:
    """One rank alone, then those of the layout; what to put on record."""
    options, workload = bench.options, bench.workload
    (bench.folder / _WORK).write_bytes(pickle.dumps(bench))
    told = {layout: start_ranks(bench.folder, layout) for layout in ("one", options.layout)}
    Console(width=_WIDTH).print(stages_table(told))
    found = told[options.layout]
    record: dict[str, Any] = {"device": "cpu", "layout": options.layout, "slots": options.slots[0]}
    if options.layout == "pp2":
        idle = found.median("idle")
        said = (
            f"with full queues the stages wait {idle[0]:.1%} and {idle[1]:.1%} of the time, "
            f"{_IDLE:.0%} allowed"
        )
        print(verdict(max(idle) <= _IDLE, said))
        record["stage_idle"] = [round(share, 4) for share in idle]
        record["stage_idle_after"] = [round(share, 4) for share in found.median("idle_after")]
        record["stage_less_cpu"] = [round(share, 4) for share in found.surplus]
    model = load_model(bench.folder, precision=options.precision)
    gaps = find_gaps(
        found.completions, told["one"].completions, model=model, sampling=bench.sampling
    )
    widest = max((gap.distance for gap in gaps), default=0.0)
    equal = len(workload.lengths) - len(gaps)
    said = f"{equal:,} of {len(workload.lengths):,} responses are equal to one rank's"
    if gaps:
        said += f"; the others part where two scores are within {widest:.1e}"
    print(verdict(widest < _TIE, said))
    record["tokens_per_s"] = round(workload.tokens / max(found.median("wall_s")), 1)
    return {**record, "equal": equal, "widest_gap": widest}


def _run_rank(folder: Path, layout: str) -> int:
    bench: _Bench = pickle.loads((folder / _WORK).read_bytes())
    ours, mesh = bench.ours(layout, threads=1)
    slots, repeats = bench.options.slots[0], bench.options.repeats
    measure_rank(ours, mesh, folder, slots=slots, repeats=repeats)
    leave()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench_generate",
        description=__doc__.partition("\n")[0],
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", choices=MODELS, default="tiny", help="size of Galactica (%(default)s)")
    add("--precision", choices=DTYPES, help="of both sides (bf16 on a GPU, on CPUs fp32)")
    add("--prompts", type=_count, default=256, help="questions (%(default)s)")
    add("--samples", type=_count, default=4, help="responses to each (%(default)s)")
    add("--mean", type=float, default=0, help="stretch responses to this mean; 0: as they are")
    add("--most", type=_count, default=400, help="cut responses at so many tokens (%(default)s)")
    add("--slots", type=_counts, default=[32, 64, 128], help="of ours, to try (32,64,128)")
    add("--batches", type=_counts, default=[32, 64, 128], help="of Hugging Face's (32,64,128)")
    add("--caches", type=_caches, default=[*CACHES], help="of Hugging Face's (dynamic,static)")
    add("--unwatched", type=int, default=0, help="generate.unwatched_steps (8 on a GPU, else 1)")
    add("--prefill", type=_count, default=512, help="prompt tokens we read a step (%(default)s)")
    add("--temperature", type=float, default=1.0, help="of the sampling (%(default)s)")
    add("--seed", type=int, default=0, help="of lengths and sampling (%(default)s)")
    add("--repeats", type=_count, default=3, help="of everything (%(default)s)")
    add("--threads", type=int, default=0, help="of torch on a CPU; 0: one for each CPU (0)")
    add("--layout", choices=[*LAYOUTS][1:], help="two ranks on a CPU instead, with the first slots")
    add("--data", default="$REFT_DATA", help="folder with gsm8k/ and programs/ ($REFT_DATA)")
    add("--folder", type=Path, default=_FOLDER, help="to work in, in a new folder")
    add("--rank-of", choices=LAYOUTS, help=argparse.SUPPRESS)
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _caches(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in CACHES:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(CACHES)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
