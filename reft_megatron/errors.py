"""The errors a user of this package can meet.

Owns the five named errors. A message says what was seen, what was wanted, and what to do next.
Bad model output is never an error: a failed program is a `types.Verdict` with a reason.
"""

from __future__ import annotations

__all__ = ["CheckpointError", "ConfigError", "DataError", "ReftError", "TrainingError"]


class ReftError(Exception):
    """Base of every error this package raises on purpose; the command line prints it whole."""


class ConfigError(ReftError):
    """A setting is unknown, out of range, or does not fit the machine or the parallel layout."""


class DataError(ReftError):
    """A data file is missing or malformed; the message names the file, the line and the field."""


class CheckpointError(ReftError):
    """A checkpoint is missing, half-written, damaged, or belongs to another model."""


class TrainingError(ReftError):
    """A run used up a failure budget: skipped steps or executor faults."""
