"""The policy wall: the only folder that knows Megatron-core.

Six verbs cross it: build, generate, score, update, save, load (`Policy`). Importing this package
first makes Megatron runnable on a machine without a GPU (see `policy.device`), and refuses packages
that Megatron would trip over (`packages`).
"""

import logging
import warnings

from reft_megatron.packages import check_packages, go_without_packages
from reft_megatron.policy.device import answer_cuda_calls, has_gpu

check_packages()
if not has_gpu():
    go_without_packages()
answer_cuda_calls()
# Megatron 0.19 logs advice to those who call it, which is not for those who call us.
logging.getLogger("megatron").setLevel(logging.ERROR)
with warnings.catch_warnings():
    # Megatron announces each optional package it goes without.
    warnings.simplefilter("ignore")
    from reft_megatron.policy.fp8.readiness import precision_note
    from reft_megatron.policy.mesh import join, leave
    from reft_megatron.policy.origin import (
        architecture_of,
        tokenizer_path,
        weights_fingerprint,
    )
    from reft_megatron.policy.policy import Policy
    from reft_megatron.policy.update import StepStats

__all__ = [
    "Policy",
    "StepStats",
    "architecture_of",
    "join",
    "leave",
    "precision_note",
    "tokenizer_path",
    "weights_fingerprint",
]
