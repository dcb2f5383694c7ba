"""The report of a reproduction: one page that carries everything, for people.

Owns tables, pictures and the sample of completions; it reads what the stages left and the figures
of `results`, runs nothing, and is the same bytes for the same runs.
"""

from __future__ import annotations

from reft_megatron.commands.reproduce.report.page import write_report

__all__ = ["write_report"]
