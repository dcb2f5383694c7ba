"""What an evaluation left of each problem: the outcome of every figure.

Owns reading `outcomes.json`, and what is said of a file that is none.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from reft_megatron.errors import DataError

__all__ = ["read_outcomes"]

_FILE = "outcomes.json"


def read_outcomes(folder: Path) -> dict[str, dict[str, float]]:
    """Figure -> problem id -> outcome in 0..1, as the recipe evaluate left it in `folder`.

    Raises DataError if that is not what is there.
    """
    path = folder / _FILE
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror}. Name the folder of a run of the recipe "
            "evaluate that has ended."
        ) from None
    except ValueError:
        tree = None
    problems = tree.pop("problems", None) if isinstance(tree, dict) else None
    if not isinstance(problems, list) or not problems or not all(map(_is_name, problems)):
        raise DataError(f"{path} names no problems: it is not what evaluate writes. Evaluate anew.")
    if len({*problems}) < len(problems):
        raise DataError(f"{path} names a problem twice. Evaluate anew.")
    assert isinstance(tree, dict)
    for name, outcomes in tree.items():
        if not _are_outcomes(outcomes, len(problems)):
            raise DataError(
                f"{path}: {name} is not a list of {len(problems)} numbers from 0 to 1, one of each "
                "problem. Evaluate anew."
            )
    return {name: dict(zip(problems, outcomes, strict=True)) for name, outcomes in tree.items()}


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _are_outcomes(value: Any, count: int) -> bool:
    if not isinstance(value, list) or len(value) != count:
        return False
    return all(type(outcome) in (int, float) and 0 <= outcome <= 1 for outcome in value)
