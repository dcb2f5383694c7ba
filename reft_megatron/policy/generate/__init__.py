"""Generation on the trainer's own weights and layout."""

from reft_megatron.policy.generate.engine import Generator, Limits, Stop, Usage

__all__ = ["Generator", "Limits", "Stop", "Usage"]
