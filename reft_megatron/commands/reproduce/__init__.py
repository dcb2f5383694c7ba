"""`reft-megatron reproduce`: a paper's table from one file, stage by stage."""

from reft_megatron.commands.reproduce.command import parser, run

__all__ = ["parser", "run"]
