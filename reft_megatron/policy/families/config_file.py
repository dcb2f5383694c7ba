"""Reading a checkpoint's `config.json` so that nothing in it is ignored.

Owns a reader that remembers which keys a family has looked at. What changes the network must be
taken or expected; what does not is listed here; a key that is left over and says something is
refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, overload

from reft_megatron.errors import CheckpointError

__all__ = ["ConfigFile"]

_T = TypeVar("_T")

# What transformers writes into any config.json and no network is built from: bookkeeping, token
# ids, labels, defaults of generation, what training drops, how attention is computed.
# fmt: off
_HARMLESS = {
    "_name_or_path", "transformers_version", "dtype", "torch_dtype", "model_type", "architectures",
    "use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "unk_token_id",
    "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "prefix",
    "tokenizer_class", "finetuning_task", "task_specific_params", "problem_type", "id2label",
    "label2id", "num_labels", "return_dict", "output_hidden_states", "output_attentions",
    "chunk_size_feed_forward", "attn_implementation", "_attn_implementation",
    "_attn_implementation_autoset", "_attn_implementation_internal", "attention_dropout",
    "dropout", "activation_dropout", "hidden_dropout", "classifier_dropout",
    "gradient_checkpointing", "max_length", "min_length", "max_new_tokens", "do_sample",
    "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_beam_groups",
    "diversity_penalty", "early_stopping", "length_penalty", "repetition_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids",
    "num_return_sequences", "output_scores", "return_dict_in_generate", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "pretraining_tp", "summary_dropout_prob", "tf_legacy_loss", "use_bfloat16", "unsloth_version",
}
# fmt: on


class ConfigFile:
    """A `config.json` being read by a family."""

    def __init__(self, where: str, tree: Mapping[str, Any]) -> None:
        """`tree` is the parsed file, `where` what to call it in messages."""
        self._where = where
        self._tree = dict(tree)
        self._left = set(tree) - _HARMLESS

    @classmethod
    def open(cls, folder: Path) -> ConfigFile:
        """`folder`'s config.json; CheckpointError if there is none or it is not JSON."""
        path = folder / "config.json"
        try:
            tree = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise CheckpointError(
                f"cannot read {path}: {error.strerror}. Point at a Hugging Face folder, which has "
                "a config.json beside its weights."
            ) from None
        except ValueError as error:
            raise CheckpointError(f"{path} is not valid JSON: {error}.") from None
        if not isinstance(tree, dict):
            raise CheckpointError(f"{path} must hold a JSON object, saw {tree!r:.60}.")
        return cls(str(path), tree)

    @property
    def model_type(self) -> str:
        """Hugging Face's model type; empty if the file names none."""
        return str(self._tree.get("model_type") or "")

    @overload
    def take(self, key: str, kind: type[_T]) -> _T: ...

    @overload
    def take(self, key: str, kind: type[_T], default: _T, *, null: _T | None = None) -> _T: ...

    def take(
        self, key: str, kind: type[_T], default: _T | None = None, *, null: _T | None = None
    ) -> _T:
        """The value of `key`, a `kind`; `default` where it is absent, and `null` where it is null.

        Without `null` that is `default` too. Raises CheckpointError for a value of another type, or
        none where there is no default.
        """
        self._left.discard(key)
        value = self._tree.get(key, default)
        if value is None:
            value = default if null is None else null
        if kind is float and type(value) is int:
            value = float(value)  # JSON writes 1e6 as an integer
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise self.refusal(key, value, f"{kind.__name__} wanted")
        return value

    def count(self, key: str, default: int | None = None, *, null: int | None = None) -> int:
        """`take` for a number of things: CheckpointError unless what the file says is positive."""
        had = () if default is None else (default,)
        value = self.take(key, int, *had, null=null)
        if value < 1 and self._tree.get(key) is not None:
            raise self.refusal(key, value, "a positive number wanted")
        return value

    def expect(self, key: str, *wanted: object, why: str) -> None:
        """CheckpointError, which says `why`, unless `key` is absent, null or one of `wanted`."""
        self._left.discard(key)
        value = self._tree.get(key)
        if value is not None and value not in wanted:
            raise self.refusal(key, value, why)

    def finish(self) -> None:
        """CheckpointError if a key is left that nobody has looked at and that says something."""
        for key in sorted(self._left):
            if self._tree[key]:
                raise self.refusal(
                    key,
                    self._tree[key],
                    "this project does not know what it changes; remove it from the file if it "
                    "changes nothing",
                )

    def refusal(self, key: str, value: object, why: str) -> CheckpointError:
        """The error for a `value` of `key` that cannot be used."""
        return CheckpointError(f"{self._where}: {key} = {value!r:.200} is not supported: {why}.")
