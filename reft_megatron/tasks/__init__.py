"""Tasks: where problems come from, how they are asked, their splits.

GSM8K, SVAMP, MathQA (multiple choice and numeric) are read from files; `arithmetic` is generated.
Text only: no tensors, no tokenizer, no judging.
"""

from __future__ import annotations

from reft_megatron.tasks.labelled import read_labelled
from reft_megatron.tasks.loader import load_task
from reft_megatron.tasks.task import Task

__all__ = ["Task", "load_task", "read_labelled"]
