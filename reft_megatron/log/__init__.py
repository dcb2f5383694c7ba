"""What a run tells people: metrics, progress, tables and reports.

Owns the list of metric names and the one object a recipe logs through. The report
(`log.report`) and curves are imported by module, because matplotlib is slow to load.
"""

from __future__ import annotations

from reft_megatron.log.logger import RunLog
from reft_megatron.log.metrics import GLOSSARY

__all__ = ["GLOSSARY", "RunLog"]
