"""The settings of a run: small frozen dataclasses, each for exactly one part.

Owns the defaults of what recipes share (`stages` those of single recipes; nobody else has any) and
the checks of single values. Checks that need the machine (layouts against the world size, files)
belong to the parts that meet the machine.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from reft_megatron.config.ranges import (
    STRICT,
    Count,
    Fraction,
    NonNegative,
    Positive,
    StrictCount,
    Zero,
)
from reft_megatron.config.stages import (
    EvaluateConfig,
    OfflineSlConfig,
    OnlineSlConfig,
    PpoConfig,
    PretrainConfig,
    RerankConfig,
    SampleConfig,
    SftConfig,
)
from reft_megatron.types import Form

__all__ = [
    "DEFAULT_PRESET",
    "CheckpointConfig",
    "Config",
    "Fp8Config",
    "GenerateConfig",
    "LogConfig",
    "ModelConfig",
    "OptimizerConfig",
    "ParallelConfig",
    "RewardConfig",
    "RolloutsConfig",
    "RunConfig",
    "TaskConfig",
    "TokenizerConfig",
]

DEFAULT_PRESET = "galactica-tiny"


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunConfig:
    """What the run is called and where it lives."""

    name: Annotated[str, Field(min_length=1)] = "run"
    """Name of the run; its folder is `<dir>/<name>`."""
    dir: str = "runs"
    """Folder that holds all runs."""
    seed: Zero = 0
    """Seed of everything random: initialisation, data order, sampling."""
    resume: bool = True
    """Continue from the last checkpoint in the run's folder when there is one."""
    max_skipped_steps: Zero = 10
    """Optimizer steps a run may skip for a non-finite loss or gradient before it stops."""
    collective_timeout_s: Count = 1800
    """Seconds after which a rank that waits for a lost one gives up."""
    threads: Zero = 0
    """CPU threads per process; 0 takes cores / processes on this machine."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ParallelConfig:
    """How the model is laid over the ranks; data parallel size is world / (tensor x pipeline)."""

    tensor: Count = 1
    """Tensor-parallel size."""
    pipeline: Count = 1
    """Pipeline-parallel size."""
    virtual_pipeline: Count = 1
    """Model chunks per pipeline rank (interleaved schedule when above 1)."""
    pipeline_layers: Literal["auto", "even"] | tuple[StrictCount, ...] = "auto"
    """Layers of each stage, as [7,5]; `even`, or `auto`: fewer on the last, for the vocabulary."""
    sequence: bool = False
    """Sequence parallelism over the tensor-parallel ranks (needs tensor > 1)."""
    distributed_optimizer: bool = True
    """Shard optimizer state over the data-parallel ranks."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class ModelConfig:
    """The policy network."""

    preset: str = ""
    """Architecture by name; empty takes that of `hf` or `load`, or else galactica-tiny."""
    hf: str = ""
    """Hugging Face folder to start from: architecture, weights, and tokenizer."""
    load: str = ""
    """Checkpoint folder to take the initial weights from; without it and `hf`, they are random."""
    head: Literal["value", "rerank"] = "value"
    """What stands beside the language model: values for PPO, or two classes for reranking."""
    reference: str = ""
    """Checkpoint of the frozen reference policy; empty takes the initial policy (paper)."""
    reference_waits: Literal["device", "host"] = "device"
    """Where the reference's weights are while it does not score; on the host it costs a copy."""
    precision: Literal["fp32", "bf16", "fp8_rollout", "fp8"] = "fp32"
    """Arithmetic of layers; optimizer state is fp32. `fp8_rollout`: FP8 in sampling, else bf16."""
    recompute: Literal["none", "selective", "full"] = "none"
    """Activations recomputed in the backward pass: none, core attention only, or whole layers."""
    dropout: Fraction = 0.0
    """Hidden and attention dropout of supervised training (0.1 in Galactica; PPO never drops)."""
    vocab_multiple: Count = 128
    """The vocabulary is padded to a multiple of this times the tensor-parallel size."""
    logprob_chunk: Count = 1024
    """Tokens per chunk of the vocabulary projection; bounds the fp32 logits held at once."""

    @property
    def half(self) -> bool:
        """True if weights and activations are bf16: FP8 is a way to multiply them."""
        return self.precision != "fp32"

    @property
    def samples_in_fp8(self) -> bool:
        """True if generation computes in FP8."""
        return self.precision in ("fp8_rollout", "fp8")


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Fp8Config:
    """FP8 arithmetic, where `model.precision` asks for it (docs/precision.md)."""

    provider: Literal["ours", "te"] = "ours"
    """Who serves the layers: this package, or Transformer Engine (GPUs only)."""
    te_recipe: Literal["tensorwise", "blockwise", "mxfp8"] = "tensorwise"
    """How Transformer Engine scales: current scales of tensors or of blocks, or microscaling."""
    first_layers_bf16: Zero = 0
    """Layers at the beginning of the model that stay in bf16."""
    last_layers_bf16: Zero = 0
    """Layers at its end that do. Embeddings, the vocabulary's product and heads always do."""
    cache: bool = True
    """Keep keys and values in FP8 too while sampling."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TokenizerConfig:
    """The tokenizer."""

    path: str = ""
    """A tokenizer file or a Hugging Face folder; empty takes that of `model.hf` or `load`."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TaskConfig:
    """The problems."""

    name: Literal["arithmetic", "gsm8k", "svamp", "mathqa", "mathqa-numeric", "custom"] = (
        "arithmetic"
    )
    """Which task; `custom` is your own (docs/tasks.md)."""
    form: Form = "program"
    """Chains of thought as Python programs or as natural language (`nl`)."""
    train: str = ""
    """Training file; empty for the generated task."""
    test: str = ""
    """Test file; empty for the generated task."""
    train_size: Zero = 0
    """Training problems to use (a fixed prefix of a fixed shuffle); 0 takes all."""
    dev_size: Zero = 200
    """Problems carved from the training file by a fixed rule, for selection only."""
    test_size: Zero = 0
    """Test problems to use; 0 takes all."""
    data_seed: Zero = 0
    """Seed of the generated task."""
    reward: str = ""
    """Custom tasks: Python file with `reward(problem, completion)`; empty: the built-in one."""
    prompt: str = ""
    """Custom tasks: the whole prompt, with {question} in it; empty takes ReFT's."""
    answers: Literal["number", "letter", "text"] = "number"
    """Custom tasks: what gold answers are; `text` is for rewards of your own."""
    parity: Literal["correct", "reference"] = "correct"
    """`reference` brings back what the authors' code does in the starred rows of limitations.md."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class OptimizerConfig:
    """AdamW and its schedule."""

    lr: Positive = 1e-5
    """Peak learning rate."""
    min_lr: NonNegative = 0.0
    """Learning rate at the end of the decay."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """Decay after the warm-up."""
    warmup_fraction: Fraction = 0.1
    """Share of all optimizer steps spent ramping up linearly."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""
    beta1: Fraction = 0.9
    """Adam's first-moment decay."""
    beta2: Fraction = 0.999
    """Adam's second-moment decay."""
    eps: Positive = 1e-8
    """Adam's epsilon."""
    clip_grad: NonNegative = 1.0
    """Global gradient norm is clipped to this; 0 never clips."""
    micro_batch_tokens: Count = 4096
    """Token budget of one packed micro-batch on one data-parallel rank."""
    packing: bool = True
    """Lay sequences end to end in one row; False pads them to a rectangle."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class GenerateConfig:
    """Sampling."""

    max_prompt_tokens: Count = 512
    """Problems with longer prompts are left out, and counted; never cut (the reference: at 300)."""
    max_new_tokens: Count = 400
    """Response length limit, end-of-sequence included."""
    temperature: Positive = 1.0
    """Softmax temperature of vote samples; PPO samples from the policy itself, so it wants 1."""
    top_k: Zero = 0
    """Keep the k likeliest tokens; 0 keeps all, which PPO wants."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Keep the smallest set of tokens with this probability mass; 1 keeps all, which PPO wants."""
    min_p: Fraction = 0.0
    """Keep tokens at least this likely beside the likeliest; 0 keeps all, which PPO wants."""
    slots: Count = 64
    """Sequences decoded at once on one replica."""
    prefill_tokens: Count = 512
    """Prompt tokens read in one step beside them; longer prompts take several steps."""
    unwatched_steps: Zero = 0
    """Decode steps between looks at what they drew (multi-step decoding); 0: 8 on a GPU, else 1."""
    stop_at_solution: bool = True
    """End a program once its `solution()` has returned; `task.parity=reference` never does."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RolloutsConfig:
    """What becomes of rollouts between sampling and update."""

    record: str = ""
    """Folder of the ledger; empty keeps it in the run's own folder."""
    replay: str = ""
    """Ledger whose rollouts are trained on in the place of new ones; nothing is generated."""
    generate_only: bool = False
    """Generate, judge and record, and train on nothing."""
    max_staleness: Zero = 0
    """Optimizer steps that a policy may be ahead of a rollout that it trains on."""
    importance_cap: NonNegative | Literal["auto"] = "auto"
    """Weigh tokens by trainer / sampler probability, up to this; 0 never; auto: 2 with FP8."""
    mismatch_warn: Annotated[float, Field(ge=1)] = 1.03
    """Mean e^|difference| of sampler's and trainer's log-probs above which a run says so."""
    mismatch_stop: Annotated[float, Field(ge=1)] = 1.05
    """The same, above which it stops."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RewardConfig:
    """Checking completions."""

    threads: Zero = 0
    """Threads of the C++ core per replica; 0 is one for each CPU the process may use."""
    isolation: Literal["thread", "process"] = "thread"
    """Where the C++ core runs: in this process, or in locked processes beside it."""
    max_steps: Count = 1_000_000
    """Steps of one program in the C++ core: about 15 ms (an endless loop ends there)."""
    workers: Count = 2
    """CPython workers per replica, for what the core does not know, and for `task.reward`."""
    timeout_s: Positive = 10.0
    """Wall-clock limit of one program, or one call of `task.reward` (the reference's 10 s)."""
    memory_mb: Annotated[int, Field(ge=64)] = 512
    """What a program may allocate in a worker, on top of the bare worker, in MiB."""
    max_output_kb: Count = 64
    """Text a program may print before it is stopped."""
    partial: Fraction = 0.1
    """Reward of a numeric but wrong answer (paper 0.1; 0 switches it off)."""
    max_fault_fraction: Fraction = 0.01
    """Share of executor faults in one batch above which the run stops."""
    audit: str = ""
    """Labelled completions to try the reward on before a run: a file, or `built` from gold."""
    max_false_positive_rate: Fraction = 0.0
    """Share of those labelled wrong that may be paid in full; above it no run starts."""
    max_false_negative_rate: Fraction = 1.0
    """Share of those labelled right that may not be; 1 demands nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class CheckpointConfig:
    """Checkpoints."""

    every: Zero = 50
    """PPO iterations or epochs between checkpoints; 0 only at the end."""
    keep_last: Count = 2
    """Recent checkpoints kept; the best on dev problems is always kept."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class LogConfig:
    """What a run tells."""

    progress: bool = True
    """Progress bars on the main rank."""
    tensorboard: bool = True
    """TensorBoard event files in the run's folder."""
    wandb_project: str = ""
    """Weights & Biases project; empty does not log there."""
    table_every: Count = 1
    """Iterations, or epochs, between metric tables on the terminal."""
    report: bool = True
    """At the end `report.html` and the curves as PNG, which take seconds to draw."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class Config:
    """Everything one run needs."""

    run: RunConfig = dataclasses.field(default_factory=RunConfig)
    parallel: ParallelConfig = dataclasses.field(default_factory=ParallelConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    fp8: Fp8Config = dataclasses.field(default_factory=Fp8Config)
    tokenizer: TokenizerConfig = dataclasses.field(default_factory=TokenizerConfig)
    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    optimizer: OptimizerConfig = dataclasses.field(default_factory=OptimizerConfig)
    generate: GenerateConfig = dataclasses.field(default_factory=GenerateConfig)
    rollouts: RolloutsConfig = dataclasses.field(default_factory=RolloutsConfig)
    rewards: RewardConfig = dataclasses.field(default_factory=RewardConfig)
    pretrain: PretrainConfig = dataclasses.field(default_factory=PretrainConfig)
    sft: SftConfig = dataclasses.field(default_factory=SftConfig)
    ppo: PpoConfig = dataclasses.field(default_factory=PpoConfig)
    sample: SampleConfig = dataclasses.field(default_factory=SampleConfig)
    offline_sl: OfflineSlConfig = dataclasses.field(default_factory=OfflineSlConfig)
    online_sl: OnlineSlConfig = dataclasses.field(default_factory=OnlineSlConfig)
    rerank: RerankConfig = dataclasses.field(default_factory=RerankConfig)
    evaluate: EvaluateConfig = dataclasses.field(default_factory=EvaluateConfig)
    checkpoint: CheckpointConfig = dataclasses.field(default_factory=CheckpointConfig)
    log: LogConfig = dataclasses.field(default_factory=LogConfig)

    @property
    def importance_cap(self) -> float:
        """The cap of importance weights, 0 for none: what `rollouts.importance_cap` comes to.

        `auto` weighs where the sampler is FP8, by at most 2 (Yao et al. 2025).
        """
        asked = self.rollouts.importance_cap
        if isinstance(asked, str):
            return 2.0 if self.model.samples_in_fp8 else 0.0
        return asked
