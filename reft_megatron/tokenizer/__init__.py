"""Text to token ids and back.

One small interface over sentencepiece models and Hugging Face `tokenizer.json` files, alone or in
the folder of a checkpoint. Does not train tokenizers (`tokenizer_training`) and does not know
prompts (`tasks.prompts`).
"""

from __future__ import annotations

from reft_megatron.tokenizer.folder import tokenizer_files
from reft_megatron.tokenizer.tokenizer import Tokenizer, load_tokenizer

__all__ = ["Tokenizer", "load_tokenizer", "tokenizer_files"]
