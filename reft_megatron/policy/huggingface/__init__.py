"""Hugging Face checkpoints in and out.

A model starts straight from such a folder (`load`), or the folder becomes a checkpoint and a
checkpoint becomes such a folder (`convert`). `mapping` knows which rows go where, `reader` and
`writer` the files of Hugging Face; those of Megatron are `policy.torch_dist_reader`'s and
`policy.torch_dist_writer`'s.
"""

from reft_megatron.policy.huggingface.convert import Converted, to_checkpoint, to_huggingface
from reft_megatron.policy.huggingface.load import load_folder
from reft_megatron.policy.huggingface.mapping import HEAD_NAMES
from reft_megatron.policy.huggingface.settings import DTYPE_CHOICES, DTYPES

__all__ = [
    "DTYPES",
    "DTYPE_CHOICES",
    "HEAD_NAMES",
    "Converted",
    "load_folder",
    "to_checkpoint",
    "to_huggingface",
]
