"""The policy: build, generate, score, update, save, load.

Owns one model with its optimizer on one mesh. Nothing above this folder sees tensor, pipeline or
data parallelism: callers hand in prompts or micro-batches and get completions, rows or statistics.
Two policies live side by side (the learner and its frozen reference); nothing here is global.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.optimizer import MegatronOptimizer
from torch import Tensor

from reft_megatron.config import Config
from reft_megatron.mesh import Mesh
from reft_megatron.ops.sampling import Sampling
from reft_megatron.policy import checkpoint
from reft_megatron.policy.families import Architecture
from reft_megatron.policy.generate import Generator, Limits, Stop, Usage
from reft_megatron.policy.huggingface import HEAD_NAMES, load_folder
from reft_megatron.policy.initialise import initialise
from reft_megatron.policy.meta import describe
from reft_megatron.policy.model import PolicyModel, build_chunks, unpublished
from reft_megatron.policy.optimizer import build_optimizer, learning_rate
from reft_megatron.policy.origin import architecture_of, travelling_files
from reft_megatron.policy.parking import Parking
from reft_megatron.policy.score import classify, score
from reft_megatron.policy.update import Loss, StepStats, sum_gradients, update
from reft_megatron.rollouts.batch import MicroBatch
from reft_megatron.tokenizer import Tokenizer
from reft_megatron.types import Completion, Prompt

__all__ = ["Policy"]


class Policy:
    """A model on a mesh, with or without an optimizer."""

    def __init__(
        self,
        config: Config,
        mesh: Mesh,
        tokenizer: Tokenizer,
        *,
        total_steps: int | None,
        architecture: Architecture | None = None,
        weights: bool = True,
    ) -> None:
        """Build with weights of `model.hf`, or random ones; `total_steps` None builds it frozen.

        With `model.load` set, or `weights` False, `load` must follow: until then only a head has
        weights. `architecture` is that of the settings, where the caller knows it already.

        `total_steps` is the number of optimizer steps the learning-rate schedule spans. Raises
        ConfigError for an unknown preset or a layout that does not divide the model, and
        CheckpointError for a Hugging Face folder that does not hold such a model.
        """
        self.architecture = architecture or architecture_of(config.model)
        self.mesh = mesh
        self.version = 0
        self.redrawn = False
        """True if `load` went on with another random state, as another layout wrote it."""
        self._config = config
        self._tokenizer = tokenizer
        self._total_steps = total_steps
        self._files: dict[str, bytes] = {}
        with mesh.world.together():
            if mesh.main:
                self._files = travelling_files(config, tokenizer)
        self._chunks: list[PolicyModel] = build_chunks(
            self.architecture,
            config.model,
            config.parallel,
            mesh=mesh,
            vocab_size=tokenizer.vocab_size,
            fp8=config.fp8,
        )
        self._fp8 = self._chunks[0].config.fp8_weights
        self._fill(read=weights and not config.model.load)
        self._generator = Generator(self._chunks, mesh, eos_id=tokenizer.eos_id)
        self._parking: Parking | None = None
        self._optimizer: MegatronOptimizer | None = None
        self._wrapped: list[DistributedDataParallel] = []
        if total_steps is None:
            for chunk in self._chunks:
                chunk.requires_grad_(False)
        else:
            self._make_trainable()

    @property
    def chunks(self) -> Sequence[PolicyModel]:
        """This rank's part of the model, for what looks inside it to compare."""
        return self._chunks

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        stop: Stop = lambda problem_id, sample, tokens: False,
        on_finish: Callable[[Completion], None] = lambda completion: None,
    ) -> list[Completion]:
        """Completions of `prompts`: those that fell to this replica, on every rank of it.

        See `Generator.run`; `usage` then says what it cost.
        """
        limits = Limits.of(self._config.generate, self.mesh.device)
        with contextlib.nullcontext() if self._fp8 is None else self._fp8.sampling():
            return self._generator.run(
                prompts, sampling=sampling, limits=limits, stop=stop, on_finish=on_finish
            )

    @property
    def usage(self) -> Usage:
        """What the last `generate` cost this rank."""
        return self._generator.usage

    def park(self) -> None:
        """Keep the weights of this frozen policy on the host, but for the time it scores."""
        assert self._optimizer is None, "only a frozen policy can wait elsewhere"
        self._parking = Parking(self._chunks)

    def score(self, batches: Sequence[MicroBatch]) -> dict[str, list[Tensor]]:
        """Log-probs, values and entropies of each sequence, fp32 [length], about its tokens.

        Filled on the last pipeline stage, empty lists elsewhere.
        """
        if self._parking is None:
            return score(self._chunks, batches, self.mesh)
        with self._parking.present():
            scores = score(self._chunks, batches, self.mesh)
        self.weights_changed()  # codes would stay on the device
        return scores

    def classify(self, batches: Sequence[MicroBatch]) -> list[Tensor]:
        """Scores of the classes wrong and right, fp32 [2], after each sequence's last token.

        Filled on the last pipeline stage, empty elsewhere; needs `model.head=rerank`.
        """
        return classify(self._chunks, batches, self.mesh)

    def update(
        self, batches: Sequence[MicroBatch], *, loss: Loss, dropout: bool = False
    ) -> StepStats:
        """One optimizer step on the global batch; skipped if anything is not finite.

        `loss` gets logprobs, values and entropies, about tokens; with `model.head=rerank` wrong and
        right, the scores after tokens.
        """
        assert self._optimizer is not None, "a frozen policy cannot be updated"
        assert self._total_steps is not None
        settings, faults = self._config.optimizer, None
        if self._fp8 is not None and self._fp8.active:
            faults = self._fp8.faults(self.mesh.device).zero_()
        stats = update(
            self._wrapped,
            self._optimizer,
            batches,
            mesh=self.mesh,
            head=self._config.model.head,
            loss=loss,
            config=settings,
            lr=learning_rate(settings, self.version, self._total_steps),
            dropout=dropout,
            faults=faults,
        )
        self.version += 1
        self.weights_changed()
        return stats

    def weights_changed(self) -> None:
        """Forget what was made of the weights; for whoever else than `update` and `load` writes."""
        if self._fp8 is not None:
            self._fp8.changed()

    def save(self, folder: Path, *, extra: dict[str, Any]) -> None:
        """Write a checkpoint atomically: weights, optimizer, random state, `extra` (JSON)."""
        checkpoint.save(
            folder,
            self._chunks,
            self._optimizer,
            mesh=self.mesh,
            meta={**self._identity(), "version": self.version, "extra": extra},
            files=self._files,
        )

    def load(self, folder: Path, *, weights_only: bool, with_head: bool = False) -> dict[str, Any]:
        """Restore from a checkpoint and return its `extra`.

        Any layout may have written it. `weights_only` takes the weights and nothing else (a start
        from another run, or from Megatron-LM's torch_dist folder, whose `extra` is empty). A head
        that it lacks stays as it is, unless it is to come `with_head`. Raises CheckpointError for a
        missing, damaged or foreign checkpoint, before anything is changed.
        """
        identity = self._identity()
        meta = checkpoint.load(
            folder,
            self._chunks,
            self._optimizer,
            mesh=self.mesh,
            identity=identity,
            resume=not weights_only,
            with_head=with_head,
        )
        self.weights_changed()
        if weights_only:
            if self._optimizer is not None:
                # fp32 masters of a bf16 model follow the weights just read.
                self._optimizer.reload_model_params()
        else:
            self.version = int(meta["version"])
            self.redrawn = not checkpoint.same_layout(meta, identity)
        return dict(meta.get("extra", {}))

    def _fill(self, *, read: bool) -> None:
        """Initial weights: those of `model.hf`, or random ones.

        Unless to `read`, only what a checkpoint may lack is drawn: the rest may be large, and the
        caller loads it next.
        """
        model, seed = self._config.model, self._config.run.seed
        drawn: Collection[str] | None = None
        if not read:
            drawn = HEAD_NAMES[model.head].keys() | unpublished(model.head)
        elif model.hf:
            drawn = load_folder(
                Path(model.hf), self._chunks, self.architecture, head=model.head, mesh=self.mesh
            )
        initialise(self._chunks, self.architecture, seed=seed, only=drawn)

    def _make_trainable(self) -> None:
        config = self._config
        distributed = config.parallel.distributed_optimizer
        settings = DistributedDataParallelConfig(
            grad_reduce_in_fp32=True,
            overlap_grad_reduce=False,
            use_distributed_optimizer=distributed,
        )
        # With `disable_bucketing` the bf16 trunk and the fp32 value head would share a collective,
        # and gloo reads all of it in the first one's type. Without overlap a type is a bucket.
        self._wrapped = [
            DistributedDataParallel(config=chunk.config, ddp_config=settings, module=chunk)
            for chunk in self._chunks
        ]
        for chunk in self._chunks:
            chunk.config.finalize_model_grads_func = sum_gradients
        self._optimizer = build_optimizer(
            self._wrapped,
            config.optimizer,
            distributed=distributed,
            bf16=config.model.half,
        )

    def _identity(self) -> dict[str, Any]:
        """What a checkpoint is of; to resume from it all but the layout must agree."""
        parallel, chunk = self._config.parallel, self._chunks[0]
        return {
            **describe(self.architecture, self._tokenizer, rows=chunk.vocab.rows),
            "layout": {
                "tensor": parallel.tensor,
                "pipeline": parallel.pipeline,
                "virtual_pipeline": parallel.virtual_pipeline,
                "layers": [*chunk.config.split],
                "data": self.mesh.data.size,
            },
            "precision": self._config.model.precision,
        }
